"""The manifest of a saved run: its request, images, versions and progress."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.errors import ParameterError, RunError
from robustness.base.files import read_regular, write_whole
from robustness.base.validation import CONFIG, checked_json
from robustness.datasets import LABELLINGS
from robustness.measure.request import Request
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.plugins import plugins
from robustness.remedies import REGISTRY as REMEDIES
from robustness.runs.latencies import Latencies, costs
from robustness.statistics.choice import Cost

FILE = "manifest.json"
MAX_BYTES = 32 * 1024**2

FORMAT = "robustness run"
VERSION = 6

UNFINISHED: Literal["unfinished"] = "unfinished"
FINISHED: Literal["finished"] = "finished"

MAX_PICTURES = 2**31 - 1
"""The largest position that a column of the rows can hold."""

MAX_TEXT = 4096
"""Characters of a name."""

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Word = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=0, le=2**63)]
Pictures = Annotated[int, Field(ge=1, le=MAX_PICTURES)]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]
Megabytes = Annotated[float, Field(ge=0, lt=1e9)]
SizeField = Literal["megabytes", "memory_megabytes"]
Classes = Mapping[Text, Literal["imagenet"] | list[Text]]
PartName = Annotated[str, Field(pattern=r"^(part-[0-9]{1,12}|images(-[0-9]{1,12})?)\.parquet$")]


@dataclass(frozen=True)
class DatasetRecord:
    """The images of a run: how to open them again, and which of them.

    ``digest`` is ``Dataset.digest`` after the selection; ``pictures`` counts them, readable or
    not. A ``sample`` is drawn with the run's seed.
    """

    __pydantic_config__ = CONFIG

    source: Text
    title: Text
    labelling: Annotated[str, Field(pattern=f"^({'|'.join(LABELLINGS)})$")]
    limit: Pictures | None
    sample: Pictures | None
    pictures: Pictures
    digest: Word


@dataclass(frozen=True)
class Manifest:
    """A run in a page of JSON.

    ``created`` is in UTC, ISO 8601. ``batch`` is the number of images in a chunk. ``seconds`` is
    the time spent on all chunks, ``startup_seconds`` that for loading models before.
    ``parts`` maps the name of each file of rows to its size in bytes; other files do not count.
    ``content`` is the SHA-256 over the digests of the images, then known.
    ``creator`` is the name of who began it, "" where that is not known; it is no part of the key.
    ``plugins`` has the digests of the plugins it used, by their names.
    ``sizes`` has those of the models, as far as they are known; ``latencies`` are of the machine
    that finished the run.
    ``classes`` are those of models that are not here, whose predictions came in a table: their
    names in order, or "imagenet".
    ``trained_on`` has the perturbations that hardened models were trained on.
    """

    __pydantic_config__ = CONFIG

    id: Text
    created: Word
    spec: Request
    dataset: DatasetRecord
    batch: Annotated[int, Field(ge=1)]
    engine: Word
    versions: Mapping[Word, Word]
    status: Literal["unfinished", "finished"] = UNFINISHED
    images: Count = 0
    unreadable: Count = 0
    seconds: Seconds = 0.0
    startup_seconds: Seconds = 0.0
    parts: Mapping[PartName, Count] = field(default_factory=dict)
    content: Word | None = None
    creator: Word = ""
    plugins: Mapping[Word, Word] = field(default_factory=dict)
    sizes: Mapping[Text, Mapping[SizeField, Megabytes]] = field(default_factory=dict)
    latencies: tuple[Latencies, ...] = ()
    classes: Classes = field(default_factory=dict)
    trained_on: Mapping[Text, tuple[Word, ...]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest of request and versions; runs with equal keys have equal rows."""
        return self._digest(versions=dict(self.versions))

    @property
    def request_key(self) -> str:
        """A digest of the request alone, which other versions may round differently."""
        return self._digest()

    def _digest(self, **others: Any) -> str:
        identity = {
            "spec": self.spec.as_dict(),
            "pictures": self.dataset.digest,
            "labelling": self.dataset.labelling,
            **({"plugins": dict(self.plugins)} if self.plugins else {}),
            **others,
        }
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def costs(self) -> dict[str, Cost]:
        """What is known of the cost of each model."""
        return costs(self.sizes, self.latencies)

    @property
    def how(self) -> str:
        """The settings in which runs of the same images, models and conditions may differ."""
        return f"{self.spec.framing_text}, seed {self.spec.seed}"

    def as_dict(self) -> dict[str, Any]:
        """The manifest as it stands in its file."""
        values = {name: value for name, value in vars(self).items() if name != "spec"}
        for name in ("classes", "trained_on"):
            if not values[name]:
                del values[name]
        return {
            "format": FORMAT,
            "version": VERSION,
            **values,
            "dataset": asdict(self.dataset),
            "latencies": [asdict(record) for record in self.latencies],
            "spec": self.spec.as_dict(),
            "spec_digest": self.spec.digest,
        }

    @property
    def text(self) -> bytes:
        """Its file."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False).encode()

    def write(self, folder: Path) -> None:
        """Writes it into ``folder``, whole or not at all."""
        write_whole(folder / FILE, self.text)

    def updated(self, **changes: Any) -> Manifest:
        """The manifest with ``changes``."""
        return replace(self, **changes)


def read(folder: Path) -> Manifest:
    """The manifest in ``folder``; raises ``RunError`` where there is none that can be used."""
    text = _text(folder)
    where = f"The {FILE} of {folder.name} is damaged"
    try:
        head = checked_json(dict[str, Any], text, where)
        if head.get("format") != FORMAT:
            raise RunError(
                f"{folder.name} is not a saved run: its {FILE} describes something else.",
                hint=_where(folder),
            )
        if head.get("version") != VERSION:
            raise RunError(
                f"{folder.name} has run format {reprlib.repr(head.get('version'))}, expected "
                f"{VERSION}: evaluate the images again.",
                hint=_where(folder),
            )
        _require_plugins(folder.name, head)
        manifest = checked_json(Manifest, text, where)
    except ParameterError as error:
        raise RunError(str(error), hint=_where(folder)) from error
    if head.get("spec_digest") != manifest.spec.digest:
        raise RunError(
            f"{folder.name} is refused: its request has changed since it was evaluated. Copy the "
            "run again, or evaluate the images again.",
            hint=_where(folder),
        )
    return manifest


def _text(folder: Path) -> bytes:
    try:
        return read_regular(folder / FILE, MAX_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise RunError(
                f"{folder.name} is refused: expected a {FILE} of at most {MAX_BYTES:,} bytes.",
                hint=_where(folder),
            ) from error
        if not os.path.isdir(folder):
            raise RunError(
                f"There is no run {folder.name} here.", hint=f"Looked for it in {folder.parent}."
            ) from error
        raise RunError(
            f"{folder.name} is not a saved run: expected a readable {FILE} in it.",
            hint=_where(folder),
        ) from error


def _require_plugins(run: str, head: Mapping[str, Any]) -> None:
    """Raise ``RunError`` if a condition of the manifest ``head`` needs a plugin that is missing."""
    plugin_names = head.get("plugins")
    spec = head.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    conditions = spec.get("perturbations")
    chains = spec.get("remedies")
    loaded = {plugin.name for plugin in plugins()}
    missing = sorted({*plugin_names} - loaded) if isinstance(plugin_names, dict) else []
    if not missing or not isinstance(conditions, list):
        return
    records = [condition for condition in conditions if isinstance(condition, dict)]
    names = {str(name) for c in records for name in ([c["attack"]] if "attack" in c else c)}
    names |= {
        part.partition("=")[0]
        for c in (chains if isinstance(chains, list) else ())
        for part in str(c).split("+")
    }
    registered = {*PERTURBATIONS.names, *ATTACKS.names, *REMEDIES.names, "profile"}
    if unknown := sorted(names - registered):
        raise RunError(
            f"The run {run} needs the plugin {' or '.join(missing)} for {', '.join(unknown)}: "
            "name it in the setting plugins, or install it."
        )


def _where(folder: Path) -> str:
    return f"Its folder is {folder}."
