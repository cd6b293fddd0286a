"""Measurements with known answers, as a run over many images gives them, and runs of these."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from robustness import runs
from robustness.images.framing import Framing
from robustness.measure.condition import Condition, unspecified
from robustness.measure.request import Request
from robustness.measure.rows import stored
from robustness.runs import files
from robustness.runs.cases import CaseRows
from robustness.runs.manifest import DatasetRecord
from robustness.runs.rows import Rows
from robustness.statistics import Figures
from robustness.statistics.grid import MEANS

Told = tuple[str, float | None]
"""The condition of a row: its perturbation and its strength."""


def rows(
    consistent: ArrayLike,
    *,
    model: str = "SqueezeNet",
    conditions: Sequence[Told | Condition] = (("fog", 0.2),),
    clean_correct: ArrayLike | None = None,
    correct: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    figures: Mapping[str, ArrayLike] | None = None,
) -> pd.DataFrame:
    """The rows of one model from arrays (images, conditions); ``clean_correct`` is (images,).

    Without ``labels`` (class indices) nothing is labelled. Metrics are 0.5 unless ``figures``
    gives them.
    """
    ids = [c.id if isinstance(c, Condition) else unspecified(*c) for c in conditions]
    told = [(c.name, c.strength) if isinstance(c, Condition) else c for c in conditions]
    kept = np.asarray(consistent, dtype=bool).reshape(-1, len(conditions))
    images, count = kept.shape

    def wide(values: ArrayLike) -> NDArray[np.generic]:
        array = np.asarray(values)
        array = array[:, None] if array.ndim == 1 and array.shape == (images,) else array
        return np.broadcast_to(array, kept.shape).ravel()

    size = images * count
    empty = pd.Series([None] * size, dtype="boolean")
    columns: dict[str, object] = {
        "image": np.repeat([f"{place:05}.png" for place in range(images)], count),
        "image_digest": np.repeat([f"digest {place:05}" for place in range(images)], count),
        "label": pd.Series(
            [None] * size if labels is None else wide(labels).tolist(), dtype="Int64"
        ),
        "model": model,
        "condition": ids * images,
        "perturbation": [name for name, _ in told] * images,
        "strength": np.array([strength for _, strength in told] * images, dtype=float),
        "clean_probability": 0.9,
        "retained_probability": np.where(kept.ravel(), 0.8, 0.1),
        "probability": 0.8,
        "consistent": kept.ravel(),
        **dict.fromkeys(MEANS, 0.5),
        **{name: wide(values) for name, values in (figures or {}).items()},
    }
    profiles = [c.profile or None if isinstance(c, Condition) else None for c in conditions]
    if any(profiles):
        columns["profile"] = profiles * images
    for name, values in (("clean_correct", clean_correct), ("correct", correct)):
        known = empty if values is None else pd.Series(wide(values).astype(bool), dtype="boolean")
        columns |= {name: known, f"{name}5": known}
    return pd.DataFrame(columns)


def severities(*names: str) -> list[Told]:
    """The five severities of each perturbation."""
    return [(name, level / 5) for name in names for level in range(1, 6)]


APGD, PGD = (Condition.attack(name, epsilon=0.5, norm="l2", steps=10) for name in ("apgd", "pgd"))
FOG = Condition.of({"fog": 0.6})


def attacked(
    model: str,
    right: int,
    robust: int,
    conditions: tuple[Condition, ...] = (APGD, PGD),
    images: int = 70,
) -> pd.DataFrame:
    """The first ``right`` images are correct before, the first ``robust`` of them after an attack.

    Of the others an attack leaves the prediction as it is: it was wrong already. Fog changes the
    prediction of every other image.
    """
    places = np.arange(images)
    before = places < right
    attack = np.where(before, places < robust, True)
    kept = np.column_stack([attack if c.needs_model else places % 2 == 0 for c in conditions])
    frame = rows(
        kept,
        model=model,
        conditions=conditions,
        labels=places % 7,
        clean_correct=before,
        correct=kept & before[:, None],
    )
    return with_classes(frame, 8, 9)


def with_classes(frame: pd.DataFrame, other: int, changed: int) -> pd.DataFrame:
    """``frame`` with the predictions that its columns tell of.

    They are the label where that was correct before, else ``other``; ``changed`` where changed.
    """
    before = np.where(frame["clean_correct"].fillna(False), frame["label"].fillna(other), other)
    return frame.assign(
        clean_top1=before.astype(int),
        top1=np.where(frame["consistent"], before, changed).astype(int),
    )


class SyntheticRun(runs.Run):
    """A run with the rows of a frame."""

    def __init__(
        self,
        frame: pd.DataFrame,
        conditions: Sequence[tuple[str, float] | Condition],
        weights: str = "1",
        seed: int = 0,
    ) -> None:
        asked = tuple(
            c if isinstance(c, Condition) else Condition.of(dict([c])) for c in conditions
        )
        models = tuple((str(name), weights) for name in frame["model"].unique())
        dataset = DatasetRecord("nowhere", "squares | <b>", "none", None, None, len(frame), "0")
        spec = Request(models, asked, tuple((name, Framing()) for name, _ in models), seed)
        manifest = runs.Manifest("made-up", "2026-01-01", spec, dataset, 1, "local", {})
        super().__init__(Path("nowhere"), manifest, ())
        self._frame = frame

    @property
    def images(self) -> int:
        return int(self._frame["image"].nunique())

    @property
    def row_count(self) -> int:
        return len(self._frame)

    @property
    def rows(self) -> Rows:
        """The rows in a file, filled with nothing where the frame has no column."""
        table = pa.Table.from_pandas(self._frame, preserve_index=False)
        columns = stored(())
        whole = pa.table(
            [
                table[field.name].cast(field.type)
                if field.name in table.column_names and not pa.types.is_list(field.type)
                else pa.array(pd.factorize(self._frame["image"])[0], field.type)
                if field.name == "position"
                else pa.nulls(len(table), field.type)
                for field in columns
            ],
            schema=columns,
        )
        file = Path(tempfile.mkdtemp()) / "part-000000.parquet"
        pq.write_table(whole, file)
        names = list(dict.fromkeys(self._frame["image"]))
        digests = self._frame.get("image_digest", self._frame["image"])
        digest_of = dict(zip(self._frame["image"], digests, strict=True))
        rows = [
            {"position": at, "name": name, "digest": digest_of[name]}
            for at, name in enumerate(names)
        ]
        table = pa.Table.from_pylist(rows, files.SCHEMA)
        return Rows([file], table, self.manifest.spec)

    @property
    def cases(self) -> CaseRows:
        return CaseRows(self.rows)

    def figures(self) -> Figures:
        found = Figures(self._frame)
        found.classes = self.rows.classes()
        return found

    def frame(self, *_arguments: object) -> pd.DataFrame:
        return self._frame
