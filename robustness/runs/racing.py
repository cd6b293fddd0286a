"""Races over saved rows: the next images and models, and the decision so far."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from robustness import models
from robustness.base.errors import ParameterError
from robustness.base.text import counted
from robustness.base.validation import CONFIG
from robustness.evaluation.random_order import shuffled
from robustness.evaluation.request import Request
from robustness.statistics.criteria import MARGIN
from robustness.statistics.racing import BEST, GATE, ORDER, GateRace, ModelRace, RaceLimit

MOST_MODELS, MOST_LIMITS = 64, 4096
BATCH = 1
"""Images between two decisions."""

IMAGE, CLASS = "image", "class"
COLUMNS = ("position", "label", "model", "condition")
FLAGS = ("consistent", "correct", "clean_correct")

UNTIL: Mapping[str, Literal["best", "order"]] = {"settled": BEST, "ordered": ORDER}
"""The names of the goals of races among models."""

Word = Annotated[str, Field(max_length=4096)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Limit:
    """A limit of a gate, as ``RaceLimit`` has it; ``conditions`` are ids, () for all."""

    __pydantic_config__ = CONFIG

    model: Word
    quantity: Literal["consistent", "correct", "drop"]
    conditions: tuple[Word, ...]
    wanted: Share

    @property
    def bare(self) -> RaceLimit:
        return RaceLimit(self.model, self.quantity, self.conditions, self.wanted)


@dataclass(frozen=True)
class Race:
    """What a race settles, and by what.

    ``margin`` is the smallest difference that matters. ``unit`` is what is drawn at random: images,
    or classes where other classes matter as well. ``quantity`` is what models are scored by.
    ``limits`` are those of a gate.
    """

    __pydantic_config__ = CONFIG

    goal: Literal["best", "order", "gate"] = "best"
    margin: Share = MARGIN
    unit: Literal["image", "class"] = "image"
    quantity: Literal["accuracy", "consistency"] = "consistency"
    limits: tuple[Limit, ...] = ()


def race_until(until: str, margin: float = MARGIN, unit: str = IMAGE) -> Race:
    """The race among models that these words ask for; raises ``ParameterError`` for others."""
    for name, value, choices in (("until", until, tuple(UNTIL)), ("unit", unit, (IMAGE, CLASS))):
        if value not in choices:
            raise ParameterError(f"Expected {name} to be {' or '.join(choices)}, got {value!r}.")
    if not 0 <= margin <= 1:
        raise ParameterError(f"Expected margin to be a number from 0 to 1, got {margin:g}.")
    return Race(goal=UNTIL[until], margin=margin, unit="class" if unit == CLASS else "image")


def planned(race: Race, spec: Request, labels: Mapping[str, Sequence[int | None]]) -> Race:
    """``race`` with the quantity that the images allow; raises ``ParameterError`` if it cannot be.

    ``labels`` are those of a plan.
    """
    attacks = [condition.label for condition in spec.conditions if condition.needs_model]
    if attacks:
        raise ParameterError(
            f"Expected perturbations without attacks for a race, got {attacks[0]}: evaluate "
            "attacks on all images instead.",
            hint="Leave out --until.",
        )
    if race.goal != GATE and len(spec.models) < 2:
        raise ParameterError(
            "Expected at least two models for a race, got one: add one, or evaluate all images.",
            hint="Leave out --until.",
        )
    if len(labels) > 1:
        raise ParameterError(
            "Expected models with the same classes for a race, got different ones: race the models "
            "of each set of classes."
        )
    check_size(race, spec)
    (indices,) = labels.values()
    is_labelled = any(label is not None for label in indices)
    needs = race.unit == CLASS or any(limit.quantity != "consistent" for limit in race.limits)
    if needs and not is_labelled:
        raise ParameterError(
            "Expected labelled images for accuracy or for classes as the unit, got images without "
            "labels: add labels, or leave these out."
        )
    return replace(race, quantity="accuracy" if is_labelled else "consistency")


def order(race: Race, labels: Mapping[str, Sequence[int | None]], seed: int) -> list[int]:
    """The positions of the images that count, in random order."""
    (indices,) = labels.values()
    places = shuffled(indices if race.unit == CLASS else None, len(indices), seed)
    return [place for place in places if indices[place] is not None or not needs_label(race)]


def needs_label(race: Race) -> bool:
    """Whether an image without a label says nothing in ``race``."""
    if race.goal == GATE and race.unit == IMAGE:
        return all(limit.quantity != "consistent" for limit in race.limits)
    return race.unit == CLASS or race.quantity == "accuracy"


def check_size(race: Race, spec: Request) -> None:
    """Raise ``ParameterError`` for more models or limits than a race has memory for, or no limit.

    Manifests from elsewhere may claim any number.
    """
    what, count, least, most = "models", len(spec.models), 1, MOST_MODELS
    if race.goal == GATE:
        what, count, least, most = "limits", len(race.limits), 1, MOST_LIMITS
    if not least <= count <= most:
        raise ParameterError(f"Expected {least} to {most:,} {what} for a race, got {count:,}.")


class Track:
    """A race, which takes rows in the order of its images.

    ``total`` images count, each with its own digest in ``digests``; ``skipped`` images do not.
    """

    def __init__(self, race: Race, spec: Request) -> None:
        self.race, self.total, self.skipped, self.units = race, 0, 0, 0
        check_size(race, spec)
        self.contest: ModelRace | GateRace
        if race.goal == GATE:
            self.contest = GateRace([limit.bare for limit in race.limits])
        else:
            self.contest = ModelRace(spec.model_names, race.goal, race.margin)
        self.decisions: list[dict[str, Any]] = []
        self.digests: set[str] = set()
        self._needs_label = needs_label(race)
        self._class: int | None = None
        self._waiting: list[Mapping[Any, float]] = []
        self._names: Sequence[Any] = (
            range(len(race.limits)) if race.goal == GATE else spec.model_names
        )

    @property
    def ends(self) -> bool:
        """Whether the race is over."""
        return self.contest.settled

    @property
    def running(self) -> tuple[str, ...]:
        """The models that predict the next image."""
        return self.contest.running

    def feed(self, table: pa.Table, digests: Mapping[int, str], batch: int, lacking: int) -> None:
        """Take in the rows of the next images, and that as many as ``lacking`` have no rows.

        ``digests`` are those of the images, by position. Decides after every chunk of ``batch``
        images, as when these were asked.
        """
        self.skipped += lacking
        for _, chunk in itertools.groupby(
            self._by_image(table, digests), lambda cells: cells[0]["position"] // batch
        ):
            for cells in chunk:
                self.total += 1
                if self.race.unit == CLASS and cells[0]["label"] != self._class:
                    self._unit()
                    self._class = cells[0]["label"]
                self._waiting.append(self._figures(cells))
                if self.race.unit == IMAGE:
                    self._unit()
            self._decide()

    def close(self) -> None:
        """Decide by all images, unless that is settled: there are no more."""
        if not self.contest.settled:
            self._unit()
            self._decide(last=True)

    def _decide(self, *, last: bool = False) -> None:
        before = self.contest.running
        self.contest.decide(last=last)
        if self.contest.running != before:
            left = [name for name in before if name not in self.contest.running]
            self.decisions.append({"images": self.total, "decided": left})

    def _unit(self) -> None:
        """Bet on the image or class that is complete."""
        if not self._waiting:
            return
        means = {
            name: float(np.mean(values))
            for name in self._names
            if (values := [image[name] for image in self._waiting if name in image])
        }
        self._waiting = []
        self.units += 1
        if isinstance(self.contest, GateRace):
            values = [means.get(at, np.nan) for at in range(len(self.race.limits))]
            self.contest.add(np.array(values))
        else:
            self.contest.add(means)

    def _by_image(
        self, table: pa.Table, digests: Mapping[int, str]
    ) -> Iterator[list[Mapping[str, Any]]]:
        """The rows of each image that counts: no copy, and with a label if the race needs one."""
        images: dict[int, list[Mapping[str, Any]]] = {}
        for row in table.select([*COLUMNS, *FLAGS]).to_pylist():
            images.setdefault(row["position"], []).append(row)
        for position in sorted(images):
            first = images[position][0]
            if digests[position] in self.digests or (self._needs_label and first["label"] is None):
                self.skipped += 1
                continue
            self.digests.add(digests[position])
            yield images[position]

    def _figures(self, cells: Sequence[Mapping[str, Any]]) -> dict[Any, float]:
        """The figures of one image: by model, or by the place of a limit."""
        if self.race.goal != GATE:
            of = "correct" if self.race.quantity == "accuracy" else "consistent"
            return _means((cell["model"], cell[of]) for cell in cells)
        return _means(
            (at, _value(limit.quantity, cell))
            for at, limit in enumerate(self.race.limits)
            for cell in cells
            if cell["model"] == limit.model
            and (not limit.conditions or cell["condition"] in limit.conditions)
        )

    def outcome(self) -> dict[str, Any]:
        """JSON-ready: what is settled, after how many images, and when models left."""
        return {
            **self.contest.outcome(),
            "goal": self.race.goal,
            "unit": self.race.unit,
            "units": self.units,
            "quantity": self.race.quantity,
            "margin": self.race.margin,
            "images": self.total,
            "skipped": self.skipped,
            "decisions": self.decisions,
        }


def _value(quantity: str, cell: Mapping[str, Any]) -> float | None:
    if quantity != "drop":
        value: float | None = cell[quantity]
        return value
    if cell["correct"] is None:
        return None
    return float(cell["clean_correct"]) - float(cell["correct"])


def _means(pairs: Iterable[tuple[Any, float | None]]) -> dict[Any, float]:
    groups: dict[Any, list[float]] = {}
    for name, value in pairs:
        if value is not None:
            groups.setdefault(name, []).append(float(value))
    return {name: sum(values) / len(values) for name, values in groups.items()}


def skipped(outcome: Mapping[str, Any]) -> int:
    """How many images did not count so far: unreadable ones, and copies of others."""
    return int(outcome.get("skipped", 0))  # earlier versions kept no such number


def sentences(outcome: Mapping[str, Any], pictures: int) -> list[str]:
    """The ``outcome`` of a race of so many images, in words."""
    on = f"{outcome['images']:,} of {counted(pictures - skipped(outcome), 'image')}"
    head = f"Settled after {on}" if outcome["settled"] else f"Not settled after {on}"
    if outcome["goal"] == GATE:
        broken = [limit for limit in outcome["limits"] if limit["outcome"] == "broken"]
        undecided = [limit for limit in outcome["limits"] if limit["outcome"] == "not shown"]
        if outcome["passed"]:
            return [f"{head}: every limit is kept ({len(outcome['limits'])})."]
        if broken:
            return [f"{head}: {counted(len(broken), 'limit')} broken."]
        return [f"{head}: {counted(len(undecided), 'limit')} undecided."]
    gaps = {(gap["better"], gap["worse"]): gap for gap in outcome["differences"]}
    return [f"{head}: {_answer(outcome, gaps)}.", *_others(outcome, gaps)]


def _answer(outcome: Mapping[str, Any], gaps: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    names = [models.label(name) for name in outcome["best"]]
    if not names:
        return "every model is worse than another one, so there is no best"
    if outcome["goal"] == ORDER and outcome["settled"]:
        ranked = outcome["order"]
        leads = [
            f"{models.label(b)} by {_between(_gap(gaps, a, b))}"
            for a, b in itertools.pairwise(ranked)
        ]
        return f"{models.label(ranked[0])} is best, then {', then '.join(leads)}"
    if len(names) == 1:
        leads = [
            f"{models.label(worse)} by {_between(_gap(gaps, outcome['best'][0], worse))}"
            for worse in outcome["worse"]
        ]
        return f"{names[0]} is better than {' and '.join(leads)}"
    said = " and ".join([", ".join(names[:-1]), names[-1]])
    if outcome["settled"]:
        margin = f"{100 * outcome['margin']:g}"
        return f"{said} are tied within {counted(margin, 'point')}"
    if len(names) > 2:
        return f"no clear winner among {said}"
    between = _between(_gap(gaps, outcome["best"][0], outcome["best"][1]))
    return f"no clear winner between {said} ({names[0]} minus {names[1]}: {between})"


def _others(
    outcome: Mapping[str, Any], gaps: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Iterator[str]:
    """The models that left a race that has no single winner."""
    if len(outcome["best"]) < 2 or (outcome["goal"] == ORDER and outcome["settled"]):
        return
    for worse in outcome["worse"]:
        bounds, best = max((_gap(gaps, best, worse), best) for best in outcome["best"])
        yield f"{models.label(worse)} is worse than {models.label(best)} by {_between(bounds)}."


def _gap(
    gaps: Mapping[tuple[str, str], Mapping[str, Any]], better: str, worse: str
) -> tuple[float, float]:
    if (better, worse) in gaps:
        return gaps[better, worse]["low"], gaps[better, worse]["high"]
    return -gaps[worse, better]["high"], -gaps[worse, better]["low"]


def _between(bounds: tuple[float, float]) -> str:
    low, high = (f"{round(100 * bound, 1) + 0.0:g}" for bound in bounds)
    return f"{'up' if low == '0' else low} to {counted(high, 'point')}"
