"""The report of a saved run over a dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from robustness import models, statistics
from robustness.base.errors import RunError
from robustness.base.text import counted
from robustness.evaluation.request import Request
from robustness.report import answers, methods
from robustness.report.content import BRACKETS, Data, Report
from robustness.report.results import (
    run_accuracy,
    run_cases,
    run_choice,
    run_failures,
    run_race,
    run_reasons,
    run_remedies,
    run_sections,
)
from robustness.report.results.measured import several_label_sets
from robustness.report.wording import model
from robustness.runs import Run
from robustness.runs.embedding import kept_maps
from robustness.runs.remedied import remedy_figures
from robustness.statistics import Figures

REPLAY = (
    "The manifest names models with the hashes of their weights, perturbations with their "
    "strengths, seed, images and versions. `python -m robustness replay RUN` repeats the run and "
    "compares the rows; RUN is its folder."
)

TOLD = (
    "The predictions came in a table, whose digest the manifest has in place of weights. "
    "`python -m robustness evaluate --predictions TABLE` evaluates it again."
)


def of_run(run: Run, found: Figures | None = None, *, cases: bool = True) -> Report:
    """The report of ``run``, finished or not, with its figures ``found``, if they are known.

    Without ``cases`` the section of images has its heading alone.

    The images are read one at a time when a format asks for the cases. Raises ``RunError`` for a
    run without rows.
    """
    if not run.row_count:
        raise RunError(f"The run {run.id} has no rows, so there is nothing to report.")
    if run.raced is not None:
        return _of_race(run, run.raced, found, cases)
    found = found or run.figures()
    tried = remedy_figures(run)
    helps = ((run_remedies.QUESTION, run_remedies.answer(tried)),) if tried.gains else ()
    choice = run_choice.section(run, found)
    sections = [
        choice,
        run_choice.trade_offs(run, found),
        run_sections.ranking(found),
        run_sections.perturbations(found),
        run_sections.curves(found),
        run_accuracy.accuracy(found),
        run_accuracy.corruption_errors(found),
        run_sections.under_attack(found),
        run_remedies.section(tried),
        run_accuracy.classes(found),
        *run_failures.sections(run.failures),
        run_reasons.maps(kept_maps(run)),
        run_cases.section(run, cases=cases),
        run_sections.left_out(run.unreadable),
    ]
    spec = run.manifest.spec
    who = model(spec.model_names[0]) if len(spec.models) == 1 else f"{len(spec.models)} models"
    return Report(
        title=f"Robustness of {who} on {run.manifest.dataset.title}",
        answers=(*answers.told(answers.RUN, found), *helps),
        facts=_facts(run, found.images, run.row_count),
        cautions=_cautions(run, found),
        sections=[section for section in sections if section is not None],
        brief=run_sections.brief(found, choice),
        methods=methods.blocks(spec.conditions, methods.MANY_IMAGES),
        limits=methods.limits(),
        manifest=_manifest(run.manifest.as_dict()),
        replay=TOLD if run.told else REPLAY,
        data=Data(
            run.tables, {**_tables(found), **run_failures.tables(run.failures)}, run.own_scores
        ),
        note=BRACKETS if found.images >= statistics.FEWEST else "",
    )


def _of_race(run: Run, told: Mapping[str, Any], found: Figures | None, cases: bool) -> Report:
    """The report of a race: its outcome with bounds that hold whenever it ended, and its images."""
    found = found or run.rows.figures()  # for the images alone: means would be misleading
    spec = run.manifest.spec
    sections = [
        run_race.section(run, told),
        run_cases.section(run, cases=cases),
        run_sections.left_out(run.unreadable),
    ]
    return Report(
        title=f"Race of {counted(len(spec.models), 'model')} on {run.manifest.dataset.title}",
        answers=run_race.answers(run, told),
        facts=_facts(run, found.images, run.row_count),
        cautions=[*_cautions(run, found), *run_race.cautions(run)],
        sections=[section for section in sections if section is not None],
        brief=run_race.tables(run, told),
        methods=methods.blocks(spec.conditions, ()),
        limits=methods.limits(),
        manifest=_manifest(run.manifest.as_dict()),
        replay=REPLAY,
        data=Data(run.tables, {key: told[key] for key in ("differences", "limits") if key in told}),
    )


def _facts(run: Run, images: int, rows: int) -> list[tuple[str, str]]:
    manifest = run.manifest
    spec: Request = manifest.spec
    return [
        ("Run", run.id),
        ("Dataset", manifest.dataset.title),
        ("Images", f"{images:,}"),
        ("Conditions", f"{len(spec.conditions):,}"),
        ("Measurements", f"{rows:,}"),
        ("Models", ", ".join(model(name) for name in spec.model_names)),
        *([("Classes", _classes(spec))] if spec.classes else []),
        ("Seed", str(spec.seed)),
        ("Evaluated", f"{manifest.created[:16].replace('T', ' ')} UTC"),
    ]


def _classes(spec: Request) -> str:
    known = models.classes(spec.model_names[0])
    whole = f" of {len(known):,}" if known is not None else ""
    return f"{len(spec.classes):,}{whole}: predictions are among the classes of the dataset alone"


def _cautions(run: Run, found: Figures) -> list[str]:
    done = run.images + len(run.unreadable)
    told = [
        ""
        if run.finished
        else f"Unfinished run: {done:,} of {counted(run.manifest.dataset.pictures, 'image')} done. "
        "The figures cover these only.",
        found.copies_note,
        *_cautions_of_means(run, found),
        f"Left out: {counted(len(run.unreadable), 'image')}, listed with the reasons."
        if run.unreadable
        else "",
    ]
    return [caution for caution in told if caution]


def _cautions_of_means(run: Run, found: Figures) -> list[str]:
    if run.manifest.race is not None:
        return []
    return [
        statistics.TOO_FEW if found.images < statistics.FEWEST else "",
        run.recount_note(found),
        *several_label_sets(entry["model"] for entry in found.summary),
    ]


_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")


def _manifest(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The manifest without the folders of the machine that holds the images."""
    dataset = {**values["dataset"], "source": _source(values["dataset"]["source"])}
    return {**values, "dataset": dataset}


def _source(text: str) -> str:
    """The last part of an absolute path, and an address without its password."""
    for path in PurePosixPath(text), PureWindowsPath(text):
        if path.is_absolute():
            return path.name
    return _USERINFO.sub("", text)


def _tables(found: Figures) -> dict[str, Sequence[Mapping[str, Any]]]:
    names = (
        "over_models",
        "by_perturbation",
        "by_severity",
        "by_class",
        "corruption_errors",
        "robust_accuracy",
    )
    told = {name: getattr(found, name) for name in names}
    return {"summary": found.summary, "compare": found.pairs(), **told}
