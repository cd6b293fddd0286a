"""Predictions of other systems, in four forms.

- ``prediction``: the top-1 class, with its ``confidence`` if known;
- ``classes`` and ``probabilities``: lists of the top classes;
- ``probabilities`` alone: a list with one number for each class, in the order of the classes;
- ``p0``, ``p1``, ...: a column for each class.

Lists are JSON in a CSV file. A class is an index, a name or a synset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.models.labels import Labels

PREDICTED = "prediction or classes or probabilities"
"""The columns that hold predictions, as a sentence says them."""

_NEAR_ONE = 0.02
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class TableAnswers:
    """The predictions of all rows.

    ``whole`` (rows, classes) has all probabilities; without it ``classes`` has the top classes of
    each row as texts, best first, and ``shares`` their probabilities, () if unknown.
    """

    whole: Floats | None = None
    classes: Sequence[Sequence[str]] = ()
    shares: Sequence[Sequence[float]] = ()

    @property
    def named(self) -> list[str]:
        """The distinct classes as they are written; none of whole predictions."""
        return list(dict.fromkeys(text for row in self.classes for text in row))


def predicted(table: pa.Table, title: str) -> TableAnswers:
    """The predictions in ``table``; raises ``ParameterError`` if there are none it can use."""
    names = table.column_names
    columns = [name for name in names if re.fullmatch(r"p\d+", name)]
    if columns:
        if sorted(columns, key=lambda name: int(name[1:])) != [
            f"p{at}" for at in range(len(columns))
        ]:
            raise ParameterError(
                f"{title}: expected the columns p0 to p{len(columns) - 1}, one for each class."
            )
        stacked = [_numbers(table[f"p{at}"], title) for at in range(len(columns))]
        return TableAnswers(_probabilities(np.stack(stacked, axis=1), title))
    if "classes" in names and "probabilities" in names:
        return _top(table, title)
    if "probabilities" in names:
        return TableAnswers(
            _probabilities(_matrix(_lists(table, "probabilities", title), title), title)
        )
    if "prediction" in names:
        return _first(table, title)
    raise ParameterError(
        f"{title}: expected a column {PREDICTED}, got {', '.join(map(str, names[:8]))}."
    )


def _numbers(column: pa.ChunkedArray, title: str) -> Floats:
    try:
        found = column if pa.types.is_floating(column.type) else pc.cast(column, pa.float64())
        numbers: Floats = found.to_numpy()
    except pa.ArrowException as error:
        raise ParameterError(
            f"{title}: expected probabilities from 0 to 1, got another kind of value."
        ) from error
    return numbers


def _lists(table: pa.Table, name: str, title: str) -> list[Any]:
    found = table[name].to_pylist()
    try:
        lists = [json.loads(each) if isinstance(each, str) else each for each in found]
    except ValueError as error:
        raise ParameterError(f"{title}: expected a list such as [0.7, 0.2] in {name}.") from error
    if not all(isinstance(each, list) and each for each in lists):
        raise ParameterError(f"{title}: expected a list in every row of {name}.")
    return lists


def _matrix(lists: Sequence[Sequence[Any]], title: str) -> Floats:
    lengths = {len(each) for each in lists}
    if len(lengths) > 1:
        raise ParameterError(
            f"{title}: expected as many probabilities in every row, got {min(lengths)} to "
            f"{max(lengths)}; give the top classes in a column classes."
        )
    return _float(lists, title)


def _float(values: Any, title: str) -> Floats:
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"{title}: expected probabilities from 0 to 1, got another kind of value."
        ) from error


def _probabilities(found: Floats, title: str) -> Floats:
    """``found`` itself, of which every row is to sum to 1."""
    _within(found, title)
    sums = found.sum(axis=1)
    if found.shape[1] < 2 or not np.all(np.abs(sums - 1) <= _NEAR_ONE):
        off = float(sums[np.abs(sums - 1).argmax()])
        raise ParameterError(
            f"{title}: expected the probabilities of two or more classes, which sum to 1 in every "
            f"row, got a sum of {off:g}; give the top classes in a column classes."
        )
    return found.astype(np.float32)


def _within(found: Floats, title: str) -> None:
    if not np.all((found >= 0) & (found <= 1 + 1e-6)):  # NaN, too
        low, high = np.nanmin(found), np.nanmax(found)
        raise ParameterError(
            f"{title}: expected probabilities from 0 to 1, got {low:g} to {high:g}; apply softmax "
            "to logits first."
        )


def _top(table: pa.Table, title: str) -> TableAnswers:
    classes = _lists(table, "classes", title)
    shares = _lists(table, "probabilities", title)
    if [len(each) for each in classes] != [len(each) for each in shares]:
        raise ParameterError(f"{title}: expected as many probabilities as classes in every row.")
    _within(_float([share for row in shares for share in row], title), title)
    ordered = [
        sorted(zip(shares_, map(_text, classes_), strict=True), key=lambda pair: -pair[0])
        for classes_, shares_ in zip(classes, shares, strict=True)
    ]
    return TableAnswers(
        classes=[[name for _, name in row] for row in ordered],
        shares=[[float(share) for share, _ in row] for row in ordered],
    )


def _first(table: pa.Table, title: str) -> TableAnswers:
    texts = [_text(value) for value in table["prediction"].to_pylist()]
    if "" in texts:
        raise ParameterError(f"{title}: expected a class in every row of prediction, got none.")
    shares: list[list[float]] = [[] for _ in texts]
    if "confidence" in table.column_names:
        found = _numbers(table["confidence"], title)
        _within(found, title)
        shares = [[float(each)] for each in found]
    return TableAnswers(classes=[[text] for text in texts], shares=shares)


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def meaning(answers: TableAnswers, labels: Labels, title: str) -> Callable[[str], int]:
    """What returns the index of a class as it is written; raises ``ParameterError`` for others."""
    known: dict[str, int] = {}
    for text in answers.named:
        found = labels.meant(text)
        if len(found) != 1:
            raise ParameterError(
                f"{title}: {text!r} is not one of the {len(labels):,} classes of {labels.title}; "
                "name the classes.",
                hint="Use --classes imagenet or --classes FILE, with one class a line.",
            )
        known[text] = found[0]
    return known.__getitem__
