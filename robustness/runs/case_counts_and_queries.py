"""The measurements of a saved run to look at, queried in its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from robustness.base.errors import ParameterError
from robustness.runs.row_queries_and_cells import ROW, Rows
from robustness.runs.row_selection import CASE_COLUMNS, SURVIVORS, WORST, RowSelection
from robustness.statistics.image_slices import inside

_REMEMBERED = 200  # answers
_MOST_REMEMBERED = 100  # cases of one

_LAST = "CASE WHEN isfinite({0}) THEN {0} ELSE 2 END"  # 2 is above any fall and similarity
_RANKING = {
    WORST: "label IS NOT NULL AND clean_top1 <> label, "
    + _LAST.format("(retained_probability - clean_probability)"),
    SURVIVORS: _LAST.format("ssim"),
}
_COUNTED = "(counted OR correct IS NOT NULL)"
"""Rows that are good or bad: with a label all, as an image that was incorrect before an attack is
incorrect after it, too."""
_OUTCOMES = {WORST: f"{_COUNTED} AND NOT good", SURVIVORS: f"{_COUNTED} AND good"}


@dataclass(frozen=True)
class Outcomes:
    """How many images have rows that count, a bad row, and a good one.

    Without a label, an attack without a prediction to break does not count.
    """

    counted: int
    bad: int
    good: int


@dataclass(frozen=True)
class Tally:
    """The images among chosen rows.

    Bad is incorrect ``by_label`` and, without a label, changed: ``by_change``. ``either`` counts
    the images of a list that holds both.
    """

    images: int
    either: Outcomes
    by_label: Outcomes
    by_change: Outcomes

    @classmethod
    def of(cls, counts: Sequence[int]) -> Tally:
        """From the number of images, then the three of each of the outcomes."""
        return cls(counts[0], *(Outcomes(*counts[at : at + 3]) for at in (1, 4, 7)))


class CaseRows:
    """The cases among ``rows``; short answers are remembered.

    A profile in a selection stands for the conditions that ``rows`` have as its compositions.
    ``properties`` are those of the images, None if they are not known.
    """

    def __init__(self, rows: Rows, properties: pa.Table | None = None) -> None:
        self._rows = rows
        self._properties = properties
        self._answers: dict[Any, Any] = {}

    def tally(self, chosen: RowSelection) -> Tally:
        """How many images there are among the ``chosen`` rows."""
        tally: Tally | None = self._answers.get(chosen)
        if tally is None:
            where, values = self._where(chosen)
            flags = [
                f"{_COUNTED} AND {labels} AND {outcome}"
                for labels in ("true", "label IS NOT NULL", "label IS NULL")
                for outcome in ("true", "NOT good", "good")
            ]
            images = ", ".join(f"bool_or({flag}) AS flag_{at}" for at, flag in enumerate(flags))
            columns = ", ".join(f"count(*) FILTER (flag_{at})" for at in range(len(flags)))
            query = (
                f"SELECT count(*), {columns} FROM "
                f"(SELECT {images} FROM rows WHERE {where} GROUP BY position)"
            )
            tally = Tally.of(self._rows.ask(query, **values)[0])
            self._remember(chosen, tally)
        return tally

    def first(
        self, chosen: RowSelection, kind: str, count: int, without: Sequence[int] = ()
    ) -> list[dict[str, Any]]:
        """The first ``count`` cases of ``kind``, each image once, in the order of ``cases``.

        Images at the positions ``without`` are left out. A case has ``CASE_COLUMNS`` and
        ``position``.
        """
        key = chosen, kind, count, tuple(without)
        cases: list[dict[str, Any]] | None = self._answers.get(key)
        if cases is not None:
            return cases
        cases = self._read(self._ordered(chosen, kind, count, without))
        if count <= _MOST_REMEMBERED:
            self._remember(key, cases)
        return cases

    def both(self, chosen: RowSelection, count: int) -> list[dict[str, Any]]:
        """The first ``count`` cases of both kinds, failures first, each image once."""
        worst = self.first(chosen, WORST, count)
        if len(worst) == count:
            return worst
        positions = [row["position"] for row in worst]
        return [*worst, *self.first(chosen, SURVIVORS, count - len(worst), positions)]

    def _ordered(
        self, chosen: RowSelection, kind: str, count: int, without: Sequence[int]
    ) -> list[int]:
        """The rows of the first ``count`` cases, by a query."""
        where, values = self._where(chosen)
        entries = self._rows.ask(
            f"SELECT min(row({_RANKING[kind]}, {ROW})) AS entry FROM rows "
            f"WHERE {where} AND {_OUTCOMES[kind]} AND NOT list_contains($without, position) "
            "GROUP BY position ORDER BY entry LIMIT $count",
            **values,
            without=list(without) or [-1],
            count=count,
        )
        return [entry[-1] for (entry,) in entries]

    def _read(self, order: Sequence[int]) -> list[dict[str, Any]]:
        """The cases in the rows ``order``."""
        if not order:
            return []
        image, *others = CASE_COLUMNS
        rows = self._rows.ask(
            f"SELECT {ROW} AS number, position, {', '.join(others)} FROM rows "
            "WHERE position IN (SELECT unnest($positions)) AND number IN (SELECT unnest($numbers))",
            positions=[row >> 32 for row in order],
            numbers=list(order),
        )
        case_of = {
            row: dict(zip(("position", *others), values, strict=True)) for row, *values in rows
        }
        return [{image: self._rows.names[row >> 32], **case_of[row]} for row in order]

    def _where(self, chosen: RowSelection) -> tuple[str, dict[str, Any]]:
        """The condition on the rows, and the values that it and the queries name."""
        values: dict[str, Any] = {}
        parts = ["true"]
        if chosen.model:
            parts.append("model = $model")
            values["model"] = chosen.model
        profiles = self._rows.spec.profiles
        if compositions := profiles.get(chosen.perturbation):
            parts.append("list_contains($compositions, condition)")
            values["compositions"] = list(compositions)
        elif chosen.perturbation:
            parts.append("perturbation = $perturbation")
            values["perturbation"] = chosen.perturbation
        if chosen.conditions:
            parts.append("list_contains($conditions, condition)")
            values["conditions"] = [
                text for name in chosen.conditions for text in profiles.get(name, (name,))
            ]
        if chosen.classes:
            parts.append(
                "list_contains($classes, coalesce(label, clean_top1)::INTEGER) AND "
                "list_contains($pairs, model || ' ' || coalesce(label, clean_top1)::VARCHAR)"
            )
            values["classes"] = sorted({index for _, index in chosen.classes})
            values["pairs"] = [f"{model} {index}" for model, index in chosen.classes]
        if chosen.became:
            parts.append("clean_top1 = $before AND top1 = $after")
            values["before"], values["after"] = chosen.became
        if chosen.against:
            well = self._rows.judged_by  # NULL without a label
            parts.append(  # under an attack each model has an image of its own
                f"NOT attacked AND NOT {well} AND EXISTS (SELECT 1 FROM rows AS other WHERE "
                "other.position = rows.position AND other.condition = rows.condition "
                f"AND other.model = $against AND other.{well})"
            )
            values["against"] = chosen.against
        for at, positions in enumerate(self._positions(chosen)):
            parts.append(f"position IN (SELECT unnest($positions{at}::INTEGER[]))")
            values[f"positions{at}"] = positions
        return " AND ".join(parts), values

    def _positions(self, chosen: RowSelection) -> Iterator[list[int]]:
        """The positions of each part of ``chosen`` that is about images."""
        if chosen.positions:
            yield list(chosen.positions)
        table = self._properties
        for column, value in chosen.slices:
            if table is None or column not in table.column_names[1:]:
                columns = "none" if table is None else ", ".join(table.column_names[1:])
                raise ParameterError(
                    f"Expected a property of this run's images ({columns}), got {column!r}."
                )
            within = inside(table[column].to_pylist(), value)
            yield table["position"].to_numpy()[within].tolist() or [-1]

    def _remember(self, key: Any, answer: Any) -> None:
        if len(self._answers) >= _REMEMBERED:
            self._answers.clear()
        self._answers[key] = answer
