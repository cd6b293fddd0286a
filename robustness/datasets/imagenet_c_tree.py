"""Published trees of perturbed images: ImageNet-C, ImageNet-C-bar and 3DCC, with their originals.

Their layout is corruption/severity/class/file, maybe in folders of groups such as ``noise``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath

from robustness.base.errors import ImageError, ParameterError
from robustness.datasets.dataset_and_image_entry import Entry
from robustness.datasets.local_and_remote_folder import Folder
from robustness.pictures.decoding import read_file

PAIRED = "::"
"""Between a tree and its originals in a source."""

_TREES: Mapping[str, str] = {
    "ImageNet-C": (
        "gaussian_noise shot_noise impulse_noise defocus_blur glass_blur motion_blur "
        "zoom_blur snow frost fog brightness contrast elastic_transform pixelate "
        "jpeg_compression speckle_noise gaussian_blur spatter saturate"
    ),
    "ImageNet-C-bar": (
        "blue_noise_sample plasma_noise checkerboard_cutout cocentric_sine_waves sparkles "
        "single_frequency_greyscale inverse_sparkles caustic_refraction brownish_noise "
        "perlin_noise"
    ),
    "3DCC": (
        "near_focus far_focus bit_error color_quant flash fog_3d h265_abr h265_crf "
        "iso_noise low_light xy_motion_blur z_motion_blur"
    ),
}
"""The corruptions of each tree."""

_GROUPS = ("noise", "blur", "weather", "digital", "extra")
_SUFFIXES = (".JPEG", ".jpg", ".jpeg", ".png")
_MOST_SEVERITIES = 5


class ImageNetCTree(Folder):
    """The originals of a published tree, by their path; ``read_stored`` reads a perturbed one.

    Originals that the tree has nowhere are left out. ``stored`` are the corruptions and severities
    (1 to 5) of the tree with their folders.
    """

    def __init__(self, tree: Path, originals: Path) -> None:
        """List both; raises ``ParameterError`` if they do not belong together."""
        self.stored = dict(_severities(tree))
        if not self.stored:
            raise ParameterError(
                f"{tree} is not a published tree: expected folders corruption/severity/class, such "
                "as fog/3/n01440764."
            )
        super().__init__(originals)
        names = cache(_stems)  # an original that lacks at one severity alone is told of later
        places = [(entry, PurePosixPath(entry.place)) for entry in self.entries]
        self.entries = tuple(
            entry
            for entry, place in places
            if entry.refused
            or any(place.stem in names(folder / place.parent) for folder in self.stored.values())
        )
        if not self.entries:
            raise ParameterError(
                f"{originals} has none of the images of {tree}: expected the originals with the "
                "same class folders and file names."
            )
        self.source = f"{tree.resolve()}{PAIRED}{self.source}"
        self.title = f"{_kind(c for c, _ in self.stored)} ({tree.name})"

    def read_stored(self, entry: Entry, corruption: str, severity: int) -> bytes:
        """The bytes of the perturbed image; raises ``ImageError`` if there is none."""
        name, folder = PurePosixPath(entry.place), self.stored.get((corruption, severity))
        names = (name, *(name.with_suffix(suffix) for suffix in _SUFFIXES))
        places = (folder / each for each in names if folder is not None)
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise ImageError(f"{entry.name} is missing under {corruption}/{severity}.")
        return read_file(place, name=f"{corruption}/{severity}/{entry.name}")


def refuse_imagenet_c_tree(folder: Path) -> None:
    """Raise ``ParameterError`` for a published tree: its images are perturbed already."""
    names = {path.name for path in _folders(folder)}
    if not any(names & {*corruptions.split(), *_GROUPS} for corruptions in _TREES.values()):
        return
    present = {corruption for (corruption, _severity), _place in _severities(folder)}
    if any(present & {*corruptions.split()} for corruptions in _TREES.values()):
        raise ParameterError(
            f"{folder.name} is {_kind(present)}: its images are already perturbed. Name it with "
            f"its originals, as {folder}{PAIRED}ORIGINALS."
        )


def _kind(corruptions: Iterable[str]) -> str:
    names = set(corruptions)
    kinds = [
        kind for kind, tree_corruptions in _TREES.items() if names & {*tree_corruptions.split()}
    ]
    return " and ".join(kinds) or "Perturbed images"


def _severities(tree: Path) -> Iterator[tuple[tuple[str, int], Path]]:
    """((corruption, severity), folder) of ``tree``, whose corruptions may lie in groups."""
    for folder in _folders(tree):
        levels = _levels(folder)
        for corruption in [folder] if levels else _folders(folder):
            for severity, place in enumerate(_levels(corruption), start=1):
                name = re.sub(r"\W", "_", corruption.name)
                number = int(place.name) if place.name.isdecimal() else severity
                if number <= _MOST_SEVERITIES:
                    yield (name, number), place


def _levels(corruption: Path) -> list[Path]:
    """The severities of ``corruption``: all of its folders, if each is called by a number."""
    folders = _folders(corruption)
    numbered = all(re.fullmatch(r"\d+(\.\d+)?", folder.name) for folder in folders)
    return sorted(folders, key=lambda folder: float(folder.name)) if numbered else []


def _stems(folder: Path) -> frozenset[str]:
    """The names in ``folder``, without suffix."""
    try:
        return frozenset(PurePosixPath(name).stem for name in os.listdir(folder))
    except OSError:
        return frozenset()


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [path.name for path in entries if path.is_dir() and path.name[0] != "."]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]
