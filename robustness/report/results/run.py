"""The report of a saved run over a dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from robustness import statistics
from robustness.base.errors import RunError
from robustness.charts import tables
from robustness.report import method_notes
from robustness.report.answers.run import answer
from robustness.report.content import BRACKETS, Data, Report, Section, Titled
from robustness.report.results import run_cases, run_sections
from robustness.report.results.measured import several_label_sets
from robustness.report.wording import counted, model
from robustness.runs import Run
from robustness.statistics import Figures

REPLAY = (
    "The manifest names the models with the hashes of their weights, the perturbations with their "
    "strengths, the seed, the pictures and the versions. `python -m robustness replay RUN`, with "
    "the folder of the run, does all of it again and says whether the rows agree."
)


def of_run(run: Run) -> Report:
    """The report of ``run``, finished or not; raises ``RunError`` for one without a single row.

    The pictures are read one at a time when a format asks for the cases.
    """
    frame = run.frame()
    if frame.empty:
        raise RunError(f"The run {run.id} has no rows, so there is nothing to report.")
    found = Figures(frame)
    images = found.images
    return Report(
        title=f"Robustness of {_who(found.summary)} on {run.manifest.dataset.title}",
        question=_question(len(found.summary)),
        answer=answer(
            found.summary,
            found.pairs(),
            found.over_models,
            images=images,
            conditions=len(run.conditions),
            unfinished=_unfinished(run),
        ),
        facts=_facts(run, images, len(frame)),
        cautions=_cautions(run, found, images),
        sections=_sections(run, frame, found),
        brief=run_sections.brief(found.summary, found.pairs(), found.by_perturbation),
        methods=method_notes.blocks(run.conditions, method_notes.MANY_IMAGES),
        limits=method_notes.LIMITS,
        manifest=_manifest(run),
        replay=REPLAY,
        data=Data(run.tables, _tables(found)),
        note=BRACKETS,
    )


def _sections(run: Run, frame: pd.DataFrame, found: Figures) -> list[Section]:
    sections = [
        run_sections.ranking(found.summary, found.pairs()),
        run_sections.perturbations(found.by_perturbation),
        run_sections.curves(found.by_perturbation, found.by_severity, found.over_models),
        run_sections.accuracy(found.summary, found.reliability),
        run_sections.corruption_errors(found.corruption_errors),
        run_sections.classes(found.by_class),
        run_cases.section(run, frame),
        _unreadable(run),
    ]
    return [section for section in sections if section is not None]


def _who(summary: Sequence[Mapping[str, Any]]) -> str:
    return model(summary[0]["model"]) if len(summary) == 1 else f"{len(summary)} models"


def _question(count: int) -> str:
    who = "do these classifiers keep their answers" if count > 1 else "does it keep its answer"
    return f"How often {who} when pictures like these are not perfect?"


def _unfinished(run: Run) -> str:
    if run.finished:
        return ""
    done = run.images + len(run.unreadable)
    return f"{done:,} of {run.manifest.dataset.pictures:,} pictures are done"


def _facts(run: Run, images: int, rows: int) -> list[tuple[str, str]]:
    manifest = run.manifest
    return [
        ("Run", run.id),
        ("Dataset", manifest.dataset.title),
        ("Pictures", f"{images:,}"),
        ("Conditions", f"{len(run.conditions):,}"),
        ("Measurements", f"{rows:,}"),
        ("Models", ", ".join(model(name) for name in manifest.spec.model_names)),
        ("Seed", str(run.seed)),
        ("Evaluated", f"{manifest.created[:16].replace('T', ' ')} UTC"),
    ]


def _cautions(run: Run, found: Figures, images: int) -> list[str]:
    cautions = []
    if not run.finished:
        cautions.append(
            f"This run is not finished: {_unfinished(run)}, and the report counts these alone."
        )
    if images < statistics.FEW_IMAGES:
        cautions.append(
            f"Fewer than {statistics.FEW_IMAGES} pictures: intervals found by resampling so few "
            "are too narrow. Take them for a first impression."
        )
    cautions += several_label_sets(entry["model"] for entry in found.summary)
    if run.unreadable:
        count = counted(len(run.unreadable), "picture")
        cautions.append(f"{count} could not be read, and the figures do not count them.")
    return cautions


_UNREADABLE = 50


def _unreadable(run: Run) -> Section | None:
    if not run.unreadable:
        return None
    more = len(run.unreadable) - _UNREADABLE
    rest = f" The first {_UNREADABLE} of {len(run.unreadable):,}." if more > 0 else ""
    table = tables.Table(("Picture", "Reason"), run.unreadable[:_UNREADABLE])
    return Section("Pictures that could not be read", [Titled(f"With the reason.{rest}", table)])


_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")


def _manifest(run: Run) -> Mapping[str, Any]:
    """The run's manifest, without a password that the address of its pictures may hold."""
    values = run.manifest.as_dict()
    dataset = {**values["dataset"], "source": _USERINFO.sub("", values["dataset"]["source"])}
    return {**values, "dataset": dataset}


def _tables(found: Figures) -> dict[str, Sequence[Mapping[str, Any]]]:
    return {
        "summary": found.summary,
        "compare": found.pairs(),
        "over_models": found.over_models,
        "by_perturbation": found.by_perturbation,
        "by_severity": found.by_severity,
        "by_class": found.by_class,
        "corruption_errors": found.corruption_errors,
    }
