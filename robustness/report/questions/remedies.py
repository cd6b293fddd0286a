"""The section that says what would help: the remedies that a run tried."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.charts.tables import Column, Entry, Table, in_points
from robustness.evaluation.condition import short
from robustness.remedies import parse
from robustness.report.blocks import Block, Text, Titled
from robustness.report.questions.question import REMEDIES, TRUST, Question
from robustness.report.wording import listed, model
from robustness.runs.remedies import RemedyFigures, remedy_figures
from robustness.statistics.remedies import Gain

TITLE = "What would help?"

_RULE = (
    "For each model and condition, the remedy with the largest gain on half of the images is "
    "chosen. Gains are measured on the other half. A remedy helps if its gain is significant: "
    "exact paired test with Holm's correction over models and conditions, and an interval above 0. "
    "Under attack each remedy is attacked through itself as well, and the worse prediction counts."
)
_NAMED = 3
"""Conditions that a sentence names."""


def answer(figures: RemedyFigures) -> str:
    """One sentence for each model: what helps under which condition, and where nothing does.

    Models that nothing helps share one.
    """
    by_model: dict[str, list[Gain]] = {}
    for gain in figures.gains:
        by_model.setdefault(gain.model, []).append(gain)
    helped = {name: own for name, own in by_model.items() if any(gain.helpful for gain in own)}
    said = [_sentence(name, own, len(by_model)) for name, own in helped.items()]
    if unhelped := [model(name) for name in by_model if name not in helped]:
        whom = f"{listed(unhelped, _NAMED)}: n" if helped else "N"
        said.append(f"{whom}o remedy helps significantly under any condition.")
    return " ".join(said)


def _sentence(name: str, own: Sequence[Gain], count: int) -> str:
    helpful = sorted((g for g in own if g.helpful), key=lambda g: -g.gain)
    helped = {gain.condition for gain in helpful}
    rest = [short(c) for c in dict.fromkeys(gain.condition for gain in own) if c not in helped]
    named: dict[tuple[str, int], list[Gain]] = {}
    for gain in helpful[:_NAMED]:
        named.setdefault((gain.remedy, round(100 * gain.cost_on_originals)), []).append(gain)
    parts = [_gains_of(remedy, cost, gains) for (remedy, cost), gains in named.items()]
    if rest:
        parts.append(f"no remedy helps significantly under {listed(rest, _NAMED)}")
    text = "; ".join(parts)
    return f"{model(name)}: {text}." if count > 1 else f"{text[:1].upper()}{text[1:]}."


def _gains_of(remedy: str, cost: int, gains: Sequence[Gain]) -> str:
    rows = [
        f"{100 * gain.gain:.0f}{'' if at else ' points'} ({100 * (gain.gain_low or 0):.0f} to "
        f"{100 * (gain.gain_high or 0):.0f}) under {short(gain.condition)}"
        for at, gain in enumerate(gains)
    ]
    price = "costs nothing" if cost == 0 else f"costs {cost}" if cost > 0 else f"gains {-cost}"
    comma = "," if len(gains) > 1 else ""
    return f"{parse(remedy).label} gains {listed(rows)}{comma} and {price} on originals"


def _blocks(figures: RemedyFigures) -> list[Block]:
    """The gains."""
    blocks: list[Block] = []
    if figures.gains:
        rows, columns = figures.as_rows(), _columns(figures)
        chosen = [row for row in rows if _verdict(row)]
        blocks += [
            Text(answer(figures), _RULE),
            Titled("Best remedy for each condition", Table.of(chosen, columns)),
            Titled("All remedies tried", Table.of(rows, columns), long=True),
        ]
    return blocks


def _quantity(figures: RemedyFigures) -> str:
    """What the shares are of; with some labels, of predictions that are correct or unchanged."""
    names = {True: "Accuracy", False: "Consistency", None: "Accuracy or consistency"}
    return names[figures.labelled]


def _columns(figures: RemedyFigures) -> list[Column]:
    return [
        ("Model", lambda entry: model(entry["model"])),
        ("Condition", lambda entry: short(entry["condition"])),
        ("Remedy", lambda entry: parse(entry["remedy"]).label),
        (f"Gain in {_quantity(figures).lower()}, points", lambda entry: in_points(entry, "gain")),
        ("Change on originals, points", _on_originals),
        ("Time", _time),
        ("Verdict", _verdict),
    ]


def _on_originals(entry: Entry) -> str:
    return f"{-100 * entry['cost_on_originals']:+z.1f}"


def _time(entry: Entry) -> str:
    took = entry["milliseconds"]
    return "" if took is None else f"{took:.3g} ms"


def _verdict(entry: Entry) -> str:
    return "helps" if entry["helpful"] else "chosen, not significant" if entry["chosen"] else ""


HELP = Question(
    "remedies",
    TITLE,
    _blocks,
    "remedies without training",
    figures=lambda of: remedy_figures(of.run),
    needs=(REMEDIES,),
    answers=lambda figures: [(TITLE, answer(figures))] if figures.gains else [],
    view=TRUST,
)
