"""The report of a saved run over a dataset, and the questions in the order of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustness import models, statistics
from robustness.base.errors import RunError
from robustness.base.registry import Registry
from robustness.base.text import counted, figure_text, in_sentence, join_names, some
from robustness.measure.condition import Condition, perturbation_label, short
from robustness.report import (
    choice,
    closing,
    domain,
    failures,
    fixes,
    harm,
    methods,
    ranking,
    threshold,
)
from robustness.report.blocks import (
    BRACKETS,
    Data,
    Map,
    Question,
    Report,
    RunFigures,
    Section,
    Summary,
    Text,
    Titled,
    model_label,
    sentence,
)
from robustness.report.choice import CHOICE
from robustness.report.domain import DOMAIN
from robustness.report.facts import (
    own_preprocessing,
    preprocessing,
    several_label_sets,
    shared_manifest,
    trained_on,
)
from robustness.report.harm import RUN_MAP
from robustness.report.tables import Entry, labelled_text
from robustness.runs import Analysis, Run
from robustness.runs.imported import moves_pixels, moving_perturbations
from robustness.statistics import Figures, ModelChoice

__all__ = [
    "REGISTRY",
    "Question",
    "RunFigures",
]

REGISTRY: Registry[Question[Any]] = Registry("question about a run")

for _question in (
    domain.DOMAIN,
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
    failures.LEFT_OUT,
):
    REGISTRY.add(_question)


REPLAY = (
    "The manifest names models with the hashes of their weights, perturbations with their "
    "strengths, seed, images and versions. `python -m robustness evaluate --request RUN --fresh` "
    "evaluates it again, and `runs compare` compares the rows; RUN is its folder."
)

IMPORTED = (
    "The {contents} came in a table, whose digest the manifest has in place of weights. "
    "`python -m robustness evaluate --predictions TABLE{options}` evaluates it again."
)


_MOST_MOVING = 4
"""Most conditions that move pixels, or perturbations, to name."""


def of_run(run: Run) -> Report:
    """Return the report of ``run``, which may be unfinished.

    The images are read one at a time when a format asks for the cases. Raises ``RunError`` for a
    run without rows.
    """
    return of_figures(RunFigures(Analysis(run)))


def of_figures(figures: RunFigures) -> Report:
    """Return the report of the run of ``figures``, as ``of_run`` does."""
    run = figures.run
    spec = run.manifest.spec
    opening = summary(figures)
    sections: list[Section] = []
    tables: dict[str, Sequence[Entry]] = {}
    for question in REGISTRY:
        if question is RUN_MAP and spec.domain is not None:
            continue  # a row for each composition, which the map of the domain shows by pairs
        section = question.section(figures)
        if section is not None:
            sections.append(section)
        tables |= question.tables(figures.answer(question))
    notes = list(methods.MANY_IMAGES)
    if spec.domain is not None:
        notes.append(methods.DOMAIN)
    names = spec.model_names
    subject = model_label(names[0]) if len(names) == 1 else f"{len(names)} models"
    return Report(
        title=f"Robustness of {subject} on {run.manifest.dataset.title}",
        answers=opening.answers,
        note=opening.note,
        cautions=opening.cautions,
        brief=opening.brief,
        facts=_facts(figures),
        sections=sections,
        methods=methods.blocks(spec.conditions, notes, has_scores=bool(run.score)),
        limits=methods.limits(has_scores=bool(run.score)),
        manifest=shared_manifest(run),
        replay=_replay(run),
        data=Data(run.tables, tables, run.own_scores),
    )


def summary_of_run(run: Run) -> Summary:
    """Return what the command line prints of ``run``, as ``summary`` does."""
    return summary(RunFigures(Analysis(run)))


def summary(figures: RunFigures) -> Summary:
    """Return what opens the report of the run of ``figures``; it needs no section.

    Raises ``RunError`` for a run without rows.
    """
    run = figures.run
    if not run.row_count:
        raise RunError(f"The run {run.id} has no rows, so there is nothing to report.")
    brief: list[Titled | Text | Map] = []
    for question in REGISTRY:
        if question is RUN_MAP and run.manifest.spec.domain is not None:
            continue  # as in the report
        # The choice comes last in a terminal, where the last lines are read first.
        if question.brief is not None and question is not CHOICE:
            brief += question.brief(figures.answer(question))
    brief += choice.brief(figures.answer(CHOICE))
    return Summary(
        answers=answers(figures), note=note(figures), cautions=cautions(figures), brief=brief
    )


def _replay(run: Run) -> str:
    """Return how ``run`` is evaluated again."""
    if not run.is_from_table:
        return REPLAY
    score = run.manifest.score
    options = ""
    if run.manifest.spec.domain is not None:
        options += " --domain FILE"
    if score is not None and score.moved_truth:
        options += " --moved-truth"
    contents = "predictions" if score is None else "scores"
    return IMPORTED.format(contents=contents, options=options)


def _facts(figures: RunFigures) -> list[tuple[str, str]]:
    """Return what was measured and how, as pairs of a name and a value."""
    manifest = figures.run.manifest
    spec = manifest.spec
    pairs = [
        ("Run", figures.run.id),
        ("Dataset", manifest.dataset.title),
        ("Images", f"{figures.statistics.images:,}"),
        ("Conditions", f"{len(spec.pooled_conditions):,}"),
        ("Measurements", f"{figures.run.row_count:,}"),
        ("Models", ", ".join(model_label(name) for name in spec.model_names)),
    ]
    if spec.remedies:
        pairs.append(("Remedies", ", ".join(chain.label for chain in spec.remedies)))
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
    # An ISO time such as 2026-01-02T03:04:05+00:00, to the minute.
    created = manifest.created[:16].replace("T", " ")
    return [*pairs, ("Seed", str(spec.seed)), ("Evaluated", f"{created} UTC")]


def answers(figures: RunFigures) -> list[tuple[str, str]]:
    """Return pairs of a question and a sentence, one of them on what the others are based on."""
    pairs: list[tuple[str, str]] = []
    for question in REGISTRY:
        if question.answers is not None and question is not DOMAIN:
            pairs += question.answers(figures.answer(question))
    chosen = figures.answer(CHOICE).chosen
    # The third, after the model to choose and the worst perturbation.
    pairs.insert(2, ("What is this based on?", basis(figures.statistics, chosen)))
    return [*domain.answers(figures.answer(DOMAIN)), *pairs]


def note(figures: RunFigures) -> str:
    """Return the note that explains the intervals in the answers, "" if there are none."""
    if figures.statistics.images < statistics.FEWEST:
        return ""
    return BRACKETS


def cautions(figures: RunFigures) -> list[str]:
    """Return the sentences to read before the figures of a run."""
    run = figures.run
    texts = []
    if not run.finished:
        all_images = counted(run.manifest.dataset.pictures, "image")
        done = f"{run.images + len(run.unreadable):,} of {all_images} done"
        texts.append(f"Unfinished run: {done}. The figures cover these only.")
    return [*texts, *cautions_beside_progress(figures)]


def cautions_beside_progress(figures: RunFigures) -> list[str]:
    """Return those ``cautions`` that stand where the progress of the run is shown, too."""
    run = figures.run
    summary = figures.statistics.summary
    unreadable = len(run.unreadable)
    texts = []
    if figures.statistics.copies_note:
        texts.append(figures.statistics.copies_note)
    if figures.statistics.images < statistics.FEWEST:
        texts.append(statistics.TOO_FEW)
    texts += several_label_sets(entry["model"] for entry in summary)
    texts += own_preprocessing([run.manifest.spec])
    if run.manifest.score is not None and run.manifest.score.left_out:
        texts.append(left_out_conditions(run.manifest.score.left_out))
    if run.manifest.score is not None and run.manifest.score.moved_truth:
        texts += _moved_truth(run.conditions)
    if unreadable:
        texts.append(f"Left out: {counted(unreadable, 'image')}, listed with the reasons.")
    for name, perturbations in run.manifest.trained_on.items():
        texts.append(trained_on(name, perturbations))
    return texts


def left_out_conditions(conditions: Sequence[str]) -> str:
    """Return the sentence on the ``conditions`` that a run of scores left out."""
    return f"Left out, since boxes and masks would have to move, too: {_moving(conditions)}."


def _moving(conditions: Sequence[str]) -> str:
    """Return the names of ``conditions`` that move pixels; of many, those of what moves them."""
    if len(conditions) <= _MOST_MOVING:
        return some([short(condition) for condition in conditions], _MOST_MOVING)
    perturbations: list[str] = []
    for text in conditions:
        perturbations += moving_perturbations(Condition.parse(text))
    labels = [in_sentence(perturbation_label(name)) for name in dict.fromkeys(perturbations)]
    return f"{len(conditions)} conditions with {join_names(labels, _MOST_MOVING)}"


def _moved_truth(conditions: Sequence[Condition]) -> list[str]:
    """Return the sentence on those of ``conditions`` that move pixels, if there are any."""
    moving = [condition.id for condition in conditions if moves_pixels(condition)]
    if not moving:
        return []
    return [f"Valid only if boxes and masks moved, too: {_moving(moving)} (--moved-truth)."]


def basis(figures: Figures, chosen: ModelChoice | None = None) -> str:
    """Return the sentence on the images, conditions, differences and labels behind the answers.

    The accuracy in it is that of the first model by ``chosen``, by default the choice of
    ``figures``.
    """
    chosen = chosen or figures.choice
    condition_count = len({entry["condition"] for entry in figures.by_perturbation})
    entry_of_model = {entry["model"]: entry for entry in figures.summary}
    first_model = chosen.in_order(list(entry_of_model))[0]
    clauses = [
        f"{counted(figures.images, 'image')} under {counted(condition_count, 'condition')}",
        _differences(figures.pairs(), advised=figures.choice.more_images is not None),
        _accuracy(entry_of_model[first_model], figures.score),
    ]
    if figures.images < statistics.FEWEST:
        clauses.append("too few images for intervals")
    return sentence(*clauses)


def _accuracy(entry: Entry, score: str) -> str:
    """Return the clause on how many images are labelled, and on the accuracies of a model.

    In a run of scores it is on the means of the one that is called ``score``.
    """
    before = figure_text(entry, "clean_accuracy", ".1%")
    after = figure_text(entry, "perturbed_accuracy", ".1%")
    if not before or not after:
        return "without labels there is no accuracy"
    if score:
        name = model_label(entry["model"])
        return f"{name} has a mean {score} of {before} on the originals and {after} perturbed"
    labelled = "all"
    if entry["n_labelled"] != entry["n_images"]:
        labelled = labelled_text(entry)
    if entry["drop"] == 0:
        perturbed = "of the perturbed images"
    else:
        perturbed = f"{after} of the perturbed images"
        low = entry["drop_low"]
        high = entry["drop_high"]
        if low is None or low <= 0 <= high:
            perturbed += " (no significant difference)"
    name = model_label(entry["model"])
    return f"{labelled} labelled; {name} is correct on {before} of the originals and {perturbed}"


def _differences(pairs: Sequence[Entry], *, advised: bool) -> str:
    """Return the clause on how many pairs of models differ significantly.

    It advises how many images the pair needs that would be decided first, unless the headline has
    ``advised`` on a tie already.
    """
    if not pairs:
        return ""
    undecided = [pair for pair in pairs if not pair["established"]]
    significant = len(pairs) - len(undecided)
    verb = "differs" if significant == 1 or len(pairs) == 1 else "differ"
    text = f"{significant} of {counted(len(pairs), 'pair')} of models {verb} significantly"
    if advised or not undecided:
        return text
    pair_to_decide = undecided[0]
    with_advice = [pair for pair in undecided if pair["more_images"] is not None]
    if with_advice:
        pair_to_decide = min(with_advice, key=lambda pair: pair["more_images"])
    names = f"{model_label(pair_to_decide['better'])} and {model_label(pair_to_decide['worse'])}"
    return f"{text} ({names}: {statistics.advice(pair_to_decide)})"
