"""What arrives: one file, or the files of a preset's folder, kept apart until all is right."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from robustness.models.digests import SUMS, fresh_digest, sums, sums_text
from robustness.models.fetching.meter import Meter
from robustness.models.fetching.sources import Source, bring, list_of_sums
from robustness.models.fetching.transfer import Expected
from robustness.models.model_record import Preset, PublishedFile


class Arrival(ABC):
    """Weights on their way, in the file or folder ``part``."""

    def __init__(self, part: Path) -> None:
        self.part = part

    def arrived(self) -> int:
        """Bytes that are there, also while another process is at it."""
        files = self.part.rglob("*") if self.part.is_dir() else [self.part]
        try:
            return sum(_size(file) for file in files if file.name != SUMS)
        except OSError:  # the folder got its final name meanwhile
            return 0

    @abstractmethod
    def bring(self, sources: Sequence[Source], meter: Meter, timeout: float) -> None:
        """Fetches what is missing; raises ``SourceError`` when no source has it."""

    def finish(self, target: Path) -> None:
        """Gives what has arrived, whole and right, its final name."""
        os.replace(self.part, target)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # it got its final name between the two calls
        return 0


class FileArrival(Arrival):
    """A published file; ``limit`` bounds its bytes where their number was never published."""

    def __init__(self, file: PublishedFile, part: Path, limit: int) -> None:
        super().__init__(part)
        self._file = file
        self._expected = Expected(file.digest, file.size, file.size or limit)

    def bring(self, sources: Sequence[Source], meter: Meter, timeout: float) -> None:
        bring(sources, self._file.filename, self.part, lambda _: self._expected, meter, timeout)
        meter.file_done(self.arrived())


class PresetArrival(Arrival):
    """The files of a preset; ``limit`` bounds the bytes of each.

    Those that are there stay when a later one fails, with their sums in a list beside them.
    """

    def __init__(self, preset: Preset, part: Path, limit: int) -> None:
        super().__init__(part)
        self._preset = preset
        self._limit = limit

    def bring(self, sources: Sequence[Source], meter: Meter, timeout: float) -> None:
        self.part.mkdir(exist_ok=True)
        have = sums(self.part) or {}
        lists = {source.shown: self._list(source, meter, timeout) for source in sources}
        # The configurations first: they are small, and show at once whether a source has it.
        for file in sorted(self._preset.files, key=lambda name: not name.endswith(".json")):
            final = self.part / file
            if not final.is_file() or fresh_digest(final, "sha256:") != have.get(file):
                part = self.part / f".{file}.part"

                def expected(source: Source, file: str = file) -> Expected:
                    return Expected(lists[source.shown].get(file), None, self._limit)

                bring(sources, file, part, expected, meter, timeout)
                have[file] = fresh_digest(part, "sha256:")
                os.replace(part, final)
                self._keep(have)
            meter.file_done(final.stat().st_size)

    def _list(self, source: Source, meter: Meter, timeout: float) -> Mapping[str, str]:
        return list_of_sums(source, self.part / f".{SUMS}.part", meter, timeout)

    def _keep(self, digests: Mapping[str, str]) -> None:
        new = self.part / f".{SUMS}.new"
        new.write_text(sums_text(digests), encoding="utf-8")
        os.replace(new, self.part / SUMS)
