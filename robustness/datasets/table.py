"""A CSV or Parquet table of paths and labels."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from robustness.base.errors import ParameterError
from robustness.datasets.dataset import Dataset, Entry
from robustness.pictures.decoding import read_file

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".parquet")
PATH_COLUMNS = ("path", "image", "file", "filename", "filepath")
LABEL_COLUMNS = ("label", "class", "synset", "target")


class Table(Dataset):
    """The pictures that a table names; relative paths start from the table's folder.

    A row that repeats another is counted once.
    """

    def __init__(self, path: Path) -> None:
        """Reads the table; raises ``ParameterError`` for one that cannot be used."""
        self._folder = path.resolve().parent
        frame = _read(path)
        paths = _column(frame, PATH_COLUMNS)
        if paths is None:
            found = ", ".join(map(str, frame.columns)) or "none"
            raise ParameterError(
                f"{path.name}: expected a column 'path' and, for accuracy, a column 'label'; got "
                f"the columns {found}."
            )
        labels = _column(frame, LABEL_COLUMNS)
        super().__init__(str(path.resolve()), path.stem, self._entries(path, paths, labels))

    def _entries(self, path: Path, paths: list[str], labels: list[str] | None) -> list[Entry]:
        found: dict[str, Entry] = {}
        for name, label in zip(paths, labels or [""] * len(paths), strict=True):
            if not name:
                continue
            earlier = found.get(name)
            if earlier is not None and earlier.label != (label or None):
                raise ParameterError(
                    f"{path.name} names {name!r} twice with different labels, {earlier.label!r} "
                    f"and {label!r}: expected one label for each picture."
                )
            try:
                size = os.stat(self._folder / name).st_size
            except (OSError, ValueError):
                size = None  # reading it will tell why
            found[name] = Entry(name, name, size, label=label or None)
        return list(found.values())

    def read(self, entry: Entry) -> bytes:
        """The bytes of the file; raises ``ImageError`` where it cannot be read."""
        return read_file(self._folder / entry.place)


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        # A comma at the end of every row must not make an index of the first column, which pandas'
        # other engine does, or warns of.
        return pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            index_col=False,
            engine="python",
        )
    except Exception as error:  # pandas and its engines raise nearly anything on odd bytes
        reason = "there is nothing in it" if path.stat().st_size == 0 else "it is damaged"
        raise ParameterError(
            f"{path.name} cannot be read as a table ({reason}): expected "
            f"{'Parquet' if path.suffix.lower() == '.parquet' else 'comma-separated values'} with "
            "the columns 'path' and 'label'."
        ) from error


def _column(frame: pd.DataFrame, names: tuple[str, ...]) -> list[str] | None:
    by_lower = {str(column).strip().lower(): column for column in frame.columns}
    for name in names:
        if name in by_lower:
            values = frame[by_lower[name]]
            return ["" if gap else _text(v) for v, gap in zip(values, values.isna(), strict=True)]
    return None


def _text(value: object) -> str:
    """``value`` as text; a class index that a gap has made a decimal number as a whole one."""
    return re.sub(r"^(\d+)\.0$", r"\1", str(value).strip())
