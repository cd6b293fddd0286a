"""Folders of images as datasets: here, in shared storage, in a zip archive, and published trees.

A folder is flat or has a subfolder per class. An archive is read without unpacking it to disk. The
published trees of perturbed images are ImageNet-C, ImageNet-C-bar and 3DCC, with their originals.
Their layout is corruption/severity/class/file, maybe in folders of groups such as ``noise``.
"""

from __future__ import annotations

import os
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from robustness.base.errors import ImageError, ParameterError
from robustness.base.files import BoundedZip, TooManyFilesError
from robustness.datasets.dataset import Dataset, Entry, distinct, folders_of, is_picture, path_text
from robustness.images.decoding import MAX_FILE_BYTES, read_file

_LEADS_OUT = "Links that lead out of the folder are not followed."


class Folder(Dataset):
    """The images below a folder, by their path in it.

    Links are followed only if they stay inside the folder.
    """

    def __init__(self, path: Path) -> None:
        """List the folder; raises ``ParameterError`` if it cannot be listed."""
        self._root = path.resolve()
        super().__init__(str(self._root), self._root.name or str(path), list(self._listed()))

    def _listed(self) -> Iterator[Entry]:
        def refuse(error: OSError) -> None:
            raise ParameterError(
                f"The folder {error.filename} cannot be listed: {error.strerror}; check its "
                "permissions."
            ) from error

        for folder, subfolders, files in os.walk(self._root, onerror=refuse):
            subfolders.sort()
            here = Path(folder)
            for name in sorted(files):
                relative = (here / name).relative_to(self._root).as_posix()
                if not is_picture(relative):
                    continue
                path = self._root / relative
                saved_name = path_text(relative)
                try:
                    size = path.stat().st_size
                except OSError:
                    size = None  # reading it gives the reason
                refused = "" if self._is_inside(path) else _LEADS_OUT
                yield Entry(saved_name, relative, size, folders_of(saved_name), refused=refused)
            for name in subfolders:
                path = here / name
                if path.is_symlink() and not name.startswith("."):
                    relative = path.relative_to(self._root).as_posix()
                    reason = "Links to folders are not followed."
                    yield Entry(path_text(relative), relative, refused=reason)

    def _is_inside(self, path: Path) -> bool:
        # ``Path.resolve`` would raise for a link to itself.
        return Path(os.path.realpath(path)).is_relative_to(self._root)

    def read(self, entry: Entry) -> bytes:
        """The bytes of the file; raises ``ImageError`` if it cannot be read or leads out."""
        path = self._root / entry.location
        if not self._is_inside(path):  # it may have changed since
            raise ImageError(f"{entry.name}: {_LEADS_OUT}")
        return read_file(path, name=entry.name)


class Remote(Dataset):
    """The images below a URL for fsspec, such as ``s3://bucket/photos``, by their path below it."""

    def __init__(self, url: str) -> None:
        """List the folder; raises ``ParameterError`` if it cannot be listed."""
        import fsspec

        try:
            files, root = fsspec.core.url_to_fs(url)
            listing = files.find(root, detail=True)
        except ImportError as error:
            raise ParameterError(f"{url} cannot be opened: {error}.") from error
        except Exception as error:  # each storage raises its own
            raise ParameterError(
                f"{url} cannot be listed ({type(error).__name__}: {error}); check the address and "
                "the credentials."
            ) from error
        self._root = root.rstrip("/")
        if list(listing) == [self._root]:
            raise ParameterError(
                f"{url} is a file: expected the URL of a folder of images; download archives and "
                "tables first."
            )
        entries = []
        for path in sorted(listing):
            relative = path_text(path[len(self._root) :].lstrip("/"))
            if is_picture(relative):
                size = listing[path].get("size")
                entries.append(Entry(relative, path, size, folders_of(relative)))
        super().__init__(url, self._root.rsplit("/", 1)[-1] or url, entries)

    def read(self, entry: Entry) -> bytes:
        """The bytes of the file; raises ``ImageError`` if it cannot be fetched."""
        import fsspec

        try:
            files, _ = fsspec.core.url_to_fs(self.source)  # cached by fsspec, per process
            with files.open(entry.location, "rb") as file:
                data: bytes = file.read(MAX_FILE_BYTES + 1)
        except Exception as error:  # each storage raises its own
            raise ImageError(
                f"{entry.name} cannot be fetched ({type(error).__name__}): check that it still "
                "exists and that you may read it."
            ) from error
        return data


MAX_ENTRIES = 200_000
"""Most files and folders: 100,000 images, each with the resource fork that macOS adds."""

MAX_RATIO = 100
"""Most unpacked bytes per byte of the archive; bombs have about a thousand."""

_FREE_BYTES = 256 * 1024 * 1024  # a small archive may compress well


class ZipDataset(Dataset):
    """The images in a zip archive, by their path in it.

    An archive with paths that lead out of it, or with an excessive unpacked size, is refused whole.
    """

    wrapped = True

    def __init__(self, path: Path) -> None:
        """List the archive; raises ``ParameterError`` if it cannot be used."""
        self._path = path.resolve()
        self._open: zipfile.ZipFile | None = None
        self._reading = threading.Lock()
        super().__init__(str(self._path), path.stem, _entries(path))

    def read(self, entry: Entry) -> bytes:
        """The unpacked bytes; raises ``ImageError`` for a damaged, locked or too large file."""
        try:
            with self._reading:  # the file handle has one position
                if self._open is None:
                    self._open = BoundedZip(self._path, MAX_ENTRIES)
                info = self._open.infolist()[int(entry.location)]
                if info.file_size > MAX_FILE_BYTES:
                    raise ImageError(
                        f"{entry.name} unpacks to {info.file_size:,} bytes: expected an image of "
                        f"at most {MAX_FILE_BYTES:,}."
                    )
                with self._open.open(info) as file:
                    return file.read(MAX_FILE_BYTES + 1)
        except ImageError:
            raise
        except NotImplementedError as error:  # from zipfile; also a RuntimeError
            raise ImageError(
                f"{entry.name} cannot be unpacked: expected Deflate, got a rare compression method "
                "(Windows uses one for large files); create the archive with another program."
            ) from error
        except RuntimeError as error:  # an encrypted file
            raise ImageError(
                f"{entry.name} is encrypted: expected a zip archive without a password."
            ) from error
        except Exception as error:  # zipfile raises nearly anything on hostile bytes
            raise ImageError(
                f"{entry.name} cannot be unpacked: this part of the archive is damaged; create the "
                "archive again."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_reading": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _reading=threading.Lock())


def _entries(path: Path) -> list[Entry]:
    try:
        with BoundedZip(path, MAX_ENTRIES) as archive:
            infos = archive.infolist()
    except TooManyFilesError as error:
        raise ParameterError(
            f"{path.name} holds more than {MAX_ENTRIES:,} files, or far too long names: split it, "
            "or unpack it and use the folder."
        ) from error
    except Exception as error:  # zipfile raises nearly anything on hostile bytes
        raise ParameterError(
            f"{path.name} cannot be opened as a zip archive: it is damaged or another kind of "
            "file; create the archive again."
        ) from error
    for info in infos:
        # The original name, which Python cleans: no drive, root or parent folder is allowed.
        name = info.orig_filename.replace("\\", "/")
        if ".." in name.split("/") or re.match(r"/|[A-Za-z]:/", name):
            raise ParameterError(
                f"{path.name} is refused: it holds {info.orig_filename!r}, a path that leads out "
                "of the archive; create the archive again from inside the folder."
            )
    packed = os.path.getsize(path)
    unpacked = sum(info.file_size for info in infos)
    if unpacked > max(_FREE_BYTES, MAX_RATIO * packed):
        raise ParameterError(
            f"{path.name} is refused: its {packed:,} bytes would unpack to {unpacked:,}, expected "
            f"at most {MAX_RATIO} times as much; use a folder instead."
        )
    images = []
    for index, info in enumerate(infos):
        if not info.is_dir() and is_picture(info.filename):
            images.append((index, info))
    # An archive may hold several files of one name: they are read by their index.
    names = distinct([info.filename for _, info in images])
    entries = []
    for name, (index, info) in zip(names, images, strict=True):
        entries.append(Entry(name, str(index), info.file_size, folders_of(info.filename)))
    return entries


PAIRED = "::"
"""Between a tree and its originals in a source."""

_CORRUPTIONS = {
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
_TREES: Mapping[str, frozenset[str]] = {
    name: frozenset(corruptions.split()) for name, corruptions in _CORRUPTIONS.items()
}
"""The corruptions of each published tree."""

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
        stems = cache(_stems)

        def is_stored(entry: Entry) -> bool:
            # Anywhere: an original that lacks at one severity alone is told of when it is read.
            original = PurePosixPath(entry.location)
            for folder in self.stored.values():
                if original.stem in stems(folder / original.parent):
                    return True
            return False

        self.entries = tuple(entry for entry in self.entries if entry.refused or is_stored(entry))
        if not self.entries:
            raise ParameterError(
                f"{originals} has none of the images of {tree}: expected the originals with the "
                "same class folders and file names."
            )
        self.source = f"{tree.resolve()}{PAIRED}{self.source}"
        corruptions = {corruption for corruption, _ in self.stored}
        self.title = f"{_tree_names(corruptions)} ({tree.name})"

    def read_stored(self, entry: Entry, corruption: str, severity: int) -> bytes:
        """The bytes of the perturbed image; raises ``ImageError`` if there is none."""
        folder = self.stored.get((corruption, severity))
        if folder is not None:
            original = PurePosixPath(entry.location)
            # A perturbed image may have another suffix than its original.
            for name in (original, *(original.with_suffix(suffix) for suffix in _SUFFIXES)):
                path = folder / name
                if path.is_file():
                    return read_file(path, name=f"{corruption}/{severity}/{entry.name}")
        raise ImageError(f"{entry.name} is missing under {corruption}/{severity}.")


def refuse_imagenet_c_tree(folder: Path) -> None:
    """Raise ``ParameterError`` for a published tree: its images are perturbed already."""
    published = frozenset().union(*_TREES.values())
    # The names of the outer folders tell most folders from a tree, without listing what is in them.
    outer_names = {path.name for path in _folders(folder)}
    if outer_names.isdisjoint(published | set(_GROUPS)):
        return
    corruptions = {corruption for (corruption, _severity), _folder in _severities(folder)}
    if not corruptions.isdisjoint(published):
        raise ParameterError(
            f"{folder.name} is {_tree_names(corruptions)}: its images are already perturbed. Name "
            f"it with its originals, as {folder}{PAIRED}ORIGINALS."
        )


def _tree_names(corruptions: Set[str]) -> str:
    """The published trees that have some of ``corruptions``."""
    names = [name for name, published in _TREES.items() if not published.isdisjoint(corruptions)]
    return " and ".join(names) or "Perturbed images"


def _severities(tree: Path) -> Iterator[tuple[tuple[str, int], Path]]:
    """Yield ((corruption, severity), folder) of ``tree``, whose corruptions may lie in groups."""
    for folder in _folders(tree):
        if _levels(folder):
            corruption_folders = [folder]
        else:
            corruption_folders = _folders(folder)
        for corruption_folder in corruption_folders:
            corruption = re.sub(r"\W", "_", corruption_folder.name)
            for rank, level in enumerate(_levels(corruption_folder), start=1):
                # A fraction, such as 0.4, is a strength: its rank is the severity.
                severity = int(level.name) if level.name.isdecimal() else rank
                if severity <= _MOST_SEVERITIES:
                    yield (corruption, severity), level


def _levels(corruption: Path) -> list[Path]:
    """The folders of the severities of ``corruption``, ascending.

    They are all its folders, if each is called by a number.
    """
    folders = _folders(corruption)
    if not all(re.fullmatch(r"\d+(\.\d+)?", folder.name) for folder in folders):
        return []
    return sorted(folders, key=lambda folder: float(folder.name))


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
