"""What a new run will read: images, classes and how they were matched, and a first look."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import streamlit as st

from robustness import models
from robustness.base.errors import ImageError
from robustness.base.text import counted, plain, some
from robustness.datasets import SAMPLES, Dataset, open_dataset
from robustness.pictures.eight_bits import to_png
from robustness.pictures.untrusted import BusyError, untrusted_image
from robustness.runs import Plan
from robustness.ui.computation.cache import cached
from robustness.ui.computation.progress import begin

MAX_THUMBNAILS = 12
_SIDE = 72  # pixels
_MOST, _SECONDS_FOR_ONE, _SECONDS = 48, 10.0, 3.0
"""Images of the first look; the time until the first can be read, and that for the others."""


def last_written(source: str) -> tuple[int, ...]:
    """When the file or folder ``source``, or a folder directly in it, last changed."""
    path = Path(source)
    if source == SAMPLES or not path.exists():
        return ()
    folders = [entry for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []
    return tuple(entry.stat().st_mtime_ns for entry in (path, *sorted(folders)))


@cached(4)
def dataset_of(source: str, written: tuple[int, ...]) -> Dataset:
    """The dataset at ``source``, opened once while ``last_written`` stays the same."""
    return open_dataset(source)


@dataclass
class Look:
    """The first images of a dataset: small PNGs, how many were tried, and why some failed."""

    thumbnails: list[tuple[str, bytes]]
    tried: int
    reasons: list[str]
    whole: bool = False
    """Whether every image was tried."""

    @property
    def nothing(self) -> bool:
        """Whether every image was tried and none could be read."""
        return self.whole and not self.thumbnails


def look(entries: Dataset) -> Look:
    """Read the first images of ``entries`` within a time limit.

    A file that cannot be read in time, as on a network drive, is left to its thread.
    """
    first = Look([], 0, [])
    reading = begin(f"first images {id(first)}", lambda: _read(entries, first))
    until = time.monotonic() + _SECONDS_FOR_ONE
    while reading.is_alive() and not first.thumbnails and time.monotonic() < until:
        reading.join(0.05)
    if first.thumbnails:
        reading.join(_SECONDS)
    return Look(first.thumbnails[:], first.tried, first.reasons[:], first.whole)


def _read(entries: Dataset, look: Look) -> None:
    """Add the first images of ``entries`` to ``look`` one by one."""
    for entry in entries.entries:
        if look.thumbnails and look.tried >= _MOST:
            return
        try:
            if entry.refused:
                raise ImageError(entry.refused)
            image = untrusted_image(entries.read(entry), name=entry.name)
        except BusyError:
            return
        except ImageError as error:
            look.reasons.append(str(error))
        else:
            if len(look.thumbnails) < MAX_THUMBNAILS:
                small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
                png = to_png(np.asarray(small, np.float32))
                look.thumbnails.append((entry.name, png))
        look.tried += 1
    look.whole = True


def summary(plan: Plan, looked: Look) -> str:
    """Images, classes and unreadable ones in one sentence, such as "20 images in 20 classes"."""
    images = counted(len(plan.dataset), "image")
    parts = [f"{images}{_classes(plan)}"]
    if looked.reasons:
        among = "" if looked.tried == len(plan.dataset) else f" of the first {looked.tried}"
        parts.append(f"{len(looked.reasons):,}{among} unreadable")
    return "; ".join(parts)


def _classes(plan: Plan) -> str:
    """How many classes, of which set, and by what they were recognised."""
    titles = {labels.key: labels.title for labels, _ in models.by_labels(plan.spec.model_names)}
    labelled = {
        key: [at for at in positions if at is not None] for key, positions in plan.labels.items()
    }
    key = max(labelled, key=lambda kind: len(labelled[kind]), default="")
    if not labelled.get(key):
        return " without classes"
    count, number = len(set(labelled[key])), len(labelled[key])
    matched = "all matched" if number == len(plan.dataset) else f"{number:,} matched"
    texts = [entry.label or "/".join(entry.folders) for entry in plan.dataset.entries]
    pairs = list(zip(texts, plan.labels[key], strict=True))
    how = _how([text for text, at in pairs if at is not None])
    others = list(dict.fromkeys(repr(text) for text, at in pairs if text and at is None))
    return (
        f" in {count:,} {'class' if count == 1 else 'classes'}, {matched} to {titles[key]} by {how}"
        f"{f', none in {some(others, 3)}' if others else ''}"
    )


def _how(texts: Sequence[str]) -> str:
    if all(re.search(r"\bn\d{8}\b", text) for text in texts):
        return "synset"
    return "index" if all(text.strip().isdecimal() for text in texts) else "name"


def show(looked: Look) -> None:
    """Draw the first images."""
    with st.container(horizontal=True, gap="small", key="preflight"):
        for name, png in looked.thumbnails:
            st.image(png, width=_SIDE, output_format="PNG", alt=name)
    if looked.reasons:
        st.caption(plain(f"Unreadable: {looked.reasons[0]}"))
