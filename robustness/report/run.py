"""The report of a saved run over a dataset, and the questions in the order of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustness import models, statistics
from robustness.base.errors import RunError
from robustness.base.registry import Registry
from robustness.base.text import counted, figure_text
from robustness.report import choice, closing, failures, fixes, harm, methods, ranking, threshold
from robustness.report.blocks import (
    BRACKETS,
    Data,
    Map,
    Question,
    Report,
    RunFigures,
    Text,
    Titled,
    model,
    sentence,
)
from robustness.report.choice import CHOICE
from robustness.report.facts import (
    own_preprocessing,
    preprocessing,
    several_label_sets,
    shared_manifest,
    trained_on,
)
from robustness.report.tables import LABELLED, Entry
from robustness.runs import Run
from robustness.statistics import Figures, ModelChoice

__all__ = [
    "REGISTRY",
    "Question",
    "RunFigures",
]

REGISTRY: Registry[Question[Any]] = Registry("question about a run")

for _question in (
    harm.RUN_MAP,
    choice.CHOICE,
    choice.TRADE_OFFS,
    ranking.RANKING,
    failures.AGREEMENT,
    closing.CLOSING,
    harm.PERTURBATIONS,
    harm.UNDER_ATTACK,
    failures.CLASSES,
    failures.SLICES,
    failures.CHANGED_CLASSES,
    fixes.FIXES,
    ranking.ACCURACY,
    threshold.THRESHOLD,
    ranking.CORRUPTION_ERRORS,
    failures.CASES,
    failures.MAP,
    failures.LEFT_OUT,
):
    REGISTRY.add(_question)


REPLAY = (
    "The manifest names models with the hashes of their weights, perturbations with their "
    "strengths, seed, images and versions. `python -m robustness evaluate --request RUN --fresh` "
    "evaluates it again, and `runs compare` compares the rows; RUN is its folder."
)

IMPORTED = (
    "The predictions came in a table, whose digest the manifest has in place of weights. "
    "`python -m robustness evaluate --predictions TABLE` evaluates it again."
)


def of_run(run: Run) -> Report:
    """The report of ``run``, finished or not.

    The images are read one at a time when a format asks for the cases. Raises ``RunError`` for a
    run without rows.
    """
    if not run.row_count:
        raise RunError(f"The run {run.id} has no rows, so there is nothing to report.")
    of = RunFigures(run)
    spec = run.manifest.spec
    sections = [question.section(of) for question in REGISTRY]
    tables: dict[str, Sequence[Entry]] = {}
    for question in REGISTRY:
        tables |= question.tables(of.answer(question))
    brief: list[Titled | Text | Map] = []
    # The choice comes last in a terminal, where the last lines are read first.
    for question in sorted(REGISTRY, key=lambda question: question is CHOICE):
        brief += question.brief(of.answer(question))
    names = spec.model_names
    who = model(names[0]) if len(names) == 1 else f"{len(names)} models"
    return Report(
        title=f"Robustness of {who} on {run.manifest.dataset.title}",
        answers=answers(of),
        facts=_facts(of),
        cautions=cautions(of),
        sections=[section for section in sections if section is not None],
        brief=brief,
        methods=methods.blocks(spec.conditions, methods.MANY_IMAGES),
        limits=methods.limits(),
        manifest=shared_manifest(run),
        replay=IMPORTED if run.is_from_table else REPLAY,
        data=Data(run.tables, tables, run.own_scores),
        note=note(of),
    )


def _facts(of: RunFigures) -> list[tuple[str, str]]:
    """The data of the run, as pairs of a name and a value."""
    manifest = of.run.manifest
    spec = manifest.spec
    pairs = [
        ("Run", of.run.id),
        ("Dataset", manifest.dataset.title),
        ("Images", f"{of.statistics.images:,}"),
        ("Conditions", f"{len(spec.pooled_conditions):,}"),
        ("Measurements", f"{of.run.row_count:,}"),
        ("Models", ", ".join(model(name) for name in spec.model_names)),
    ]
    if spec.classes:
        count = f"{len(spec.classes):,}"
        classes = models.classes(spec.model_names[0])
        if classes is not None:
            count += f" of {len(classes):,}"
        pairs.append(
            ("Classes", f"{count}: predictions are among the classes of the dataset alone")
        )
    framings = preprocessing(spec)
    if framings:
        pairs.append(("Preprocessing", framings))
    created = manifest.created[:16].replace("T", " ")
    return [*pairs, ("Seed", str(spec.seed)), ("Evaluated", f"{created} UTC")]


def answers(of: RunFigures) -> list[tuple[str, str]]:
    """The questions that a run answers in a sentence, and the images that it rests on."""
    pairs = [pair for question in REGISTRY for pair in question.answers(of.answer(question))]
    chosen = of.answer(CHOICE).chosen
    # The third, after the model to choose and the worst perturbation.
    pairs.insert(2, ("What is this based on?", basis(of.statistics, chosen)))
    return pairs


def note(of: RunFigures) -> str:
    """What explains the answers."""
    return BRACKETS if of.statistics.images >= statistics.FEWEST else ""


def cautions(of: RunFigures) -> list[str]:
    """What to know before reading the figures."""
    run = of.run
    figures = of.statistics
    unreadable = len(run.unreadable)
    texts = []
    if not run.finished:
        whole = counted(run.manifest.dataset.pictures, "image")
        done = f"{run.images + unreadable:,} of {whole} done"
        texts.append(f"Unfinished run: {done}. The figures cover these only.")
    if figures.copies_note:
        texts.append(figures.copies_note)
    if figures.images < statistics.FEWEST:
        texts.append(statistics.TOO_FEW)
    texts += several_label_sets(entry["model"] for entry in figures.summary)
    texts += own_preprocessing([run.manifest.spec])
    if unreadable:
        texts.append(f"Left out: {counted(unreadable, 'image')}, listed with the reasons.")
    for name, perturbations in run.manifest.trained_on.items():
        texts.append(trained_on(name, perturbations))
    return texts


def basis(figures: Figures, chosen: ModelChoice | None = None) -> str:
    """Images, conditions, significant differences and labels.

    The accuracy is that of the model that ``chosen`` recommends, else of the first by rank.
    """
    conditions = len({entry["condition"] for entry in figures.by_perturbation})
    by_model = {entry["model"]: entry for entry in figures.summary}
    first = (chosen or figures.choice).in_order(list(by_model))[0]
    few = "too few images for intervals" if figures.images < statistics.FEWEST else ""
    return sentence(
        f"{counted(figures.images, 'image')} under {counted(conditions, 'condition')}",
        _differences(figures.pairs(), advised=figures.choice.more_images is not None),
        _accuracy(by_model[first]),
        few,
    )


def _accuracy(entry: Entry) -> str:
    """How many images are labelled, and the accuracy of a model before and after."""
    before = figure_text(entry, "clean_accuracy", ".1%")
    after = figure_text(entry, "perturbed_accuracy", ".1%")
    if not before or not after:
        return "without labels there is no accuracy"
    all_labelled = entry["n_labelled"] == entry["n_images"]
    labelled = "all" if all_labelled else LABELLED[1](entry)
    if entry["drop"] == 0:
        perturbed = "of the perturbed images"
    else:
        perturbed = f"{after} of the perturbed images"
        low = entry["drop_low"]
        high = entry["drop_high"]
        if low is None or low <= 0 <= high:
            perturbed += " (no significant difference)"
    name = model(entry["model"])
    return f"{labelled} labelled; {name} is correct on {before} of the originals and {perturbed}"


def _differences(pairs: Sequence[Entry], *, advised: bool) -> str:
    """How many differences are significant, and how many images the closest other needs.

    That number is left out where the headline has ``advised`` it for a tie.
    """
    if not pairs:
        return ""
    undecided = [pair for pair in pairs if not pair["established"]]
    significant = len(pairs) - len(undecided)
    verb = "differs" if significant == 1 or len(pairs) == 1 else "differ"
    text = f"{significant} of {counted(len(pairs), 'pair')} of models {verb} significantly"
    if not undecided or advised:
        return text
    with_number = [pair for pair in undecided if pair["more_images"] is not None]
    closest = undecided[0]
    if with_number:
        closest = min(with_number, key=lambda pair: pair["more_images"])
    names = f"{model(closest['better'])} and {model(closest['worse'])}"
    return f"{text} ({names}: {statistics.advice(closest)})"
