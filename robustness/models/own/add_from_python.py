"""Add models from Python to the registry; an error asks for what they do not tell."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustness.base.errors import ModelWarning, ParameterError
from robustness.base.pydantic_validation import checked
from robustness.base.text import did_you_mean
from robustness.models.class_labels import check_class_names, read_labels
from robustness.models.classifier_with_probabilities_and_features import Classifier
from robustness.models.graph.inspection_and_conversion import use_of
from robustness.models.graph.preprocessing_and_probabilities import (
    SIGMOID,
    are_logits,
    is_distribution,
)
from robustness.models.loaded_models import LOADED
from robustness.models.model_and_weights_record import (
    ADDED,
    CALL_KEYS,
    OWN,
    REGISTRY,
    CallOptions,
    ModelRecord,
    PythonCall,
    UserFile,
)
from robustness.models.own import registration_and_schema
from robustness.models.own.description_proposal import (
    WHOLE,
    read_description,
    sees_whole_images,
    try_out,
)
from robustness.models.own.file_and_library_metadata import (
    FRAMING_KEYS,
    IMAGENET,
    are_imagenet,
    framing_values,
    is_torchvision,
    torchvision_entry,
)
from robustness.models.python_models import torch_and_hugging_face
from robustness.models.python_models.function_pass_and_caller import (
    FunctionPass,
    LiveModel,
    problem,
)
from robustness.models.python_models.model_import_and_export import (
    as_graph,
    new_folder,
    opened,
    preprocessed,
    source_text,
)
from robustness.models.weights.preset_and_file_sources import user_file
from robustness.pictures.framing_and_study_image import STUDY_SIDE

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
        raise ParameterError(
            f"{registration_and_schema.described_in()} describes a model called {name!r}."
        )
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
    if weights and not text.startswith(torch_and_hugging_face.TIMM):
        raise ParameterError(f'{name}: expected weights with "timm:NAME" only.')
    if text and not text.startswith(torch_and_hugging_face.TIMM):
        path = Path(text).resolve()
        if not torch_and_hugging_face.is_hugging_face(path):
            if calls:
                raise ParameterError(f"{name}: expected {min(calls)} with a function only.")
            record = _of_file(name, path, values)
            LOADED.get(record, record.framing.side)  # refuses what is not as described
            return registration_and_schema.add_to_process(record)
        model = torch_and_hugging_face.opened_hugging_face(path)
    elif text:
        count = len(names) if names else None
        model = torch_and_hugging_face.opened_timm(
            text.removeprefix(torch_and_hugging_face.TIMM), weights, count
        )
    elif preprocess is not None:
        model = preprocessed(what, preprocess)
    else:
        model = opened(what)
    options = checked(CallOptions, calls, name)
    return registration_and_schema.add_to_process(_of_model(name, what, model, values, options))


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
    if description.missing or not set(registration_and_schema.REQUIRED[1:]) <= set(values):
        description = try_out(description)
        stated = {**description.entry}
        if description.classes:
            stated["labels"] = _label_file(name, description.classes)
    entry = {**stated, **values, "path": str(path)}
    _check_complete(name, entry, "the file")
    _warn(name, description.warning)
    return _record(name, entry)


def _warn(name: str, warning: str) -> None:
    if warning:
        warnings.warn(f"{name}: {warning}", ModelWarning, stacklevel=5)


def _check_complete(name: str, values: Mapping[str, Any], kind: str) -> None:
    """Raises ``ParameterError`` for the first required key that is missing."""
    for key in registration_and_schema.REQUIRED:
        if key not in values:
            raise ParameterError(
                f"{name}: expected {key}={_EXPECTED[key]}, since {kind} does not say."
            )


def _record(name: str, entry: Mapping[str, Any]) -> ModelRecord:
    (record,) = registration_and_schema.records_of(_WHERE, {name: entry})
    if any(other.label == record.label and other.name != name for other in REGISTRY):
        raise ParameterError(f"{name}: expected a title that no other model has.")
    return _record(name, {**entry, "fit": WHOLE}) if sees_whole_images(entry, record) else record


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
    record = _record(name, {**values, "output": "logits"})
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
    record = _record(name, values)
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
