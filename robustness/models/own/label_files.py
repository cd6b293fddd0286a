"""The classes of a user's model, listed in a text file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from robustness.base.disk import Version, read_regular, version
from robustness.base.errors import ParameterError
from robustness.models.labels import Labels

_LARGEST_LABELS = 16 * 2**20  # bytes of the file


def labels_of(file: Path) -> Labels:
    """The classes in ``file``, one per line; raises ``ParameterError`` if it is unusable."""
    try:
        return _read_labels(file, version(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ParameterError(
            f"Expected {file} to be a text file with one class per line; it cannot be read: "
            f"{reason}."
        ) from error


@lru_cache(maxsize=16)
def _read_labels(file: Path, _version: Version) -> Labels:
    # Some editors write a mark before the text.
    text = read_regular(file, _LARGEST_LABELS).decode("utf-8-sig")
    names = [line.strip() for line in text.split("\n")]
    while names and not names[-1]:
        names.pop()
    check_names(names, f"the lines of the label file {file}", "line")
    return Labels(title=file.stem, names=tuple(names))


def check_names(names: Sequence[str], what: str, unit: str) -> None:
    """Raises ``ParameterError`` unless ``names`` are those of two or more classes.

    The sentence calls all of them ``what``, and each a ``unit``.
    """
    problem = "" if len(names) > 1 else f"got {len(names)}"
    if "" in names:
        problem = f"{unit} {names.index('') + 1} is empty"
    elif len(set(names)) < len(names):
        problem = f"{Counter(names).most_common(1)[0][0]!r} is listed twice"
    if problem:
        raise ParameterError(f"Expected {what} to be two or more different classes; {problem}.")
