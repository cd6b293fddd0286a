"""The rows of a run from elsewhere, looked through a few thousand at a time.

Every figure is to be a number that it can be, every word one of the manifest, and every image to
have one row for each model and condition: what opens the run relies on that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robustness import metrics, models
from robustness.base.errors import RunError
from robustness.evaluation.rows import SCHEMA
from robustness.evaluation.spec import RunSpec
from robustness.metrics.features import RESCALED
from robustness.runs.manifest import MAX_TEXT
from robustness.runs.parts import Part

_ROUNDING = 1e-3
_ROWS_AT_ONCE = 16_384
_TEXT_FREE, _MAX_TEXT_RATIO = 32_000_000, 20
_PROBABILITIES = ("clean_probability", "probability", "retained_probability")
_CLASSES = ("label", "clean_top1", "top1")
_WORDS = ("image", "image_digest", "fit", "model", "condition", "perturbation")
_STAGE = "stages.list.element.stage"
_MOST_CLASSES = 2**31

Whole = NDArray[np.int64]


def _ranges() -> dict[str, tuple[float, float]]:
    """What the figures of a row lie between."""
    found = dict.fromkeys(_PROBABILITIES, (0.0, 1.0))
    for record in metrics.REGISTRY:
        if record.name != "consistent" and record.name in SCHEMA.names:
            found[record.name] = (record.low, min(record.high, 1e4))
    found |= dict.fromkeys(RESCALED.values(), (-1e7, 1.0))
    return found | {"strength": (0.0, 1e6), "parameter": (-1e9, 1e9)}


_MAY_LACK = {"strength", "parameter", "label"} | {
    record.name for record in metrics.REGISTRY if not np.isfinite(record.high)
}
"""What a row may have no number for: compositions have no one strength, equal images no PSNR."""


class ScreenedRows:
    """Raises ``RunError`` with what is wrong; ``read`` takes the parts, ``digest`` ends it."""

    def __init__(self, spec: RunSpec, pictures: int, *, told: bool = False) -> None:
        """``told`` says that the predictions came in a table, which may leave figures out."""
        self.spec, self.pictures = spec, pictures
        self.may_lack = {*_MAY_LACK, *(_ranges() if told else ())}
        self.ranges = _ranges()
        self.ids = [condition.id for condition in spec.conditions]
        self.names = list(dict.fromkeys(condition.name for condition in spec.conditions))
        self.name_of = np.array([self.names.index(c.name) for c in spec.conditions])
        self.classes = np.array([_classes(name) for name in spec.model_names])
        self.places: list[Whole] = []
        self.found: dict[int, tuple[str, str]] = {}
        self.size = self.length = 0

    def read(self, part: Part) -> None:
        """Looks at all rows of ``part``."""
        self.size += part.path.stat().st_size
        words = [_STAGE, *_WORDS]
        with pq.ParquetFile(part.path, read_dictionary=words, pre_buffer=False) as file:
            for group in range(file.num_row_groups):  # one dictionary each, as nested words need
                for batch in file.iter_batches(_ROWS_AT_ONCE, [group]):
                    self._texts(batch)
                    self._figures(batch)
                    self._words(batch)

    def digest(self, images: int, *, whole: bool = True) -> str | None:
        """The ``content`` of all rows, which are to be of ``images`` images.

        Unless ``whole``, an image may lack models and conditions.
        """
        places = np.sort(np.concatenate([np.zeros(0, np.int64), *self.places]))
        names = {name for name, _ in self.found.values()}
        each = len(self.ids) * len(self.classes)
        fine = len(self.found) == len(names) == images
        fine &= len(places) == images * each if whole else len(places) <= images * each
        _expect(fine and bool(np.all(np.diff(places))), "some of its rows are there twice")
        if not images:
            return None
        digests = [self.found[place][1] for place in sorted(self.found)]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def _texts(self, batch: pa.RecordBatch) -> None:
        stages = batch["stages"]
        _expect(stages.null_count == 0, "a row has no stages")
        columns = {word: batch[word] for word in _WORDS}
        columns["stage"] = stages.flatten().field("stage")
        for name, column in columns.items():
            _expect(column.null_count == 0, f"a row has no {name}")
            lengths = pc.binary_length(column.dictionary)
            _expect((pc.max(lengths).as_py() or 0) <= MAX_TEXT, "its texts are too long")
            self.length += pc.sum(pc.take(lengths, column.indices)).as_py() or 0
        most = max(_TEXT_FREE, _MAX_TEXT_RATIO * self.size)
        _expect(self.length <= most, "its texts are too long")

    def _figures(self, batch: pa.RecordBatch) -> None:
        for name, (low, high) in self.ranges.items():
            _within(name, batch[name], low, high, gaps=name in self.may_lack)
        stages = batch["stages"].flatten()
        for name in RESCALED:
            _within(f"{name} of a stage", stages.field(name), *self.ranges[name])
        for name in ("clean_top5", "top5"):
            classes, shares = batch[name], batch[f"{name}_probabilities"]
            lengths = pc.list_value_length(classes)
            same = lengths.equals(pc.list_value_length(shares)) and lengths.null_count == 0
            _expect(same and _all(pc.less_equal(lengths, 5)), f"{name} is not of up to 5 classes")
            _within(f"{name}_probabilities", shares.flatten(), 0.0, 1.0)
        _within("position", batch["position"], 0, self.pictures - 1)
        for name, value in (("seed", self.spec.seed), ("side", self.spec.side)):
            _within(name, batch[name], value, value)

    def _words(self, batch: pa.RecordBatch) -> None:
        asked = _codes(batch["model"], self.spec.model_names, "models")
        names = _codes(batch["perturbation"], self.names, "perturbations")
        _codes(batch["fit"], [self.spec.fit], "fits")
        conditions = _codes(batch["condition"], self.ids, "conditions")
        _expect(bool(np.all(self.name_of[conditions] == names)), "its rows are of other conditions")
        self._classes(batch, asked)
        same = pc.equal(batch["consistent"], pc.equal(batch["clean_top1"], batch["top1"]))
        _expect(same.null_count == 0 and _all(same), "'consistent' is not what its answers are")
        place = batch["position"].to_numpy().astype(np.int64)
        self.places.append((place * len(self.classes) + asked) * len(self.ids) + conditions)
        self._pictures(batch, place)

    def _classes(self, batch: pa.RecordBatch, asked: Whole) -> None:
        most = self.classes[asked]
        for name in _CLASSES:
            _expect(name in _MAY_LACK or batch[name].null_count == 0, f"a row has no {name}")
            values = pc.fill_null(batch[name], 0).to_numpy()
            _expect(bool(np.all((values >= 0) & (values < most))), _NO_CLASS)
        for name in ("clean_top5", "top5"):
            values = batch[name].flatten()
            _expect(values.null_count == 0, _NO_CLASS)
            rows = np.repeat(most, pc.list_value_length(batch[name]).to_numpy())
            numbers = values.to_numpy()
            _expect(bool(np.all((numbers >= 0) & (numbers < rows))), _NO_CLASS)

    def _pictures(self, batch: pa.RecordBatch, place: Whole) -> None:
        """Whether each place among the images has one name and one digest."""
        places, first, inverse = np.unique(place, return_index=True, return_inverse=True)
        taken: list[list[str]] = []
        for word in ("image", "image_digest"):
            column = batch[word]
            indices = column.indices.to_numpy()
            _expect(bool(np.all(indices == indices[first][inverse])), _TWO_NAMES)
            taken.append(column.dictionary.take(pa.array(indices[first])).to_pylist())
        for number, name, digest in zip(places.tolist(), *taken, strict=True):
            _expect(self.found.setdefault(number, (name, digest)) == (name, digest), _TWO_NAMES)


_NO_CLASS = "it names classes that there are not"
_TWO_NAMES = "one image has two names or digests in it"


def _classes(name: str) -> int:
    """How many classes the model has; without bounds where it is not known here."""
    labels = models.classes(name)
    return _MOST_CLASSES if labels is None else len(labels)


def _codes(column: pa.DictionaryArray, known: Sequence[str], what: str) -> Whole:
    """The place of every value of ``column`` in ``known``."""
    places = pc.fill_null(pc.index_in(column.dictionary, pa.array(known, pa.string())), -1)
    found: Whole = places.to_numpy().astype(np.int64)[column.indices.to_numpy()]
    _expect(bool(np.all(found >= 0)), f"its rows are of other {what}")
    return found


def _within(name: str, column: pa.Array, low: float, high: float, *, gaps: bool = False) -> None:
    whole = gaps or column.null_count == 0
    near = pc.and_(
        pc.greater_equal(column, low - _ROUNDING), pc.less_equal(column, high + _ROUNDING)
    )
    _expect(
        whole and _all(near),  # of what is no number, neither holds
        f"expected every {name} to be a number from {low:g} to {high:g}",
    )


def _all(truths: pa.Array) -> bool:
    return pc.all(truths, min_count=0).as_py() is not False


def _expect(fine: bool, otherwise: str) -> None:
    if not fine:
        raise RunError(f"{otherwise}.")
