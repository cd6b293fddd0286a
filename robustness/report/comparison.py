"""What changed between two runs: sentences and tables of a page and ``runs compare``.

``entries`` are ``Comparison.differences`` that know ``quantity``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from robustness.base.errors import RunError
from robustness.base.text import all_of, counted, figure_text, points
from robustness.measure.condition import perturbation_label, setting, short
from robustness.report import maps, methods
from robustness.report.blocks import MODEL, Data, Map, Report, Section, Text, Titled, model
from robustness.report.charts import QUANTITIES
from robustness.report.facts import preprocessing, shared_manifest
from robustness.report.maps import ORIGINALS
from robustness.report.tables import Column, Entry, Table, figure, interval
from robustness.statistics import TEST_SUMMARY
from robustness.statistics.pairs import BETTER, CLEAN, OPEN, WORSE, verdict_text
from robustness.statistics.tables import MOST_UNLABELLED

if TYPE_CHECKING:
    from robustness.runs import Comparison


def sentence(entry: Entry, quantity: str) -> str:
    """The change of one model over all conditions."""
    what = f"{model(entry['model'])}: {QUANTITIES[quantity].lower()}"
    before, after = (figure_text(entry, f"{quantity}_{side}", ".1%") for side in "ab")
    if not entry[f"{quantity}_moved"]:
        return f"{what} unchanged, {after}."
    by = figure_text(entry, f"{quantity}_difference", points)
    bounds = _interval(entry, quantity)
    verdict = verdict_text(entry[f"{quantity}_verdict"])
    return f"{what} {before} → {after} ({by} points{bounds and f', {bounds}'}), {verdict}."


def by_condition(entries: Sequence[Entry], quantity: str) -> list[Entry]:
    """The entries of single conditions; an accuracy begins with those of the originals.

    The condition of the originals is "", and their accuracy has the keys of ``quantity``.
    Consistency is without attacks on labelled images, which leave some images out.
    """
    originals = [
        {**entry, "condition": ""}
        | {
            f"{quantity}_{name.removeprefix(f'{CLEAN}_')}": value
            for name, value in entry.items()
            if name.startswith(CLEAN)
        }
        for entry in entries
        if entry["condition"] is None
        and quantity != "consistency"
        and entry[f"{CLEAN}_difference"] is not None
    ]
    single = [
        entry
        for entry in entries
        if entry["condition"] is not None
        and (quantity != "consistency" or entry["judged_by"] == "consistency")
    ]
    return [*originals, *single]


def changes(entries: Sequence[Entry], quantity: str) -> list[maps.ShareChange]:
    """The changes of each model under each condition of ``entries``, for a map."""
    return [
        maps.ShareChange(
            entry["model"],
            entry["condition"],
            before=entry[f"{quantity}_a"],
            after=entry[f"{quantity}_b"],
            low=entry[f"{quantity}_difference_low"],
            high=entry[f"{quantity}_difference_high"],
            significant=entry[f"{quantity}_verdict"] != OPEN,
            n=entry[f"{quantity}_images"],
            key=key(entry),
        )
        for entry in by_condition(entries, quantity)
        if entry[f"{quantity}_difference"] is not None
    ]


def quantity_of(entry: Entry) -> str:
    """What page and command line show of ``entry``: what the answer of a run shows.

    It is robust accuracy for attacks on labelled images, else accuracy where enough images have a
    label, else consistency.
    """
    labelled = entry["perturbed_accuracy_images"] >= (1 - MOST_UNLABELLED) * entry["n_images"]
    if entry["judged_by"] != "consistency" or not labelled:
        return str(entry["judged_by"])
    return "perturbed_accuracy"


def key(entry: Entry) -> str:
    """What identifies the cell of ``entry`` in a map."""
    return json.dumps([entry["model"], entry["condition"]])


def headline(comparisons: Sequence[Comparison], quantity: str) -> str:
    """How many models, or else cells, got worse or better; "" if no model is in two runs."""
    entries = [
        entry
        for comparison in comparisons
        for entry in comparison.differences
        if entry[f"{quantity}_difference"] is not None
    ]
    overall = [entry for entry in entries if entry["condition"] is None]
    if not overall:
        return ""
    what = QUANTITIES[quantity].lower()
    moving = [entry for entry in overall if entry[f"{quantity}_verdict"] in (WORSE, BETTER)]
    if len(moving) == 1 and len(comparisons) == 1:
        by = figure_text(moving[0], f"{quantity}_difference", points)
        verdict = verdict_text(moving[0][f"{quantity}_verdict"])
        return f"{model(moving[0]['model'])} got {verdict}: {by} points of {what}."
    if moved := _moved(overall, quantity, "model"):
        return f"{moved} in {what}."
    each = by_condition(entries, quantity)
    cells = [entry for entry in each if entry[f"{quantity}_verdict"] in (WORSE, BETTER)]
    if len(cells) == 1:
        (cell,) = cells
        where = f"under {short(cell['condition'])}" if cell["condition"] else "on the originals"
        got = f"{model(cell['model'])} got {verdict_text(cell[f'{quantity}_verdict'])}"
        return f"No significant change overall; {got} {where}."
    if moved := _moved(each, quantity, "cell"):
        return f"No significant change overall; {moved}."
    return f"No significant change in {what}."


def _moved(entries: Sequence[Entry], quantity: str, noun: str) -> str:
    """How many of ``entries`` got significantly worse or better; "" if none did."""
    verdicts = [entry[f"{quantity}_verdict"] for entry in entries]
    counts = {word: verdicts.count(word) for word in (WORSE, BETTER)}
    of = counted(len(entries), noun)
    who = {n: f"{n} of {of}" for n in counts.values()}
    who |= {len(entries): all_of(len(entries), noun).capitalize()}
    return " and ".join(f"{who[n]} got {verdict_text(word)}" for word, n in counts.items() if n)


def _judged(comparison: Comparison) -> dict[str, list[Entry]]:
    """The entries by the quantity that each is judged by."""
    judged: dict[str, list[Entry]] = {}
    for entry in comparison.differences:
        quantity = quantity_of(entry)
        if entry[f"{quantity}_difference"] is not None:
            judged.setdefault(quantity, []).append(entry)
    return judged


def tables(entries: Sequence[Entry], quantity: str) -> list[Titled | Map]:
    """The map of ``entries``, those over all conditions, and each."""
    overall = [entry for entry in entries if entry["condition"] is None]
    each = by_condition(entries, quantity)
    label = QUANTITIES[quantity]
    parts = list[Titled | Map]()
    columns: list[Column] = [
        ("Images", figure(f"{quantity}_images", ",")),
        ("Baseline", figure(f"{quantity}_a", ".1%")),
        ("This run", figure(f"{quantity}_b", ".1%")),
        ("Change, points", figure(f"{quantity}_difference", points)),
        ("95% interval", lambda entry: _interval(entry, quantity) or "none"),
        ("Verdict", lambda entry: verdict_text(entry[f"{quantity}_verdict"])),
    ]
    if each:
        drawing = maps.change_map(changes(entries, quantity), quantity)
        note = "Change in points. Pale: not significant."
        parts.append(Map(f"Change of {label.lower()}", drawing, note))
    if overall:
        parts.append(Titled(label, Table.of(overall, [MODEL, *columns])))
    if each:
        of_condition: list[Column] = [
            (
                "Perturbation",
                lambda e: perturbation_label(e["perturbation"]) if e["condition"] else ORIGINALS,
            ),
            ("Strength", lambda e: setting(e["condition"]) if e["condition"] else ""),
        ]
        table = Table.of(each, [MODEL, *of_condition, *columns])
        parts.append(Titled(f"{label} by condition", table, long=True))
    return parts


def _sentences(judged: Mapping[str, Sequence[Entry]]) -> list[str]:
    return [
        sentence(entry, quantity)
        for quantity, entries in judged.items()
        for entry in entries
        if entry["condition"] is None
    ]


def blocks(comparison: Comparison) -> Iterator[Text | Titled]:
    """The comparison as the command line prints it, each condition by its own quantity."""
    images = counted(comparison.images, "shared image")
    yield Text(f"{comparison.other.id} against {comparison.baseline.id}: {images}.")
    if comparison.rows is not None:
        yield Text(comparison.rows.sentence)
    judged = _judged(comparison)
    for text in (*comparison.notes, *_sentences(judged)):
        yield Text(text)
    for quantity, entries in judged.items():
        yield from (block for block in tables(entries, quantity) if isinstance(block, Titled))
    if judged:
        yield Text(TEST_SUMMARY)


def of_comparison(comparison: Comparison) -> Report:
    """The report of ``comparison``; its rows are those of the other run.

    Raises ``RunError`` if nothing can be compared.
    """
    baseline = comparison.baseline
    other = comparison.other
    judged = _judged(comparison)
    if not judged:
        raise RunError(" ".join(comparison.notes))
    (first, *_) = judged
    spec = other.manifest.spec
    every = [entry for entries in judged.values() for entry in entries]
    names = dict.fromkeys(model(e["model"]) for e in every)
    sentences = [*_sentences(judged)]
    rows = [] if comparison.rows is None else [comparison.rows.sentence]
    blocks_of = {quantity: tables(entries, quantity) for quantity, entries in judged.items()}
    return Report(
        title=f"{other.manifest.dataset.title}: {other.id} against {baseline.id}",
        answers=[
            ("What has changed?", headline([comparison], first)),
            ("By how much?", " ".join(sentences)),
        ],
        facts=[
            ("Baseline", baseline.id),
            ("This run", other.id),
            ("Shared images", f"{comparison.images:,}"),
            ("Models", ", ".join(names)),
            *([("Preprocessing", text)] if (text := preprocessing(spec)) else []),
        ],
        cautions=[*rows, *comparison.notes],
        sections=[
            Section(QUANTITIES[quantity], [*of_quantity, Text(TEST_SUMMARY)])
            for quantity, of_quantity in blocks_of.items()
        ],
        brief=[
            block
            for of_quantity in blocks_of.values()
            for block in of_quantity
            if isinstance(block, Map) or not block.long
        ],
        methods=methods.blocks(spec.conditions, ["Rates", "Intervals", "Comparing models"]),
        limits=methods.limits(),
        manifest={"baseline": shared_manifest(baseline), "run": shared_manifest(other)},
        replay=(
            f"`python -m robustness runs compare {baseline.id} {other.id}` compares the folders of "
            "these runs again."
        ),
        data=Data(other.tables, {"differences": comparison.differences}, other.own_scores),
    )


def _interval(entry: Entry, quantity: str) -> str:
    return interval(entry, f"{quantity}_difference", points, "")
