"""Does a natural perturbation undo an attack? Part of the Adversarial page."""

from __future__ import annotations

import streamlit as st

from robustness import charts, models
from robustness.attacks import Outcome
from robustness.evaluate import make_spec
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.types import Condition, Picture
from robustness.ui import cache, results
from robustness.ui.adversarial import adversarial, row


@st.fragment
def show(picture: Picture, outcome: Outcome, names: tuple[str, ...]) -> None:
    """Draws the question and its answer; reruns alone when a control of it changes."""
    st.subheader("Does a natural perturbation undo it?", anchor=False)
    left, right = st.columns(2, gap="medium")
    with left:
        name = st.selectbox(
            "Perturbation of the adversarial picture",
            PERTURBATIONS.names,
            index=PERTURBATIONS.names.index("jpeg_compression"),
            format_func=lambda known: PERTURBATIONS[known].label,
            key="undo",
            bind="query-params",
        )
    record = PERTURBATIONS[name]
    with right:
        strength = st.slider(
            "Strength",
            min_value=0.0,
            max_value=1.0,
            value=0.2,
            step=0.01,
            key="undo_strength",
            bind="query-params",
        )
        st.caption(record.value_text(strength))
    condition = Condition.of({name: strength})
    spec = make_spec(names, [condition], seed=outcome.spec.seed)
    changed = adversarial(picture, outcome)
    altered = cache.change(changed, condition, outcome.spec.seed)
    beside = cache.change(picture, condition, outcome.spec.seed)
    results.show_pictures(
        changed,
        altered.images[0],
        f"the attack and {condition.label}",
        {key: float(values[0]) for key, values in altered.scores.items()},
        captions=("Adversarial", f"With {record.label}"),
        key="pictures-undo",
    )
    lines = []
    for model in names:
        attacked = row(picture, changed, model, outcome.spec)
        both = cache.answer(spec, changed, model, altered)[0]
        alone = cache.answer(spec, picture, model, beside)[0]
        lines.append(
            (
                charts.model_label(model) + (" (attacked)" if model == outcome.model else ""),
                _verdict(attacked.consistent, both.top1 == attacked.clean_top1),
                _answer(model, attacked.clean_top1, attacked.clean_probability),
                _answer(model, attacked.top1, attacked.probability),
                _answer(model, both.top1, both.probability),
                _answer(model, alone.top1, alone.probability),
            )
        )
    head = (
        *("Model", "Undone?", "Original", "Adversarial"),
        *(f"Adversarial + {record.label}", f"Original + {record.label}"),
    )
    st.html(results.html_table(head, lines))


def _answer(model: str, index: int, probability: float) -> str:
    return f"{models.class_name(model, index)} {probability:.0%}"


def _verdict(untouched: bool, back: bool) -> str:
    if untouched:
        return "was not fooled" if back else "now changed"
    return "yes" if back else "no"
