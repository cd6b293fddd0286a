"""The dataset interface: ordered entries with name, label and bytes; which files are images.

Class indices from the labels of images.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from robustness.base.errors import LabelError, ParameterError
from robustness.base.text import folded, nearest
from robustness.images.decoding import ACCEPTED_EXTENSIONS
from robustness.models.record import Labels

Columns = Mapping[str, Mapping[str, str]]
"""The texts of each column by the names of the images."""

_NOT_ACCEPTED = ("jxl", "jp2", "psd", "svg", "tga", "ppm", "pgm")
_SUFFIXES = {f".{extension}" for extension in (*ACCEPTED_EXTENSIONS, *_NOT_ACCEPTED)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a dataset.

    ``name`` is unique in the dataset; ``place`` is where the dataset finds the bytes. ``folders``
    are its subfolders, outermost first; ``label`` is its class as written in the source. ``size``
    is in bytes, None if unknown. ``refused`` is the reason why it is not read.
    """

    name: str
    place: str
    size: int | None = None
    folders: tuple[str, ...] = ()
    label: str | None = None
    refused: str = ""


class Dataset(ABC):
    """Images from one source, in a reproducible order.

    It can be pickled, and read from several threads and processes at once.
    """

    wrapped = False
    """Whether a single outer folder is ignored, as in many archives."""

    fitted = False
    """Whether its images are study images already, which are not cropped again."""

    def __init__(self, source: str, title: str, entries: Sequence[Entry]) -> None:
        """``source`` is the argument of ``open_dataset``; ``title`` is shown to people."""
        self.source = source
        self.title = title
        self.entries = tuple(entries)

    @abstractmethod
    def read(self, entry: Entry) -> bytes:
        """The bytes of one image; raises ``ImageError`` with the reason if there are none."""

    def columns(self) -> Columns:
        """The source's other columns, besides paths and labels, by name and then image."""
        return {}

    def __len__(self) -> int:
        return len(self.entries)

    def select(self, limit: int | None = None, sample: int | None = None, seed: int = 0) -> None:
        """Keep the first ``limit`` entries, or ``sample`` of these drawn at random by ``seed``.

        The order stays. Raises ``ParameterError`` for a number below 1.
        """
        for name, number in (("limit", limit), ("sample", sample)):
            if number is not None and number < 1:
                raise ParameterError(
                    f"Expected at least 1 image, got {number}.",
                    hint=f"Set --{name} to 1 or more.",
                )
        entries = self.entries[:limit]
        if sample is not None and sample < len(entries):
            drawn = np.random.default_rng(seed).choice(len(entries), sample, replace=False)
            entries = tuple(entries[place] for place in np.sort(drawn))
        self.entries = entries

    @property
    def digest(self) -> str:
        """SHA-256 over names, sizes and labels of the entries; the same for equal listings."""
        listing = hashlib.sha256()
        for entry in self.entries:
            row = [entry.name, entry.size, entry.folders, entry.label]
            listing.update(json.dumps(row).encode() + b"\n")
        return listing.hexdigest()


def distinct(names: Sequence[str]) -> list[str]:
    """``names``, the second ``a.png`` as ``a (2).png``, and so on."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # last number used: keeps many equal names fast
    result = []
    for name in names:
        number = numbers.get(name, 1)
        unique = name
        while unique in taken:
            number += 1
            path = PurePosixPath(name)
            unique = str(path.with_name(f"{path.stem} ({number}){path.suffix}"))
        numbers[name] = number
        taken.add(unique)
        result.append(unique)
    return result


def is_picture(path: str) -> bool:
    """Whether a file of this name counts as an image, readable or not.

    Images in formats that are not accepted count, so that they are listed with a reason. Hidden
    files and the files that macOS adds to archives do not.
    """
    parts = _parts(path)
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return False
    return os.path.splitext(path)[1].lower() in _SUFFIXES


def folders_of(path: str) -> tuple[str, ...]:
    """The folders above a file, outermost first: ``("a", "b")`` of ``a/b/c.png``."""
    return tuple(_parts(path)[:-1])


def _parts(path: str) -> list[str]:
    """The parts of a relative ``PurePosixPath``, in a tenth of its time."""
    return [part for part in path.split("/") if part not in ("", ".")]


def path_text(path: str) -> str:
    """``path`` as text that can be saved: bytes that are not UTF-8 become ``\\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


FOLDERS = "folders"
KNOWN = "known"
NO_LABELS = "none"
LABELLINGS = (FOLDERS, KNOWN, NO_LABELS)
"""Where labels come from: a table's column or the names of subfolders; the same, but without those
that name no class; or nowhere."""


def class_index(text: str, labels: Labels) -> int | None:
    """The class that ``text`` means by ``Labels.meant``; None if that is not exactly one."""
    indices = labels.meant(text)
    return indices[0] if len(indices) == 1 else None


def entry_class_indices(
    dataset: Dataset, label_sets: Sequence[Labels], labelling: str = FOLDERS
) -> dict[str, tuple[int | None, ...]]:
    """The class index of every entry, for each of ``label_sets`` by its ``key``.

    The label is the dataset's, else the outermost subfolder. An archive's outer folder that is not
    a class is skipped. A class may exist in some of the label sets only. Raises ``LabelError`` for
    a label without a class, unless ``labelling`` is ``KNOWN``: then such an image has no label.
    """
    texts = [None] * len(dataset) if labelling == NO_LABELS else _texts(dataset, label_sets)
    distinct = dict.fromkeys(text for text in texts if text is not None)
    indices = {
        labels.key: {text: class_index(text, labels) for text in distinct} for labels in label_sets
    }
    strangers = [t for t in distinct if all(by_text[t] is None for by_text in indices.values())]
    if strangers and labelling != KNOWN:
        raise _no_class(strangers, label_sets)
    return {
        key: tuple(None if text is None else by_text[text] for text in texts)
        for key, by_text in indices.items()
    }


def classes_of(dataset: Dataset) -> Labels:
    """The labels themselves as classes, in alphabetical order."""
    names = sorted({text for text in _texts(dataset, ()) if text is not None})
    return Labels(f"the labels of {dataset.title}", tuple(names))


def _texts(dataset: Dataset, label_sets: Sequence[Labels]) -> list[str | None]:
    def folder(entry: Entry, depth: int) -> str | None:
        return entry.folders[depth] if len(entry.folders) > depth else None

    depth = 0
    while dataset.wrapped:
        outer = {folder(entry, depth) for entry in dataset.entries if not entry.refused}
        wrapper = outer.pop() if len(outer) == 1 else None
        if wrapper is None or any(labels.meant(wrapper) for labels in label_sets):
            break
        depth += 1

    def text(entry: Entry) -> str | None:
        if entry.refused:
            return None
        return folder(entry, depth) if entry.label is None else entry.label

    return [text(entry) for entry in dataset.entries]


def _no_class(strangers: Sequence[str], label_sets: Sequence[Labels]) -> LabelError:
    examples = ", ".join(repr(text) for text in strangers[:3])
    more = f" and {len(strangers) - 3} more" if len(strangers) > 3 else ""
    titles = " or ".join(dict.fromkeys(labels.title for labels in label_sets))
    names = [name for labels in label_sets for name in labels.names]
    near = []
    for text in strangers[:3]:
        either = dict.fromkeys(
            labels.names[at] for labels in label_sets for at in labels.meant(text)
        )
        if candidates := " or ".join(map(repr, either or _nearest(text, names))):
            near.append(candidates if len(strangers) == 1 else f"{candidates} for {text!r}")
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    verb = "is not a class" if len(strangers) == 1 else "are not classes"
    return LabelError(
        f"{examples}{more} {verb} of {titles}: expected the index, synset or name of a "
        f"class for each subfolder or label.{hint} Images without classes need no labels.",
        hint="Name models of these classes in --models (for export: the classes in --class-names). "
        "Or use --labels known to evaluate these without a class, or --labels none.",
    )


def _nearest(text: str, names: Sequence[str]) -> list[str]:
    """Names with the last word of ``text``, such as Eskimo dog for "dogs", else similar ones."""
    word = folded(text).rpartition(" ")[2]
    having = [name for name in names if {word, word.removesuffix("s")} & set(folded(name).split())]
    return having[:2] if word and having else nearest(text, names, key=folded)
