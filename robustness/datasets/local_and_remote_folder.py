"""A folder of images, flat or with a subfolder per class: here, or in shared storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from robustness.base.errors import ImageError, ParameterError
from robustness.datasets.dataset_and_image_entry import (
    Dataset,
    Entry,
    folders_of,
    is_picture,
    path_text,
)
from robustness.pictures.decoding import MAX_FILE_BYTES, read_file

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
                path, saved_name = self._root / relative, path_text(relative)
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
        path = self._root / entry.place
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
        if [*listing] == [self._root]:
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
            with files.open(entry.place, "rb") as file:
                data: bytes = file.read(MAX_FILE_BYTES + 1)
        except Exception as error:  # each storage raises its own
            raise ImageError(
                f"{entry.name} cannot be fetched ({type(error).__name__}): check that it still "
                "exists and that you may read it."
            ) from error
        return data
