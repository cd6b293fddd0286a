"""How far the rows of two runs of one request lie apart, column by column.

The same program on the same machine gives the same values, to the last bit. Another processor or
another version of a library sums in another order: probabilities then move in their sixth digit,
and classes of nearly equal probability below the first may trade places.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robustness.evaluation.condition import named
from robustness.evaluation.row_schema import COLUMNS, TIES, TOLERANCE
from robustness.metrics.features import RESCALED

Floats = NDArray[np.float64]

_TOLERANCES = {column.name: column.tolerance for column in COLUMNS}

_STAGES = "stages"


@dataclass(frozen=True)
class Change:
    """A column whose values are not all the same.

    ``rows`` have another value; ``largest`` is the largest difference of a number, None where
    values are not numbers. ``image``, ``model`` and ``condition`` say where that is.
    ``rounding`` is whether all of it is within the tolerance of the column.
    """

    column: str
    rows: int
    largest: float | None
    image: str
    model: str
    perturbation: str
    condition: str
    rounding: bool

    @property
    def sentence(self) -> str:
        where = f"{self.image}, {self.model}, {named(self.condition)}"
        by = "" if self.largest is None else f" by up to {self.largest:.2g}"
        small = ", within rounding" if self.rounding else ""
        differ = "row differs" if self.rows == 1 else "rows differ"
        return f"{self.column}: {self.rows} {differ}{by}{small} ({where})."


def changes(
    first: pa.Table, second: pa.Table, images: Collection[str], *, of: str = ""
) -> Iterator[Change]:
    """The columns in which rows of ``images`` differ; ``of`` is put before their names.

    Both tables hold the rows of an image in the same order, as runs of the same request do. What
    runs of earlier versions did not keep is not compared.
    """
    a, b = (_of(table, images) for table in (first, second))
    if len(a) != len(b):
        larger = a if len(a) > len(b) else b
        yield _change(larger, f"{of}rows", np.ones(len(larger), bool), None)
        return
    for name in a.column_names:
        if name in ("position", _STAGES) or a[name].equals(b[name]):
            continue
        if a[name].null_count == len(a) and name != "label":
            continue
        yield _change(
            a, name, *_differences(a[name].combine_chunks(), b[name].combine_chunks()), of
        )
    if _STAGES not in a.column_names or a[_STAGES].equals(b[_STAGES]):
        return
    one, two = (table[_STAGES].combine_chunks() for table in (a, b))
    for name in RESCALED:
        apart = _differences(
            *(pa.ListArray.from_arrays(c.offsets, c.values.field(name)) for c in (one, two))
        )
        if apart[0].any():
            yield _change(a, f"{_STAGES} {name}", *apart)


def _of(table: pa.Table, images: Collection[str]) -> pa.Table:
    """The rows of ``images``, by their name; a stable sort leaves the order within an image."""
    wanted = pc.is_in(table["image"], pa.array(list(images), pa.string()))
    return table.filter(wanted).sort_by("image")


def _differences(first: pa.Array, second: pa.Array) -> tuple[NDArray[np.bool_], Floats | None]:
    """(which rows have another value, by how much), (n,) each; no numbers where it is no number."""
    kind = first.type
    lists = pa.types.is_list(kind)
    if not pa.types.is_floating(kind.value_type if lists else kind):
        pairs = zip(first.to_pylist(), second.to_pylist(), strict=True)
        return np.array([one != two for one, two in pairs], bool), None
    a, b = (column.flatten() if lists else column for column in (first, second))
    if len(a) != len(b):
        return np.ones(len(first), bool), np.full(len(first), np.inf)
    gaps = _gaps(a.to_numpy(zero_copy_only=False), b.to_numpy(zero_copy_only=False))
    if lists:  # the largest of each row's
        found = np.zeros(len(first))
        lengths = pc.fill_null(pc.list_value_length(first), 0).to_numpy(zero_copy_only=False)
        np.maximum.at(found, np.repeat(np.arange(len(first)), lengths), gaps)
        gaps = found
    return gaps > 0, gaps


def _gaps(a: Floats, b: Floats) -> Floats:
    """How far the values lie apart; infinite where only one of them is there."""
    gone = np.isnan(a).astype(int) + np.isnan(b)
    return np.where(gone == 0, np.abs(a - b), np.where(gone == 1, np.inf, 0.0))


def _change(
    rows: pa.Table, name: str, differ: NDArray[np.bool_], gaps: Floats | None, of: str = ""
) -> Change:
    place = int(np.argmax(differ if gaps is None else gaps))
    largest = None if gaps is None or not np.isfinite(gaps[place]) else float(gaps[place])
    tolerance = _TOLERANCES.get(name, TOLERANCE)
    return Change(
        column=of + name,
        rows=int(differ.sum()),
        largest=largest,
        **{
            word: rows[word][place].as_py()
            for word in ("image", "model", "perturbation", "condition")
        },
        rounding=tolerance == TIES or (largest is not None and largest <= tolerance),
    )
