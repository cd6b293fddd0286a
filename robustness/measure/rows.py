"""The columns of the rows, one record each, for all that writes, checks or explains rows.

Rows also have a column for each metric of a plugin. Beside them stand the versions of everything,
other than the request, that may change a row.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

import robustness
from robustness import metrics
from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.errors import ParameterError
from robustness.base.registry import Registry
from robustness.datasets import NAMED
from robustness.datasets.rows import REGISTRY as DATASETS
from robustness.measure.labels import CORRECTNESS, correctness
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request
from robustness.metrics.scores import RESCALED
from robustness.models.engine import chosen
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.plugins import Plugin, plugin_of
from robustness.remedies import REGISTRY as REMEDIES

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-4
"""The tolerance of probabilities, similarities and the like, all of order 1: a hundred times the
last digits of float32 after the layers of a network, and far below what any figure shows."""

TIES = math.inf
"""The tolerance of what differs as soon as classes of nearly equal probability, below the first,
trade places."""

_INDEX = "a class index of the model, from 0"
_SHARE = "0 to 1"
_TRUTH = "true or false"
_ANY = "any number"
_NUMBER = pa.float64()
_WHOLE = pa.int32()
_TEXT = pa.string()
_FLAG = pa.bool_()


Fill = Callable[[Measurement], Any]


@dataclass(frozen=True)
class Column:
    """One column of the rows.

    ``values`` and ``meaning`` are texts for the data dictionary. Numbers, also those in a list, lie
    between ``low`` and ``high``. With ``null``, a row may lack the value. Two runs agree if their
    values differ by at most ``tolerance``. ``fill`` returns the value of a measurement, by default
    its attribute of the same name. A column that is not ``stored`` is not in the files of rows: it
    follows from the image or the request.
    """

    name: str
    values: str
    meaning: str
    type: pa.DataType = _NUMBER
    unit: str = ""
    low: float | None = None
    high: float | None = None
    null: bool = False
    tolerance: float = TOLERANCE
    fill: Fill | None = None
    stored: bool = True

    def array(self, rows: Sequence[Measurement]) -> pa.Array:
        """The values of ``rows``."""
        fill = self.fill or attrgetter(self.name)
        return pa.array(map(fill, rows), self.type)


def _text(name: str, values: str, meaning: str, *, stored: bool = True) -> Column:
    return Column(name, values, meaning, _TEXT, stored=stored)


def _class(name: str, meaning: str, *, null: bool = False) -> Column:
    return Column(name, _INDEX, meaning, _WHOLE, null=null)


def _probability(name: str, meaning: str) -> Column:
    return Column(name, _SHARE, meaning, _NUMBER, "probability", 0.0, 1.0)


def _top5(image: str, name: str) -> tuple[Column, Column]:
    """The columns ``name`` and ``name``_probabilities, of the original or the perturbed image."""
    classes = Column(
        name,
        f"up to five, each {_INDEX}",
        f"the most likely classes of the {image} image",
        pa.list_(_WHOLE),
        tolerance=TIES,
    )
    probabilities = replace(
        _probability(f"{name}_probabilities", f"of {name}"),
        values=f"up to five, each {_SHARE}",
        type=pa.list_(_NUMBER),
    )
    return classes, probabilities


def _correctness(name: str, meaning: str) -> Column:
    tolerance = TIES if name.endswith("5") else TOLERANCE
    index = CORRECTNESS.index(name)

    def fill(row: Measurement) -> bool | None:
        flags = correctness(row.label, row.clean_top1, row.top1, row.clean_top5, row.top5)
        return flags[index]

    return Column(
        name,
        _TRUTH,
        f"{meaning}; empty where it has none",
        _FLAG,
        null=True,
        tolerance=tolerance,
        fill=fill,
    )


def _score(name: str) -> Fill:
    """A function that fills a metric's column; infinities, as for equal images' PSNR, are null."""

    def fill(row: Measurement) -> float | None:
        value = row.scores.get(name, math.nan)
        return float(value) if math.isfinite(value) else None

    return fill


SCORES: Mapping[str, str] = {
    "clean_score": "how good the output of another system for the original image is",
    "score": "how good the output of another system for the perturbed image is",
}
"""Columns of a run of scores and their meaning. In its figures they take the place of
``clean_correct`` and ``correct``, as a correct prediction is one with a score of 1."""


def _metric(name: str) -> Column:
    """The column of a registered metric, of a score, or of a metric of a plugin that is not
    loaded."""
    if name in SCORES:
        meaning = f"{SCORES[name]}; higher is better"
        return Column(name, _SHARE, meaning, low=0.0, high=1.0, null=True, fill=_score(name))
    if name not in metrics.REGISTRY:
        meaning = "a metric of a plugin that is not loaded here"
        return Column(name, _ANY, meaning, null=True, fill=_score(name))
    metric = metrics.REGISTRY[name]
    better = "higher" if metric.higher_is_better else "lower"
    meaning = f"{metric.label}: {metric.formula}; {better} is better"
    is_bounded = math.isfinite(metric.high)
    if is_bounded:
        values = f"{metric.low:g} to {metric.high:g}"
    else:
        values = _ANY
        meaning += "; empty where infinite"
    return Column(
        name,
        values,
        meaning,
        unit=metric.unit,
        low=metric.low,
        high=min(metric.high, 1e4),
        null=not is_bounded,
        tolerance=metric.tolerance,
        fill=_score(name),
    )


def _rescaled(raw: str, name: str) -> Column:
    meaning = (
        f"({raw} - floor) / (1 - floor), the floor being the mean {raw} of unrelated images; "
        "higher is better"
    )
    values = "at most 1; below 0 where less alike than strangers"
    return Column(name, values, meaning, low=-1e7, high=1.0, fill=_score(name))


_CONDITION = (
    "all that was asked: perturbations with their strengths, or an attack with its settings"
)
_PERTURBATION = 'name of the perturbation, or of the attack; several are joined by "+"'
_SEVERAL = "epsilon of an attack; empty for several at once"
_SIDE = "width and height of that square"
_STAGES = "name of each stage of the network, with the raw similarity of its features"
_STAGE = pa.struct([("stage", _TEXT), *((name, _NUMBER) for name in RESCALED)])

COLUMNS = (
    Column("position", "from 0", "place of the image among those that were asked for", _WHOLE),
    _text("image", "text", "name of the image", stored=False),
    _text(
        "image_digest",
        "64 hexadecimal digits",
        "SHA-256 of the image's upright 8-bit RGB pixels, before any framing",
        stored=False,
    ),
    _text(
        "framed_digest",
        "64 hexadecimal digits",
        "SHA-256 of the pixels, from 0 to 1 in float32, that the model sees",
        stored=False,
    ),
    _text("fit", "crop, squash or letterbox", "how the image was made square", stored=False),
    Column("side", "a whole number", _SIDE, _WHOLE, "pixels", stored=False),
    _class("label", "class of the image; empty where it has no label", null=True),
    _text("model", "text", "name of the model"),
    _text("condition", "text", _CONDITION),
    Column(
        "profile",
        "text",
        "name of the profile that the condition is a composition of: the compositions of a profile "
        "count alike, and an image's value is their mean; empty for none",
        _TEXT,
        null=True,
        fill=lambda row: row.profile or None,
        stored=False,
    ),
    _text("perturbation", "text", _PERTURBATION),
    Column(
        "strength",
        f"{_SHARE}, and beyond for an epsilon in L2",
        f"strength of the perturbation, {_SEVERAL}",
        low=0.0,
        high=1e6,
        null=True,
        tolerance=0.0,
    ),
    Column(
        "parameter",
        "a number",
        f"physical value at that strength, at that side the {_SEVERAL}",
        unit="the perturbation's own",
        low=-1e9,
        high=1e9,
        null=True,
        tolerance=0.0,
    ),
    Column("seed", "0 to 2**32 - 1", "seed of what is random", pa.int64(), stored=False),
    _class("clean_top1", "the most likely class of the clean image"),
    _probability("clean_probability", "of the class clean_top1 in the clean image"),
    _class("top1", "the most likely class of the perturbed image"),
    _probability("probability", "of the class top1 in the perturbed image"),
    _probability("retained_probability", "of the class clean_top1 in the perturbed image"),
    *_top5("clean", "clean_top5"),
    *_top5("perturbed", "top5"),
    Column("consistent", _TRUTH, "whether top1 is clean_top1", _FLAG),
    *(_metric(metric.name) for metric in metrics.REGISTRY if metric.name != "consistent"),
    *(_rescaled(raw, name) for raw, name in RESCALED.items()),
    _correctness("clean_correct", "whether clean_top1 is the label"),
    _correctness("correct", "whether top1 is the label"),
    _correctness("clean_correct5", "whether the label is among clean_top5"),
    _correctness("correct5", "whether the label is among top5"),
    Column(
        "stages",
        "a list of stages, shallow to deep",
        _STAGES,
        pa.list_(_STAGE),
        fill=lambda row: [{"stage": stage, **scores} for stage, scores in row.stages.items()],
    ),
)
"""Every column of the rows but those of plugins' metrics, in their order."""

SCHEMA = pa.schema([(column.name, column.type) for column in COLUMNS])

NOT_STORED = tuple(column.name for column in COLUMNS if not column.stored)
"""Columns that the files of rows lack."""

NUMBERS = tuple(
    column.name
    for column in COLUMNS
    if not pa.types.is_list(column.type) and column.name != "position"
)
"""Columns with one value each; enough for every statistic."""

MAX_PLUGIN_COLUMNS = 64
"""The most columns of plugins' metrics in one table."""

BASE = pa.field("base", pa.string())
"""The last column of files of rows: the model that a variant changes; null in rows of models."""

OF_VARIANTS = (
    "position",
    "label",
    "model",
    "condition",
    "perturbation",
    "clean_top1",
    "clean_probability",
    "top1",
    "probability",
    "consistent",
    "clean_correct",
    "correct",
)
"""The columns that rows of variants have, beside ``BASE``; the others are null there."""


def own_scores() -> tuple[str, ...]:
    """The metrics of plugins: columns after those of ``SCHEMA``."""
    return tuple(metric.name for metric in metrics.REGISTRY if metric.name not in SCHEMA.names)


def columns(plugin_columns: Sequence[str] = ()) -> tuple[Column, ...]:
    """``COLUMNS``, and one for each of the metrics ``plugin_columns``."""
    return (*COLUMNS, *map(_metric, plugin_columns))


def schema(plugin_columns: Sequence[str]) -> pa.Schema:
    """``SCHEMA`` with a column for each of the metrics ``plugin_columns``."""
    return pa.schema([*SCHEMA, *((name, pa.float64()) for name in plugin_columns)])


def stored(plugin_columns: Sequence[str]) -> pa.Schema:
    """The columns of files of rows: those of ``schema`` but ``NOT_STORED``, and ``BASE``."""
    fields = [field for field in schema(plugin_columns) if field.name not in NOT_STORED]
    return pa.schema([*fields, BASE])


def dictionary(plugin_columns: Sequence[str]) -> list[dict[str, str]]:
    """The meaning of each column of ``schema``, for readers of exported rows."""
    return [
        {
            "column": column.name,
            "type": str(column.type),
            "unit": column.unit,
            "values": column.values,
            "meaning": column.meaning,
        }
        for column in columns(plugin_columns)
    ]


def plugin_columns_of(table: pa.Schema) -> tuple[str, ...]:
    """The metrics of plugins in a file of rows; raises ``ParameterError`` for another table."""
    names = table.names
    known_types = {field.name: field.type for field in stored(())}
    plugin_columns = tuple(name for name in names if name not in known_types)
    is_complete = known_types.keys() <= set(names)
    has_duplicates = len(set(names)) < len(names)
    has_types = all(field.type == known_types.get(field.name, pa.float64()) for field in table)
    has_derived = not set(plugin_columns).isdisjoint(NOT_STORED)
    if (
        not is_complete
        or has_duplicates
        or not has_types
        or has_derived
        or len(plugin_columns) > MAX_PLUGIN_COLUMNS
    ):
        raise ParameterError("Expected the columns of rows.")
    return plugin_columns


def to_table(rows: Sequence[Measurement], positions: Sequence[int]) -> pa.Table:
    """``rows`` as a table with their ``positions``, in ``SCHEMA`` and the plugins' columns."""
    plugin_columns = own_scores()
    arrays = []
    for column in columns(plugin_columns):
        if column.name == "position":
            arrays.append(pa.array(positions, column.type))
        else:
            arrays.append(column.array(rows))
    return pa.table(arrays, schema(plugin_columns))


def to_whole_table(rows: Sequence[Measurement], positions: Sequence[int]) -> pa.Table:
    """The ``rows`` of models as ``to_table`` has them with ``BASE``, then those of variants.

    Rows of variants lack all but ``OF_VARIANTS`` and what follows from the image or the request.
    """
    table = to_table(*_part_of(rows, positions, variants=False))
    table = table.append_column(BASE, pa.nulls(len(table), BASE.type))
    of_variants, positions_of_variants = _part_of(rows, positions, variants=True)
    if not of_variants:
        return table
    column_of = {column.name: column for column in COLUMNS}
    arrays = []
    for field in table.schema:
        column = column_of.get(field.name)
        if field.name == "position":
            arrays.append(pa.array(positions_of_variants, field.type))
        elif field.name == BASE.name:
            arrays.append(pa.array([row.base for row in of_variants], field.type))
        elif column is not None and (field.name in OF_VARIANTS or not column.stored):
            arrays.append(column.array(of_variants))
        else:
            arrays.append(pa.nulls(len(of_variants), field.type))
    return pa.concat_tables([table, pa.table(arrays, table.schema)])


def _part_of(
    rows: Sequence[Measurement], positions: Sequence[int], *, variants: bool
) -> tuple[list[Measurement], list[int]]:
    """Those of ``rows`` that are of variants, or those that are not, and their positions."""
    part: list[Measurement] = []
    positions_of_part: list[int] = []
    for row, position in zip(rows, positions, strict=True):
        if bool(row.base) == variants:
            part.append(row)
            positions_of_part.append(position)
    return part, positions_of_part


def to_stored(rows: Sequence[Measurement], positions: Sequence[int]) -> pa.Table:
    """``rows`` as files have them: those of models, and after them those of variants."""
    return to_whole_table(rows, positions).drop_columns(list(NOT_STORED))


def to_frame(table: pa.Table) -> pd.DataFrame:
    """``table`` for pandas: repeated texts as categories, missing values preserved."""
    import pandas as pd

    text_columns = [field.name for field in table.schema if pa.types.is_string(field.type)]
    # NumPy's integers and truth values cannot be missing.
    nullable = {pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(
        categories=text_columns, integer_object_nulls=False, types_mapper=nullable.get
    )
    return frame


ENGINE = "inference engine"
"""The engine of the forward passes, among the versions. Engines, and versions of one engine, agree
within rounding."""


def versions() -> dict[str, str]:
    """The versions of everything that may change a row."""
    packages = ("numpy", "opencv-python-headless", "pillow", "tensorflow", "keras")
    return {
        "robustness": robustness.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        ENGINE: str(chosen()),
    }


def plugins_of(spec: Request, source: str = "") -> list[Plugin]:
    """The plugins that ``spec`` uses, or the ``source`` of its images, by their names.

    Those whose metrics add columns are among them.
    """
    used: list[tuple[Registry[Any], str]] = []
    if source.startswith(NAMED):
        used.append((DATASETS, source.removeprefix(NAMED)))
    for condition in spec.conditions:
        used += [(PERTURBATIONS, name) for name in condition.perturbations]
        used += [(ATTACKS, attack.name) for attack in condition.attacks]
    for chain in spec.remedies:
        used += [(REMEDIES, remedy.name) for remedy in chain.remedies]
    used += [(metrics.REGISTRY, name) for name in own_scores()]
    plugins = set()
    for registry, name in used:
        plugin = plugin_of(registry, name)
        if plugin is not None:
            plugins.add(plugin)
    return sorted(plugins, key=lambda plugin: plugin.name)


def plugin_digests(spec: Request, source: str = "") -> dict[str, str]:
    """The digest of each of ``plugins_of`` by its name, for manifests."""
    return {plugin.name: plugin.digest for plugin in plugins_of(spec, source)}


def provenance_record(spec: Request, pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Everything needed to run ``spec`` again: the spec, the images (name, digest), versions."""
    record = {
        "spec": spec.as_dict(),
        "spec_digest": spec.digest,
        "pictures": [{"image": name, "digest": digest} for name, digest in pictures],
        "versions": versions(),
    }
    plugins = plugin_digests(spec)
    if plugins:
        record["plugins"] = plugins
    return record
