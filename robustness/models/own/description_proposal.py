"""Propose the description of a model file from its contents and its predictions on images."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from robustness.base.errors import ParameterError
from robustness.base.files_and_locks import files_below, require_regular
from robustness.models.class_labels import imagenet
from robustness.models.file_formats.format_and_runtime_record import MAX_BYTES
from robustness.models.file_formats.formats import ENDINGS, is_saved_model
from robustness.models.graph.inspection_and_conversion import describe_file
from robustness.models.model_and_weights_record import (
    LabelledAccuracy,
    ModelRecord,
)
from robustness.models.own import (
    registration_and_schema,
    toml_entry_addition_and_removal,
)
from robustness.models.own.file_and_library_metadata import (
    FRAMING_KEYS,
    INPUT_TYPE,
    NORMALISATIONS,
    OF_BYTES,
    are_imagenet,
    framing_values,
    shape_of,
    value_of,
)
from robustness.models.own.preprocessing_trials import (
    Difference,
    Trial,
    answers,
    asks,
    difference,
    from_folder,
    is_clear,
    resizing_difference,
    sample_images,
    samples,
    trials,
)
from robustness.pictures.framing_and_study_image import STUDY_FRAMING, Framing

WHOLE = "squash"
"""The fit of models with classes of their own: their images may be framed as nobody knows."""

UNDECIDED = (
    "These images cannot decide the normalisation: use other labelled ones, or check the model's "
    "documentation."
)


def sees_whole_images(entry: Mapping[str, Any], record: ModelRecord) -> bool:
    """Whether the fit is ``WHOLE``: own classes, and no key of ``entry`` says another."""
    return not {"fit", "crop_pct"} & entry.keys() and not are_imagenet(record.labels().names)


@dataclass(frozen=True)
class Description:
    """A model file as ``models.toml`` describes it, and why so.

    ``entry`` are its values there; ``missing`` are the keys that nothing tells, and ``sources``
    says what told a value that the user did not give. The file has ``outputs`` classes, None if
    unknown; ``classes`` are their names in the file, which the file of ``labels`` is to hold.
    ``trials`` are the normalisations that were tried, the best first, on ``tried_on`` images.
    ``samples`` is what the model says of the bundled samples; ``native`` is how far OpenVINO
    differs from that for a quantised file.
    ``warning`` says why a given value may be wrong, ``resizings`` that another interpolation does
    better on the images than that of its ``framing``.
    """

    name: str
    format: str
    entry: Mapping[str, Any]
    sources: Mapping[str, str]
    missing: tuple[str, ...]
    classes: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    tried_on: int = 0
    samples: Sequence[Mapping[str, Any]] = ()
    native: Difference | None = None
    warning: str = ""
    resizings: str = ""
    framing: Framing = STUDY_FRAMING
    outputs: int | None = None

    @property
    def toml(self) -> str:
        """The entry as it is written."""
        return toml_entry_addition_and_removal.entry_text(self.name, self.entry)

    def document(self) -> dict[str, Any]:
        """The description as JSON-ready values."""
        values = asdict(self)
        values["told_by"] = values.pop("sources")
        values["framing"] = self.framing.as_dict()
        return {**values, "toml": self.toml}

    @property
    def preprocessing(self) -> str:
        """How images become the input, and who says so, for people."""
        source = next((self.sources[key] for key in FRAMING_KEYS if key in self.sources), "")
        given = set(FRAMING_KEYS) & set(self.entry) - set(self.sources)
        if source:
            origin = f"from {source}"
        elif given:
            origin = "as given"
        else:
            origin = "assumed"
        return f"{self.framing.text}, {origin}"

    def renamed(self, name: str) -> Description:
        """The description under another ``name``, with the file of its classes."""
        labels = (
            {"labels": toml_entry_addition_and_removal.label_file(name)} if self.classes else {}
        )
        return replace(self, name=name, entry={**self.entry, **labels})

    def write(self, folder: Path | None = None) -> Path:
        """Write the entry and the classes that the file names; return the file it is in.

        ``folder`` is a temporary one with the model, which is copied to stay. Raises
        ``ParameterError`` where something is missing or cannot be written.
        """
        if self.missing:
            raise ParameterError(f"The description of {self.name!r} lacks {self.missing[0]!r}.")
        return toml_entry_addition_and_removal.add(self.name, self.entry, self.classes, folder)


def propose(
    path: Path,
    choices: Mapping[str, Any],
    *,
    name: str,
    images: Path | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> Description:
    """Describe the model file ``path``; the values of ``choices`` stay.

    ``images`` is a folder of sub-folders named after classes; without it the bundled photographs
    serve for ImageNet's classes. ``said`` is called with each step; what it raises ends the work.
    Raises ``WeightsError`` for a file that cannot be used, and ``ParameterError`` for values that
    describe no model.
    """
    said("reading the file")
    return try_out(read_description(path, choices, name), images, said)


def model_file(path: Path) -> Path:
    """``path`` itself, or the one model file below it if it is a folder and no SavedModel."""
    if not path.exists():
        raise ParameterError(f"There is no model at {path}.")
    if not path.is_dir():
        _check_file(path)
        return path
    if is_saved_model(path):
        return path
    files = files_below(path)
    matches = [file for file in files if file.suffix.lower() in ENDINGS]
    if len(matches) != 1:
        names = ", ".join(file.name for file in matches[:5]) or "none"
        advice = "" if matches else _advice(file.suffix.lower() for file in files)
        raise ParameterError(f"Expected one model ({', '.join(ENDINGS)}), got {names}.{advice}")
    _check_file(matches[0])
    return matches[0]


_ADVICE = {
    **dict.fromkeys(
        (".pt", ".pth", ".safetensors"),
        " It holds weights alone: give api.add_model the network itself, or export it to ONNX.",
    ),
    ".h5": " Load it in Keras and save it with model.save('x.keras').",
}


def _advice(endings: Iterable[str]) -> str:
    return next((_ADVICE[ending] for ending in endings if ending in _ADVICE), "")


def _check_file(path: Path) -> None:
    if path.suffix.lower() not in ENDINGS:
        raise ParameterError(
            f"Expected a model file ({', '.join(ENDINGS)}) or a folder, got {path.name}."
            f"{_advice([path.suffix.lower()])}"
        )
    try:
        require_regular(path, MAX_BYTES)  # a pipe may never end
    except OSError as error:
        raise ParameterError(f"{path.name} cannot be read: {error.strerror}.") from error


def read_description(path: Path, choices: Mapping[str, Any], name: str) -> Description:
    """Describe the model file ``path`` by what it holds; raises as ``propose``."""
    path = model_file(path.resolve())
    choices = dict(choices)
    if Path(labels := choices.get("labels", "")).is_absolute():
        choices["labels"] = toml_entry_addition_and_removal.relative(Path(labels))
    described = describe_file(path, shape_of(choices.get("input_size")))
    stated, sources = described["entry"], described["told_by"]
    by_name = choices.get("normalisation")
    rounded = by_name in NORMALISATIONS if isinstance(by_name, str) else False
    if sources.get("normalisation") == INPUT_TYPE and rounded and by_name != OF_BYTES:
        raise ParameterError(
            f"{name}: expected normalisation {OF_BYTES}, as its input holds whole numbers, got "
            f"{by_name}."
        )
    classes = () if "labels" in choices else tuple(described["classes"])
    if classes:
        stated = {**stated, "labels": toml_entry_addition_and_removal.label_file(name)}
    entry = _ordered(
        {"path": toml_entry_addition_and_removal.relative(path), **framing_values(choices, stated)}
    )
    return Description(
        name,
        described["format"],
        entry,
        {key: source for key, source in sources.items() if key in entry and key not in choices},
        tuple(key for key in registration_and_schema.REQUIRED if key not in entry),
        classes,
        warning=described["warning"] if entry.get("output") == "logits" else "",
        outputs=described["outputs"],
    )


def try_out(
    description: Description,
    images: Path | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> Description:
    """``description`` with a normalisation, if it lacks one, and predictions for the samples.

    ``images`` and ``said`` are those of ``propose``. As it was where another value is missing.
    """
    if set(description.missing) - {"normalisation"}:
        return description
    entry, sources = dict(description.entry), dict(description.sources)
    toml_entry_addition_and_removal.check(description.name, {"normalisation": "0..1", **entry})
    with tempfile.TemporaryDirectory() as folder:
        record = _record(description, Path(folder))
        if sees_whole_images(entry, record):
            entry["fit"], sources["fit"] = WHOLE, "its own classes"
            record = _record(replace(description, entry=entry), Path(folder))
        ask = asks(record)
        framing, labels = record.own_framing, record.labels()
        results: tuple[Trial, ...] = ()
        labelled = from_folder(images, record, framing) if images else None
        if labelled is None and labels == imagenet():
            labelled = samples(framing)
        if labelled is not None:
            own = record.normalisation if "normalisation" in entry else None
            results = trials(ask, labelled, said, own)
        if "normalisation" not in entry and labelled and is_clear(results, len(labelled.classes)):
            entry["normalisation"] = results[0].value
            sources["normalisation"] = "the images it was tried on"
        missing = () if "normalisation" in entry else ("normalisation",)
        predictions: Sequence[Mapping[str, Any]] = ()
        native, warning = None, description.warning
        resizings = ""
        if not missing:
            record = _record(replace(description, entry=entry), Path(folder))
            pictures = sample_images(framing)
            predictions = answers(ask(pictures, record.normalisation), labels)
            said("predicting the samples")
            native = difference(record, pictures if labelled is None else labelled.images)
            if images:
                resizings = resizing_difference(record, images, said)
            if labelled is not None:
                mine = next(t for t in results if t.value == value_of(record.normalisation))
                accuracy = LabelledAccuracy(
                    images=len(labelled.classes),
                    correct=mine.correct,
                    confidence=mine.confidence,
                    true_class_probability=mine.true_class_probability,
                )
                doubt = accuracy.doubt(len(labels))
                warning = " ".join(filter(None, (warning, doubt)))
                if images:  # a few bundled ones tell no accuracy
                    source = sources.get("normalisation", "")
                    accuracy = accuracy.model_copy(update={"normalisation": source})
                    entry["accuracy"] = accuracy.model_dump(exclude_defaults=True)
    return replace(
        description,
        entry=_ordered(entry),
        missing=missing,
        sources=sources,
        trials=results,
        tried_on=len(labelled.classes) if labelled else 0,
        samples=predictions,
        native=native,
        resizings=resizings,
        framing=record.framing,
        warning=warning,
    )


def _ordered(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` in the order in which descriptions are documented."""
    order = (*registration_and_schema.REQUIRED, *registration_and_schema.OPTIONAL)
    return {key: values[key] for key in sorted(values, key=order.index)}


def _record(description: Description, folder: Path) -> ModelRecord:
    """The record of the description, with a stand-in normalisation if it has none."""
    values = {"normalisation": "0..1", **description.entry}
    if description.classes:
        values["labels"] = str(folder / "labels.txt")
        Path(values["labels"]).write_bytes(
            toml_entry_addition_and_removal.lines(description.classes)
        )
    (record,) = registration_and_schema.records_of(
        registration_and_schema.described_in(), {description.name: values}
    )
    return record


def name_of(path: Path) -> str:
    """A valid name for the model at ``path``."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-._")
    return name[: registration_and_schema.LONGEST_NAME] or "model"
