"""What a dataset is: entries in a fixed order, each with its name, its label and its bytes.

And which files count as its pictures.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from robustness.base.errors import ParameterError
from robustness.pictures.decoding import ACCEPTED_EXTENSIONS

_NOT_ACCEPTED = ("heic", "heif", "jxl", "jp2", "psd", "svg", "tga", "ppm", "pgm")
_SUFFIXES = {f".{extension}" for extension in (*ACCEPTED_EXTENSIONS, *_NOT_ACCEPTED)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a dataset.

    ``name`` is unique in the dataset; ``place`` is where the dataset finds the bytes. ``folders``
    are the sub-folders it lies in, outermost first; ``label`` is its class as somebody wrote it
    beside it. ``size`` is in bytes, None where unknown. ``refused`` says why it is not read.
    """

    name: str
    place: str
    size: int | None = None
    folders: tuple[str, ...] = ()
    label: str | None = None
    refused: str = ""


class Dataset(ABC):
    """Pictures from one source, in an order that is the same every time.

    It can be pickled, and read from several threads and processes at once.
    """

    wrapped = False
    """Whether everything may lie in one folder that says nothing, as archives are often made."""

    def __init__(self, source: str, title: str, entries: Sequence[Entry]) -> None:
        """``source`` is what ``open_dataset`` opens again; ``title`` names it for people."""
        self.source = source
        self.title = title
        self.entries = tuple(entries)

    @abstractmethod
    def read(self, entry: Entry) -> bytes:
        """The bytes of one picture; raises ``ImageError`` with the reason where there are none."""

    def __len__(self) -> int:
        return len(self.entries)

    def select(self, limit: int | None = None, sample: int | None = None, seed: int = 0) -> None:
        """Keeps the first ``limit`` entries, and of these ``sample`` drawn at random by ``seed``.

        The order stays. Raises ``ParameterError`` for a number below 1.
        """
        for name, number in (("limit", limit), ("sample", sample)):
            if number is not None and number < 1:
                raise ParameterError(
                    f"Expected at least 1 picture to be taken, got {number}.",
                    hint=f"That is --{name} to be at least 1.",
                )
        entries = self.entries[:limit]
        if sample is not None and sample < len(entries):
            drawn = np.random.default_rng(seed).choice(len(entries), sample, replace=False)
            entries = tuple(entries[place] for place in np.sort(drawn))
        self.entries = entries

    @property
    def digest(self) -> str:
        """SHA-256 over the names, sizes and labels of the entries: equal for an equal listing."""
        listing = hashlib.sha256()
        for entry in self.entries:
            row = [entry.name, entry.size, entry.folders, entry.label]
            listing.update(json.dumps(row).encode() + b"\n")
        return listing.hexdigest()


def distinct(names: Sequence[str]) -> list[str]:
    """``names``, the second ``a.png`` as ``a (2).png``, and so on."""
    seen: set[str] = set()
    numbers: dict[str, int] = {}  # where counting goes on: many equal names must not take for ever
    result = []
    for name in names:
        number, unique = numbers.get(name, 1), name
        while unique in seen:
            number += 1
            path = PurePosixPath(name)
            unique = str(path.with_name(f"{path.stem} ({number}){path.suffix}"))
        numbers[name] = number
        seen.add(unique)
        result.append(unique)
    return result


def is_picture(path: str) -> bool:
    """Whether a file of this name counts as a picture, readable or not.

    Pictures of formats that are not accepted count, so that they are listed with their reason
    rather than passed over. Hidden files and what macOS adds to archives do not.
    """
    parts = _parts(path)
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return False
    return os.path.splitext(path)[1].lower() in _SUFFIXES


def folders_of(path: str) -> tuple[str, ...]:
    """The folders above a file, outermost first: ``("a", "b")`` of ``a/b/c.png``."""
    return tuple(_parts(path)[:-1])


def _parts(path: str) -> list[str]:
    """As ``PurePosixPath`` has them of a relative path, in a tenth of its time."""
    return [part for part in path.split("/") if part not in ("", ".")]


def as_text(path: str) -> str:
    """``path`` as text that can be saved: bytes that are no UTF-8 stand as ``\\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
