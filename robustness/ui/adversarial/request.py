"""Controls of the Adversarial page: model, attack, strength and target."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from robustness import models
from robustness.attacks import NORMS, REGISTRY, Attack, AttackSpec
from robustness.pictures.eight_bits import LEVELS
from robustness.ui.session.inputs import forget_unless, leave_link, listed, one_of, slider

EPSILONS = {
    "linf": (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0),
    "l2": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
}
"""Slider values: L∞ in 255ths, since an 8-bit image holds no smaller change; L2 directly."""

FIRST_SAMPLE, FIRST_EPSILON = "coffee", 2.0
"""The first visit's epsilon: every offline model errs, and noise of that size changes no
prediction. At 8/255, the value of a link without an epsilon, noise changes some, too."""

MOST_RESTARTS = 10


def start_state() -> None:
    """Set a telling attack on a first visit; a link's values stay.

    The page calls it before all controls. Visitors from another page keep their image.
    """
    arrived = st.session_state.get("arrived")
    if "epsilon" in st.session_state or not (arrived or not st.query_params):
        return
    if not arrived:
        st.query_params["sample"] = FIRST_SAMPLE
    if "epsilon" not in st.query_params:
        st.session_state["epsilon"] = FIRST_EPSILON
        st.query_params["epsilon"] = f"{FIRST_EPSILON:g}"  # a first value is not written


def attack_input(names: Sequence[str], seed: int) -> tuple[str, AttackSpec]:
    """The attacked model, one of ``names``, and the attack."""
    model = listed("Model attacked", {name: models.label(name) for name in names}, "attacked")
    name = listed("Attack", {record.name: record.label for record in REGISTRY}, "attack")
    record = REGISTRY[name]
    norm = _norm(record)
    epsilon = _epsilon(norm)
    target = _target(record, model)
    steps, restarts = _effort(record)
    return model, AttackSpec.of(
        name, norm=norm, epsilon=epsilon, steps=steps, restarts=restarts, seed=seed, target=target
    )


def strength_input(spec: AttackSpec, first: str) -> AttackSpec:
    """The attack that searches for the smallest epsilon, with the norm and target of ``spec``.

    ``first`` unless another one is chosen; the attack of ``spec`` keeps its settings.
    """
    left, right = st.columns(2, gap="medium")
    able = [record for record in REGISTRY if spec.target is None or record.targeted]
    with left:
        labels = {record.name: record.label for record in able}
        name = listed("Found with", labels, "strength_attack", first)
    if name == spec.name:
        return spec
    with right:
        steps, restarts = _effort(REGISTRY[name], "strength_")
    return AttackSpec.of(
        name,
        norm=spec.norm,
        epsilon=spec.epsilon,
        steps=steps,
        restarts=restarts,
        seed=spec.seed,
        target=spec.target,
    )


def _target(record: Attack, model: str) -> int | None:
    """The target class; None for any other class."""
    labels = models.REGISTRY[model].labels()
    if not record.targeted:
        st.selectbox(
            "Target class", [], index=None, disabled=True, placeholder="Not used by this attack"
        )
        return None
    forget_unless(labels.names, "target")
    chosen = st.selectbox(
        "Target class",
        labels.names,
        index=None,
        key="target",
        bind="query-params",
        placeholder="Any other class; type to search",
    )
    return None if chosen is None else labels.names.index(chosen)


def _norm(record: Attack) -> str:
    return one_of(
        "Measured by",
        {name: NORMS[name].label for name in record.norms},
        "norm",
        help="; ".join(f"{NORMS[n].label}: {NORMS[n].meaning}" for n in record.norms) + ".",
    )


def _epsilon(norm: str) -> float:
    values = EPSILONS[norm]
    leave_link("epsilon" if norm == "l2" else "epsilon_l2")
    if norm == "linf":
        texts = {level: f"{level:g}/255" for level in values}
        return slider("Epsilon, largest change", texts, "epsilon", 8.0) / LEVELS
    texts = {size: f"{size:g} of a pixel's full range" for size in values}
    return slider("Epsilon, length of the change", texts, "epsilon_l2", 0.5)


def _effort(record: Attack, of: str = "") -> tuple[int, int]:
    """Steps and restarts; ``of`` is a key prefix."""
    left, right = st.columns(2, gap="small")
    steps = left.number_input(
        "Steps",
        min_value=1,
        max_value=record.most_steps,
        value=record.steps,
        key=f"{of}steps_{record.name}",
        bind="query-params",
        disabled=record.most_steps == 1,
    )
    if not record.random:
        return int(steps), 1
    restarts = right.number_input(
        "Restarts",
        min_value=1,
        max_value=MOST_RESTARTS,
        value=1,
        key=f"{of}restarts",
        bind="query-params",
        help="Number of random starts; the best result counts.",
    )
    return int(steps), int(restarts)
