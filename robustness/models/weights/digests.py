"""Hashes of weight files, and the list of hashes beside a preset's files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from robustness.base.disk import Version, files_below, require_regular, version

SUMS = "SHA256SUMS"
"""The list of hashes beside a preset's files, in the format of ``sha256sum``."""


def file_digest(path: Path, expected: str) -> str:
    """The hash of the file ``path``, in the algorithm and notation of ``expected``.

    Cached while the file does not change. Raises ``OSError`` if the file cannot be read.
    """
    return _digest(path, expected.partition(":")[0], version(path))


@lru_cache(maxsize=256)
def _digest(path: Path, algorithm: str, _version: Version) -> str:
    return fresh_digest(path, algorithm)


def fresh_digest(path: Path, expected: str) -> str:
    """As ``file_digest``, but reads the file again."""
    algorithm = expected.partition(":")[0]
    require_regular(path)
    with open(path, "rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


def content_digest(path: Path, names: Sequence[str] | None) -> str:
    """The SHA-256 of a file, or of the hashes of a folder's files, all or the ``names``."""
    if path.is_file():
        return file_digest(path, "sha256:")
    files = [path / name for name in names] if names else files_below(path)
    lines = [f"{file_digest(file, 'sha256:')} {file.relative_to(path)}" for file in files]
    return f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"


def sums(folder: Path) -> dict[str, str] | None:
    """{file name: digest} from the list in ``folder``; None if there is no list.

    Skips invalid lines, so that their files have no hash.
    """
    try:
        return parsed_sums((folder / SUMS).read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def parsed_sums(text: str) -> dict[str, str]:
    """{file name: digest} from the text of a list."""
    pairs = [line.split(maxsplit=1) for line in text.splitlines()]
    return {
        pair[1].strip().lstrip("*"): f"sha256:{pair[0].lower()}"
        for pair in pairs
        if len(pair) == 2 and len(pair[0]) == 64
    }


def sums_text(digests: Mapping[str, str]) -> str:
    """The text of a list for {file name: digest}."""
    return "".join(f"{digest.partition(':')[2]}  {name}\n" for name, digest in digests.items())
