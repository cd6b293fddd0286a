"""A folder of images: flat, or with one subfolder per class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from robustness.base.errors import ImageError, ParameterError
from robustness.datasets.dataset import Dataset, Entry, as_text, folders_of, is_picture
from robustness.pictures.decoding import read_file

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
                if is_picture(relative):
                    yield self._entry(relative)
            for name in subfolders:
                path = here / name
                if path.is_symlink() and not name.startswith("."):
                    relative = path.relative_to(self._root).as_posix()
                    reason = "Links to folders are not followed."
                    yield Entry(as_text(relative), relative, refused=reason)

    def _entry(self, relative: str) -> Entry:
        path = self._root / relative
        try:
            size = path.stat().st_size
        except OSError:
            size = None  # reading it gives the reason
        refused = "" if self._is_inside(path) else _LEADS_OUT
        name = as_text(relative)
        return Entry(name, relative, size, folders_of(name), refused=refused)

    def _is_inside(self, path: Path) -> bool:
        # ``Path.resolve`` would raise for a link to itself.
        return Path(os.path.realpath(path)).is_relative_to(self._root)

    def read(self, entry: Entry) -> bytes:
        """The bytes of the file; raises ``ImageError`` if it cannot be read or leads out."""
        path = self._root / entry.place
        if not self._is_inside(path):  # it may have changed since
            raise ImageError(f"{entry.name}: {_LEADS_OUT}")
        return read_file(path, name=entry.name)
