"""Measurements as a table, for files and for transfer between machines.

Columns: ``position`` (of the image in its dataset), those of ``Measurement.as_row``,
``statistics.CORRECTNESS``, and last the metrics of plugins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustness import metrics
from robustness.base.errors import ParameterError
from robustness.evaluation.correctness import CORRECTNESS, correctness
from robustness.evaluation.measurement import Measurement
from robustness.metrics.features import RESCALED

if TYPE_CHECKING:
    import pandas as pd

_SCORES = [*(m.name for m in metrics.REGISTRY if m.name != "consistent"), *RESCALED.values()]
_CLASSES, _SHARES = pa.list_(pa.int32()), pa.list_(pa.float64())

SCHEMA = pa.schema(
    [
        ("position", pa.int32()),
        ("image", pa.string()),
        ("image_digest", pa.string()),
        ("fit", pa.string()),
        ("side", pa.int32()),
        ("label", pa.int32()),
        ("model", pa.string()),
        ("condition", pa.string()),
        ("perturbation", pa.string()),
        ("strength", pa.float64()),
        ("parameter", pa.float64()),
        ("seed", pa.int64()),
        ("clean_top1", pa.int32()),
        ("clean_probability", pa.float64()),
        ("top1", pa.int32()),
        ("probability", pa.float64()),
        ("retained_probability", pa.float64()),
        ("clean_top5", _CLASSES),
        ("clean_top5_probabilities", _SHARES),
        ("top5", _CLASSES),
        ("top5_probabilities", _SHARES),
        ("consistent", pa.bool_()),
        *((name, pa.float64()) for name in _SCORES),
        *((name, pa.bool_()) for name in CORRECTNESS),
        (
            "stages",
            pa.list_(pa.struct([("stage", pa.string()), *((n, pa.float64()) for n in RESCALED)])),
        ),
    ]
)

REMEDIES = pa.field(
    "remedies",
    pa.list_(
        pa.struct(
            [
                ("remedy", pa.string()),
                ("clean_top1", pa.int32()),
                ("clean_probability", pa.float64()),
                ("top1", pa.int32()),
                ("probability", pa.float64()),
            ]
        )
    ),
)
"""The last column of a run with remedies."""


NUMBERS = tuple(
    field.name for field in SCHEMA if not pa.types.is_list(field.type) and field.name != "position"
)
"""Columns with one value each; enough for every statistic."""

MOST_OWN = 64
"""Most columns of plugins' metrics in one table."""


def own_scores() -> tuple[str, ...]:
    """The metrics of plugins: columns after those of ``SCHEMA``."""
    return tuple(m.name for m in metrics.REGISTRY if m.name not in {*_SCORES, "consistent"})


def schema(own: Sequence[str]) -> pa.Schema:
    """``SCHEMA`` with a column for each of the metrics ``own``."""
    return pa.schema([*SCHEMA, *((name, pa.float64()) for name in own)])


def own_columns(found: pa.Schema) -> tuple[str, ...]:
    """The metrics of plugins in a table of rows; raises ``ParameterError`` for another table."""
    if REMEDIES.name in found.names and found.field(len(found) - 1).equals(REMEDIES):
        found = found.remove(len(found) - 1)
    own = tuple(found.names[len(SCHEMA) :])
    if len(own) > MOST_OWN or not found.equals(schema(own)) or len({*found.names}) < len(found):
        raise ParameterError("Expected the columns of rows.")
    return own


def to_table(
    rows: Sequence[Measurement], positions: Sequence[int], *, remedied: bool = False
) -> pa.Table:
    """``rows`` as a table with their ``positions``, in ``SCHEMA`` and the plugins' columns.

    With ``remedied`` the column ``REMEDIES`` is the last.
    """
    columns = schema(own_scores())
    return pa.Table.from_pylist(
        [_flat(row, position) for row, position in zip(rows, positions, strict=True)],
        columns.append(REMEDIES) if remedied else columns,
    )


def _flat(row: Measurement, position: int) -> Mapping[str, Any]:
    stages = [{"stage": stage, **scores} for stage, scores in row.stages.items()]
    return {**row.as_row(), **correctness(row), "position": position, "stages": stages}


def to_frame(table: pa.Table) -> pd.DataFrame:
    """``table`` for pandas: repeated texts as categories, missing values preserved."""
    words = ["image", "image_digest", "fit", "model", "condition", "perturbation"]
    frame: pd.DataFrame = table.to_pandas(
        categories=[name for name in words if name in table.column_names],
        integer_object_nulls=False,
        types_mapper=_nullable,
    )
    return frame


def _nullable(kind: pa.DataType) -> object:
    """The pandas type of columns with missing values, which NumPy integers do not support."""
    import pandas as pd

    return {pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}.get(kind)
