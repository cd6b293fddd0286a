"""Propose the description of a model file from its contents and its predictions on images.

Add models from Python to the registry; an error asks for what they do not tell.
"""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from robustness.base.errors import ModelWarning, ParameterError
from robustness.base.files import files_below, reading, require_regular
from robustness.base.text import did_you_mean
from robustness.base.validation import checked
from robustness.images.framing import STUDY_FRAMING, STUDY_SIDE, Framing
from robustness.models import own, torch
from robustness.models import own as own_models
from robustness.models.classifier import Classifier
from robustness.models.conversion import describe_file, use_of
from robustness.models.formats import ENDINGS, MAX_BYTES, is_saved_model
from robustness.models.graph import SIGMOID, are_logits, is_distribution
from robustness.models.loaded import LOADED
from robustness.models.metadata import (
    FRAMING_KEYS,
    IMAGENET,
    INPUT_TYPE,
    NORMALISATIONS,
    OF_BYTES,
    are_imagenet,
    framing_values,
    is_torchvision,
    shape_of,
    torchvision_entry,
    value_of,
)
from robustness.models.python import FunctionPass, LiveModel, problem
from robustness.models.record import (
    ADDED,
    CALL_KEYS,
    OWN,
    REGISTRY,
    CallOptions,
    LabelledAccuracy,
    ModelRecord,
    PythonCall,
    UserFile,
    check_class_names,
    imagenet,
    read_labels,
)
from robustness.models.sources import user_file
from robustness.models.torch import as_graph, new_folder, opened, preprocessed, source_text
from robustness.models.trials import (
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
        return own_models.entry_text(self.name, self.entry)

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
        labels = {"labels": own_models.label_file(name)} if self.classes else {}
        return replace(self, name=name, entry={**self.entry, **labels})

    def write(self, folder: Path | None = None) -> Path:
        """Write the entry and the classes that the file names; return the file it is in.

        ``folder`` is a temporary one with the model, which is copied to stay. Raises
        ``ParameterError`` where something is missing or cannot be written.
        """
        if self.missing:
            raise ParameterError(f"The description of {self.name!r} lacks {self.missing[0]!r}.")
        return own_models.add(self.name, self.entry, self.classes, folder)


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
    with reading(path.name):
        require_regular(path, MAX_BYTES)  # a pipe may never end


def read_description(path: Path, choices: Mapping[str, Any], name: str) -> Description:
    """Describe the model file ``path`` by what it holds; raises as ``propose``."""
    path = model_file(path.resolve())
    choices = dict(choices)
    if Path(labels := choices.get("labels", "")).is_absolute():
        choices["labels"] = own_models.relative(Path(labels))
    described = describe_file(path, shape_of(choices.get("input_size")))
    stated = described["entry"]
    sources = described["told_by"]
    by_name = choices.get("normalisation")
    rounded = by_name in NORMALISATIONS if isinstance(by_name, str) else False
    if sources.get("normalisation") == INPUT_TYPE and rounded and by_name != OF_BYTES:
        raise ParameterError(
            f"{name}: expected normalisation {OF_BYTES}, as its input holds whole numbers, got "
            f"{by_name}."
        )
    classes = () if "labels" in choices else tuple(described["classes"])
    if classes:
        stated = {**stated, "labels": own_models.label_file(name)}
    entry = _ordered({"path": own_models.relative(path), **framing_values(choices, stated)})
    return Description(
        name,
        described["format"],
        entry,
        {key: source for key, source in sources.items() if key in entry and key not in choices},
        tuple(key for key in own_models.REQUIRED if key not in entry),
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
    entry = dict(description.entry)
    sources = dict(description.sources)
    own_models.check(description.name, {"normalisation": "0..1", **entry})
    with tempfile.TemporaryDirectory() as folder:
        record = _record(description, Path(folder))
        if sees_whole_images(entry, record):
            entry["fit"] = WHOLE
            sources["fit"] = "its own classes"
            record = _record(replace(description, entry=entry), Path(folder))
        ask = asks(record)
        framing = record.own_framing
        labels = record.labels()
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
        native = None
        warning = description.warning
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
    order = (*own_models.REQUIRED, *own_models.OPTIONAL)
    return {key: values[key] for key in sorted(values, key=order.index)}


def _record(description: Description, folder: Path) -> ModelRecord:
    """The record of the description, with a stand-in normalisation if it has none."""
    values = {"normalisation": "0..1", **description.entry}
    if description.classes:
        values["labels"] = str(folder / "labels.txt")
        Path(values["labels"]).write_bytes(own_models.lines(description.classes))
    (record,) = own_models.records_of(own_models.described_in(), {description.name: values})
    return record


def name_of(path: Path) -> str:
    """A valid name for the model at ``path``."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-._")
    return name[: own_models.LONGEST_NAME] or "model"


_WHERE = Path("add_model")
"""The name in messages, in place of a file of descriptions."""

_EXPECTED = {
    "labels": 'a list of names, a file with one class per line, or "imagenet"',
    "input_size": "the side of its input in pixels, or (height, width)",
    "normalisation": '"0..1", "-1..1", "0..255", "torch", "caffe", or a table',
    "output": '"probabilities" or "logits"',
}


def add_model(
    name: str,
    what: Any,
    arguments: Mapping[str, Any],
    calls: Mapping[str, Any],
    weights: Path | None,
) -> ModelRecord:
    """Register ``what`` as ``name``; ``arguments`` holds values for keys of ``models.toml``, and
    ``preprocess``.

    Raises ``ParameterError`` for what is missing or wrong, ``WeightsError`` for a model that cannot
    be used.
    """
    if name in REGISTRY and REGISTRY[name].group == OWN and name not in ADDED:
        raise ParameterError(f"{own.described_in()} describes a model called {name!r}.")
    entry = {key: value for key, value in arguments.items() if value is not None}
    preprocess = entry.pop("preprocess", None)
    values, names = _with_label_file(name, entry)
    keys = (*arguments, "weights", *CALL_KEYS)
    if unknown := next((key for key in calls if key not in keys), ""):
        hint = did_you_mean(unknown, keys)
        raise ParameterError(f"{name}: there is no {unknown!r}. {hint}.")
    LOADED.release(name)  # it may have the same weights and other labels
    text = os.fspath(what) if isinstance(what, str | os.PathLike) else ""
    if is_torchvision(preprocess):
        values = framing_values(values, torchvision_entry(preprocess))
        preprocess = None
    elif preprocess is not None:
        _check_preprocess(name, preprocess, text, values)
    if weights and not text.startswith(torch.TIMM):
        raise ParameterError(f'{name}: expected weights with "timm:NAME" only.')
    if text and not text.startswith(torch.TIMM):
        path = Path(text).resolve()
        if not torch.is_hugging_face(path):
            if calls:
                raise ParameterError(f"{name}: expected {min(calls)} with a function only.")
            record = _of_file(name, path, values)
            LOADED.get(record, record.framing.side)  # refuses what is not as described
            return own.add_to_process(record)
        model = torch.opened_hugging_face(path)
    elif text:
        count = len(names) if names else None
        model = torch.opened_timm(text.removeprefix(torch.TIMM), weights, count)
    elif preprocess is not None:
        model = preprocessed(what, preprocess)
    else:
        model = opened(what)
    options = checked(CallOptions, calls, name)
    return own.add_to_process(_of_model(name, what, model, values, options))


def _check_preprocess(name: str, preprocess: Any, text: str, values: Mapping[str, Any]) -> None:
    """Raises ``ParameterError`` unless a function can prepare the images of the model."""
    if not callable(preprocess):
        raise ParameterError(
            f"{name}: expected preprocess to be a function of one image, (H, W, 3) of 8 bits, or "
            f"the transforms() of torchvision's weights, got {type(preprocess).__name__}."
        )
    if text:
        raise ParameterError(
            f"{name}: expected a function, a torch.nn.Module or a Keras model with preprocess, got "
            f"{text!r}: describe its preprocessing by keys such as interpolation and normalisation."
        )
    if "normalisation" in values:
        raise ParameterError(
            f"{name}: expected no normalisation with preprocess, which returns what the model gets."
        )


def _with_label_file(
    name: str, values: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """``values`` with a file as ``labels``, and the names of the classes if they are given."""
    labels = values.get("labels", IMAGENET)
    if labels == IMAGENET:
        return dict(values), ()
    if isinstance(labels, str | os.PathLike):
        path = Path(labels).resolve()
        return {**values, "labels": str(path)}, read_labels(path).names
    if not isinstance(labels, Sequence) or not all(isinstance(label, str) for label in labels):
        raise ParameterError(f"Expected labels of {name} to be {_EXPECTED['labels']}.")
    return {**values, "labels": _label_file(name, labels)}, tuple(labels)


def _label_file(name: str, names: Sequence[str]) -> str:
    path = new_folder() / f"{name}.txt"
    lines = [" ".join(label.split()) for label in names]
    check_class_names(lines, f"labels of {name}", "name")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _of_file(name: str, path: Path, values: Mapping[str, Any]) -> ModelRecord:
    description = read_description(path, values, name)
    stated = {key: description.entry[key] for key in FRAMING_KEYS if key in description.entry}
    if description.missing or not set(own.REQUIRED[1:]) <= set(values):
        description = try_out(description)
        stated = {**description.entry}
        if description.classes:
            stated["labels"] = _label_file(name, description.classes)
    entry = {**stated, **values, "path": str(path)}
    _check_complete(name, entry, "the file")
    _warn(name, description.warning)
    return _record_of_entry(name, entry)


def _warn(name: str, warning: str) -> None:
    if warning:
        warnings.warn(f"{name}: {warning}", ModelWarning, stacklevel=5)


def _check_complete(name: str, values: Mapping[str, Any], kind: str) -> None:
    """Raises ``ParameterError`` for the first required key that is missing."""
    for key in own.REQUIRED:
        if key not in values:
            raise ParameterError(
                f"{name}: expected {key}={_EXPECTED[key]}, since {kind} does not say."
            )


def _record_of_entry(name: str, entry: Mapping[str, Any]) -> ModelRecord:
    (record,) = own.records_of(_WHERE, {name: entry})
    if any(other.label == record.label and other.name != name for other in REGISTRY):
        raise ParameterError(f"{name}: expected a title that no other model has.")
    return (
        _record_of_entry(name, {**entry, "fit": WHOLE})
        if sees_whole_images(entry, record)
        else record
    )


def _of_model(
    name: str, what: Any, model: LiveModel, entry: Mapping[str, Any], options: CallOptions
) -> ModelRecord:
    source = new_folder() / f"{name}.txt"
    values = {**framing_values(entry, model.entry), "path": str(source)}
    if "labels" not in values and model.labels:
        imagenet = are_imagenet(model.labels)
        values["labels"] = IMAGENET if imagenet else _label_file(name, model.labels)
    _check_complete(name, values, f"a {model.kind}")
    call = PythonCall(ask=model.ask, options=options)
    record = _record_of_entry(name, {**values, "output": "logits"})
    trial = FunctionPass(record, model.kind, call, record.input_size)
    trial.warn_if_unsteady()
    answers = trial.trial_answers
    distribution = is_distribution(answers)
    if "output" not in values:
        if answers.min() >= 0 and not distribution:
            raise ParameterError(
                f"{name}: expected output={_EXPECTED['output']}, since its answers do not tell: "
                f"they are not negative and the values of an image sum to {answers[0].sum():.3g}; "
                "if they come from a sigmoid, leave it out."
            )
        values["output"] = "probabilities" if distribution else "logits"
    record = _record_of_entry(name, values)
    use = use_of(record, STUDY_SIDE)
    if use.logits and distribution:
        raise ParameterError(f'{name}: expected logits, got probabilities: say "probabilities".')
    if wrong := problem(use, answers, len(answers)):
        raise ParameterError(f"{name}: {wrong}.")
    if use.logits and are_logits(answers, False) is None:
        _warn(name, SIGMOID)
    side = record.framing.side
    graph = as_graph(record, model, lambda exported: LOADED.get(exported, side))
    if isinstance(graph, Classifier):
        return graph.record
    if "features" in values:
        raise ParameterError(f"{name}: expected no features, since {graph}.")
    if model.export:
        warnings.warn(
            f"{name} is called as a function, since {graph}: attacks other than Square, heat maps "
            "and features need its graph.",
            ModelWarning,
            stacklevel=4,
        )
    source.write_text(f"{model.kind}\n{source_text(what, answers)}", encoding="utf-8")
    call = replace(call, limit=graph)
    file = UserFile(source, values["output"], (), kind=model.kind, call=call)
    return replace(record, weights=user_file(file))
