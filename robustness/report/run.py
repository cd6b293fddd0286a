"""The report of a saved run over a dataset.

The questions about a run, in the order of its report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustness import models, statistics
from robustness.base.errors import RunError
from robustness.base.registry import Registry
from robustness.base.text import counted, figure_text
from robustness.report import choice, closing, failures, fixes, harm, methods, ranking, threshold
from robustness.report.blocks import BRACKETS, Data, Question, Report, RunFigures, model, sentence
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
    manifest = run.manifest
    spec = run.manifest.spec
    names = [model(name) for name in spec.model_names]
    classes = models.classes(spec.model_names[0])
    whole = f" of {len(classes):,}" if classes is not None else ""
    among = f"{len(spec.classes):,}{whole}: predictions are among the classes of the dataset alone"
    sections = [question.section(of) for question in REGISTRY]
    choice_last = sorted(REGISTRY, key=lambda question: question is CHOICE)
    tables: dict[str, Sequence[Entry]] = {}
    for question in REGISTRY:
        tables |= question.tables(of.answer(question))
    return Report(
        title=(
            f"Robustness of {names[0] if len(names) == 1 else f'{len(names)} models'} on "
            f"{manifest.dataset.title}"
        ),
        answers=answers(of),
        facts=[
            ("Run", run.id),
            ("Dataset", manifest.dataset.title),
            ("Images", f"{of.statistics.images:,}"),
            ("Conditions", f"{len(spec.pooled_conditions):,}"),
            ("Measurements", f"{run.row_count:,}"),
            ("Models", ", ".join(names)),
            *([("Classes", among)] if spec.classes else []),
            *([("Preprocessing", text)] if (text := preprocessing(spec)) else []),
            ("Seed", str(spec.seed)),
            ("Evaluated", f"{manifest.created[:16].replace('T', ' ')} UTC"),
        ],
        cautions=cautions(of),
        sections=[section for section in sections if section is not None],
        brief=[block for question in choice_last for block in question.brief(of.answer(question))],
        methods=methods.blocks(spec.conditions, methods.MANY_IMAGES),
        limits=methods.limits(),
        manifest=shared_manifest(run),
        replay=IMPORTED if run.is_from_table else REPLAY,
        data=Data(run.tables, tables, run.own_scores),
        note=note(of),
    )


def answers(of: RunFigures) -> list[tuple[str, str]]:
    """The questions that a run answers in a sentence, and the images that it rests on."""
    pairs = [pair for question in REGISTRY for pair in question.answers(of.answer(question))]
    pairs.insert(2, ("What is this based on?", basis(of.statistics, of.answer(CHOICE).chosen)))
    return pairs


def note(of: RunFigures) -> str:
    """What explains the answers."""
    return BRACKETS if of.statistics.images >= statistics.FEWEST else ""


def cautions(of: RunFigures) -> list[str]:
    """What to know before reading the figures."""
    run = of.run
    figures = of.statistics
    count = len(of.run.unreadable)
    done = run.images + count
    whole = counted(run.manifest.dataset.pictures, "image")
    progress = f"Unfinished run: {done:,} of {whole} done. The figures cover these only."
    texts = [
        "" if run.finished else progress,
        figures.copies_note,
        statistics.TOO_FEW if figures.images < statistics.FEWEST else "",
        *several_label_sets(entry["model"] for entry in figures.summary),
        *own_preprocessing([run.manifest.spec]),
        f"Left out: {counted(count, 'image')}, listed with the reasons." if count else "",
        *(trained_on(*entry) for entry in run.manifest.trained_on.items()),
    ]
    return [text for text in texts if text]


def basis(figures: Figures, chosen: ModelChoice | None = None) -> str:
    """Images, conditions, significant differences and labels.

    The accuracy is that of the model that ``chosen`` recommends, else of the first by rank.
    """
    conditions = len({entry["condition"] for entry in figures.by_perturbation})
    chosen = chosen or figures.choice
    by_model = {entry["model"]: entry for entry in figures.summary}
    leader = by_model[chosen.in_order(list(by_model))[0]]
    before, after = (
        figure_text(leader, f"{which}_accuracy", ".1%") for which in ("clean", "perturbed")
    )
    labels = "without labels there is no accuracy"
    if before and after:
        every = leader["n_labelled"] == leader["n_images"]
        count = "all" if every else LABELLED[1](leader)
        low = leader["drop_low"]
        high = leader["drop_high"]
        doubt = " (no significant difference)" if low is None or low <= 0 <= high else ""
        left = f"{after} of the perturbed images{doubt}"
        labels = (
            f"{count} labelled; {model(leader['model'])} is correct on "
            f"{before} of the originals and "
            f"{'of the perturbed images' if leader['drop'] == 0 else left}"
        )
    return sentence(
        f"{counted(figures.images, 'image')} under {counted(conditions, 'condition')}",
        _differences(figures.pairs(), advised=figures.choice.more_images is not None),
        labels,
        "too few images for intervals" if figures.images < statistics.FEWEST else "",
    )


def _differences(pairs: Sequence[Entry], *, advised: bool) -> str:
    """How many differences are significant, and how many images the closest other needs.

    That number is left out where the headline has ``advised`` it for a tie.
    """
    if not pairs:
        return ""
    rest = [pair for pair in pairs if not pair["established"]]
    significant = len(pairs) - len(rest)
    verb = "differs" if 1 in (significant, len(pairs)) else "differ"
    count = f"{significant} of {counted(len(pairs), 'pair')} of models {verb} significantly"
    if not rest or advised:
        return count
    undecided = [pair for pair in rest if pair["more_images"] is not None]
    closest = min(undecided, key=lambda pair: pair["more_images"]) if undecided else rest[0]
    names = f"{model(closest['better'])} and {model(closest['worse'])}"
    return f"{count} ({names}: {statistics.advice(closest)})"
