"""A domain: the conditions in which a model must work, as ranges of strength of perturbations.

As a TOML file::

    name = "outdoor camera"
    owner = "Perception team"                     # default: nobody
    min_accuracy = 0.7                            # or min_consistency, which needs no labels
    requirement = "REQ-1"                         # of that limit; default: none
    fit = "crop"                                  # as in a request; default: each model's own
    side = 224
    outside = ["drops on the lens", "night"]      # what belongs to it and is not tested

    [ranges]
    fog = [0, 0.3]                                # strengths, from the mildest to the strongest
    gaussian_noise = { strength = [0, 0.2], requirement = "REQ-7", source = "data sheet" }
    darkness = { value = [0, -1.5], unit = "stops" }

A domain is tested by conditions of three kinds. A *single* has one perturbation above its lowest
strength, a *pair* two, each at the limit of their ranges and in the middle. The rows of the *array*
set all ranges at once, to several levels each: every two levels of any two ranges occur together in
a row, so that it finds what only three or more perturbations break.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from robustness.base.errors import ParameterError
from robustness.base.toml import parse_toml, read_toml
from robustness.base.validation import (
    RefusedError,
    StrictTable,
    as_refusal,
    checked,
    expected,
    parsed_by,
)
from robustness.images.framing import Framing, check_framing
from robustness.measure.condition import Condition
from robustness.measure.covering import covering_array, together
from robustness.perturbations import REGISTRY, Perturbation

LEVELS = 5
"""Levels of each range in the array: both ends, the middle, and those between."""

FEWEST_RANGES = 2
MOST_TEXT = 200
"""The longest name, owner, requirement or other text."""

_DIGITS = 6
"""Digits of strengths after the point, so that their ids are short."""

_NARROWEST = 0.001
"""The narrowest range, whose levels are different strengths."""

_Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MOST_TEXT, strip_whitespace=True),
    expected(f"a text of 1 to {MOST_TEXT} letters"),
]
_Share = Annotated[float, Field(ge=0, le=1), expected("a number between 0 and 1")]
_Ends = Annotated[
    list[float],
    Field(min_length=2, max_length=2),
    expected("two numbers, the mildest and the strongest"),
]


@dataclass(frozen=True)
class Range:
    """The strengths of one perturbation in a domain, from ``low`` to ``high``.

    ``requirement`` is the id of what asks for it, and ``source`` says where the ends come from;
    both may be empty. ``range_of`` makes one with checks.
    """

    perturbation: str
    low: float
    high: float
    requirement: str = ""
    source: str = ""

    @property
    def record(self) -> Perturbation:
        return REGISTRY[self.perturbation]

    @property
    def middle(self) -> float:
        """The strength in the middle; that of a switch is the higher one."""
        if not self.record.graded:
            return self.high
        return round((self.low + self.high) / 2, _DIGITS)

    @property
    def levels(self) -> tuple[float, ...]:
        """Strengths from ``low`` to ``high`` at equal distances; of a switch, both ends."""
        count = LEVELS if self.record.graded else 2
        step = (self.high - self.low) / (count - 1)
        inner = [round(self.low + index * step, _DIGITS) for index in range(1, count - 1)]
        return (self.low, *inner, self.high)

    @property
    def text(self) -> str:
        """The range in words: "Fog effect 0 to 0.3 (off to fog 1.75 x)"."""
        record = self.record
        if not record.graded:
            return f"{record.label} on or off"
        values = f"{record.value_text(self.low)} to {record.value_text(self.high)}"
        return f"{record.label} {self.low:g} to {self.high:g} ({values})"

    def as_dict(self) -> dict[str, Any]:
        """What ``range_of`` reads back."""
        values: dict[str, Any] = {"strength": [self.low, self.high]}
        if self.requirement:
            values["requirement"] = self.requirement
        if self.source:
            values["source"] = self.source
        return values


class _RangeTable(StrictTable):
    """The range of a perturbation, as strengths or as values of its parameter."""

    strength: _Ends | None = None
    value: _Ends | None = None
    unit: str | None = None
    requirement: _Text | None = None
    source: _Text | None = None

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if (self.strength is None) == (self.value is None):
            raise RefusedError("expected either strength or value, as two numbers")
        if self.unit is not None and self.value is None:
            raise RefusedError("expected a unit beside value only: strengths have none")
        return self


def range_of(name: str, values: Any) -> Range:
    """Return the range of the perturbation ``name``.

    ``values`` are two strengths, or a table as in the file. Raises ``UnknownNameError`` for a
    perturbation that does not exist, and ``ParameterError`` for ends that are out of range or in
    the wrong order, and for a unit that is not the perturbation's.
    """
    record = REGISTRY[name]
    if not isinstance(values, Mapping):
        values = {"strength": list(values) if isinstance(values, tuple) else values}
    table = checked(_RangeTable, values, name)
    if table.strength is not None:
        low, high = table.strength
    else:
        assert table.value is not None
        if table.unit is not None and table.unit != record.unit:
            raise ParameterError(
                f"{name}: expected values in {record.unit!r} ({record.parameter}), got "
                f"{table.unit!r}."
            )
        low, high = (strength_at(record, value) for value in table.value)
    is_wide_enough = round(high - low, _DIGITS) >= _NARROWEST
    if not (low >= 0 and is_wide_enough and high <= 1):
        got = f"{low:g} and {high:g}"
        if table.value is not None:
            first, last = table.value
            got += f", the strengths of {first:g} and {last:g} {record.unit}".rstrip()
        raise ParameterError(
            f"{name}: expected a lower and a higher strength from 0 to 1, at least {_NARROWEST:g} "
            f"apart, got {got}."
        )
    if not record.graded and (low, high) != (0, 1):
        raise ParameterError(
            f"{name}: expected the range [0, 1], as it is on or off, got [{low:g}, {high:g}]."
        )
    return Range(
        perturbation=record.name,
        low=round(float(low), _DIGITS),
        high=round(float(high), _DIGITS),
        requirement=table.requirement or "",
        source=table.source or "",
    )


_STEPS = 1000
"""Strengths at which a parameter is compared, to see that it only rises or only falls."""

_BISECTIONS = 30
_ROUNDING = 0.001
"""A difference of a parameter that rounding the strength explains."""


def strength_at(record: Perturbation, value: float) -> float:
    """Return the smallest strength at which the parameter of ``record`` reaches ``value``.

    Raises ``ParameterError`` for a value that no strength has, and for a parameter that has some
    values twice.
    """
    parameters = [record.value_at(step / _STEPS) for step in range(_STEPS + 1)]
    sign = 1 if parameters[-1] > parameters[0] else -1
    rising = [sign * parameter for parameter in parameters]
    if not record.graded or rising != sorted(rising):
        raise ParameterError(
            f"{record.name}: expected strengths, as no value of its {record.parameter} tells them; "
            "got a value."
        )
    if not rising[0] <= sign * value <= rising[-1]:
        raise ParameterError(
            f"{record.name}: expected values from {parameters[0]:g} to {parameters[-1]:g} "
            f"({record.parameter}, in {record.unit}), got {value:g}."
        )
    below = 0.0
    above = 1.0
    if rising[0] >= sign * value:
        return below
    for _ in range(_BISECTIONS):
        middle = (below + above) / 2
        if sign * record.value_at(middle) >= sign * value:
            above = middle
        else:
            below = middle
    strength = round(above, _DIGITS)
    # A parameter of whole numbers may not yet be there at the rounded strength.
    if sign * record.value_at(strength) < sign * value - _ROUNDING:
        strength = round(strength + 10**-_DIGITS, _DIGITS)
    return strength


@dataclass(frozen=True)
class Cell:
    """One or two perturbations of a domain, all others at their lowest strength."""

    perturbations: tuple[str, ...]
    limit: Condition
    """All of them at the limit of their ranges."""
    middle: Condition
    """All of them in the middle."""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Both conditions; one where they are the same, as for switches."""
        return tuple(dict.fromkeys([self.limit, self.middle]))

    @property
    def label(self) -> str:
        """The labels of the perturbations: "Fog effect + Random noise"."""
        return " + ".join(REGISTRY[name].label for name in self.perturbations)


@dataclass(frozen=True)
class Domain:
    """The conditions in which a model must work; ``domain_of`` and ``read_domain`` make one.

    Exactly one of ``min_accuracy`` and ``min_consistency`` is given. ``requirement`` is the id of
    what asks for it. ``outside`` names what belongs to the domain and is not tested.
    """

    name: str
    ranges: tuple[Range, ...]
    owner: str = ""
    min_accuracy: float | None = None
    min_consistency: float | None = None
    requirement: str = ""
    fit: str | None = None
    side: int | None = None
    outside: tuple[str, ...] = ()

    @property
    def limit(self) -> tuple[str, float]:
        """The kind of limit, "min_accuracy" or "min_consistency", and its value in [0, 1]."""
        if self.min_accuracy is not None:
            return "min_accuracy", self.min_accuracy
        assert self.min_consistency is not None
        return "min_consistency", self.min_consistency

    @property
    def limit_text(self) -> str:
        """The limit in words: "accuracy of at least 70%"."""
        kind, share = self.limit
        return f"{kind.removeprefix('min_')} of at least {100 * share:g}%"

    @property
    def perturbations(self) -> tuple[str, ...]:
        return tuple(each.perturbation for each in self.ranges)

    @cached_property
    def singles(self) -> tuple[Cell, ...]:
        """The cell of each perturbation alone, in the order of the ranges."""
        return tuple(self._cell(each) for each in self.ranges)

    @cached_property
    def pairs(self) -> tuple[Cell, ...]:
        """The cells of every two perturbations."""
        return tuple(self._cell(*two) for two in combinations(self.ranges, 2))

    @cached_property
    def array(self) -> tuple[Condition, ...]:
        """The rows that set all ranges at once: every two levels of any two ranges share a row.

        A row without any perturbation is left out, as every run has the original.
        """
        all_levels = [each.levels for each in self.ranges]
        conditions = []
        for row in covering_array([len(levels) for levels in all_levels]):
            strengths = {}
            for each, levels, index in zip(self.ranges, all_levels, row, strict=True):
                strengths[each.perturbation] = levels[index]
            conditions.append(Condition.of(strengths))
        return tuple(condition for condition in conditions if not condition.idle)

    def levels_together(self, conditions: Iterable[Condition], count: int) -> tuple[int, int]:
        """How many combinations of levels of ``count`` ranges ``conditions`` have, of how many.

        ``conditions`` are rows of the array. The row without any perturbation counts as one of
        them where the ranges begin with it, as every run has the original.
        """
        rows = []
        for condition in conditions:
            strengths = dict(condition.steps)
            rows.append([strengths.get(name, 0.0) for name in self.perturbations])
        if all(each.low == 0 for each in self.ranges):
            rows.append([0.0] * len(self.ranges))
        return together(rows, [len(each.levels) for each in self.ranges], count)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of all cells and of the array, each once."""
        conditions: list[Condition] = []
        for cell in (*self.singles, *self.pairs):
            conditions += cell.conditions
        return tuple(dict.fromkeys([*conditions, *self.array]))

    def at(self, strengths: Mapping[str, float]) -> Condition:
        """The condition of ``strengths``, with all other perturbations at their lowest strength."""
        lowest = {each.perturbation: each.low for each in self.ranges}
        return Condition.of({**lowest, **strengths})

    def holds(self, condition: Condition) -> bool:
        """Whether ``condition`` is a composition within the domain."""
        if condition.needs_model or condition.in_files:
            return False
        strengths = dict(condition.steps)
        if any(name not in self.perturbations and strengths[name] > 0 for name in strengths):
            return False
        return all(
            each.low <= strengths.get(each.perturbation, 0.0) <= each.high for each in self.ranges
        )

    def check_framing(self, fit: str | None, side: int | None) -> None:
        """Raise ``ParameterError`` for a ``fit`` or ``side`` other than the declared one."""
        for name, wanted, declared in (("fit", fit, self.fit), ("side", side, self.side)):
            if wanted is not None and declared is not None and wanted != declared:
                raise ParameterError(
                    f"Expected the {name} of the domain {self.name!r}, {declared}, got {wanted}."
                )

    def requirements_of(self, condition: Condition) -> tuple[str, ...]:
        """The ids of the requirements that ask for ``condition``: the limit's, and its ranges'."""
        ids = [self.requirement]
        for each in self.ranges:
            if each.perturbation in condition.perturbations:
                ids.append(each.requirement)
        return tuple(dict.fromkeys(name for name in ids if name))

    def _cell(self, *ranges: Range) -> Cell:
        return Cell(
            perturbations=tuple(each.perturbation for each in ranges),
            limit=self.at({each.perturbation: each.high for each in ranges}),
            middle=self.at({each.perturbation: each.middle for each in ranges}),
        )

    def as_dict(self) -> dict[str, Any]:
        """The domain as JSON has it, which ``domain_of`` reads back."""
        kind, share = self.limit
        values: dict[str, Any] = {"name": self.name, kind: share}
        for key in ("owner", "requirement", "fit", "side"):
            if getattr(self, key):
                values[key] = getattr(self, key)
        if self.outside:
            values["outside"] = list(self.outside)
        values["ranges"] = {each.perturbation: each.as_dict() for each in self.ranges}
        return values

    @property
    def digest(self) -> str:
        """The SHA-256 of everything that is declared."""
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def as_toml(self, table: str = "") -> str:
        """The domain as a TOML file, which ``read_domain`` reads back, or as a ``table`` of one."""
        values = self.as_dict()
        ranges = values.pop("ranges")
        lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
        if table:
            lines.insert(0, f"[{table}]")
        lines += ["", f"[{table}.ranges]" if table else "[ranges]"]
        for each in self.ranges:
            lines.append(f"# {each.text}")
            lines.append(f"{each.perturbation} = {_toml(ranges[each.perturbation])}")
        return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """``value`` as an inline value of TOML; texts and lists are those of JSON."""
    if isinstance(value, Mapping):
        entries = [f"{key} = {_toml(entry)}" for key, entry in value.items()]
        return f"{{ {', '.join(entries)} }}"
    # JSON leaves the delete character as it is, which TOML refuses.
    return json.dumps(value).replace("\x7f", "\\u007f")


def _ranges(values: Any) -> dict[str, Range]:
    """The ranges of the table ``values``, by the names of perturbations."""
    if not isinstance(values, Mapping):
        raise RefusedError(
            f"expected a table of ranges by perturbation, such as fog = [0, 0.3], got {values!r}"
        )
    ranges: dict[str, Range] = {}
    for name, ends in values.items():
        each = range_of(str(name), ends)
        if each.perturbation in ranges:
            raise RefusedError(f"expected each perturbation once, got {each.perturbation} twice")
        ranges[each.perturbation] = each
    if len(ranges) < FEWEST_RANGES:
        raise RefusedError(
            f"expected ranges of {FEWEST_RANGES} perturbations or more, got {len(ranges)}"
        )
    return ranges


class _DomainTable(StrictTable):
    """The keys of a TOML file."""

    name: _Text
    owner: _Text | None = None
    min_accuracy: _Share | None = None
    min_consistency: _Share | None = None
    requirement: _Text | None = None
    fit: str | None = None
    side: int | None = None
    outside: Annotated[list[_Text], expected("a list of texts")] = Field(default_factory=list)
    ranges: Annotated[dict[str, Range], parsed_by(_ranges)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.min_accuracy is None) == (self.min_consistency is None):
            raise RefusedError(
                "expected either min_accuracy or min_consistency (without labels), such as "
                "min_accuracy = 0.7"
            )
        framing = Framing()
        if self.fit is not None:
            framing = framing._replace(fit=self.fit)
        if self.side is not None:
            framing = framing._replace(side=self.side)
        with as_refusal():
            check_framing(framing)
        return self


def domain_of(values: Any, where: str = "") -> Domain:
    """Return the domain of ``values``, a mapping with the keys of the file.

    The values of ``ranges`` may be two strengths or tables. Error messages begin with ``where``.
    Raises ``ParameterError`` for anything that no domain has.
    """
    table = checked(_DomainTable, values, where)
    return Domain(
        name=table.name,
        ranges=tuple(table.ranges.values()),
        owner=table.owner or "",
        min_accuracy=table.min_accuracy,
        min_consistency=table.min_consistency,
        requirement=table.requirement or "",
        fit=table.fit,
        side=table.side,
        outside=tuple(table.outside),
    )


def read_domain(path: Path, data: bytes | None = None) -> Domain:
    """Return the domain in the TOML file ``path``, or in its bytes ``data`` if they are given.

    Raises as ``domain_of``.
    """
    values = read_toml(path) if data is None else parse_toml(data, path.name)
    return domain_of(values, str(path))
