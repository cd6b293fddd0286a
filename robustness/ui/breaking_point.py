"""The Breaking-point page: the summary, the curves, and the image at a strength."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from robustness import models
from robustness.base.text import counted, plain
from robustness.charts.sweep import AXES, axis_names, over_strength, quantities
from robustness.charts.verdict import OPEN_MARKERS
from robustness.evaluation.condition import Condition
from robustness.evaluation.correctness import labelled
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import spec_of
from robustness.evaluation.sweep import Break, sweep
from robustness.models import Classifier
from robustness.perturbations import REGISTRY
from robustness.pictures.picture import Picture
from robustness.remedies import REGISTRY as REMEDIES
from robustness.remedies import parse
from robustness.report import Report
from robustness.report import sweep as sweep_report
from robustness.report.sweep import overview, with_seeds
from robustness.ui.computation import cache
from robustness.ui.computation.cache import work_key
from robustness.ui.computation.progress import Measuring
from robustness.ui.display import blocks, results
from robustness.ui.live import remedy_panel
from robustness.ui.live.request import LiveRequest, remedied_text
from robustness.ui.page import fragment
from robustness.ui.session.inputs import listed, live_slider

STEPS = 21
REPEATS = 5


def remedy_input() -> str:
    """Draw a list of remedies and return the id of the chosen one; "" for none."""
    chains = [parse(record.name) for record in REMEDIES]
    names = {c.id: c.label for c in chains if not (c.adapts or c.several_models)}
    return listed("Remedy", {"": "None", **names}, "with_remedy")


def sweeping(
    picture: Picture, perturbation: str, names: Sequence[str], seed: int, remedy: str = ""
) -> Measuring:
    """The sweep of one perturbation; its events are ``Measurement`` and ``Break``.

    With ``remedy`` every model is behind it.
    """

    def load(name: str, *, side: int) -> Classifier:
        found = models.load(name, side=side)
        return found.with_remedies(remedy) if remedy else found

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


def show(
    content: Report,
    picture: Picture,
    perturbation: str,
    names: Sequence[str],
    seed: int,
    events: Sequence[Measurement | Break],
    truth: str | None,
    remedied: tuple[str, Sequence[Measurement | Break]] = ("", ()),
) -> None:
    """Draw the result for one perturbation: its report, curves, the image at a strength.

    ``truth`` is the true class with which ``events`` is labelled. ``remedied`` are a remedy and the
    sweep with it.
    """
    first, rest, basis = content.answer
    st.html(results.headline(f"{first} {rest}"))
    st.caption(plain(basis))
    for caution in content.cautions:
        st.warning(plain(caution), icon=":material/help:")
    blocks.draw(content.sections[0].blocks)
    returning = [entry for entry in _breaks(events) if entry.returns]
    if returning:
        cases = "; ".join(
            f"{plain(models.label(b.model))} at {_strengths(b.returns)}" for b in returning
        )
        st.info(
            "Not monotone: the original prediction comes back at a higher strength"
            f"{with_seeds(returning)}: {cases}.",
            icon=":material/swap_vert:",
        )
    rows = [event.as_row() for event in events if isinstance(event, Measurement)]
    points = pd.DataFrame(rows)
    _curves(picture, perturbation, names, seed, points, truth, remedied)


def _strengths(values: Sequence[float]) -> str:
    text = ", ".join(f"{value:.2f}" for value in values[:6])
    return text + (" and more" if len(values) > 6 else "")


def _curves(
    picture: Picture,
    perturbation: str,
    names: Sequence[str],
    seed: int,
    points: pd.DataFrame,
    truth: str | None,
    remedied: tuple[str, Sequence[Measurement | Break]],
) -> None:
    remedy, with_it = remedied
    swept = [event.as_row() for event in with_it if isinstance(event, Measurement)]
    left, right = st.columns(2, gap="medium")
    with left:
        quantity = listed("Curve", quantities(), "quantity", "retained_probability")
    with right:
        axes = {name: AXES[name] for name in axis_names(perturbation, quantity)}
        axis = listed("Horizontal axis", axes, f"axis_{perturbation}", "strength")
    clicked = results.clicked(
        over_strength(
            *(points, quantity, axis),
            pd.DataFrame(swept) if remedy else None,
            REMEDIES[remedy].label if remedy else "",
        ),
        "curve",
        f"{quantities()[quantity]} of each model over {AXES[axis]}; "
        "the table above has the breaking strengths.",
    )
    strengths = sorted(set(points["strength"]))
    if clicked is not None and clicked != st.session_state.get("strength clicked"):
        at = float(np.ravel(clicked)[0])
        st.session_state["shown_strength"] = min(strengths, key=lambda s: abs(s - at))
    st.session_state["strength clicked"] = clicked
    st.caption(f"{OPEN_MARKERS} Click a point to see its image.")
    st.header("The image at one strength", anchor=False)
    _at_one_strength(picture, perturbation, names, seed, strengths, truth, remedy)


@fragment
def _at_one_strength(
    picture: Picture,
    perturbation: str,
    names: Sequence[str],
    seed: int,
    strengths: Sequence[float],
    truth: str | None,
    remedy: str,
) -> None:
    """Draw the image and the predictions at one of ``strengths``, chosen by a slider.

    With ``remedy`` the image after it is a third, and every card has the prediction for that.
    """
    record = REGISTRY[perturbation]
    strength = live_slider(
        "Strength of the image",
        {value: f"{value:g}: {record.value_text(value)}" for value in strengths},
        "shown_strength",
        strengths[len(strengths) // 2],
    )
    condition = Condition.of({perturbation: strength})
    spec = spec_of(picture, names, [condition], seed)
    altered = cache.change(picture, condition, seed)
    what = f"{condition.label}, {record.value_text(strength)}"
    rows = cache.all_answers(spec, picture, names, altered)
    asked = LiveRequest(picture, condition, tuple(names), seed, truth, remedy)
    third = remedy_panel.pair(asked, altered)
    results.show_pictures(picture, altered.image, what, altered.scores, remedied=third)
    after = remedy_panel.remedy_effect(asked, altered, {row.model: row for row in rows})
    for slot, row in zip(results.card_slots(len(rows)), rows, strict=True):
        slot.html(results.card(labelled(row, truth), remedied=remedied_text(row.model, after)))


def _breaks(events: Sequence[Measurement | Break]) -> tuple[Break, ...]:
    return tuple(event for event in events if isinstance(event, Break))


def _are(count: int, of: str = "") -> str:
    return f"{count} {of}{'is' if count == 1 else 'are'}"


def _after(done: int) -> str:
    """The perturbation that follows the first ``done``."""
    return REGISTRY[REGISTRY.names[min(done, len(REGISTRY) - 1)]].label


def show_summary(picture: Picture, names: Sequence[str], seed: int, truth: str | None) -> None:
    """Draw the breaking strengths of all perturbations and models; computed on request."""
    st.header("All perturbations", anchor=False)
    sweeps = {name: sweeping(picture, name, names, seed) for name in REGISTRY.names}
    missing = {name: work.total for name, work in sweeps.items() if not work.is_kept}
    strongest = [Condition.of({name: 1.0}) for name in REGISTRY.names]
    every = Measuring(
        "Sweeping all",
        work_key(f"sweep all {STEPS} {REPEATS}", [picture], names, strongest, seed),
        [picture],
        lambda _: (_breaks(work.in_silence()) for work in sweeps.values()),
        sum(missing.values()),
        said=lambda done, _: f"{_after(done)} ({done} of {len(sweeps)} done)",
        effort=lambda breaks: missing.get(breaks[0].perturbation, 0),
    )
    found = (
        every.on_request(
            f"Sweep all {len(sweeps)} perturbations",
            f"{_are(len(sweeps) - len(missing), f'of {len(sweeps)} ')} done on "
            f"{plain(picture.name)} with {counted(len(names), 'model')}, {_are(len(missing))} "
            "left. Finished ones are kept if you cancel.",
        )
        if missing
        else every.in_silence()
    )
    if found is None:
        return
    breaks = [labelled(entry, truth) for entries in found for entry in entries]
    told = sweep_report.answers(breaks, picture.name)
    st.markdown(f"**{plain(' '.join(sentence for _, sentence in told[:2]))}**")
    blocks.draw(overview(breaks))
