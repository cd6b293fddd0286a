"""The view Breaking points: the strength at which each prediction changes or becomes incorrect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from robustness import models, report
from robustness.base.text import all_of, counted, plain
from robustness.charts.sweep import AXES, axis_names, over_strength, quantities
from robustness.charts.verdict import OPEN_MARKERS
from robustness.evaluation.condition import Condition
from robustness.evaluation.correctness import labelled
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import spec_of
from robustness.evaluation.sweep import Break, most_fragile, sweep
from robustness.models import Classifier
from robustness.perturbations import REGISTRY
from robustness.pictures.picture import Picture
from robustness.remedies import REGISTRY as REMEDIES
from robustness.remedies import parse
from robustness.report import sweep as sweep_report
from robustness.report.sweep import overview
from robustness.ui.computation.cache import work_key
from robustness.ui.computation.progress import Measuring
from robustness.ui.display import blocks, results
from robustness.ui.display.export_buttons import report_button
from robustness.ui.one_image import live, stack, stories
from robustness.ui.one_image.live import usable
from robustness.ui.one_image.request import LiveRequest
from robustness.ui.page import fragment
from robustness.ui.session.inputs import listed, perturbation_input

STEPS = 21
REPEATS = 5


def _remedy_input() -> str:
    """Draw a list of remedies and return the id of the chosen one; "" for none."""
    chains = [parse(record.name) for record in REMEDIES]
    names = {chain.id: chain.label for chain in chains if not chain.several_models}
    return listed("Remedy", {"": "None", **names}, "with_remedy")


def sweeping(
    picture: Picture, perturbation: str, names: Sequence[str], seed: int, remedy: str = ""
) -> Measuring:
    """The sweep of one perturbation; its events are ``Measurement`` and ``Break``.

    With ``remedy`` every model is behind it.
    """

    def load(name: str, *, side: int) -> Classifier:
        classifier = models.load(name, side=side)
        return classifier.with_remedies(remedy) if remedy else classifier

    record = REGISTRY[perturbation]
    repeats = REPEATS if record.random else 1
    condition = Condition.of({perturbation: 1.0})
    return Measuring(
        f"Sweeping with {REMEDIES[remedy].label}" if remedy else "Sweeping",
        work_key(f"sweep {STEPS} {REPEATS} {remedy}", [picture], names, [condition], seed),
        [picture],
        lambda nameless: sweep(
            nameless[0],
            [perturbation],
            names,
            steps=STEPS,
            repeats=REPEATS,
            seed=seed,
            load=load,
        ),
        len(names) * (repeats * (STEPS if record.graded else 2) + 1),
    )


def show(picture: Picture, names: tuple[str, ...], seed: int, truth: str | None) -> None:
    """Draw the view: the answer, the image where it is decided, the curves and the tables."""
    live.show_thresholds()
    step = stack.first_step()
    with st.container(horizontal=True, vertical_alignment="bottom", key="sweep"):
        name = perturbation_input(
            "Perturbation", step.name if step else "gaussian_blur", "perturbation"
        )
        remedy = _remedy_input()
        reports = st.container(width="content")
    stories.show_story(picture, names, seed, name)
    events = _labelled_sweep(picture, name, names, seed, truth)
    remedied = _labelled_sweep(picture, name, names, seed, truth, remedy) if remedy else []
    spec = spec_of(picture, names, [Condition.of({name: 1.0})], seed)
    content = report.of_sweep(spec, picture, events, {parse(remedy): remedied} if remedy else {})
    with reports:
        report_button(lambda: content, f"breaking-point-{name}")
    first, rest, basis = content.answer
    st.html(results.headline(f"{first} {rest}"))
    st.caption(plain(basis))
    for caution in content.cautions:
        st.warning(plain(caution), icon=":material/help:")
    request = LiveRequest(
        *(picture, Condition.of({}), usable(names), seed, truth, remedy),
        thresholds=live.thresholds(),
    )
    _at_one_strength(request, name, _breaks(events))
    _curves(name, _measured(events), REMEDIES[remedy].label if remedy else "", _measured(remedied))
    blocks.draw(content.sections[0].blocks)
    _show_summary(picture, names, seed, truth)


@fragment
def _at_one_strength(request: LiveRequest, name: str, breaks: Sequence[Break]) -> None:
    """Draw the image and the predictions at one strength, at first the smallest that decides."""
    marks: dict[float, str] = {}
    for entry in sorted(breaks, key=lambda entry: entry.strength or 0.0):
        if entry.strength is not None:
            label, others = models.label(entry.model), marks.get(entry.strength)
            marks[entry.strength] = f"{others}, {label}" if others else label
    sound = [entry for entry in breaks if entry.clean_correct is not False]
    earliest = most_fragile(sound) or most_fragile(breaks)
    first = 1.0 if earliest is None or earliest.strength is None else earliest.strength
    on = stack.single(name, first, {s: f"{label} changes" for s, label in marks.items()})
    live.draw(request._replace(condition=on.condition), on)


def _labelled_sweep(
    picture: Picture,
    perturbation: str,
    names: Sequence[str],
    seed: int,
    truth: str | None,
    remedy: str = "",
) -> list[Measurement | Break]:
    sweep = sweeping(picture, perturbation, names, seed, remedy)
    return [labelled(event, truth) for event in sweep.at_once()]


def _measured(events: Sequence[Measurement | Break]) -> pd.DataFrame:
    return pd.DataFrame([event.as_row() for event in events if isinstance(event, Measurement)])


def _curves(perturbation: str, points: pd.DataFrame, remedy: str, remedied: pd.DataFrame) -> None:
    """Draw the curves; with ``remedy``, its label, ``remedied`` are the points with it."""
    left, right = st.columns(2, gap="medium")
    with left:
        quantity = listed("Curve", quantities(), "quantity", "retained_probability")
    with right:
        axes = {name: AXES[name] for name in axis_names(perturbation, quantity)}
        axis = listed("Horizontal axis", axes, f"axis_{perturbation}", "strength")
    clicked = results.clicked(
        over_strength(points, quantity, axis, remedied if remedy else None, remedy),
        "curve",
        f"{quantities()[quantity]} of each model over {AXES[axis]}; "
        "the table below has the breaking strengths.",
    )
    if clicked is not None and clicked != st.session_state.get("strength clicked"):
        at = float(np.ravel(clicked)[0])
        nearest = min(points["strength"], key=lambda strength: abs(strength - at))
        st.session_state[stack.STRENGTH] = nearest
        st.session_state["strength clicked"] = clicked
        st.rerun()
    st.session_state["strength clicked"] = clicked
    st.caption(f"{OPEN_MARKERS} Click a point to see its image.")


def _breaks(events: Sequence[Measurement | Break]) -> tuple[Break, ...]:
    return tuple(event for event in events if isinstance(event, Break))


def _show_summary(picture: Picture, names: Sequence[str], seed: int, truth: str | None) -> None:
    """Draw the breaking strengths of all perturbations and models; computed on request."""
    st.header("All perturbations", anchor=False)
    sweeps = {name: sweeping(picture, name, names, seed) for name in REGISTRY.names}
    missing = {name: work.total for name, work in sweeps.items() if work.cached is None}
    strongest = [Condition.of({name: 1.0}) for name in REGISTRY.names]
    every = Measuring(
        "Sweeping all",
        work_key(f"sweep all {STEPS} {REPEATS}", [picture], names, strongest, seed),
        [picture],
        lambda _: (_breaks(work.in_silence()) for work in sweeps.values()),
        sum(missing.values()),
        said=lambda done, _: f"{done} of {len(sweeps)} perturbations done",
        effort=lambda breaks: missing.get(breaks[0].perturbation, 0),
    )
    by_perturbation = (
        every.on_request(
            f"Sweep {all_of(len(sweeps), 'perturbation')}",
            f"{len(sweeps) - len(missing)} of {len(sweeps)} done on {plain(picture.name)} with "
            f"{counted(len(names), 'model')}. Finished ones are kept if you cancel.",
        )
        if missing
        else every.in_silence()
    )
    if by_perturbation is None:
        return
    breaks = [labelled(entry, truth) for entries in by_perturbation for entry in entries]
    answers = sweep_report.answers(breaks, picture.name)
    st.markdown(f"**{plain(' '.join(sentence for _, sentence in answers[:2]))}**")
    blocks.draw(overview(breaks))
