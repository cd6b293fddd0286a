"""What models withstand: under which perturbations, strengths and attacks each fails."""

from __future__ import annotations

from robustness.attacks import REGISTRY as ATTACK_RECORDS
from robustness.base.text import FigureText, figure_text, join_names, share
from robustness.charts import (
    ranking_and_condition_tables,
    run_and_change_maps,
    run_quantities_and_reliability,
)
from robustness.charts.ranking_and_condition_tables import (
    Column,
    Entry,
    Table,
    figure,
    labels_note,
    rate,
    similarities,
)
from robustness.evaluation.perturbation_and_attack_conditions import perturbation_label, setting
from robustness.report.blocks import Block, Chooser, Map, Text, Titled
from robustness.report.names_and_sentences import MODEL, sentence
from robustness.report.questions.question_and_figures import ATTACKS, Question
from robustness.statistics import FEWEST, Figures
from robustness.statistics.hardest_conditions import name_leaders


def _blocks(figures: Figures) -> list[Block]:
    entries = figures.by_perturbation
    mapped = run_and_change_maps.quantity_of(figures)
    others = [
        name
        for name in run_quantities_and_reliability.quantities()
        if name != mapped and any(entry.get(name) is not None for entry in entries)
    ]

    def images(entry: Entry) -> str:
        """Under attack with how many of them consistency counts."""
        count, attacked = (figure_text(entry, f"n_{which}", "") for which in ("images", "attacked"))
        if attacked in ("", count):
            return count
        return FigureText(f"{count}, {attacked} attacked", count, attacked)

    columns: list[Column] = [
        ("Perturbation", lambda entry: perturbation_label(entry["perturbation"])),
        ("Strength", lambda entry: setting(entry["condition"])),
        MODEL,
        ("Images", images),
        ("Consistency", rate("consistency")),
        *similarities(entries, ".3f", ["cosine"]),
        ("SSIM", figure("ssim", ".3f")),
        *ranking_and_condition_tables.listed_metrics(entries),
    ]
    if any(entry["clean_accuracy"] is not None for entry in entries):
        lost = "Accuracy lost", rate("drop")
        columns += [ranking_and_condition_tables.LABELLED, lost]
    table = Titled("By model and condition", Table.of(entries, columns), long=True)
    titles = run_quantities_and_reliability.titles(others)

    def read(quantity: str) -> list[Block]:
        note = labels_note(figures.summary, quantity)
        return [Map(titles[quantity], run_and_change_maps.run_map(figures, quantity), note)]

    maps = Chooser("Figure", "cell_figure", titles, read, printed=[], listed=True)
    return [maps, table] if others else [table]


def harm(figures: Figures) -> str:
    """The perturbations that do most harm, where the images decide that."""
    hard, of = figures.hardest, {e["condition"]: e for e in figures.by_perturbation}
    few = ""
    if hard.too_few:
        names = join_names([of[text]["series"] for text in hard.too_few])
        few = f"fewer than {FEWEST} images count under {names}: not ranked"
    if hard.leaders:
        worst = hard.leaders[0]
        over = ", the mean of the models" if len(figures.summary) > 1 else ""
        failed = "changed" if figures.ranked_by == "consistency" else "incorrect"
        one = {"model": figures.summary[0]["model"]} if not over else {}
        by = {"condition": worst, figures.ranked_by: 1 - hard.harm[worst], **one}
        harm = figure_text(by, figures.ranked_by, lambda value: share(1 - value))
        rest = FigureText(f"{'up to ' * (len(hard.leaders) > 1)}{harm} {failed}{over}", harm)
        return sentence(f"hardest: {name_leaders(hard.leaders)}", rest, few)
    if len(hard.compared) > 1:
        return sentence("no perturbation does significantly more harm than another", few)
    if len(figures.over_models) == 1 and not few:
        return sentence(f"only {figures.over_models[0]['series']} was tested")
    if figures.images < FEWEST:
        return sentence("too few images to rank perturbations")
    return sentence(few or "the perturbations share no strength, so they are not ranked")


PERTURBATIONS = Question(
    "perturbations",
    "Perturbations",
    _blocks,
    "under which each model fails",
    answers=lambda figures: [("Which perturbation does most harm?", harm(figures))],
    tables=lambda figures: {
        "over_models": figures.over_models,
        "by_perturbation": figures.by_perturbation,
        "by_severity": figures.by_severity,
    },
)


def _under_attack(figures: Figures) -> list[Block]:
    table = Titled(
        "Robust accuracy", ranking_and_condition_tables.robust_accuracy(figures.robust_accuracy)
    )
    blocks: list[Block] = [table, Text(ranking_and_condition_tables.ROBUST_NOTE)]
    if pairs := figures.pairs_under_attack:
        blocks.append(
            Titled(
                "Differences in robust accuracy, in points",
                ranking_and_condition_tables.pairs(pairs),
            )
        )
    return blocks


UNDER_ATTACK = Question(
    "attacks",
    "Attacks",
    _under_attack,
    "what is correct under every attack",
    needs=(ATTACKS,),
    tables=lambda figures: {"robust_accuracy": figures.robust_accuracy},
)


SHARES = {
    "perturbed_accuracy": "Share correct",
    "consistency": "Share of predictions unchanged",
}


def map_note(figures: Figures) -> str:
    """What the cells of the map show."""
    quantity = run_and_change_maps.quantity_of(figures)
    texts = [f"{SHARES[quantity]}, in percent, by growing strength."]
    if not set(ATTACK_RECORDS.names).isdisjoint(e["perturbation"] for e in figures.by_perturbation):
        of = "images correct before" if quantity == "perturbed_accuracy" else "predictions to break"
        texts.append(f"Under attack: of the {of}.")
    return " ".join(filter(None, [*texts, labels_note(figures.summary, quantity)]))


def keyed_map(figures: Figures, marks: run_and_change_maps.Marks | None = None) -> Map:
    """The map, with a selection of images behind each cell, and ``marks`` in some."""
    drawing = run_and_change_maps.run_map(figures, keyed=True, marks=marks)
    return Map("", drawing, map_note(figures), link="cell")


RUN_MAP: Question[Figures] = Question(
    "run_map",
    "Robustness by strength",
    lambda figures: [Map("", run_and_change_maps.run_map(figures), map_note(figures))],
    "what each model withstands",
    link="cell",
    brief=lambda figures: [
        Map(
            SHARES[run_and_change_maps.quantity_of(figures)],
            run_and_change_maps.run_map(figures),
            map_note(figures),
        )
    ],
    view="",
)
