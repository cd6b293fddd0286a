"""A zip archive of images, read without unpacking it to disk."""

from __future__ import annotations

import os
import re
import threading
import zipfile
from pathlib import Path
from typing import Any

from robustness.base.bounded_zip import BoundedZip, TooManyFilesError
from robustness.base.errors import ImageError, ParameterError
from robustness.datasets.dataset_and_image_entry import (
    Dataset,
    Entry,
    distinct,
    folders_of,
    is_picture,
)
from robustness.pictures.decoding import MAX_FILE_BYTES

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
                info = self._open.infolist()[int(entry.place)]
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
    packed, unpacked = os.path.getsize(path), sum(info.file_size for info in infos)
    if unpacked > max(_FREE_BYTES, MAX_RATIO * packed):
        raise ParameterError(
            f"{path.name} is refused: its {packed:,} bytes would unpack to {unpacked:,}, expected "
            f"at most {MAX_RATIO} times as much; use a folder instead."
        )
    images = [
        (place, info)
        for place, info in enumerate(infos)
        if not info.is_dir() and is_picture(info.filename)
    ]
    names = distinct([info.filename for _, info in images])
    return [
        Entry(name, str(place), info.file_size, folders_of(info.filename))
        for name, (place, info) in zip(names, images, strict=True)
    ]
