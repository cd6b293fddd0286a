"""The report of the Adversarial page: what the attack did, with whatever was asked beyond it."""

from __future__ import annotations

from collections.abc import Sequence

from robustness import report
from robustness.attacks import Outcome
from robustness.evaluation.condition import AttackCondition
from robustness.evaluation.spec import make_spec
from robustness.pictures.picture import Picture
from robustness.ui.adversarial.outcome import adversarial, row
from robustness.ui.adversarial.studies import transferring
from robustness.ui.kit.picture_input import current_fit
from robustness.ui.kit.report_button import report_button


def show(picture: Picture, outcome: Outcome, names: Sequence[str]) -> None:
    """Draws the button. What transfers is in the report if it is known when that is made."""
    attack = outcome.spec
    asked = make_spec(names, [AttackCondition.of_spec(attack)], seed=attack.seed, fit=current_fit())
    changed = adversarial(picture, outcome)
    rows = [row(picture, changed, name, attack) for name in names]
    transfers = transferring(picture, attack, names)

    def build() -> report.Report:
        return report.of_attack(asked, picture, outcome, rows, transfers.found or ())

    report_button(build, f"{attack.name}-{outcome.model}")
