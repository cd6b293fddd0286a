"""A CSV or Parquet table of paths and labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from robustness.base import parquet
from robustness.base.errors import ParameterError
from robustness.base.files import require_regular
from robustness.base.text import counted, from_csv_cell
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

_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}

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
        paths = _texts_of_any(frame, PATH_COLUMNS)
        if paths is None:
            raise _no_paths(path, [str(name) for name in frame.columns])
        labels = _texts_of_any(frame, LABEL_COLUMNS)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            if labels is None:
                labels = [""] * len(paths)
            entries = _entries(path, folder, paths, labels)
        finally:
            os.close(folder)
        if not entries:
            raise ParameterError(
                f"{path.name} names no image: expected a row for each, with its path."
            )
        super().__init__(str(path.resolve()), path.stem, entries)

    def read(self, entry: Entry) -> bytes:
        """The bytes of the file; raises ``ImageError`` if it cannot be read."""
        return read_file(self._folder / entry.location, name=entry.name)

    def columns(self) -> Columns:
        """The other columns, read again: a run needs them once, and an image's first row counts."""
        return other_columns(_read(self._path, others=True))


def _no_paths(path: Path, names: Sequence[str]) -> ParameterError:
    """The error on a table with the columns ``names``, none of which is one of paths."""
    hint = ""
    for separator, word in _OTHER_SEPARATORS.items():
        if any(separator in name for name in names):
            hint = f" Separate the columns with commas, not with {word}."
    columns = ", ".join(names) or "none"
    return ParameterError(
        f"{path.name}: expected a column 'path' and, for accuracy, a column 'label'; got the "
        f"columns {columns}.{hint}"
    )


def _entries(path: Path, folder: int, paths: list[str], labels: list[str]) -> list[Entry]:
    """The images of the table ``path``, which lies in the open ``folder``."""
    entries: dict[str, Entry] = {}
    for row, (name, label) in enumerate(zip(paths, labels, strict=True), start=1):
        if not name and label:
            raise ParameterError(
                f"{path.name}: expected a path in row {row:,}, which has the label {label!r}: add "
                "it, or remove the row."
            )
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
    """The first ``MAX_COLUMNS`` columns of ``frame`` that are neither paths nor labels.

    They lack the images of which the text is empty.
    """
    names = _texts_of_any(frame, PATH_COLUMNS) or []
    others = [column for column in frame.columns if not _is_asked(str(column))]
    columns: dict[str, dict[str, str]] = {}
    for column in others[:MAX_COLUMNS]:
        title = str(column).strip()[:LONGEST_VALUE]
        text_by_image = columns.setdefault(title, {})
        for name, text in zip(names, _texts(frame[column]), strict=True):
            if text:
                text_by_image.setdefault(name, text[:LONGEST_VALUE])
    return columns


def _read(path: Path, *, others: bool = False) -> pd.DataFrame:
    is_parquet = path.suffix.lower() == ".parquet"
    try:
        if is_parquet:
            return _parquet(path, others)
        return _csv(path, others)
    except ParameterError:
        raise
    except Exception as error:  # readers raise nearly anything on odd bytes
        reason = getattr(error, "strerror", None)
        if reason:
            raise ParameterError(f"{path.name} cannot be read: {reason}.") from error
        if isinstance(error, UnicodeDecodeError):
            reason = "its text is not UTF-8"
        elif isinstance(error, _RowError):
            reason = str(error)
        elif path.stat().st_size == 0:
            reason = "it is empty"
        else:
            reason = "it is damaged"
        kind = "Parquet" if is_parquet else "comma-separated values"
        raise ParameterError(
            f"{path.name} cannot be read as a table ({reason}): expected {kind} with the columns "
            "'path' and 'label'."
        ) from error


class _RowError(ValueError):
    """A row of a CSV file cannot be read; the message is a clause that says why."""


def _rows(file: TextIO) -> Iterator[list[str]]:
    """The rows of a CSV file that are not empty."""
    row_length = 0
    count = 0

    def lines() -> Iterator[str]:
        nonlocal row_length
        while line := file.readline(LONGEST_ROW):
            row_length += len(line)
            if row_length >= LONGEST_ROW:
                raise _RowError(f"a row has more than {LONGEST_ROW:,} characters")
            yield line

    # Without a limit, a row that never ends, as in a sparse file, would fill the memory.
    reader = csv.reader(lines(), strict=True)
    try:
        for row in reader:
            row_length = 0
            if row:
                count += 1
                yield row
    except csv.Error as error:
        raise _RowError(f"after {counted(count, 'row')} its quotes are damaged") from error


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
        distinct_names = list(dict.fromkeys(names))
        read_names = [name for name in distinct_names if _is_asked(name)]
        if others:
            rest = [name for name in distinct_names if name not in read_names]
            read_names += rest[:MAX_COLUMNS]
        texts: dict[str, list[str]] = {name: [] for name in read_names}
        columns = [(names.index(name), texts[name]) for name in read_names]
        for number, row in enumerate(rows, start=1):
            if any(row[len(names) :]):
                raise _RowError(
                    f"row {number:,} has {counted(len(row), 'value')} for "
                    f"{counted(len(names), 'column')}"
                )
            for index, values in columns:
                values.append(from_csv_cell(row[index]) if index < len(row) else "")
    row_count = len(texts[read_names[0]]) if read_names else 0
    # A column that was not read has its name in the frame, and no values.
    return pd.DataFrame({name: texts.get(name) for name in distinct_names}, index=range(row_count))


def _parquet(path: Path, others: bool) -> pd.DataFrame:
    """The columns of paths and labels; of the ``others`` the first, or only their names."""
    import pandas as pd

    columns = parquet.columns(path)
    _check_once(path, [name for name, _ in columns])
    _check_flat(path, columns)
    flat_names = [name for name, is_nested in columns if not is_nested]
    read_names = [name for name in flat_names if _is_asked(name)]
    if not read_names:
        return pd.DataFrame(columns=flat_names)
    if others:
        rest = [name for name in flat_names if name not in read_names]
        read_names += rest[:MAX_COLUMNS]
    return parquet.read(path, read_names).to_pandas(ignore_metadata=True)


def _check_once(path: Path, names: Sequence[str]) -> None:
    """Raise ``ParameterError`` if two of the columns ``names`` differ in case or spaces alone."""
    name_by_lower: dict[str, str] = {}
    for name in names:
        if not _is_asked(name):
            continue
        lower = _lower(name)
        other = name_by_lower.setdefault(lower, name)
        if other != name or names.count(name) > 1:
            raise ParameterError(
                f"{path.name}: expected one column {lower!r}, got {other!r} and {name!r}: rename "
                "or remove one."
            )


def _check_flat(path: Path, columns: Sequence[tuple[str, bool]]) -> None:
    """Raise ``ParameterError`` if the paths or the labels stand in a nested column alone.

    ``columns`` are names, and whether each is nested.
    """
    for asked in (PATH_COLUMNS, LABEL_COLUMNS):
        nested_by_name = {name: nested for name, nested in columns if _lower(name) in asked}
        if nested_by_name and all(nested_by_name.values()):
            name = next(iter(nested_by_name))
            raise ParameterError(
                f"{path.name}: expected texts or numbers in the column {name!r}, got lists or "
                "tables: give each image one value."
            )


def _is_asked(name: str) -> bool:
    return _lower(name) in PATH_COLUMNS + LABEL_COLUMNS


def _lower(name: str) -> str:
    return name.strip().lower()


def _texts_of_any(frame: pd.DataFrame, names: Sequence[str]) -> list[str] | None:
    """The texts of the first of the columns ``names`` that ``frame`` has; None without one."""
    column_by_lower = {_lower(str(column)): column for column in frame.columns}
    for name in names:
        if name in column_by_lower:
            return _texts(frame[column_by_lower[name]])
    return None


def _texts(values: pd.Series) -> list[str]:
    texts = []
    for value, is_missing in zip(values, values.isna(), strict=True):
        texts.append("" if is_missing else _text(value))
    return texts


def _text(value: object) -> str:
    """``value`` as text; a float (a class index in a column with gaps) as a whole number."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = str(value).strip()
    whole = text.removesuffix(".0")
    return whole if whole.isdecimal() else text
