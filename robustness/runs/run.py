"""One saved run: its manifest, its rows and its images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from robustness import models
from robustness.base.errors import ImageError, RobustnessError, RunError
from robustness.base.text import visible
from robustness.datasets import IN_PYTHON, Dataset, Entry, open_dataset
from robustness.images.framing import Framing, Picture
from robustness.images.sandbox import framed_image
from robustness.measure.condition import Condition
from robustness.measure.rows import BASE, NOT_STORED, NUMBERS, SCORES, schema, to_frame
from robustness.perturbations import Images
from robustness.runs import files, notes
from robustness.runs.cases import CaseRows
from robustness.runs.engines import is_from_table, stored_image
from robustness.runs.files import Part, read_rows
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.rows import Rows

if TYPE_CHECKING:
    import pandas as pd


UPLOADS = ".uploads"
"""The folder beside the runs in which the dashboard keeps uploaded images."""


@dataclass(eq=False)
class Run:
    """One saved run, opened for reading by ``load``."""

    folder: Path
    manifest: Manifest
    parts: Sequence[Part]

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def title(self) -> str:
        """Its title, by default that of its images."""
        return notes.read(self.folder).title or visible(self.manifest.dataset.title)

    @property
    def finished(self) -> bool:
        return self.manifest.status == FINISHED

    @property
    def is_from_table(self) -> bool:
        """Whether its predictions came in a table, so that no model ran."""
        return is_from_table(self.manifest.engine)

    @property
    def score(self) -> str:
        """The name of the score that it has in place of predictions; "" for predictions."""
        record = self.manifest.score
        if record is None or not set(SCORES) <= set(self.own_scores):
            return ""
        return record.name

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return self.manifest.spec.conditions

    @property
    def seed(self) -> int:
        return self.manifest.spec.seed

    @property
    def images(self) -> int:
        """How many images were read and evaluated."""
        return sum(part.images for part in self.parts)

    @cached_property
    def image_table(self) -> pa.Table:
        """Its images, as ``files.SCHEMA``, and the columns of their dataset's table."""
        return files.read(
            self.folder, self.manifest.parts, self.manifest.batch, self._chunk_numbers
        )

    @property
    def _chunk_numbers(self) -> list[int]:
        """The numbers of its chunks, in the order in which their rows were written."""
        return [number for part in self.parts for number in part.chunks]

    @cached_property
    def unreadable(self) -> list[tuple[str, str]]:
        """(name, reason) of the images that could not be read."""
        return files.unreadable(self.image_table)

    @property
    def seconds(self) -> float:
        """Time spent on the images without loading the models."""
        return sum(part.seconds for part in self.parts)

    @cached_property
    def rows(self) -> Rows:
        """Its saved rows, to query."""
        paths = [part.path for part in self.parts]
        images = files.readable(self.image_table)
        return Rows(paths, images, self.manifest.spec, self.score)

    @cached_property
    def cases(self) -> CaseRows:
        """Its measurements to look at."""
        return CaseRows(self.rows, self.properties)

    @cached_property
    def properties(self) -> pa.Table | None:
        """The properties of its images by ``position``; None if they were not measured."""
        return files.properties(self.image_table)

    @property
    def own_scores(self) -> tuple[str, ...]:
        """The columns of plugins' metrics."""
        if not self.parts:
            return ()
        return self.parts[0].plugin_columns

    @property
    def row_count(self) -> int:
        """How many rows, that is measurements, of its models there are."""
        return sum(part.rows for part in self.parts)

    def table(
        self,
        columns: Sequence[str] | None = None,
        model: str | None = None,
        *,
        variants: bool = False,
    ) -> pa.Table:
        """The rows, in the order of the dataset; all ``columns`` unless named.

        They are those of its models or, if ``variants``, of its variants.
        """
        every_column = schema(self.own_scores)
        if columns is None:
            names = every_column.names
        else:
            names = list(dict.fromkeys([*columns, "position"]))
        tables = [self._read(part, names, model, variants) for part in self.parts]
        if not tables:
            tables = [every_column.append(BASE).empty_table().select(names)]
        joined = pa.concat_tables(tables)
        if self._chunk_numbers == sorted(self._chunk_numbers):
            return joined
        return joined.sort_by("position")

    def _read(
        self, part: Part, columns: Sequence[str], model: str | None = None, variants: bool = False
    ) -> pa.Table:
        """The ``columns``, with "position" among them, of the rows of ``part``."""
        derived_names = [name for name in columns if name in NOT_STORED]
        stored_names = [name for name in columns if name not in NOT_STORED]
        # Some columns are derived from others, which are read even if nobody asks for them.
        if "model" not in stored_names and not set(derived_names).isdisjoint(files.OF_FRAMING):
            stored_names.append("model")
        if "condition" not in stored_names and "profile" in derived_names:
            stored_names.append("condition")
        rows = read_rows(part, stored_names, model, variants=variants)
        rows = files.with_columns(rows, derived_names, self.image_table, self.manifest.spec)
        return rows.select(columns)

    def tables(
        self, columns: Sequence[str] | None = None, *, variants: bool = False
    ) -> Iterator[pa.Table]:
        """Yield the rows a file at a time, as they were written.

        The whole need not fit into memory. ``columns`` are by default all, and else need
        "position" among them.
        """
        for part in self.parts:
            if columns is None:
                names = schema(part.plugin_columns).names
            else:
                names = list(columns)
            yield self._read(part, names, variants=variants)

    def frame(self, columns: Sequence[str] | None = (), model: str | None = None) -> pd.DataFrame:
        """The rows as a frame: by default the columns of one value each, None for all."""
        if columns == ():
            columns = (*NUMBERS, *self.own_scores)
        frame = to_frame(self.table(columns, model))
        if columns is None:
            return frame
        return frame[list(columns)]  # without the position, which every table has

    @cached_property
    def dataset(self) -> Dataset:
        """The images, listed again; raises ``RunError`` where they cannot be opened."""
        record = self.manifest.dataset
        try:
            dataset = open_dataset(record.source)
        except RunError:
            raise
        except (RobustnessError, OSError) as error:
            if record.source.startswith(IN_PYTHON):
                raise RunError(str(error)) from error
            if isinstance(error, RobustnessError):
                reason = error.with_hint
            else:
                reason = f"{error.strerror}."
            raise RunError(
                "The images of this run cannot be opened again: they are not where they were, or "
                "cannot be read there.",
                hint=reason,
            ) from error
        dataset.select(record.limit, record.sample, self.seed)
        return dataset

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        return {entry.name: entry for entry in self.dataset.entries}

    def picture(self, name: str, framings: Sequence[Framing] = ()) -> Picture:
        """The image called ``name``, read again, in ``framings``, by default those of the run.

        Raises ``RunError`` or ``ImageError`` where that is not possible any more.
        """
        if name not in self._entries:
            raise ImageError(f"{name} is no longer among the images of {self.dataset.title}.")
        data = self.dataset.read(self._entries[name])
        if not framings:
            framings = list(self.manifest.spec.by_framing)
        if self.dataset.fitted:  # its files are framed already, so nothing is cropped again
            read_framings = [Framing("squash", framing.side) for framing in framings]
            study_framing = Framing("squash")
        else:
            read_framings = list(framings)
            study_framing = Framing()
        pixels = framed_image(data, read_framings, name=name, study=study_framing)
        picture = pixels.picture(name, framings)
        if not self._is_evaluated(picture):
            raise ImageError(
                f"{name} is no longer the image that this run evaluated: its pixels have "
                "changed since."
            )
        return picture

    def _is_evaluated(self, picture: Picture) -> bool:
        """Whether ``picture`` has the pixels that were evaluated, as far as that is known."""
        if picture.name not in self._digests:
            return True
        source_digest, framed_digests = self._digests[picture.name]
        # The digest in a table of predictions is that of the original, not of its framed file.
        if self.dataset.fitted and framed_digests:
            return picture.digest in framed_digests
        return picture.source == source_digest

    def picture_for(self, name: str, model: str) -> Picture:
        """The image called ``name`` as ``model`` saw it; raises as ``picture`` does."""
        return self.picture(name, [self.manifest.spec.framing_of(model)])

    def check_weights(self, model: str) -> None:
        """Raise ``RunError`` if ``model`` is now another than the one that was evaluated."""
        digest_of_run = dict(self.manifest.spec.models)[model]
        if models.digest(models.REGISTRY[model]) != digest_of_run:
            raise RunError(
                f"Expected the weights that the run evaluated, got others of {model}. Evaluate it "
                "again."
            )

    def perturbed(self, picture: Picture, condition: Condition) -> Images:
        """The image (S, S, 3) of ``picture``, a version of this run's, under ``condition``.

        It is made or, where ``condition`` is a file of the dataset, read. Raises as ``picture``
        does, and ``ParameterError`` for an attack.
        """
        if condition.in_files:
            entry = self._entries[picture.name]
            return stored_image(self.dataset, entry, condition, picture.side)
        return condition.images(picture.image[None], [picture.stream], self.seed)[0]

    @cached_property
    def _digests(self) -> dict[str, tuple[str, list[str] | None]]:
        """By name of every image: its digest, and those of its pixels in each framing, if known."""
        images = self.rows.images
        digests = images["digest"].to_pylist()
        framed_digests = images["framed"].to_pylist()
        pairs = zip(digests, framed_digests, strict=True)
        return dict(zip(images["name"].to_pylist(), pairs, strict=True))
