"""Hosts of weights, in order: the mirror, if one is set, then the official host."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from robustness.base import settings
from robustness.models.model_record import Preset, PublishedFile
from robustness.models.weights.digests import SUMS, parsed_sums
from robustness.models.weights.fetch import Expected, SourceError, fetch
from robustness.models.weights.meter import Meter

_NO_SUCH_FILE = {403, 404, 410}

_LARGEST_LIST = 1 << 16
"""Maximum bytes of a list of hashes."""


@dataclass
class Host:
    """``url`` gives a file's address by its name; ``shown`` is what messages call the host.

    ``sums`` are {file: digest} as a list beside a preset's files has them; None until it is asked
    for. ``failure`` is why the host failed, after which it is not asked again.
    """

    shown: str
    url: Callable[[str], str]
    sums: Mapping[str, str] | None
    failure: str = ""


@dataclass
class Sources:
    """Downloads files of ``weights``, each at most ``limit`` bytes, from the first working host."""

    weights: PublishedFile | Preset
    limit: int
    meter: Meter
    timeout: float
    hosts: list[Host] = field(init=False)

    def __post_init__(self) -> None:
        self.hosts = _hosts(self.weights)

    @property
    def failures(self) -> str:
        """Why each host failed, as part of a sentence."""
        return "; ".join(f"{host.shown} ({host.failure})" for host in self.hosts)

    def get(self, file: str, target: Path) -> None:
        """Fetches the file called ``file`` into ``target``.

        Raises ``SourceError`` when all hosts failed, ``OSError`` when it cannot be written.
        """
        for host in self.hosts:
            if host.failure:
                continue
            try:
                expected = self._expected(host, file, target)
                return fetch(host.url(file), target, expected, self.meter, self.timeout)
            except SourceError as error:
                host.failure = str(error)
        raise SourceError(self.failures)

    def _expected(self, host: Host, file: str, target: Path) -> Expected:
        if isinstance(self.weights, PublishedFile):
            return Expected(self.weights.digest, self.weights.size, self.limit)
        if host.sums is None:
            host.sums = self._list_of_sums(host, target.with_name(f".{SUMS}"))
        return Expected(host.sums.get(file), None, self.limit)

    def _list_of_sums(self, host: Host, target: Path) -> Mapping[str, str]:
        """The list of hashes that ``host`` has beside a preset's files; empty if it has none."""
        expected = Expected(None, None, _LARGEST_LIST)
        try:
            fetch(host.url(SUMS), target, expected, self.meter, self.timeout)
            return parsed_sums(target.read_text(encoding="utf-8", errors="replace"))
        except SourceError as error:
            if error.status not in _NO_SUCH_FILE:
                raise
            return {}
        finally:
            target.unlink(missing_ok=True)


def _hosts(weights: PublishedFile | Preset) -> list[Host]:
    """A folder that is set is among the places in which weights are looked for before."""
    url: Callable[[str], str]
    if isinstance(weights, Preset):
        url, folder = weights.url, f"/{weights.name}"
    else:
        only = weights.url
        url, folder = (lambda _: only), ""
    official = Host(str(urlsplit(url("")).hostname), url, sums={})
    mirror = settings.text(settings.WEIGHTS_MIRROR)
    if not mirror:
        return [official]
    base = mirror.rstrip("/")
    shown = re.sub(r"^(\w+://)?[^/]*@", r"\1", base)  # without a user's name and password
    mirrored = Host(shown, lambda file: f"{base}{folder}/{file}", sums=None)
    return [mirrored, official]
