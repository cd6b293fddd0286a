"""Describe a model file by its content and its predictions on a few images."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from robustness.base.disk import write_whole
from robustness.base.errors import ParameterError
from robustness.models.file_formats.formats import format_of
from robustness.models.graph_files.answers import SIGMOID
from robustness.models.graph_files.examine import inspect_file
from robustness.models.labels import Labels, folded, imagenet
from robustness.models.model_record import ModelRecord
from robustness.models.own import entry, package, sidecar, trial, user_models

IMAGENET_LABELS = "imagenet"
OF_BYTES = "0..255"
WHOLE = "squash"
"""The fit of models with classes of their own: their images may be framed as nobody knows."""
_ALIKE = 0.5
"""Share of matching names from which 1,000 classes count as ImageNet's."""


@dataclass(frozen=True)
class Proposal:
    """The description of a model file as ``models.toml`` has it.

    ``missing`` are the keys that nothing tells. ``sources`` say what told a value that was not
    given. ``label_names`` are classes named by the file itself, which ``labels`` is to hold.
    ``trials`` are the normalisations that were tried, the best first, on ``tried_on`` images, and
    ``framings`` its own framing and the usual crop, tried on the same ones if they were given.
    ``samples`` is what the model says of the bundled samples; ``native`` is how far OpenVINO
    differs from that for a quantised file. ``warning`` says why a given value may be wrong.
    """

    name: str
    kind: str
    values: Mapping[str, Any]
    missing: tuple[str, ...]
    sources: Mapping[str, str]
    label_names: tuple[str, ...] = ()
    trials: tuple[trial.Trial, ...] = ()
    tried_on: int = 0
    samples: Sequence[Mapping[str, Any]] = ()
    native: trial.Difference | None = None
    warning: str = ""
    framings: tuple[trial.FramingTrial, ...] = ()

    @property
    def toml(self) -> str:
        """The table as it is written."""
        return entry.entry_text(self.name, self.values)

    def document(self) -> dict[str, Any]:
        """The proposal as JSON-ready values; ``of`` reads it back."""
        return {
            "name": self.name,
            "format": self.kind,
            "entry": dict(self.values),
            "missing": list(self.missing),
            "told_by": dict(self.sources),
            "classes": list(self.label_names),
            "toml": self.toml,
            "trials": [asdict(trial) for trial in self.trials],
            "tried_on": self.tried_on,
            "samples": [dict(answer) for answer in self.samples],
            "native": asdict(self.native) if self.native else None,
            "warning": self.warning,
            "framings": [asdict(framing) for framing in self.framings],
        }

    @staticmethod
    def of(document: Mapping[str, Any]) -> Proposal:
        """The proposal that ``document`` describes."""
        return Proposal(
            document["name"],
            document["format"],
            document["entry"],
            tuple(document["missing"]),
            document["told_by"],
            tuple(document["classes"]),
            tuple(trial.Trial(**each) for each in document["trials"]),
            document["tried_on"],
            document["samples"],
            trial.Difference(**document["native"]) if document["native"] else None,
            warning=document["warning"],
            framings=tuple(trial.FramingTrial(**each) for each in document["framings"]),
        )

    def write(self, kept_in: Path | None = None) -> Path:
        """Write the description and the classes that the file names; return the file it is in.

        ``kept_in`` is a temporary folder with the model, which is copied to stay. Raises
        ``ParameterError`` where something is missing or cannot be written.
        """
        if self.missing:
            raise ParameterError(f"The description of {self.name!r} lacks {self.missing[0]!r}.")
        return entry.add(self.name, self.values, partial(self._write_files, kept_in))

    def _write_files(self, kept_in: Path | None) -> dict[str, str]:
        labels = user_models.described_in().parent / self.values["labels"]
        lines = _lines(self.label_names)
        if self.label_names and labels.exists() and labels.read_bytes() != lines:
            raise ParameterError(
                f"Expected no file {labels}, got one with other classes: remove it, or choose "
                "another name."
            )
        path = {} if kept_in is None else {"path": _relative(package.store(kept_in, self.name))}
        if self.label_names:
            write_whole(labels, lines)
        return path


def propose(
    path: Path,
    given: Mapping[str, Any],
    *,
    name: str = "",
    images: Path | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> Proposal:
    """Describe the model file ``path``; values that are ``given`` are kept.

    ``images`` is a folder of sub-folders named after classes; without it the bundled photographs
    serve for ImageNet's classes. ``said`` is told of each step. Raises ``WeightsError`` for a file
    that cannot be used, and ``ParameterError`` for values that describe no model.
    """
    path = package.model_file(path.resolve())
    name = name or name_of(path)
    values: dict[str, Any] = {"path": _relative(path)}
    sources: dict[str, str] = {}
    side = package.jatic_side(package.jatic(path))
    said("reading the file")
    facts = read_facts(path, given.get("input_size", side))
    if facts["shape"] is not None:
        size = values["input_size"] = user_models.size_of(*facts["shape"])
        sources["input_size"] = package.JATIC if size == side else "the file"
    if facts["classes"] is not None:
        classes, names = _labels(path, facts["classes"], name)
        values |= classes
        sources |= {"labels": "the file" if names else "the number of classes"} if classes else {}
    else:
        names = ()
    if (found := sidecar.normalisation_told(path)) is not None:
        values["normalisation"], sources["normalisation"] = trial.value_of(found[0]), found[1]
    elif facts.get("whole"):
        _check_whole(name, given.get("normalisation"))
        values["normalisation"], sources["normalisation"] = OF_BYTES, "the type of its input"
    if facts["logits"] is not None:
        values["output"] = "logits" if facts["logits"] else "probabilities"
        sources["output"] = "its predictions"
    values |= {key: value for key, value in given.items() if value is not None}
    sources = {key: source for key, source in sources.items() if given.get(key) is None}
    names = () if "labels" in given else names
    kind = format_of(path).name
    values = _ordered(values)
    missing = tuple(key for key in user_models.REQUIRED if key not in values)
    warning = output_warning(facts, values.get("output"))
    proposal = Proposal(name, kind, values, missing, sources, names, warning=warning)
    return proposal if set(missing) - {"normalisation"} else _tried(proposal, images, said)


def read_facts(path: Path, size: Any) -> Mapping[str, Any]:
    """Facts of the file ``path``, as ``inspect_file`` has them; ``size`` is its ``input_size``."""
    return inspect_file(path, _shape(size))


def output_warning(facts: Mapping[str, Any], output: Any) -> str:
    """Why the ``output`` of a file with these ``facts`` may be wrong; empty if nothing says so."""
    computed = facts["shape"] is not None and facts["classes"] is not None
    return SIGMOID if output == "logits" and computed and facts["logits"] is None else ""


def _tried(proposal: Proposal, images: Path | None, said: Callable[[str], None]) -> Proposal:
    """``proposal`` with a normalisation, if it lacks one, and predictions for the samples."""
    values, sources = dict(proposal.values), dict(proposal.sources)
    entry.check(proposal.name, {"normalisation": "0..1", **values})
    with tempfile.TemporaryDirectory() as folder:
        record = _record(proposal, Path(folder))
        if not record.fit and not are_imagenet(record.labels().names):
            values["fit"], sources["fit"] = WHOLE, "its own classes"
            record = replace(record, fit=WHOLE)
        ask = trial.asks(record)
        side, fit, labels = record.input_size, record.own_fit, record.labels()
        found: tuple[trial.Trial, ...] = ()
        known = trial.from_folder(images, labels, side, fit) if images else None
        if known is None and labels == imagenet():
            known = trial.samples(side, fit)
        if known is not None:
            own = record.normalisation if "normalisation" in values else None
            found = trial.trials(ask, known, said, own)
        if "normalisation" not in values and found and trial.is_clear(found):
            values["normalisation"] = found[0].value
            sources["normalisation"] = "the images it was tried on"
        missing = () if "normalisation" in values else ("normalisation",)
        answers: Sequence[Mapping[str, Any]] = ()
        native = None
        framings: tuple[trial.FramingTrial, ...] = ()
        if not missing:
            record = _record(replace(proposal, values=values), Path(folder))
            shown = trial.sample_images(side, fit)
            answers = trial.answers(ask(shown, record.normalisation), labels)
            said("predicting the samples")
            native = trial.difference(record, shown if known is None else known.images)
            if images:
                said("trying the usual crop")
                framings = trial.framing_trials(record, images)
    return replace(
        proposal,
        values=_ordered(values),
        missing=missing,
        sources=sources,
        trials=found,
        tried_on=len(known.classes) if known else 0,
        samples=answers,
        native=native,
        framings=framings,
    )


def _check_whole(name: str, given: Any) -> None:
    """Refuses a usual normalisation whose pixels an input of whole numbers would round."""
    if isinstance(given, str) and given in user_models.NORMALISATIONS and given != OF_BYTES:
        raise ParameterError(
            f"{name}: expected normalisation {OF_BYTES}, as its input holds whole numbers, got "
            f"{given}."
        )


def _shape(size: Any) -> tuple[int, int] | None:
    """Height and width of ``input_size``; None if it is invalid, which is refused later."""
    sides = size if isinstance(size, list | tuple) else [size, size]
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        return None
    return sides[0], sides[1]


def _ordered(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` in the order in which descriptions are documented."""
    order = (*user_models.REQUIRED, *user_models.OPTIONAL)
    return {key: values[key] for key in sorted(values, key=order.index)}


def _record(proposal: Proposal, folder: Path) -> ModelRecord:
    """The record of the description, with a stand-in normalisation if it has none."""
    values = {"normalisation": "0..1", **proposal.values}
    if proposal.label_names:
        values["labels"] = str(folder / "labels.txt")
        Path(values["labels"]).write_bytes(_lines(proposal.label_names))
    (record,) = user_models.records_of(user_models.described_in(), {proposal.name: values})
    return record


def _lines(names: Sequence[str]) -> bytes:
    return ("\n".join(names) + "\n").encode()


def _labels(path: Path, count: int, name: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The value of ``labels``, if known, and the class names for its file."""
    names = sidecar.classes_told(path, count)
    if names and not are_imagenet(names):
        return {"labels": package.label_file(name)}, names
    known = count in (len(imagenet()), len(imagenet()) + 1)
    return ({"labels": IMAGENET_LABELS} if known else {}), ()


def are_imagenet(names: Sequence[str]) -> bool:
    """Whether ``names`` are ImageNet's classes, with or without a background class first."""
    ours: Labels = imagenet()
    names = names[-len(ours) :]
    alike = sum(
        folded(mine) in {folded(part) for part in theirs.split(",")}
        for mine, theirs in zip(ours.names, names, strict=False)
    )
    return len(names) == len(ours) and alike >= _ALIKE * len(ours)


def name_of(path: Path) -> str:
    """A valid name for the model at ``path``."""
    found = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-._")
    return found[:64] or "model"


def _relative(path: Path) -> str:
    """``path`` for the file of descriptions: relative if it is below its folder."""
    folder = user_models.described_in().parent.resolve()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
