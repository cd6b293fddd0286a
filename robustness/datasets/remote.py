"""A folder of images in shared storage, by a URL for fsspec such as ``s3://bucket/photos``."""

from __future__ import annotations

from typing import Any

from robustness.base.errors import ImageError, ParameterError
from robustness.datasets.dataset import Dataset, Entry, as_text, folders_of, is_picture
from robustness.pictures.decoding import MAX_FILE_BYTES


class Remote(Dataset):
    """The images below a URL, by their path below it."""

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
            relative = as_text(path[len(self._root) :].lstrip("/"))
            if is_picture(relative):
                size = listing[path].get("size")
                entries.append(Entry(relative, path, size, folders_of(relative)))
        super().__init__(url, self._root.rsplit("/", 1)[-1] or url, entries)

    def read(self, entry: Entry) -> bytes:
        """The bytes of the file; raises ``ImageError`` if it cannot be fetched."""
        try:
            with self._files().open(entry.place, "rb") as file:
                data: bytes = file.read(MAX_FILE_BYTES + 1)
        except Exception as error:  # each storage raises its own
            raise ImageError(
                f"{entry.name} cannot be fetched ({type(error).__name__}): check that it still "
                "exists and that you may read it."
            ) from error
        return data

    def _files(self) -> Any:
        import fsspec

        return fsspec.core.url_to_fs(self.source)[0]  # cached by fsspec, per process
