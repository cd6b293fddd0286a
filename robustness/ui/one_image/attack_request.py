"""Controls of the view Attack: model, attack and epsilon; the rest is advanced."""

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

FIRST = ("apgd", "square", "autoattack")
"""The attacks that need no knowledge of attacks; the others are advanced."""

FIRST_EPSILON = 2.0
"""At 8/255, noise changes some predictions of the bundled models, too."""

MOST_RESTARTS = 10


_ADVANCED = ("norm", "target", "steps_", "restarts")
"""Prefixes of the advanced controls' parameters in the link."""


def attack_input(names: Sequence[str], seed: int) -> tuple[str, AttackSpec]:
    """The attacked model, one of ``names``, and the attack."""
    model = listed("Model attacked", {name: models.label(name) for name in names}, "attacked")
    above = st.container()
    if "advanced" not in st.session_state:
        st.session_state["advanced"] = _is_link_advanced()
    advanced = st.toggle(
        "Advanced",
        key="advanced",
        on_change=_leave_advanced,
        help=f"{len(REGISTRY) - len(FIRST)} more attacks, the norm, the target and the effort.",
    )
    with above:
        others = [name for name in REGISTRY.names if name not in FIRST] if advanced else []
        labels = {name: REGISTRY[name].label for name in (*FIRST, *others)}
        name = listed("Attack", labels, "attack", FIRST[0])
    record = REGISTRY[name]
    if not advanced:
        with above:
            epsilon = _epsilon("linf")
        return model, AttackSpec.of(name, norm="linf", epsilon=epsilon, seed=seed)
    norm = _norm(record)
    with above:
        epsilon = _epsilon(norm)
    target = _target(record, model)
    steps, restarts = _effort(record)
    return model, AttackSpec.of(
        name, norm=norm, epsilon=epsilon, steps=steps, restarts=restarts, seed=seed, target=target
    )


def _is_link_advanced() -> bool:
    attack = st.query_params.get("attack")
    return attack not in (None, *FIRST) or any(map(_is_advanced, st.query_params))


def _is_advanced(name: str) -> bool:
    return name.startswith(_ADVANCED) or name == "epsilon_l2"


def _leave_advanced() -> None:
    """Remove the values of the advanced controls from the link."""
    if not st.session_state["advanced"]:
        for name in filter(_is_advanced, list(st.query_params)):
            del st.query_params[name]


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
        return slider("Epsilon, largest change", texts, "epsilon", FIRST_EPSILON) / LEVELS
    texts = {size: f"{size:g} of a pixel's full range" for size in values}
    return slider("Epsilon, length of the change", texts, "epsilon_l2", 0.5)


def _effort(record: Attack) -> tuple[int, int]:
    """Steps and restarts."""
    left, right = st.columns(2, gap="small")
    steps = left.number_input(
        "Steps",
        min_value=1,
        max_value=record.most_steps,
        value=record.steps,
        key=f"steps_{record.name}",
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
        key="restarts",
        bind="query-params",
        help="Number of random starts; the best result counts.",
    )
    return int(steps), int(restarts)
