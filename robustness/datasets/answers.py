"""Predictions of other systems, in four forms.

- ``prediction``: the top-1 class, with its ``confidence`` if known;
- ``classes`` and ``probabilities``: lists of the top classes and their probabilities;
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

PREDICTED = "prediction or probabilities"
"""The columns that hold predictions, as a sentence says them."""

_SHARES = "probabilities"

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
    columns = [name for name in names if re.fullmatch(r"p\d{1,6}", name)]
    if columns:
        if sorted(columns, key=lambda name: int(name[1:])) != [
            f"p{at}" for at in range(len(columns))
        ]:
            raise ParameterError(
                f"{title}: expected the columns p0 to p{len(columns) - 1}, one for each class."
            )
        stacked = [_numbers(table, f"p{at}", title) for at in range(len(columns))]
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


def _numbers(table: pa.Table, name: str, title: str) -> Floats:
    column = table[name]
    try:
        found = column if pa.types.is_floating(column.type) else pc.cast(column, pa.float64())
        numbers: Floats = found.to_numpy()
    except pa.ArrowException as error:
        raise _no_numbers(title, name) from error
    return numbers


def _no_numbers(title: str, name: str = _SHARES) -> ParameterError:
    return ParameterError(f"{title}: expected numbers from 0 to 1 in {name}, got other values.")


def _lists(table: pa.Table, name: str, title: str) -> list[Any]:
    found = table[name].to_pylist()
    try:
        lists = [json.loads(each) if isinstance(each, str) else each for each in found]
    except (ValueError, RecursionError) as error:
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
    return _float(lists, title, dimensions=2)


def _float(values: Any, title: str, *, dimensions: int) -> Floats:
    try:
        found = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_numbers(title) from error
    if found.ndim != dimensions:
        raise _no_numbers(title)
    return found


def _probabilities(values: Floats, title: str) -> Floats:
    """``values`` as float32; raises ``ParameterError`` unless every row sums to 1."""
    _check_range(values, title)
    if values.shape[1] < 2:
        raise ParameterError(
            f"{title}: expected the probabilities of all classes, two or more, got one in each "
            "row; give the top classes in a column classes."
        )
    sums = values.sum(axis=1)
    if not np.all(np.abs(sums - 1) <= _NEAR_ONE):
        off = float(sums[np.abs(sums - 1).argmax()])
        raise ParameterError(
            f"{title}: expected the probabilities of all classes, which sum to 1 in every row, "
            f"got a sum of {off:g}; give the top classes in a column classes."
        )
    return values.astype(np.float32)


def _check_range(values: Floats, title: str, name: str = _SHARES) -> None:
    if gaps := int(np.isnan(values).sum()):
        raise ParameterError(
            f"{title}: expected a number from 0 to 1 for each value of {name}, got {gaps:,} "
            "without one."
        )
    if not np.all((values >= 0) & (values <= 1 + 1e-6)):
        softmax = "; apply softmax to logits first" if name == _SHARES else ""
        raise ParameterError(
            f"{title}: expected {name} from 0 to 1, got {values.min():g} to {values.max():g}"
            f"{softmax}."
        )


def _top(table: pa.Table, title: str) -> TableAnswers:
    classes = _lists(table, "classes", title)
    shares = _lists(table, "probabilities", title)
    if [len(each) for each in classes] != [len(each) for each in shares]:
        raise ParameterError(f"{title}: expected as many probabilities as classes in every row.")
    flat = _float([share for row in shares for share in row], title, dimensions=1)
    _check_range(flat, title)
    values = iter(flat.tolist())
    ordered = [
        sorted(((next(values), as_text(name)) for name in row), key=lambda pair: -pair[0])
        for row in classes
    ]
    return TableAnswers(
        classes=[[name for _, name in row] for row in ordered],
        shares=[[share for share, _ in row] for row in ordered],
    )


def _first(table: pa.Table, title: str) -> TableAnswers:
    texts = [as_text(value) for value in table["prediction"].to_pylist()]
    if gaps := texts.count(""):
        raise ParameterError(
            f"{title}: expected a class in every row of prediction, got {gaps:,} without one."
        )
    shares: list[list[float]] = [[] for _ in texts]
    if "confidence" in table.column_names:
        found = _numbers(table, "confidence", title)
        _check_range(found, title, "confidence")
        shares = [[float(each)] for each in found]
    return TableAnswers(classes=[[text] for text in texts], shares=shares)


def as_text(value: object) -> str:
    """``value`` as text; a float, as an index is in a column with gaps, as a whole number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
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
