"""A CSV or Parquet table of paths and labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from robustness.base import workers
from robustness.base.errors import ParameterError
from robustness.base.files import require_regular
from robustness.base.text import from_csv_cell
from robustness.datasets.dataset import Columns, Dataset, Entry
from robustness.images.decoding import read_file

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".parquet")
PATH_COLUMNS = ("path", "image", "file", "filename", "filepath")
LABEL_COLUMNS = ("label", "class", "synset", "target")

MAX_BYTES = 2**30
"""Most bytes of a CSV file: about 15 million rows."""

LONGEST_ROW = 2**20
"""Most characters of a row of a CSV file."""

MAX_COLUMNS = 100
LONGEST_VALUE = 100
"""Other columns that are kept, and characters of a value."""


class TableDataset(Dataset):
    """The images that a table names; relative paths start at the table's folder.

    A repeated row counts once.
    """

    def __init__(self, path: Path) -> None:
        """Read the table; raises ``ParameterError`` if it cannot be used."""
        self._path = path.resolve()
        self._folder = path.resolve().parent
        frame = _read(path)
        paths = _column(frame, PATH_COLUMNS)
        if paths is None:
            columns = ", ".join(map(str, frame.columns)) or "none"
            raise ParameterError(
                f"{path.name}: expected a column 'path' and, for accuracy, a column 'label'; got "
                f"the columns {columns}."
            )
        labels = _column(frame, LABEL_COLUMNS)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            entries = _entries(path, folder, paths, labels or [""] * len(paths))
        finally:
            os.close(folder)
        super().__init__(str(path.resolve()), path.stem, entries)

    def read(self, entry: Entry) -> bytes:
        """The bytes of the file; raises ``ImageError`` if it cannot be read."""
        return read_file(self._folder / entry.place, name=entry.name)

    def columns(self) -> Columns:
        """The other columns, read again: a run needs them once, and an image's first row counts."""
        return other_columns(_read(self._path, others=True))


def _entries(path: Path, folder: int, paths: list[str], labels: list[str]) -> list[Entry]:
    """The images of the table ``path``, which lies in the open ``folder``."""
    entries: dict[str, Entry] = {}
    for name, label in zip(paths, labels, strict=True):
        if not name:
            continue
        earlier = entries.get(name)
        if earlier is not None and earlier.label != (label or None):
            raise ParameterError(
                f"{path.name} has two labels for {name!r}, {earlier.label!r} and {label!r}: "
                "expected one label per image."
            )
        try:
            size = os.stat(name, dir_fd=folder).st_size
        except (OSError, ValueError):
            size = None  # reading it gives the reason
        entries[name] = Entry(name, name, size, label=label or None)
    return list(entries.values())


def other_columns(frame: pd.DataFrame) -> Columns:
    """The first ``MAX_COLUMNS`` columns of ``frame`` that are neither paths nor labels."""
    names = _column(frame, PATH_COLUMNS) or []
    used = PATH_COLUMNS + LABEL_COLUMNS
    others = [column for column in frame.columns if str(column).strip().lower() not in used]
    columns: dict[str, dict[str, str]] = {}
    for column in others[:MAX_COLUMNS]:
        values = frame[column]
        texts = ["" if gap else _text(v) for v, gap in zip(values, values.isna(), strict=True)]
        by_image = columns.setdefault(str(column).strip()[:LONGEST_VALUE], {})
        for name, text in zip(names, texts, strict=True):
            if text:
                by_image.setdefault(name, text[:LONGEST_VALUE])
    return columns


def _read(path: Path, *, others: bool = False) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return _parquet(path, others)
        return _csv(path, others)
    except ParameterError:
        raise
    except Exception as error:  # readers raise nearly anything on odd bytes
        if reason := getattr(error, "strerror", None):
            raise ParameterError(f"{path.name} cannot be read: {reason}.") from error
        reason = "it is empty" if path.stat().st_size == 0 else "it is damaged"
        if isinstance(error, UnicodeDecodeError):
            reason = "its text is not UTF-8"
        elif isinstance(error, _LongRowError):
            reason = f"a row has more than {LONGEST_ROW:,} characters"
        raise ParameterError(
            f"{path.name} cannot be read as a table ({reason}): expected "
            f"{'Parquet' if path.suffix.lower() == '.parquet' else 'comma-separated values'} with "
            "the columns 'path' and 'label'."
        ) from error


class _LongRowError(ValueError):
    pass


def _rows(file: TextIO) -> Iterator[list[str]]:
    """The rows of a CSV file that are not empty."""
    length = 0

    def lines() -> Iterator[str]:
        nonlocal length
        while line := file.readline(LONGEST_ROW):
            length += len(line)
            if length >= LONGEST_ROW:
                raise _LongRowError
            yield line

    for row in csv.reader(lines(), strict=True):
        length = 0
        if row:
            yield row


def _csv(path: Path, others: bool) -> pd.DataFrame:
    """The columns of paths and labels; of the ``others`` the first, or only their names.

    A row may lack fields at its end, or have empty ones there. pandas takes four times as long.
    """
    import pandas as pd

    require_regular(path, MAX_BYTES)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = _rows(file)
        names = next(rows)
        _check_once(path, names)
        texts_by_name: dict[str, list[str] | None] = dict.fromkeys(names)
        chosen = [name for name in texts_by_name if _is_asked(name)]
        if others:
            chosen += [name for name in texts_by_name if name not in chosen][:MAX_COLUMNS]
        columns: list[list[str]] = [[] for _ in chosen]
        adding = [
            (names.index(name), column.append) for name, column in zip(chosen, columns, strict=True)
        ]
        for row in rows:
            if any(row[len(names) :]):
                raise ValueError("more fields than names")
            for at, add in adding:
                add(from_csv_cell(row[at]) if at < len(row) else "")
    return pd.DataFrame(
        texts_by_name | dict(zip(chosen, columns, strict=True)),
        index=range(len(columns[0]) if columns else 0),
    )


def _parquet(path: Path, others: bool) -> pd.DataFrame:
    """The columns of paths and labels; of the ``others`` the first, or only their names."""
    import pandas as pd

    columns = workers.columns(path)
    _check_once(path, [name for name, _ in columns])
    flat = [name for name, nested in columns if not nested]
    chosen = [name for name in flat if _is_asked(name)]
    if not chosen:
        return pd.DataFrame(columns=flat)
    if others:
        chosen += [name for name in flat if name not in chosen][:MAX_COLUMNS]
    return workers.read(path, chosen).to_pandas(ignore_metadata=True)


def _check_once(path: Path, names: Sequence[str]) -> None:
    """Raise ``ParameterError`` if two of the columns ``names`` differ in case or spaces alone."""
    by_lower: dict[str, str] = {}
    for name in filter(_is_asked, names):
        other = by_lower.setdefault(name.strip().lower(), name)
        if other != name or names.count(name) > 1:
            raise ParameterError(
                f"{path.name}: expected one column {name.strip().lower()!r}, got {other!r} and "
                f"{name!r}: rename or remove one."
            )


def _is_asked(name: str) -> bool:
    return name.strip().lower() in PATH_COLUMNS + LABEL_COLUMNS


def _column(frame: pd.DataFrame, names: tuple[str, ...]) -> list[str] | None:
    by_lower = {str(column).strip().lower(): column for column in frame.columns}
    for name in names:
        if name in by_lower:
            values = frame[by_lower[name]]
            return ["" if gap else _text(v) for v, gap in zip(values, values.isna(), strict=True)]
    return None


def _text(value: object) -> str:
    """``value`` as text; a float (a class index in a column with gaps) as a whole number."""
    text = str(value).strip()
    return text[:-2] if text.endswith(".0") and text[:-2].isdecimal() else text
