"""The facts in a model file, as its entry for ``models.toml``.

Foreign texts are parsed here: only the process with limits calls ``describe``.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from robustness.base.files import read_regular
from robustness.base.text import folded
from robustness.models.file_formats.formats import format_of
from robustness.models.graph.study_model import FileFacts
from robustness.models.graph.use import SIGMOID
from robustness.models.labels import Labels, imagenet
from robustness.models.own.stated_preprocessing import (
    CONFIG,
    JATIC,
    OF_BYTES,
    jatic_metadata,
    read_object,
    size_of,
    stated_entry,
    stated_shape,
)

IMAGENET = "imagenet"
INPUT_TYPE = "the type of its input"
"""Marks an input that takes integers."""

_ALIKE = 0.5
"""Share of matching names from which 1,000 classes count as ImageNet's."""

_MOST_BYTES = 4 * 2**20
_LONGEST_LICENCE = 80
_KEYS = ("names", "labels", "classes", "id2label", "index2label", "label_names")
"""Keys of class names in the metadata of Ultralytics, Hugging Face, JATIC and timm."""


def describe(path: Path, facts: FileFacts) -> dict[str, Any]:
    """The ``format`` of the file, its ``entry`` for ``models.toml``, and what that is ``told_by``.

    ``outputs`` is the number of its classes, or None; ``classes`` are the names that the file gives
    them, unless these are ImageNet's; ``warning`` is why its output may be no logits.
    """
    entry: dict[str, Any] = {}
    sources: dict[str, str] = {}
    names: tuple[str, ...] = ()
    if facts.shape is not None:
        entry["input_size"] = size_of(*facts.shape)
        sources["input_size"] = JATIC if facts.shape == stated_shape(path) else "the file"
    if facts.classes is not None:
        names = class_names(path, facts.classes)
        if names and not are_imagenet(names):
            sources["labels"] = "the file"
        elif facts.classes in (len(imagenet()), len(imagenet()) + 1):
            names, entry["labels"], sources["labels"] = (), IMAGENET, "the number of classes"
    stated, told_by = stated_entry(path)
    if facts.whole and "normalisation" not in stated:
        stated["normalisation"], told_by["normalisation"] = OF_BYTES, INPUT_TYPE
    square = facts.shape is not None and facts.shape[0] == facts.shape[1]
    for key in stated if square else {"normalisation"} & stated.keys():
        entry[key], sources[key] = stated[key], told_by[key]
    if facts.logits is not None:
        entry["output"] = "logits" if facts.logits else "probabilities"
        sources["output"] = "its predictions"
    unclear = facts.logits is None and None not in (facts.shape, facts.classes)
    return {
        "format": format_of(path).name,
        "entry": entry,
        "told_by": sources,
        "outputs": facts.classes,
        "classes": names,
        "warning": SIGMOID if unclear else "",
    }


def class_names(path: Path, count: int) -> tuple[str, ...]:
    """The names of the ``count`` classes of the model file ``path``; empty if unknown.

    In the metadata of an ONNX file, in the archive at the end of a TensorFlow Lite file, and in the
    ``config.json`` of its folder, a JSON file of its own name, or JATIC_ONNX metadata beside it.
    """
    for read in (_in_metadata, _in_json):
        with suppress(Exception):  # foreign metadata may hold anything
            for names in read(path):
                if len(names) == count == len(set(names)) and all(map(str.strip, names)):
                    return tuple(" ".join(name.split()) for name in names)
    return ()


def stated_licence(path: Path) -> str:
    """The licence of the model file ``path`` by its metadata or the model card beside it; or ""."""
    with suppress(Exception):  # as above
        for key, text in format_of(path).metadata(path):
            if key.lower() in ("license", "licence"):
                return " ".join(text.split())[:_LONGEST_LICENCE]
        card = read_regular(path.parent / "README.md", _MOST_BYTES).decode()
        if match := re.search(r"\A---\n(?:.*\n)*?license: *(\S.*)\n(?:.*\n)*?---\n", card):
            return match[1][:_LONGEST_LICENCE]
    return ""


def _in_metadata(path: Path) -> Iterator[list[str]]:
    texts = list(format_of(path).metadata(path))
    for name in _KEYS:
        yield from (_names(_parsed(text)) for key, text in texts if key == name)


def _in_json(path: Path) -> Iterator[list[str]]:
    if (metadata := jatic_metadata(path)).get("index2label"):
        yield _names(metadata["index2label"])
    for file in (path.with_suffix(".json"), path.parent / CONFIG):
        with suppress(OSError, ValueError):
            metadata = read_object(file)
            yield from (_names(metadata[key]) for key in _KEYS if key in metadata)


def _parsed(text: str) -> Any:
    """A list or a mapping written as JSON or as Python, or with commas or lines."""
    for parse in (json.loads, ast.literal_eval):
        with suppress(Exception):
            return parse(text)
    return text.splitlines() if "\n" in text else text.split(",")


def _names(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value, key=int)]
    return [str(name).strip() for name in value]


def are_imagenet(names: Sequence[str]) -> bool:
    """Whether ``names`` are ImageNet's classes, with or without a background class first."""
    ours: Labels = imagenet()
    names = names[-len(ours) :]
    alike = sum(
        folded(mine) in {folded(part) for part in theirs.split(",")}
        for mine, theirs in zip(ours.names, names, strict=False)
    )
    return len(names) == len(ours) and alike >= _ALIKE * len(ours)
