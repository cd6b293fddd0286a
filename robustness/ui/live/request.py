"""What Live shows: an image under a condition, and the models' predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from robustness import models as all_models
from robustness.base.errors import RobustnessError
from robustness.images.framing import Picture
from robustness.measure.condition import NOTHING, Condition
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request, framing, spec_of
from robustness.measure.strength import labelled
from robustness.report.tables import Mark, verdict
from robustness.report.threshold import ThresholdInUse
from robustness.ui import shared

Answer = Measurement | RobustnessError


class ThresholdVerdict(NamedTuple):
    """The verdict on a prediction, rejected or not, and what the safe threshold says, in words."""

    mark: Mark
    text: str = ""


class LiveRequest(NamedTuple):
    """An image under a condition, and the models that predict it."""

    picture: Picture
    condition: Condition
    models: tuple[str, ...]
    seed: int
    truth: str | None = None
    """The true class of the image, where it is known."""
    remedy: str = ""
    """The id of the remedy whose effect is shown, too."""
    failed: Mapping[str, str] = MappingProxyType({})
    """The sentences of the chosen models that cannot run, by name."""
    thresholds: Mapping[str, ThresholdInUse] = MappingProxyType({})
    """The safe thresholds in use, by model."""

    @property
    def of_whom(self) -> tuple[str, ...]:
        """The image, its true class and the models."""
        digests = (version.digest for version in self.picture.versions)
        return (*digests, str(self.truth), *self.models)

    @property
    def id(self) -> str:
        """Identify all that is shown."""
        return " ".join([*self.of_whom, self.condition.id, str(self.seed)])

    @property
    def of_bands(self) -> str:
        """Identify the bands but for the perturbations."""
        return " ".join([*self.of_whom, str(self.seed), self.remedy])

    @property
    def spec(self) -> Request:
        return spec_of(self.picture, self.models, [self.condition], self.seed)

    @property
    def several_models(self) -> bool:
        """Whether several models can predict one image together."""
        return len(self.models) > 1 and not self.picture.others

    @property
    def what(self) -> str:
        """The condition in words."""
        return NOTHING if self.condition.idle else self.condition.label

    def change(self) -> shared.Altered:
        """The image under the condition."""
        return shared.change(self.picture, self.condition, self.seed)

    def acceptances(self, rows: Mapping[str, Measurement]) -> dict[str, ThresholdVerdict]:
        """The verdict on each of ``rows`` by the safe thresholds in use, by model."""
        acceptances = {}
        for name, row in rows.items():
            mark = verdict(row)
            threshold = self.thresholds.get(name)
            if threshold is None:
                acceptances[name] = ThresholdVerdict(mark)
                continue
            own = framing(*self.picture.overrides, name)
            at = f"safe threshold {threshold.text}"
            if change := threshold.stale(all_models.digest(all_models.REGISTRY[name]), own):
                text = f"Its {at} is out of date: it was made for {change}"
                acceptances[name] = ThresholdVerdict(mark, text)
                continue
            if untested := threshold.untested(self.condition):
                at += f", which was not tested under {untested}"
            if threshold.accepts(row.top5_probabilities):
                acceptances[name] = ThresholdVerdict(mark, f"Accepted by its {at}")
            else:
                acceptances[name] = ThresholdVerdict(
                    mark.rejected, f"Would be rejected by its {at}"
                )
        return acceptances

    def answers(
        self, altered: shared.Altered, who: str | None = None
    ) -> Iterator[tuple[str, Answer]]:
        """Start all forward passes, in the turns of ``who``; yield each result as it arrives.

        Each row gets the true class as its label.
        """
        coming = shared.answers(self.spec, self.picture, self.models, altered, who)
        return ((name, labelled(answer, self.truth)) for name, answer in coming)
