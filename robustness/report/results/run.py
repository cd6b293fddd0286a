"""The report of a saved run over a dataset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from robustness import statistics
from robustness.base.errors import RobustnessError, RunError
from robustness.base.text import counted, visible
from robustness.charts import tables
from robustness.charts.verdict import outcomes, verdict_of
from robustness.evaluation.condition import Condition
from robustness.report import method_notes
from robustness.report.answers.run import answer
from robustness.report.content import BRACKETS, Case, Cases, Data, Report, Section, Shot, Titled
from robustness.report.results import run_sections
from robustness.report.results.measured import clean_shot, perturbed_shot, several_label_sets
from robustness.report.wording import class_title, model, share
from robustness.runs import Run
from robustness.statistics import Figures

REPLAY = (
    "The manifest names the models with the hashes of their weights, the perturbations with their "
    "strengths, the seed, the images and the versions. `python -m robustness replay RUN`, with "
    "the folder of the run, does all of it again and says whether the rows agree."
)


def of_run(run: Run) -> Report:
    """The report of ``run``, finished or not; raises ``RunError`` for one without a single row.

    The images are read one at a time when a format asks for the cases.
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
            under_attack=found.pairs_under_attack,
        ),
        facts=_facts(run, images, len(frame)),
        cautions=_cautions(run, found, images),
        sections=_sections(run, frame, found),
        brief=run_sections.brief(found.ranking(), found.over_strengths),
        methods=method_notes.blocks(run.conditions, method_notes.MANY_IMAGES),
        limits=method_notes.LIMITS,
        manifest=_manifest(run),
        replay=REPLAY,
        data=Data(run.tables, _tables(found)),
        note=BRACKETS if images >= statistics.FEWEST else statistics.TOO_FEW,
    )


def _sections(run: Run, frame: pd.DataFrame, found: Figures) -> list[Section]:
    sections = [
        run_sections.ranking(found.ranking(), found.pairs()),
        run_sections.perturbations(found.by_perturbation),
        run_sections.curves(found.by_perturbation, found.by_severity, found.over_models),
        run_sections.accuracy(found.summary, found.reliability),
        run_sections.corruption_errors(found.corruption_errors),
        run_sections.under_attack(found.robust_accuracy, found.pairs_under_attack),
        run_sections.classes(found.by_class),
        _pictures(run, frame),
        _unreadable(run),
    ]
    return [section for section in sections if section is not None]


def _who(summary: Sequence[Mapping[str, Any]]) -> str:
    return model(summary[0]["model"]) if len(summary) == 1 else f"{len(summary)} models"


def _question(count: int) -> str:
    who = "do these classifiers keep their answers" if count > 1 else "does it keep its answer"
    return f"How often {who} when images like these are not perfect?"


def _unfinished(run: Run) -> str:
    if run.finished:
        return ""
    done = run.images + len(run.unreadable)
    return f"{done:,} of {run.manifest.dataset.pictures:,} images are done"


def _facts(run: Run, images: int, rows: int) -> list[tuple[str, str]]:
    manifest = run.manifest
    return [
        ("Run", run.id),
        ("Dataset", manifest.dataset.title),
        ("Images", f"{images:,}"),
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
    if found.copies_note:
        cautions.append(found.copies_note)
    if images < statistics.FEWEST:
        cautions.append(statistics.TOO_FEW)
    cautions += [note] if (note := run.recount_note(found)) else []
    cautions += several_label_sets(entry["model"] for entry in found.summary)
    if run.unreadable:
        count = counted(len(run.unreadable), "image")
        cautions.append(f"{count} could not be read, and the figures do not count them.")
    return cautions


_KINDS = (
    (
        statistics.WORST,
        9,
        "Worst cases: no prediction is {}.",
        "Worst cases: the first {} of {:,} images with a prediction that is {}, by the loss of "
        "confidence in the original class.",
    ),
    (
        statistics.SURVIVORS,
        6,
        "Survivors: no prediction is {}.",
        "Survivors: the first {} of {:,} images with a prediction that is {}, by how visible the "
        "change is (lowest SSIM first).",
    ),
)
"""(Kind, so many images of it, what is said of none, and of some): what a file can hold."""


def _pictures(run: Run, frame: pd.DataFrame) -> Section:
    """The worst and the surviving cases of the rows ``frame``, each image once."""
    return Section("The images", [_cases(run, frame, *kind) for kind in _KINDS])


def _cases(run: Run, frame: pd.DataFrame, kind: str, most: int, none: str, some: str) -> Cases:
    found = statistics.cases(frame, kind)
    shown = found[list(statistics.CASE_COLUMNS)].head(most)

    def read() -> Iterator[Case]:
        for row in shown.to_dict("records"):
            yield _case(run, {str(key): value for key, value in row.items()})

    word = outcomes(frame)[kind == statistics.WORST]
    caption = some.format(len(shown), len(found), word) if len(found) else none.format(word)
    return Cases(caption, read)


def _case(run: Run, row: dict[str, Any]) -> Case:
    condition = Condition.parse(str(row["condition"]))
    lines = [condition.described, *_answers(row)]
    if condition.needs_model:
        lines.append("The attacked image is on the Dataset page, which asks the model for it.")
    shots: list[Shot] = []
    try:
        shots = _shots(run, row, condition)
    except RobustnessError as error:
        lines.append(f"The image cannot be shown: {visible(str(error))}")
    return Case(
        title=f"{model(str(row['model']))}: {row['image']}",
        shots=shots,
        verdict=verdict_of(row),
        lines=lines,
    )


def _shots(run: Run, row: dict[str, Any], condition: Condition) -> list[Shot]:
    picture = run.picture(str(row["image"]))
    clean = clean_shot(picture)
    if condition.needs_model:  # made on the model, which no report runs
        return [clean]
    return [clean, perturbed_shot(picture, condition, run.seed)]


def _answers(row: dict[str, Any]) -> list[str]:
    name = str(row["model"])
    before, after = (class_title(name, int(row[key])) for key in ("clean_top1", "top1"))
    if row["consistent"]:
        answer = f"{before} {share(row['clean_probability'])} → {share(row['probability'])}"
    else:
        answer = (
            f"{before} {share(row['clean_probability'])} → {after} {share(row['probability'])}; "
            f"{before}: {share(row['retained_probability'])}"
        )
    label = []
    if pd.notna(row["label"]):
        label = [f"True class: {class_title(name, int(row['label']))}"]
    return [answer, *label, f"SSIM {row['ssim']:.2f}"]


_UNREADABLE = 50


def _unreadable(run: Run) -> Section | None:
    if not run.unreadable:
        return None
    more = len(run.unreadable) - _UNREADABLE
    rest = f" The first {_UNREADABLE} of {len(run.unreadable):,}." if more > 0 else ""
    table = tables.Table(("Image", "Reason"), run.unreadable[:_UNREADABLE])
    return Section("Images that could not be read", [Titled(f"With the reason.{rest}", table)])


_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")


def _manifest(run: Run) -> Mapping[str, Any]:
    """The run's manifest, which tells nobody how the machine of its images is laid out."""
    values = run.manifest.as_dict()
    dataset = {**values["dataset"], "source": _source(values["dataset"]["source"])}
    return {**values, "dataset": dataset}


def _source(text: str) -> str:
    """An absolute path by its last part alone, and an address without a password in it."""
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
