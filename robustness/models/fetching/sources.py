"""The places that a file is fetched from, asked in turn: folders of this machine, and hosts."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustness.models.digests import SUMS, fresh_digest, parsed_sums, sums
from robustness.models.fetching.meter import Meter
from robustness.models.fetching.replies import SourceError
from robustness.models.fetching.transfer import Expected, fetch

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a disk or quota that is full, or of a process that may write no more."""

_NO_SUCH_FILE = {403, 404, 410}

_LARGEST_LIST = 1 << 16
"""Bytes of a list of sums."""

_CHUNK = 1 << 20


@dataclass
class Source:
    """Where files come from: ``url`` gives a file's address by its name.

    ``shown`` is what the source is called in messages. ``has_sums`` says that a list of sums lies
    beside a preset's files. ``folder`` is set for one on this machine: it, or the file that it is,
    is copied. ``failure`` is why it failed, after which it is not asked again.
    """

    shown: str
    url: Callable[[str], str] = str
    has_sums: bool = False
    folder: Path | None = None
    failure: str = ""

    @classmethod
    def local(cls, path: Path) -> Source:
        """The file or the preset's folder ``path`` of this machine."""
        return cls(shown=str(path), folder=path, has_sums=path.is_dir())


def bring(
    sources: Sequence[Source],
    file: str,
    part: Path,
    expected: Callable[[Source], Expected],
    meter: Meter,
    timeout: float,
) -> None:
    """Fills ``part`` with the file called ``file`` from the first source that has it right.

    Raises ``SourceError`` when all failed; each then has its ``failure``. Raises ``OSError`` when
    ``part`` cannot be written; of a disk that is full it is removed.
    """
    for source in sources:
        if source.failure:
            continue
        try:
            if source.folder is not None:
                _copy(source.folder, file, part, expected(source), meter)
            else:
                fetch(source.url(file), part, expected(source), meter, timeout)
        except SourceError as error:
            source.failure = str(error)
        except OSError as error:
            if error.errno in FULL:
                part.unlink(missing_ok=True)
            raise
        else:
            return
    raise SourceError("no source has it")


def list_of_sums(source: Source, part: Path, meter: Meter, timeout: float) -> Mapping[str, str]:
    """{file name: digest} as ``source`` has it beside a preset's files; empty if it has none.

    ``part`` is where the list may be put meanwhile. A source that does not answer gets its
    ``failure``.
    """
    if not source.has_sums:
        return {}
    if source.folder is not None:
        return sums(source.folder) or {}
    try:
        part.unlink(missing_ok=True)
        fetch(source.url(SUMS), part, Expected(None, None, _LARGEST_LIST), meter, timeout)
        return parsed_sums(part.read_text(encoding="utf-8", errors="replace"))
    except SourceError as error:
        if error.status not in _NO_SUCH_FILE:
            source.failure = str(error)
        return {}
    finally:
        part.unlink(missing_ok=True)


def _copy(folder: Path, file: str, part: Path, expected: Expected, meter: Meter) -> None:
    path = folder / file if folder.is_dir() else folder
    done = 0
    with path.open("rb") as original, part.open("wb") as stream:
        total = path.stat().st_size
        while chunk := original.read(_CHUNK):
            stream.write(chunk)
            done += len(chunk)
            meter.at(done, total)
    if expected.digest and fresh_digest(part, expected.digest) != expected.digest:
        part.unlink()
        raise SourceError("its copy differs")
