"""The interface of datasets: ordered entries with name, label and bytes.

Besides, which files are images, and the class indices that labels of images mean.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from robustness.base.errors import LabelError, ParameterError
from robustness.base.text import folded, nearest, visible
from robustness.images.decoding import ACCEPTED_EXTENSIONS
from robustness.models.record import Labels

Columns = Mapping[str, Mapping[str, str]]
"""The texts of each column by the names of the images."""

_NOT_ACCEPTED = ("jxl", "jp2", "psd", "svg", "tga", "ppm", "pgm")
_SUFFIXES = {f".{extension}" for extension in (*ACCEPTED_EXTENSIONS, *_NOT_ACCEPTED)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a dataset.

    ``name`` is unique in the dataset; ``location`` is where the dataset finds the bytes, such as a
    path in its folder. ``folders`` are its subfolders, outermost first; ``label`` is its class as
    written in the source. ``size`` is in bytes, None if unknown. ``refused`` is the reason why it
    is not read.
    """

    name: str
    location: str
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

    other_names: Mapping[str, Sequence[str]] = {}
    """By label what else its class may be called, where models do not know the label."""

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

    def label_texts(self) -> Sequence[str | None]:
        """The label of each entry as it is written in the source, None without one."""
        return [entry.label for entry in self.entries]

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
            entries = tuple(entries[index] for index in np.sort(drawn))
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


IN_PYTHON: Final = "python:"
"""Begins the source of images that a Python session holds, which has no other name."""

NAMED: Final = "dataset:"
"""Begins the source of rows that a plugin gives by name."""

FOLDERS: Final = "folders"
KNOWN: Final = "known"
NO_LABELS: Final = "none"
"""Where labels come from: a table's column or the names of subfolders; the same, but without those
that name no class; or nowhere."""


def class_index(text: str, labels: Labels) -> int | None:
    """The index of the class that ``text`` means by ``Labels.meant``; None if not exactly one."""
    indices = labels.meant(text)
    if len(indices) != 1:
        return None
    return indices[0]


def entry_class_indices(
    dataset: Dataset, label_sets: Sequence[Labels], labelling: str = FOLDERS
) -> dict[str, tuple[int | None, ...]]:
    """The class index of every entry, for each of ``label_sets`` by its ``key``.

    The label is the dataset's, else the outermost subfolder. An archive's outer folder that is not
    a class is skipped. A class may exist in some of the label sets only. Raises ``LabelError`` for
    a label without a class, unless ``labelling`` is ``KNOWN``: then such an image has no label.
    """
    if labelling == NO_LABELS:
        texts: list[str | None] = [None] * len(dataset)
    else:
        texts = _label_texts(dataset, label_sets)
    distinct_texts = list(dict.fromkeys(text for text in texts if text is not None))
    # Each text is looked up once, as there are far fewer of them than images.
    lookups: dict[str, dict[str | None, int | None]] = {}
    for labels in label_sets:
        lookup: dict[str | None, int | None] = {None: None}
        for text in distinct_texts:
            lookup[text] = _class_index_of_label(text, dataset, labels)
        lookups[labels.key] = lookup
    if labelling != KNOWN:
        strangers = []
        for text in distinct_texts:
            if all(lookup[text] is None for lookup in lookups.values()):
                strangers.append(text)
        if strangers:
            raise _no_class(strangers, label_sets, _place_of(strangers[0], dataset))
    return {key: tuple(lookup[text] for text in texts) for key, lookup in lookups.items()}


def _class_index_of_label(text: str, dataset: Dataset, labels: Labels) -> int | None:
    """The index of the class that a label of ``dataset``, or another name of it, means."""
    for name in (text, *dataset.other_names.get(text, ())):
        index = class_index(name, labels)
        if index is not None:
            return index
    return None


def classes_of(dataset: Dataset) -> Labels:
    """The labels themselves as classes, in alphabetical order."""
    names = sorted({text for text in _label_texts(dataset, ()) if text is not None})
    return Labels(f"the labels of {dataset.title}", tuple(names))


def _label_texts(dataset: Dataset, label_sets: Sequence[Labels]) -> list[str | None]:
    """The label of each entry as it is written, or the name of the folder of its class."""
    depth = _wrapper_count(dataset, label_sets)
    texts: list[str | None] = []
    for entry, label in zip(dataset.entries, dataset.label_texts(), strict=True):
        if entry.refused:
            texts.append(None)
        elif label is not None:
            texts.append(label)
        else:
            texts.append(_folder_name(entry, depth))
    return texts


def _wrapper_count(dataset: Dataset, label_sets: Sequence[Labels]) -> int:
    """How many folders, one in the other, wrap those of the classes in an archive."""
    depth = 0
    while dataset.wrapped:
        names = {_folder_name(entry, depth) for entry in dataset.entries if not entry.refused}
        if len(names) != 1:
            break
        name = names.pop()
        if name is None or any(labels.meant(name) for labels in label_sets):
            break
        depth += 1
    return depth


def _folder_name(entry: Entry, depth: int) -> str | None:
    if len(entry.folders) <= depth:
        return None
    return entry.folders[depth]


def _place_of(label: str, dataset: Dataset) -> str:
    """Where ``label`` first stands, as a clause; "" for a folder, which has its name."""
    for entry, text in zip(dataset.entries, dataset.label_texts(), strict=True):
        if text == label:
            return f" (first: {visible(entry.name)})"
    return ""


def _no_class(strangers: Sequence[str], label_sets: Sequence[Labels], place: str) -> LabelError:
    examples = ", ".join(repr(text) for text in strangers[:3])
    if len(strangers) > 3:
        examples += f" and {len(strangers) - 3} more"
    suggestions = []
    for text in strangers[:3]:
        candidates = _candidates(text, label_sets)
        if not candidates:
            continue
        suggestion = " or ".join(map(repr, candidates))
        if len(strangers) > 1:
            suggestion += f" for {text!r}"
        suggestions.append(suggestion)
    question = f" Did you mean {', '.join(suggestions)}?" if suggestions else ""
    verb = "is not a class" if len(strangers) == 1 else "are not classes"
    titles = " or ".join(dict.fromkeys(labels.title for labels in label_sets))
    return LabelError(
        f"{examples} {verb} of {titles}{place}: expected the index, synset or name of a "
        f"class for each subfolder or label.{question} Images without classes need no labels.",
        hint="Name models of these classes in --models (for export: the classes in --class-names). "
        "Or use --labels known to evaluate these without a class, or --labels none.",
    )


def _candidates(text: str, label_sets: Sequence[Labels]) -> list[str]:
    """Names of classes that somebody who writes ``text`` may mean.

    They are all those that it means, else two with its last word, such as Eskimo dog for "dogs",
    else similar ones.
    """
    meant: dict[str, None] = {}  # a set that keeps the order
    for labels in label_sets:
        for index in labels.meant(text):
            meant[labels.names[index]] = None
    if meant:
        return list(meant)
    names = [name for labels in label_sets for name in labels.names]
    last_word = folded(text).rpartition(" ")[2]
    if len(last_word) > 2:  # shorter ones, such as "a", stand in names of anything
        forms = {last_word, last_word.removesuffix("s")}
        with_the_word = [name for name in names if not forms.isdisjoint(folded(name).split())]
        if with_the_word:
            return with_the_word[:2]
    return nearest(text, names, key=folded)
