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
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.errors import ParameterError, RunError
from robustness.base.files import read_regular, write_whole
from robustness.base.validation import CONFIG, checked_json
from robustness.measure.condition import readable
from robustness.measure.domain import Domain
from robustness.measure.options import Labelling
from robustness.measure.request import Request
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.plugins import plugins
from robustness.remedies import REGISTRY as REMEDIES
from robustness.runs.latencies import Latencies, costs
from robustness.runs.task import KindName
from robustness.statistics.choice import Cost
from robustness.statistics.domain import Judged, judge_count

FILE = "manifest.json"
MAX_BYTES = 32 * 1024**2

FORMAT = "robustness run"
VERSION = 7

UNFINISHED: Literal["unfinished"] = "unfinished"
FINISHED: Literal["finished"] = "finished"

MAX_PICTURES = 2**31 - 1
"""The largest position that a column of the rows can hold."""

MAX_TEXT = 4096
"""Characters of a name."""

OF_TABLE = "predictions:"
"""How the digest of a model begins whose predictions or scores came in a table: that of the table
follows."""

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
    """The images of a run: how to open them again, and which of them were selected.

    They are the first ``limit``, or a ``sample`` of these that is drawn with the run's seed.
    ``pictures`` counts the selected ones, readable or not, and ``digest`` is that of the dataset
    after the selection.
    """

    __pydantic_config__ = CONFIG

    source: Text
    title: Text
    labelling: Labelling
    limit: Pictures | None
    sample: Pictures | None
    pictures: Pictures
    digest: Word


@dataclass(frozen=True)
class ScoreRecord:
    """What the scores of a run measure, such as "IoU", from 0 to 1 where higher is better.

    ``left_out`` are conditions of the table that move pixels: the scores under them may be those of
    outputs that were compared with a truth that did not move. ``moved_truth`` says that it moved
    alike, by the word of who evaluated the table, so that none are left out.
    """

    __pydantic_config__ = CONFIG

    name: Annotated[str, Field(min_length=1, max_length=40)]
    left_out: tuple[Text, ...] = ()
    moved_truth: bool = False


@dataclass(frozen=True)
class WorstRecord:
    """The search for the worst composition of the domain of a run, for one ``model``.

    ``tried`` has the share of images that went well under each composition, by its id, on the half
    that chooses. ``condition`` is the id of the worst one, "" until the search has ended; under it
    ``passed`` of the ``images`` in the other half went well.
    """

    __pydantic_config__ = CONFIG

    model: Text
    tried: Mapping[Text, Annotated[float, Field(ge=0, le=1)]] = field(default_factory=dict)
    condition: Text = ""
    passed: Count = 0
    images: Count = 0

    @property
    def ended(self) -> bool:
        return bool(self.condition)


@dataclass(frozen=True)
class Manifest:
    """What is known of a run beside its rows and images: its request, progress and versions.

    ``created`` is in UTC, ISO 8601, and ``creator`` the name of who began the run, "" if unknown.
    ``batch`` is the number of images in a chunk. ``seconds`` is the time spent on all chunks, and
    ``startup_seconds`` that for loading models before. ``parts`` maps the name of each file of rows
    or images to its size in bytes; other files do not count. ``content`` is the SHA-256 over the
    digests of the images, None until all are known.

    ``plugins`` maps the plugins that the run used to their digests, ``sizes`` the models to theirs,
    as far as they are known, and ``trained_on`` hardened models to the perturbations of their
    training. ``latencies`` are of the machine that finished the run. ``classes`` maps models that
    are not here, whose predictions came in a table, to the names of their classes in order, or to
    "imagenet". ``score`` is there where that table has scores in place of predictions. ``worst``
    has the search for the worst composition of a domain, of each model.
    """

    __pydantic_config__ = CONFIG
    noun: ClassVar[KindName] = "run"

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
    score: ScoreRecord | None = None
    worst: tuple[WorstRecord, ...] = ()

    @property
    def key(self) -> str:
        """A digest of the request, the images and the versions; equal keys mean equal rows."""
        return self._digest(versions=dict(self.versions))

    @property
    def request_key(self) -> str:
        """The same without the versions, which may round the rows differently."""
        return self._digest()

    def _digest(self, **others: Any) -> str:
        identity = {
            "spec": self.spec.as_dict(),
            "pictures": self.dataset.digest,
            "labelling": self.dataset.labelling,
            **others,
        }
        # Left out where there are none: the key of runs without plugins stays as it was.
        if self.plugins:
            identity["plugins"] = dict(self.plugins)
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def costs(self) -> dict[str, Cost]:
        """What is known of the cost of each model."""
        return costs(self.sizes, self.latencies)

    def worst_within(self, domain: Domain) -> list[Judged]:
        """The worst compositions within ``domain``, judged on the images that did not choose them.

        Searches that have not ended have none.
        """
        found = []
        for record in self.worst:
            condition = readable(record.condition)
            is_sound = record.passed <= record.images
            if condition is not None and is_sound and domain.holds(condition):
                found.append(
                    judge_count(domain, record.model, condition, record.passed, record.images)
                )
        return found

    @property
    def title(self) -> str:
        return self.dataset.title

    @property
    def model_names(self) -> tuple[str, ...]:
        return self.spec.model_names

    @property
    def how(self) -> str:
        """The settings in which runs of the same images, models and conditions may differ."""
        return f"{self.spec.framing_text}, seed {self.spec.seed}"

    def as_dict(self) -> dict[str, Any]:
        """The manifest as it stands in its file."""
        fields = dict(vars(self))
        del fields["spec"]  # comes last, as it is the longest
        for name in ("classes", "trained_on", "score", "worst"):
            if not fields[name]:
                del fields[name]
        if self.score is not None:
            fields["score"] = asdict(self.score)
        if self.worst:
            fields["worst"] = [asdict(record) for record in self.worst]
        return {
            "format": FORMAT,
            "version": VERSION,
            **fields,
            "dataset": asdict(self.dataset),
            "latencies": [asdict(record) for record in self.latencies],
            "spec": self.spec.as_dict(),
            "spec_digest": self.spec.digest,
        }

    @property
    def text(self) -> bytes:
        """The bytes of its file."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False).encode()

    def write(self, folder: Path) -> None:
        """Writes it into ``folder``, whole or not at all."""
        write_whole(folder / FILE, self.text)

    def updated(self, **changes: Any) -> Manifest:
        """A copy of the manifest with ``changes``."""
        return replace(self, **changes)


def read(folder: Path) -> Manifest:
    """The manifest in ``folder``; raises ``RunError`` where there is none that can be used."""
    text = _read_text(folder)
    hint = _folder_hint(folder)
    subject = f"The {FILE} of {folder.name} is damaged"
    try:
        document = checked_json(dict[str, Any], text, subject)
        if document.get("format") != FORMAT:
            raise RunError(
                f"{folder.name} is not a saved run: its {FILE} describes something else.",
                hint=hint,
            )
        # Before the fields are checked: those of another version differ, which is no damage.
        if document.get("version") != VERSION:
            raise RunError(
                f"{folder.name} has run format {reprlib.repr(document.get('version'))}, expected "
                f"{VERSION}: evaluate the images again.",
                hint=hint,
            )
        _require_plugins(folder.name, document)
        manifest = checked_json(Manifest, text, subject)
    except ParameterError as error:
        raise RunError(str(error), hint=hint) from error
    if document.get("spec_digest") != manifest.spec.digest:
        raise RunError(
            f"{folder.name} is refused: its request has changed since it was evaluated. Copy the "
            "run again, or evaluate the images again.",
            hint=hint,
        )
    return manifest


def _read_text(folder: Path) -> bytes:
    try:
        return read_regular(folder / FILE, MAX_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise RunError(
                f"{folder.name} is refused: expected a {FILE} of at most {MAX_BYTES:,} bytes.",
                hint=_folder_hint(folder),
            ) from error
        if not os.path.isdir(folder):
            raise RunError(
                f"There is no run {folder.name} here.", hint=f"Looked for it in {folder.parent}."
            ) from error
        raise RunError(
            f"{folder.name} is not a saved run: expected a readable {FILE} in it.",
            hint=_folder_hint(folder),
        ) from error


def _folder_hint(folder: Path) -> str:
    return f"Its folder is {folder}."


def _require_plugins(run: str, document: Mapping[str, Any]) -> None:
    """Raise ``RunError`` if the run needs a plugin that is missing here.

    The ``document`` of the manifest is not checked yet: without the plugin, the names of its
    perturbations, attacks and remedies would be refused as unknown.
    """
    digests = document.get("plugins")
    if not isinstance(digests, dict):
        return
    loaded = {plugin.name for plugin in plugins()}
    missing = sorted(set(digests) - loaded)
    if not missing:
        return
    registered = {*PERTURBATIONS.names, *ATTACKS.names, *REMEDIES.names, "profile"}
    unknown = sorted(_names_in_request(document.get("spec")) - registered)
    if unknown:
        raise RunError(
            f"The run {run} needs the plugin {' or '.join(missing)} for {', '.join(unknown)}: "
            "name it in the setting plugins, or install it."
        )


def _names_in_request(spec: Any) -> set[str]:
    """The perturbations, attacks and remedies that an unchecked request names."""
    names: set[str] = set()
    if not isinstance(spec, dict) or not isinstance(spec.get("perturbations"), list):
        return names
    for condition in spec["perturbations"]:
        if not isinstance(condition, dict):
            continue
        if "attack" in condition:
            names.add(str(condition["attack"]))
        else:
            names.update(map(str, condition))
    variants = spec.get("variants")
    if isinstance(variants, list):
        for variant in variants:
            if isinstance(variant, dict):
                for step in str(variant.get("remedies")).split("+"):
                    names.add(step.partition("=")[0])
    return names
