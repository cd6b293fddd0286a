"""What a saved run says of itself: what was asked, of which images, with what, and how far."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from robustness.base.disk import read_regular, write_whole
from robustness.base.errors import RobustnessError, RunError
from robustness.evaluation.spec import RunSpec

FILE = "manifest.json"
MAX_BYTES = 32 * 1024**2
FORMAT, VERSION = "robustness run", 3

COUNTED_OTHERWISE = (0, 6, 7)
"""The last version that counted, under attack, images that were incorrect before it."""

UNFINISHED, FINISHED = "unfinished", "finished"

AMISS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What reading JSON of somebody else's may raise, from brackets without end to infinite numbers."""

_IN_JSON: Mapping[Any, Any] = {
    float: int | float,
    Mapping[str, str]: dict,
    Mapping[str, int]: dict,
}
"""What JSON holds for the types of fields that it has no type for."""


@dataclass(frozen=True)
class Asked:
    """The images of a run: how to open them again, and which of them.

    ``digest`` is ``Dataset.digest`` after the selection; ``pictures`` counts them, readable or
    not. A ``sample`` is drawn with the run's seed.
    """

    source: str
    title: str
    labelling: str
    limit: int | None
    sample: int | None
    pictures: int
    digest: str


@dataclass(frozen=True)
class Manifest:
    """A run in a page of JSON.

    ``created`` is in UTC, ISO 8601. ``batch`` is the number of images in a chunk. ``seconds`` is
    the time spent on chunks in all sittings, ``startup_seconds`` that for loading models before.
    ``parts`` maps the name of each file of rows to its size in bytes; it is complete when the run
    is ``finished``. ``content`` is the SHA-256 over the digests of the study images, then known.
    ``creator`` is the name of who began it, "" where that is not known; it is no part of the key.
    """

    id: str
    created: str
    spec: RunSpec
    dataset: Asked
    batch: int
    engine: str
    versions: Mapping[str, str]
    status: str = UNFINISHED
    images: int = 0
    unreadable: int = 0
    seconds: float = 0.0
    startup_seconds: float = 0.0
    parts: Mapping[str, int] = field(default_factory=dict)
    content: str | None = None
    creator: str = ""

    @property
    def counted_otherwise(self) -> bool:
        """Whether the version that wrote it is no later than ``COUNTED_OTHERWISE``."""
        parts = self.versions.get("robustness", "").split(".")[:3]
        return tuple(int(p) if p.isdecimal() else 0 for p in parts) <= COUNTED_OTHERWISE

    @property
    def key(self) -> str:
        """A digest of what was asked; runs with equal keys have equal rows."""
        asked = {
            "spec": self.spec.as_dict(),
            "pictures": self.dataset.digest,
            "labelling": self.dataset.labelling,
            "versions": dict(self.versions),
        }
        canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def how(self) -> str:
        """The settings that tell apart runs of the same images, models and conditions."""
        return f"{self.spec.fit}, seed {self.spec.seed}"

    def as_dict(self) -> dict[str, Any]:
        """The manifest as it stands in its file."""
        values = {name: value for name, value in vars(self).items() if name != "spec"}
        return {
            "format": FORMAT,
            "version": VERSION,
            **values,
            "dataset": asdict(self.dataset),
            "spec": self.spec.as_dict(),
            "spec_digest": self.spec.digest,
        }

    def write(self, folder: Path) -> None:
        """Writes it into ``folder``, whole or not at all."""
        text = json.dumps(self.as_dict(), indent=2, allow_nan=False)
        write_whole(folder / FILE, text.encode())

    def updated(self, **changes: Any) -> Manifest:
        """The manifest with ``changes``."""
        return replace(self, **changes)


def read(folder: Path) -> Manifest:
    """The manifest in ``folder``; raises ``RunError`` where there is none that can be used."""
    path = folder / FILE
    try:
        text = read_regular(path, MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        if not os.path.isdir(folder):
            raise RunError(
                f"There is no run {folder.name} here.", hint=f"Looked for it in {folder.parent}."
            ) from error
        raise RunError(
            f"{folder.name} is no saved run: expected a {FILE} in it that can be read.",
            hint=_where(folder),
        ) from error
    try:
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise RunError(
                f"{folder.name} is no saved run: its {FILE} is of something else.",
                hint=_where(folder),
            )
        if values.get("version") != VERSION:
            raise RunError(
                f"{folder.name} has run format {values.get('version')!r}, expected {VERSION}: run "
                "it again with this version, or open it with the version that wrote it.",
                hint=_where(folder),
            )
        return _from_dict(values)
    except RunError:
        raise
    except (RobustnessError, *AMISS) as error:
        reason = str(error) if isinstance(error, RobustnessError) else f"{error!r} is amiss"
        raise RunError(
            f"The {FILE} of {folder.name} is damaged: {reason}", hint=_where(folder)
        ) from error


def _where(folder: Path) -> str:
    return f"Its folder is {folder}."


@cache
def _kinds(record: type) -> Mapping[str, Any]:
    """The type of each field: found out anew, they take longer than all else of a manifest."""
    return get_type_hints(record)


def _from_dict(values: Mapping[str, Any]) -> Manifest:
    kept = {name: value for name, value in values.items() if name in _kinds(Manifest)}
    spec = RunSpec.from_dict(values["spec"])
    manifest = Manifest(**{**kept, "spec": spec, "dataset": Asked(**values["dataset"])})
    for record in (manifest, manifest.dataset):  # lest a page stumble over it later
        made_of: type = type(record)
        for name, kind in _kinds(made_of).items():
            if not isinstance(getattr(record, name), _IN_JSON.get(kind, kind)):
                raise TypeError(name)
    for mapping, kind in ((manifest.versions, str), (manifest.parts, int)):
        if not all(isinstance(value, kind) for value in mapping.values()):
            raise TypeError(kind)
    if not (math.isfinite(manifest.seconds) and math.isfinite(manifest.startup_seconds)):
        raise ValueError("seconds")
    if manifest.status not in (UNFINISHED, FINISHED):
        raise ValueError(manifest.status)
    if manifest.batch < 1 or manifest.dataset.pictures < 1:
        raise ValueError("batch")
    return manifest
