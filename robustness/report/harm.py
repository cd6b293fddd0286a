"""What models withstand: under which perturbations, strengths and attacks each fails."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from robustness.attacks import REGISTRY as ATTACK_RECORDS
from robustness.base.text import figure_text, join_names, share
from robustness.measure.condition import perturbation_label, setting
from robustness.report import charts, tables
from robustness.report import maps as report_maps
from robustness.report.blocks import (
    ATTACKS,
    MODEL,
    Block,
    Chooser,
    Map,
    Question,
    RunFigures,
    Text,
    Titled,
    model_label,
    sentence,
)
from robustness.report.choice import CHOICE, ChoiceFigures
from robustness.report.maps import BandMap
from robustness.report.tables import (
    Column,
    Entry,
    Table,
    figure,
    labels_note,
    points_lost,
    rate,
    similarities,
    with_interval,
)
from robustness.statistics import FEWEST, Figures, ModelChoice
from robustness.statistics.failures import Hardest, name_leaders


def _with_choice(figures: RunFigures) -> ChoiceFigures:
    """Return the statistics with the choice, whose leading model comes first in every map."""
    return figures.answer(CHOICE)


def _blocks(choice: ChoiceFigures) -> list[Block]:
    """Return the choice of a measured quantity, which has a map, and the table of conditions.

    The quantity that the map of the run shows is left out. Others look much like it, so that at
    first there is no map.
    """
    figures = choice.statistics
    table = Titled("By model and condition", _condition_table(figures), long=True)
    quantities = []
    for name in charts.quantities():
        is_measured = any(entry.get(name) is not None for entry in figures.by_perturbation)
        if is_measured and name != report_maps.quantity_of(figures):
            quantities.append(name)
    if not quantities:
        return [table]
    titles = {"": "Choose a figure", **charts.titles(quantities, figures.score)}

    def read(quantity: str) -> list[Block]:
        if not quantity:
            return []
        note = labels_note(figures.summary, quantity)
        drawing = report_maps.run_map(figures, quantity, chosen=choice.chosen)
        return [Map(titles[quantity], drawing, note)]

    maps = Chooser("Map of another figure", "cell_figure", titles, read, printed=[], listed=True)
    return [maps, table]


def _condition_table(figures: Figures) -> Table:
    """Return the table with a row for each model and condition."""
    entries = figures.by_perturbation
    columns: list[Column] = [
        ("Perturbation", lambda entry: perturbation_label(entry["perturbation"])),
        ("Strength", lambda entry: setting(entry["condition"])),
        MODEL,
        ("Images", _images),
    ]
    if not figures.score:
        columns.append(("Consistency", _consistency_of_all))
    if any(leaves_out(entry) for entry in entries):
        columns.append(("Consistency of attacked", _consistency_of_attacked))
    if figures.score:
        title = charts.quantity_title("perturbed_accuracy", figures.score)
        columns += [
            (title, rate("perturbed_accuracy")),
            (f"{figures.score} lost, points", rate("drop", points_lost)),
            ("SSIM", figure("ssim", ".3f")),
        ]
        return Table.of(entries, columns)
    columns += [
        *similarities(entries, ".3f", ["cosine"]),
        ("SSIM", figure("ssim", ".3f")),
        *tables.listed_metrics(entries),
    ]
    if any(entry["clean_accuracy"] is not None for entry in entries):
        columns += [tables.LABELLED, ("Accuracy lost, points", rate("drop", points_lost))]
    return Table.of(entries, columns)


def _images(entry: Entry) -> str:
    """Return the number of images, and if it differs, that of those with a prediction to break."""
    count = figure_text(entry, "n_images", "")
    attacked = figure_text(entry, "n_attacked", "")
    if attacked in ("", count):
        return count
    return f"{count}, {attacked} attacked"


def _consistency_of_all(entry: Entry) -> str:
    return "" if leaves_out(entry) else with_interval(entry, "consistency")


def _consistency_of_attacked(entry: Entry) -> str:
    return with_interval(entry, "consistency") if leaves_out(entry) else ""


def leaves_out(entry: Entry) -> bool:
    """Return whether consistency counts only the images that had a prediction to break."""
    attacked = entry["n_attacked"]
    return attacked is not None and bool(attacked < entry["n_images"])


def harm(figures: Figures) -> str:
    """Return the sentences on the perturbations that do most harm, or on why none is named.

    There is a sentence for each group of models with the same classes.
    """
    names_models = len(figures.hardest) > 1
    texts = [_group_sentence(figures, hard, names_models=names_models) for hard in figures.hardest]
    return " ".join(texts)


def _group_sentence(figures: Figures, hard: Hardest, *, names_models: bool) -> str:
    entries = [entry for entry in figures.by_perturbation if entry["model"] in hard.models]
    series_of_condition = {entry["condition"]: entry["series"] for entry in entries}
    prefix = ""
    if names_models:
        prefix = f"{join_names([model_label(name) for name in hard.models])}: "
    not_ranked = ""
    if hard.too_few:
        names = join_names([series_of_condition[condition] for condition in hard.too_few])
        not_ranked = f"fewer than {FEWEST} images count under {names}: not ranked"
    if hard.leaders:
        leaders = f"{prefix}hardest: {name_leaders(hard.leaders)}"
        lost = _failed_share(figures, hard, entries)
        return sentence(leaders, lost, not_ranked, names=hard.models)
    if len(hard.compared) > 1:
        no_leader = f"{prefix}no perturbation does significantly more harm than another"
        return sentence(no_leader, not_ranked, names=hard.models)
    all_series = set(series_of_condition.values())
    if len(all_series) == 1 and not not_ranked:
        reason = f"only {all_series.pop()} was tested"
    elif figures.images < FEWEST:
        reason = "too few images to rank perturbations"
    elif not_ranked:
        reason = not_ranked
    else:
        reason = "the perturbations share no strength, so they are not ranked"
    return sentence(f"{prefix}{reason}", names=hard.models)


def _failed_share(figures: Figures, hard: Hardest, entries: Sequence[Entry]) -> str:
    """Return the clause on the share of predictions that fail under the hardest perturbations.

    For several models it has the mean and the largest share. ``entries`` are those of the models.
    """
    if figures.score:
        return _score_left(figures, hard)
    failed = "changed" if figures.ranked_by == "consistency" else "incorrect"
    mean = share(hard.harm[hard.leaders[0]])
    several_leaders = len(hard.leaders) > 1
    if len(hard.models) == 1:
        return f"up to {mean} {failed}" if several_leaders else f"{mean} {failed}"
    quantity = report_maps.quantity_of(figures)
    entries_of_leaders = [
        entry
        for entry in entries
        if entry["condition"] in hard.leaders and entry[quantity] is not None
    ]
    worst = min(entries_of_leaders, key=lambda entry: float(entry[quantity]))
    largest = share(1 - float(worst[quantity]))
    where = " under the first" if several_leaders else ""
    return (
        f"{mean} {failed}, the mean of {len(hard.models)} models{where}, and up to {largest} "
        f"({model_label(worst['model'])})"
    )


def _score_left(figures: Figures, hard: Hardest) -> str:
    """Return the clause on the mean score that the hardest perturbations leave."""
    left = share(1 - hard.harm[hard.leaders[0]])
    at_worst = "down to " if len(hard.leaders) > 1 else ""
    clause = f"{figures.score} {at_worst}{left}"
    if len(hard.models) > 1:
        clause += f", the mean of {len(hard.models)} models"
    return clause


PERTURBATIONS = Question(
    "perturbations",
    "Perturbations",
    _blocks,
    "under which each model fails",
    figures=_with_choice,
    answers=lambda choice: [("Which perturbation does most harm?", harm(choice.statistics))],
    tables=lambda choice: {
        "over_models": choice.statistics.over_models,
        "by_perturbation": choice.statistics.by_perturbation,
        "by_severity": choice.statistics.by_severity,
    },
)


def _under_attack(figures: Figures) -> list[Block]:
    blocks: list[Block] = [
        Titled("Robust accuracy", tables.robust_accuracy(figures.robust_accuracy)),
        Text(tables.ROBUST_NOTE),
    ]
    pairs = figures.pairs_under_attack
    if pairs:
        blocks.append(Titled("Differences in robust accuracy, in points", tables.pairs(pairs)))
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
"""What the cells of the map of a run show, by quantity."""


def _shown_share(figures: Figures) -> str:
    """Return what the cells of the map of a run show."""
    if figures.score:
        return f"Mean {figures.score}"
    return SHARES[report_maps.quantity_of(figures)]


def map_note(figures: Figures, drawing: BandMap | None = None) -> str:
    """Return the sentences on how to read the cells of a map of ``figures``.

    ``drawing`` is the map, by default one by strength.
    """
    quantity = report_maps.quantity_of(figures)
    entries = figures.by_perturbation
    texts = [f"{_shown_share(figures)}, in percent{levels(drawing)}."]
    has_attacks = any(entry["perturbation"] in ATTACK_RECORDS for entry in entries)
    if has_attacks and quantity == "perturbed_accuracy":
        texts.append("Under attack: robust accuracy, of all images.")
    elif has_attacks and any(leaves_out(entry) for entry in entries):
        texts.append("Under attack, a prediction that was incorrect before counts as changed.")
    note = labels_note(figures.summary, quantity)
    if note:
        texts.append(note)
    return " ".join(texts)


def levels(drawing: BandMap | None) -> str:
    """Return the end of a sentence on what the cells of a row differ by, such as ", by severity".

    It is "" if every row has one cell.
    """
    if drawing is None:
        return ", by growing strength"
    if drawing.axis is not None:
        return f", by {drawing.axis.quantity}"
    strips = [strip for row in drawing.rows for strip in row.strips if strip is not None]
    if all(len(strip.tiles) == 1 for strip in strips):
        return ""
    return ", by growing strength"


def _map(
    choice: ChoiceFigures,
    *,
    title: str = "",
    keyed: bool = False,
    marks: report_maps.Marks = MappingProxyType({}),
) -> Map:
    figures = choice.statistics
    drawing = report_maps.run_map(figures, chosen=choice.chosen, keyed=keyed, marks=marks)
    link = RUN_MAP.link if keyed else ""
    return Map(title, drawing, map_note(figures, drawing), link)


def keyed_map(
    figures: Figures,
    chosen: ModelChoice,
    marks: report_maps.Marks = MappingProxyType({}),
) -> Map:
    """Return the map of a run whose tiles select images on a click, with ``marks`` in some."""
    return _map(ChoiceFigures(chosen, figures), keyed=True, marks=marks)


def _brief_map(choice: ChoiceFigures) -> list[Titled | Text | Map]:
    return [_map(choice, title=_shown_share(choice.statistics))]


RUN_MAP: Question[ChoiceFigures] = Question(
    "run_map",
    "Robustness by strength",
    lambda choice: [_map(choice)],
    "what each model withstands",
    figures=_with_choice,
    link="cell",
    brief=_brief_map,
    view="",
)
