"""What changed between two runs: sentences and tables of a page and ``runs compare``.

``entries`` are ``Comparison.differences`` that know ``quantity``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from robustness.base.errors import RunError
from robustness.base.text import all_of, counted, figure_text, in_sentence, points
from robustness.measure.condition import perturbation_label, setting, short
from robustness.report import maps, methods
from robustness.report.blocks import MODEL, Data, Map, Report, Section, Text, Titled, model_label
from robustness.report.charts import quantity_title
from robustness.report.facts import preprocessing, shared_manifest
from robustness.report.maps import ORIGINALS
from robustness.report.tables import Column, Entry, Table, figure, interval
from robustness.statistics import TEST_SUMMARY
from robustness.statistics.pairs import BETTER, CLEAN, OPEN, WORSE, verdict_text
from robustness.statistics.tables import MOST_UNLABELLED

if TYPE_CHECKING:
    from robustness.runs import Comparison


def sentence(entry: Entry, quantity: str, score: str = "") -> str:
    """Return the sentence on the change of one model over all conditions.

    ``score`` is the name of the score of the runs, "" for predictions.
    """
    title = in_sentence(quantity_title(quantity, score))
    subject = f"{model_label(entry['model'])}: {title}"
    before = figure_text(entry, f"{quantity}_a", ".1%")
    after = figure_text(entry, f"{quantity}_b", ".1%")
    if not entry[f"{quantity}_moved"]:
        return f"{subject} unchanged, {after}."
    change = f"{figure_text(entry, f'{quantity}_difference', points)} points"
    bounds = _interval(entry, quantity)
    if bounds:
        change += f", {bounds}"
    verdict = verdict_text(entry[f"{quantity}_verdict"])
    return f"{subject} {before} → {after} ({change}), {verdict}."


def by_condition(entries: Sequence[Entry], quantity: str) -> list[Entry]:
    """Return the entries of single conditions, for an accuracy after those of the originals.

    The originals have the condition "", and their accuracy has the keys of ``quantity``. For
    consistency, attacks on labelled images are left out, under which only some images count.
    """
    single = [entry for entry in entries if entry["condition"] is not None]
    if quantity == "consistency":
        return [entry for entry in single if entry["judged_by"] == "consistency"]
    originals = [
        _originals_entry(entry, quantity)
        for entry in entries
        if entry["condition"] is None and entry[f"{CLEAN}_difference"] is not None
    ]
    return [*originals, *single]


def _originals_entry(entry: Entry, quantity: str) -> Entry:
    """Return ``entry`` with the accuracy of the originals under the keys of ``quantity``."""
    originals = {**entry, "condition": ""}
    for name, value in entry.items():
        if name.startswith(CLEAN):
            originals[f"{quantity}_{name.removeprefix(f'{CLEAN}_')}"] = value
    return originals


def changes(entries: Sequence[Entry], quantity: str) -> list[maps.ShareChange]:
    """Return the changes of each model under each condition of ``entries``, for a map."""
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
    """Return the quantity of ``entry`` that page and command line show, as in the answer of a run.

    It is robust accuracy for attacks on labelled images, else accuracy if enough images have a
    label, else consistency.
    """
    labelled = entry["perturbed_accuracy_images"] >= (1 - MOST_UNLABELLED) * entry["n_images"]
    if entry["judged_by"] != "consistency" or not labelled:
        return str(entry["judged_by"])
    return "perturbed_accuracy"


def key(entry: Entry) -> str:
    """Return the key of the tile of ``entry`` in a map."""
    return json.dumps([entry["model"], entry["condition"]])


def headline(comparisons: Sequence[Comparison], quantity: str) -> str:
    """Return the sentence on how many models got worse or better.

    If no model did over all conditions, it counts cells of the map. It is "" if no model is in both
    runs of a comparison.
    """
    entries = [
        entry
        for comparison in comparisons
        for entry in comparison.differences
        if entry[f"{quantity}_difference"] is not None
    ]
    overall = [entry for entry in entries if entry["condition"] is None]
    if not overall:
        return ""
    title = in_sentence(quantity_title(quantity, comparisons[0].score))
    significant = _significant(overall, quantity)
    if len(significant) == 1 and len(comparisons) == 1:
        (entry,) = significant
        change = figure_text(entry, f"{quantity}_difference", points)
        verdict = verdict_text(entry[f"{quantity}_verdict"])
        return f"{model_label(entry['model'])} got {verdict}: {change} points of {title}."
    if significant:
        return f"{_counted_verdicts(overall, quantity, 'model')} in {title}."

    cells = by_condition(entries, quantity)
    significant = _significant(cells, quantity)
    if len(significant) == 1:
        (cell,) = significant
        where = f"under {short(cell['condition'])}" if cell["condition"] else "on the originals"
        verdict = verdict_text(cell[f"{quantity}_verdict"])
        return f"No significant change overall; {model_label(cell['model'])} got {verdict} {where}."
    if significant:
        return f"No significant change overall; {_counted_verdicts(cells, quantity, 'cell')}."
    return f"No significant change in {title}."


def _significant(entries: Sequence[Entry], quantity: str) -> list[Entry]:
    return [entry for entry in entries if entry[f"{quantity}_verdict"] in (WORSE, BETTER)]


def _counted_verdicts(entries: Sequence[Entry], quantity: str, noun: str) -> str:
    """Return the clauses on how many of ``entries`` got significantly worse, and how many better.

    ``noun`` is what an entry is called.
    """
    verdicts = [entry[f"{quantity}_verdict"] for entry in entries]
    clauses = []
    for verdict in (WORSE, BETTER):
        count = verdicts.count(verdict)
        if count == 0:
            continue
        if count == len(entries):
            subject = all_of(count, noun).capitalize()
        else:
            subject = f"{count} of {counted(len(entries), noun)}"
        clauses.append(f"{subject} got {verdict_text(verdict)}")
    return " and ".join(clauses)


def _judged(comparison: Comparison) -> dict[str, list[Entry]]:
    """Group the entries of ``comparison`` by the quantity that each is judged by."""
    judged: dict[str, list[Entry]] = {}
    for entry in comparison.differences:
        quantity = quantity_of(entry)
        if entry[f"{quantity}_difference"] is not None:
            judged.setdefault(quantity, []).append(entry)
    return judged


def tables(entries: Sequence[Entry], quantity: str, score: str = "") -> list[Titled | Map]:
    """Return the map of ``entries``, and tables of all conditions together and of each.

    ``score`` is the name of the score of the runs, "" for predictions.
    """
    label = quantity_title(quantity, score)
    columns: list[Column] = [
        ("Images", figure(f"{quantity}_images", ",")),
        ("Baseline", figure(f"{quantity}_a", ".1%")),
        ("This run", figure(f"{quantity}_b", ".1%")),
        ("Change, points", figure(f"{quantity}_difference", points)),
        ("95% interval", lambda entry: _interval(entry, quantity) or "none"),
        ("Verdict", lambda entry: verdict_text(entry[f"{quantity}_verdict"])),
    ]
    overall = [entry for entry in entries if entry["condition"] is None]
    cells = by_condition(entries, quantity)
    parts: list[Titled | Map] = []
    if cells:
        drawing = maps.change_map(changes(entries, quantity), quantity, score)
        note = "Change in points. Pale: not significant."
        parts.append(Map(f"Change of {label.lower()}", drawing, note))
    if overall:
        parts.append(Titled(label, Table.of(overall, [MODEL, *columns])))
    if cells:
        condition_columns: list[Column] = [("Perturbation", _perturbation), ("Strength", _strength)]
        table = Table.of(cells, [MODEL, *condition_columns, *columns])
        parts.append(Titled(f"{label} by condition", table, long=True))
    return parts


def _perturbation(entry: Entry) -> str:
    if not entry["condition"]:
        return ORIGINALS
    return perturbation_label(entry["perturbation"])


def _strength(entry: Entry) -> str:
    if not entry["condition"]:
        return ""
    return setting(entry["condition"])


def _sentences(judged: Mapping[str, Sequence[Entry]], score: str) -> list[str]:
    sentences = []
    for quantity, entries in judged.items():
        for entry in entries:
            if entry["condition"] is None:
                sentences.append(sentence(entry, quantity, score))
    return sentences


def blocks(comparison: Comparison) -> Iterator[Text | Titled]:
    """Yield the comparison as the command line prints it, each condition by its own quantity."""
    images = counted(comparison.images, "shared image")
    yield Text(f"{comparison.other.id} against {comparison.baseline.id}: {images}.")
    if comparison.rows is not None:
        yield Text(comparison.rows.sentence)
    judged = _judged(comparison)
    for text in (*comparison.notes, *_sentences(judged, comparison.score)):
        yield Text(text)
    for quantity, entries in judged.items():
        for block in tables(entries, quantity, comparison.score):
            if isinstance(block, Titled):
                yield block
    if judged:
        yield Text(TEST_SUMMARY)


def of_comparison(comparison: Comparison) -> Report:
    """Return the report of ``comparison``, with the rows of its second run.

    Raises ``RunError`` if nothing can be compared.
    """
    baseline = comparison.baseline
    other = comparison.other
    judged = _judged(comparison)
    if not judged:
        raise RunError(" ".join(comparison.notes))
    first_quantity = next(iter(judged))
    names = dict.fromkeys(
        model_label(entry["model"]) for entries in judged.values() for entry in entries
    )
    facts = [
        ("Baseline", baseline.id),
        ("This run", other.id),
        ("Shared images", f"{comparison.images:,}"),
        ("Models", ", ".join(names)),
    ]
    spec = other.manifest.spec
    framings = preprocessing(spec)
    if framings:
        facts.append(("Preprocessing", framings))
    cautions = list(comparison.notes)
    if comparison.rows is not None:
        cautions.insert(0, comparison.rows.sentence)
    sections = []
    brief: list[Titled | Text | Map] = []
    for quantity, entries in judged.items():
        parts = tables(entries, quantity, comparison.score)
        title = quantity_title(quantity, comparison.score)
        sections.append(Section(title, [*parts, Text(TEST_SUMMARY)]))
        brief += [part for part in parts if isinstance(part, Map) or not part.long]
    return Report(
        title=f"{other.manifest.dataset.title}: {other.id} against {baseline.id}",
        answers=[
            ("What has changed?", headline([comparison], first_quantity)),
            ("By how much?", " ".join(_sentences(judged, comparison.score))),
        ],
        facts=facts,
        cautions=cautions,
        sections=sections,
        brief=brief,
        methods=methods.blocks(
            spec.conditions,
            ["Rates", "Intervals", "Comparing models"],
            has_scores=bool(comparison.score),
        ),
        limits=methods.limits(has_scores=bool(comparison.score)),
        manifest={"baseline": shared_manifest(baseline), "run": shared_manifest(other)},
        replay=(
            f"`python -m robustness runs compare {baseline.id} {other.id}` compares the folders of "
            "these runs again."
        ),
        data=Data(other.tables, {"differences": comparison.differences}, other.own_scores),
    )


def _interval(entry: Entry, quantity: str) -> str:
    return interval(entry, f"{quantity}_difference", points, "")
