"""The report of a sweep: the strengths at which the predictions for one image change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd

from robustness.base.text import visible
from robustness.charts import sweep, tables
from robustness.charts.tables import Table
from robustness.charts.verdict import OPEN_MARKERS
from robustness.evaluation.condition import Condition, perturbation_label
from robustness.evaluation.loop import perturbed
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.provenance import manifest
from robustness.evaluation.request import Request
from robustness.evaluation.sweep import TOLERANCE, Break
from robustness.pictures.fitting import to_png
from robustness.pictures.picture import Picture
from robustness.remedies import Chain
from robustness.report import answers, methods
from robustness.report.answers.sweep import clause, coarsest
from robustness.report.content import Block, Case, Cases, Chart, Report, Section, Shot, Titled
from robustness.report.results.measured import cautions, clean_shot, command, data, facts
from robustness.report.wording import model

_CASES = 8
"""So many images at breaking strengths are shown."""


def of_sweep(
    spec: Request,
    picture: Picture,
    found: Sequence[Measurement | Break],
    remedied: Mapping[Chain, Sequence[Measurement | Break]] = MappingProxyType({}),
) -> Report:
    """The report of a sweep of ``picture``, ``found`` by ``sweep.sweep``.

    ``spec`` names the models and the seed; its conditions are the perturbations at strength 1.
    ``remedied`` are the same sweeps behind remedies.
    """
    rows = [event for event in found if isinstance(event, Measurement)]
    breaks = [event for event in found if isinstance(event, Break)]
    names = list(dict.fromkeys(entry.perturbation for entry in breaks))
    label = ", ".join(perturbation_label(name) for name in names[:3])
    label += f" and {len(names) - 3} more" if len(names) > 3 else ""
    shown = [Titled("Breaking strengths", _table(breaks))]
    if remedied:
        shown.append(Titled("Breaking strengths with remedies", _remedied(breaks, remedied)))
    repeats = max(entry.repeats for entry in breaks)
    swept = {"steps": _steps(rows), "repeats": repeats, "tolerance": TOLERANCE}
    return Report(
        title=f"Breaking point of {picture.name} under {label}",
        answers=answers.told(answers.SWEEP, breaks, visible(picture.name)),
        facts=facts(spec, [picture], rows),
        cautions=cautions(rows),
        sections=[
            Section("Breaking strengths", [*_overview(breaks), *shown]),
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
        brief=shown,
        methods=methods.blocks(spec.conditions, ["Breaking strength"]),
        limits=methods.limits(),
        manifest={**manifest(spec, [(picture.name, picture.digest)]), "sweep": swept},
        replay=_replay(spec, names, swept),
        data=data(rows, {"breaking": [entry.as_row() for entry in breaks]}),
    )


def _table(breaks: Sequence[Break]) -> Table:
    head, rows = tables.breaking(breaks)
    names = [perturbation_label(entry.perturbation) for entry in breaks]
    told = [(name, *row) for name, row in zip(names, rows, strict=True)]
    return Table(("Perturbation", *head), told)


def _remedied(
    breaks: Sequence[Break], remedied: Mapping[Chain, Sequence[Measurement | Break]]
) -> Table:
    behind = [
        {(e.perturbation, e.model): _at(e) for e in found if isinstance(e, Break)}
        for found in remedied.values()
    ]
    head = ("Perturbation", "Model", "No remedy", *(chain.label for chain in remedied))
    return Table(
        head,
        [
            (
                perturbation_label(entry.perturbation),
                model(entry.model),
                _at(entry),
                *(at[entry.perturbation, entry.model] for at in behind),
            )
            for entry in breaks
        ],
    )


def _at(entry: Break) -> str:
    """The breaking strength; of a model that is incorrect on the original, what happens there."""
    return clause(entry) if entry.clean_correct is False else entry.at


def _overview(breaks: Sequence[Break]) -> list[Block]:
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
    each = "" if len(names) == 1 else f", for each NAME of {', '.join(names)},"
    options = f"--perturbation {which} --steps {swept['steps']} --repeats {swept['repeats']}"
    return f"With the same image, `{command(spec, 'sweep IMAGE')} {options}`{each} repeats it."
