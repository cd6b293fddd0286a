"""The report of a sweep: the strengths at which the predictions for one image change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd

from robustness import models
from robustness.base.text import counted, visible
from robustness.charts import sweep, tables
from robustness.charts.tables import Table
from robustness.charts.verdict import OPEN_MARKERS, change, no_change
from robustness.evaluation.condition import Condition, perturbation_label
from robustness.evaluation.loop import perturbed
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.provenance import manifest
from robustness.evaluation.request import Request
from robustness.evaluation.sweep import TOLERANCE, Break, most_fragile, resolution
from robustness.perturbations import REGISTRY
from robustness.pictures.fitting import to_png
from robustness.pictures.picture import Picture
from robustness.remedies import Chain
from robustness.report import methods
from robustness.report.blocks import Block, Case, Cases, Chart, Report, Section, Shot, Titled
from robustness.report.shared_parts import cautions, clean_shot, command, data, facts
from robustness.report.wording import listed, model, sentence

_CASES = 8
"""Images at breaking strengths in a file."""
_BEYOND = 2.0
"""Stands for a breaking strength if no strength up to 1 breaks the model."""


def of_sweep(
    spec: Request,
    picture: Picture,
    events: Sequence[Measurement | Break],
    remedied: Mapping[Chain, Sequence[Measurement | Break]] = MappingProxyType({}),
) -> Report:
    """The report of a sweep of ``picture``: the ``events`` of ``sweep.sweep``.

    ``spec`` names the models and the seed; its conditions are the perturbations at strength 1.
    ``remedied`` are the same sweeps behind remedies.
    """
    rows = [event for event in events if isinstance(event, Measurement)]
    breaks = [event for event in events if isinstance(event, Break)]
    names = list(dict.fromkeys(entry.perturbation for entry in breaks))
    label = ", ".join(perturbation_label(name) for name in names[:3])
    label += f" and {len(names) - 3} more" if len(names) > 3 else ""
    blocks = [Titled("Breaking strengths", _table(breaks))]
    if remedied:
        blocks.append(Titled("Breaking strengths with remedies", _remedied(breaks, remedied)))
    repeats = max(entry.repeats for entry in breaks)
    swept = {"steps": _steps(rows), "repeats": repeats, "tolerance": TOLERANCE}
    return Report(
        title=f"Breaking point of {picture.name} under {label}",
        answers=answers(breaks, picture.name),
        facts=facts(spec, [picture], rows),
        cautions=cautions(rows),
        sections=[
            Section("Breaking strengths", [*overview(breaks), *blocks]),
            Section("Over strength", list(_curves(rows))),
            Section(
                "Images",
                [
                    Cases(
                        "The image at the breaking strengths, smallest first "
                        f"({min(len(_broken(breaks)), _CASES)} of {len(_broken(breaks))}).",
                        lambda: _cases(picture, breaks, spec.seed),
                    )
                ],
            ),
        ],
        brief=blocks,
        methods=methods.blocks(spec.conditions, ["Breaking strength"]),
        limits=methods.limits(),
        manifest={**manifest(spec, [(picture.name, picture.digest)]), "sweep": swept},
        replay=_replay(spec, names, swept),
        data=data(rows, {"breaking": [entry.as_row() for entry in breaks]}),
    )


def _table(breaks: Sequence[Break]) -> Table:
    head, rows = tables.breaking(breaks)
    names = [perturbation_label(entry.perturbation) for entry in breaks]
    if len(set(names)) == 1:
        return Table(head, rows)
    rows_by_name = [(name, *row) for name, row in zip(names, rows, strict=True)]
    return Table(("Perturbation", *head), rows_by_name)


def _remedied(
    breaks: Sequence[Break], remedied: Mapping[Chain, Sequence[Measurement | Break]]
) -> Table:
    sweeps = [
        {(e.perturbation, e.model): _at(e) for e in events if isinstance(e, Break)}
        for events in remedied.values()
    ]
    head = ("Perturbation", "Model", "No remedy", *(chain.label for chain in remedied))
    return Table(
        head,
        [
            (
                perturbation_label(entry.perturbation),
                model(entry.model),
                _at(entry),
                *(at[entry.perturbation, entry.model] for at in sweeps),
            )
            for entry in breaks
        ],
    )


def _at(entry: Break) -> str:
    """The breaking strength; of a model that is incorrect on the original, what happens there."""
    return clause(entry) if entry.clean_correct is False else entry.at


def overview(breaks: Sequence[Break]) -> list[Block]:
    """The chart of all breaking strengths; [] for one perturbation."""
    if len({entry.perturbation for entry in breaks}) < 2:
        return []
    return [
        Chart(
            "Breaking strength of every model under every perturbation",
            sweep.breaking_table(pd.DataFrame([entry.as_row() for entry in breaks])),
            "Breaking strengths, the lowest on top; the table below holds them.",
            f"Resolution of the strengths: {coarsest(breaks)}.",
        )
    ]


def _curves(rows: Sequence[Measurement]) -> Iterator[Block]:
    points = pd.DataFrame([row.as_row() for row in rows])
    for name in points["perturbation"].unique():
        mine = points[points["perturbation"] == name]
        yield Chart(
            f"Confidence in the original class under {perturbation_label(str(name))}",
            sweep.over_strength(mine, "retained_probability"),
            "Confidence of each model in its original class over the strength; the table above "
            "holds the breaking strengths.",
            OPEN_MARKERS,
        )


def _broken(breaks: Sequence[Break]) -> list[Break]:
    broken = [entry for entry in breaks if entry.strength is not None]
    return sorted(broken, key=lambda entry: entry.strength or 0.0)


def _cases(picture: Picture, breaks: Sequence[Break], seed: int) -> Iterator[Case]:
    yield Case(picture.name, [clean_shot(picture)], None, [])
    for entry in _broken(breaks)[:_CASES]:
        condition = Condition.of({entry.perturbation: entry.strength or 0.0})
        image = perturbed(picture, [condition], seed)[0]
        yield Case(
            title=f"{model(entry.model)}: {condition.label}",
            shots=[
                Shot(
                    to_png(image), "at the breaking strength", f"{picture.name}: {condition.label}"
                )
            ],
            verdict=None,
            lines=[condition.described, f"SSIM {entry.ssim or 0.0:.2f}"],
        )


def _steps(rows: Sequence[Measurement]) -> int:
    tried = {(row.perturbation, row.strength) for row in rows}
    return max(Counter(name for name, _ in tried).values())


def _replay(spec: Request, names: Sequence[str], swept: Mapping[str, Any]) -> str:
    which = names[0] if len(names) == 1 else "NAME"
    suffix = "" if len(names) == 1 else f", for each NAME of {', '.join(names)},"
    options = f"--perturbation {which} --steps {swept['steps']} --repeats {swept['repeats']}"
    return f"With the same image, `{command(spec, 'sweep IMAGE')} {options}`{suffix} repeats it."


def answers(breaks: Sequence[Break], name: str) -> list[tuple[str, str]]:
    """The questions that a sweep answers; ``breaks`` are of the image ``name``.

    There is one for each model and perturbation. With a true class, models that are incorrect on
    the original take no part in what comes first.
    """
    return [
        ("At which strength does the prediction first change?", _earliest(breaks)),
        ("Which prediction lasts longest?", _latest(breaks)),
        ("What is this based on?", _basis(breaks, visible(name))),
    ]


def _earliest(breaks: Sequence[Break]) -> str:
    """The smallest breaking strength, among the models with the same classes."""
    names = models.by_labels(dict.fromkeys(entry.model for entry in breaks))
    groups = [[entry for entry in breaks if entry.model in group] for _, group in names]
    sound, _ = _by_original([entry for entry in breaks if entry.graded])
    changing = [
        group
        for group in groups
        if len(sound) < 2 or any(not e.never or e not in sound for e in group)
    ]
    clauses = map(_first, changing or groups)  # ``_latest`` names those that never break
    return sentence(*clauses, names=[entry.model for entry in breaks])


def _first(group: Sequence[Break]) -> str:
    graded = [entry for entry in group if entry.graded]
    if not graded:
        return _switched(group)
    sound, wrong = _by_original(graded)
    return "; ".join(filter(None, (_smallest(sound), _incorrect_before(wrong))))


def _by_original(breaks: Sequence[Break]) -> tuple[list[Break], list[Break]]:
    """Those whose original prediction is correct or unknown, and those where it is incorrect."""
    wrong = [entry for entry in breaks if entry.clean_correct is False]
    return [entry for entry in breaks if entry not in wrong], wrong


def _smallest(breaks: Sequence[Break]) -> str:
    if not breaks:
        return ""
    earliest = most_fragile(breaks)
    all_correct = all(entry.clean_correct for entry in breaks)
    if earliest is None or earliest.strength is None:
        who = model(breaks[0].model) if len(breaks) == 1 else "every model"
        return f"{who} {no_change(True) if all_correct else 'is unchanged'} up to strength 1"
    value = REGISTRY[earliest.perturbation].value_text(earliest.strength)
    verb = "becomes incorrect" if all_correct else "changes"
    sentence = (
        f"{model(earliest.model)} {verb}{' first' * (len(breaks) > 1)} under "
        f"{perturbation_label(earliest.perturbation)} at strength {earliest.strength:.3f} ({value})"
    )
    several = len({entry.perturbation for entry in breaks}) > 1
    close = _close(breaks, earliest)
    names = listed([_name(entry, several) for entry in close]) if close else ""
    return f"{sentence}; its range overlaps {names}: order unknown" if close else sentence


def _close(breaks: Sequence[Break], earliest: Break) -> list[Break]:
    """Those whose range overlaps that of ``earliest``."""
    return [entry for entry in breaks if entry is not earliest and _overlap(earliest, entry)]


def _incorrect_before(wrong: Sequence[Break]) -> str:
    several = len({entry.perturbation for entry in wrong}) > 1
    if not several:
        return "; ".join(f"{model(entry.model)} {clause(entry)}" for entry in wrong)
    mended = sum(entry.correct is True for entry in wrong)
    names = dict.fromkeys(model(entry.model) for entry in wrong)
    return (
        f"incorrect on the original: {listed([*names])}, correct later in {mended} of "
        f"{counted(len(wrong), 'case')}"
    )


def clause(entry: Break) -> str:
    """When the prediction of a model changes, and to what: a clause that follows its name."""
    if entry.strength is None:
        return no_change(entry.clean_correct)
    where = f"at strength {entry.strength:.3f}" if entry.graded else "when on"
    return change(entry.clean_correct, entry.correct, where)


def _name(entry: Break, several: bool) -> str:
    name = model(entry.model)
    return f"{name} under {perturbation_label(entry.perturbation)}" if several else name


def _overlap(a: Break, b: Break) -> bool:
    """Whether the ranges of two breaks overlap; an end that is None lies beyond 1."""
    (low_a, high_a), (low_b, high_b) = _range(a), _range(b)
    return low_a <= high_b and low_b <= high_a


def _range(entry: Break) -> tuple[float, float]:
    if entry.never and entry.repeats == 1:
        return _BEYOND, _BEYOND
    low, high = (_BEYOND if end is None else end for end in (entry.low, entry.high))
    return low, high


def _switched(breaks: Sequence[Break]) -> str:
    """What perturbations without a strength change."""
    changed = sum(not entry.never for entry in breaks)
    if len({entry.perturbation for entry in breaks}) > 1:
        return f"switches change the prediction in {changed} of {counted(len(breaks), 'case')}"
    under = perturbation_label(breaks[0].perturbation)
    if any(entry.clean_correct is not None for entry in breaks):
        return f"{under}: " + "; ".join(f"{model(entry.model)} {clause(entry)}" for entry in breaks)
    names = [model(entry.model) for entry in breaks if not entry.never]
    who = f" ({listed(names)})" if names else ""
    return f"{under} changes {changed} of {counted(len(breaks), 'prediction')}{who}"


def _latest(breaks: Sequence[Break]) -> str:
    """The predictions that last longest, and what switches change."""
    graded = [entry for entry in breaks if entry.graded]
    switches = [entry for entry in breaks if not entry.graded]
    if not graded:
        return sentence("a switch is on or off, so there is no breaking strength")
    clauses = _last(graded), _between(graded), _switched(switches) if switches else ""
    return sentence(*clauses, names=[entry.model for entry in breaks])


def _last(breaks: Sequence[Break]) -> str:
    sound, _ = _by_original(breaks)
    if not sound:
        return "no model is correct on the original"
    if len(sound) == 1:
        reason = "only one model was asked"
        return reason if len(breaks) == 1 else "no other model is correct on the original"
    all_correct = all(entry.clean_correct for entry in sound)
    several = len({entry.perturbation for entry in sound}) > 1
    never = [entry for entry in sound if entry.never]
    if not never:
        latest = max(sound, key=lambda entry: entry.strength or 0.0)
        return f"largest breaking strength: {latest.strength or 0:.3f}, {_name(latest, several)}"
    most = " in at least half of the repeats" if any(e.repeats > 1 for e in never) else ""
    state = f"{'correct' if all_correct else 'unchanged'} up to strength 1{most}"
    if several:
        return f"{len(never)} of {len(sound)} pairs stay {state}"
    names = listed([model(entry.model) for entry in never])
    return f"{names} {'stays' if len(never) == 1 else 'stay'} {state}"


def _between(breaks: Sequence[Break]) -> str:
    """The models that neither ``_earliest`` nor ``_last`` names.

    "" for several perturbations, or for models of different classes, of which ``_earliest``
    names more.
    """
    sound, _ = _by_original(breaks)
    earliest = most_fragile(sound)
    groups = models.by_labels(entry.model for entry in sound)
    if earliest is None or len(groups) > 1 or len({entry.perturbation for entry in sound}) > 1:
        return ""
    latest = max(sound, key=lambda entry: entry.strength or 0.0)
    closest = [earliest, *_close(sound, earliest)]
    if not any(entry.never for entry in sound):
        closest.append(latest)
    rest = [entry for entry in sound if not entry.never and entry not in closest]
    if not rest:
        return ""
    names = listed([f"{model(entry.model)} at {entry.strength or 0:.3f}" for entry in rest])
    return f"next: {names}"


def _basis(breaks: Sequence[Break], title: str) -> str:
    """The image, the resolution, the seeds, and predictions that return."""
    grid = coarsest(breaks)
    repeats = max(entry.repeats for entry in breaks)
    back = [entry for entry in breaks if entry.returns]
    return sentence(
        f"one image, {title}",
        f"strengths in steps of {grid} near a change" if grid else "",
        f"median over {counted(repeats, 'seed')}" if repeats > 1 else "",
        f"the original prediction returns at a higher strength in {counted(len(back), 'case')}"
        f"{with_seeds(back)}"
        if back
        else "",
    )


def coarsest(breaks: Sequence[Break]) -> str:
    """The coarsest resolution of ``breaks``; "" for switches alone."""
    steps = [entry.grid for entry in breaks if entry.graded]
    return resolution(max(steps)) if steps else ""


def with_seeds(returning: Sequence[Break]) -> str:
    """How often the original predictions of ``returning`` come back; "" for a single sweep."""
    return ", with at least one seed" if any(entry.repeats > 1 for entry in returning) else ""
