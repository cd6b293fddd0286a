"""Add models from Python to the registry; an error asks for what they do not tell."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robustness.base import removed_names
from robustness.base.errors import ModelWarning, ParameterError, WeightsError
from robustness.base.text import did_you_mean
from robustness.base.validation import checked
from robustness.models.classifier import Classifier
from robustness.models.graph.inspection import describe_file, use_of
from robustness.models.graph.use import SIGMOID, are_logits, is_distribution, trial_images
from robustness.models.labels import check_class_names, read_labels
from robustness.models.loaded_models import LOADED
from robustness.models.model_record import (
    ADDED,
    CALL_KEYS,
    OWN,
    REGISTRY,
    CallOptions,
    ModelRecord,
    PythonCall,
    UserFile,
)
from robustness.models.own import model_file, user_models
from robustness.models.own.describe import IMAGENET, are_imagenet
from robustness.models.own.propose import WHOLE, propose
from robustness.models.own.stated_preprocessing import (
    FRAMING_KEYS,
    framing_values,
    is_torchvision,
    of_torchvision,
    shape_of,
)
from robustness.models.python_models import torch_modules
from robustness.models.python_models.function_pass import (
    Caller,
    model_pixels,
    problem,
    warn_if_unsteady,
)
from robustness.models.python_models.live_model import LiveModel, as_graph, new_folder, source_text
from robustness.models.python_models.model_objects import opened, preprocessed
from robustness.models.run.openvino import Floats
from robustness.models.weights.sources import user_file
from robustness.pictures.fitting import STUDY_SIDE, Framing

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
    """Register ``what`` as ``name``; ``arguments`` holds values for keys of
    ``models.toml``.

    Raises ``ParameterError`` for what is missing or wrong, ``WeightsError`` for a model that cannot
    be used.
    """
    preprocess = arguments.get("preprocess")
    arguments = {key: value for key, value in arguments.items() if key != "preprocess"}
    if name in REGISTRY and REGISTRY[name].group == OWN and name not in ADDED:
        raise ParameterError(f"{user_models.described_in()} describes a model called {name!r}.")
    values = user_models.with_normalisation(arguments)
    values["labels"], names = _labels(name, values.get("labels"))
    keys = (*arguments, "weights", *CALL_KEYS)
    if unknown := next((key for key in calls if key not in keys), ""):
        removed = removed_names.removal(removed_names.ARGUMENTS, unknown)
        hint = removed or f"there is no {unknown!r}. {did_you_mean(unknown, keys)}"
        raise ParameterError(f"{name}: {hint}.")
    LOADED.release(name)  # it may have the same weights and other labels
    text = os.fspath(what) if isinstance(what, str | os.PathLike) else ""
    if is_torchvision(preprocess):
        values = framing_values(_without_none(values), of_torchvision(preprocess))
        preprocess = None
    elif preprocess is not None:
        _check_preprocess(name, preprocess, text, values)
    if weights and not text.startswith(torch_modules.TIMM):
        raise ParameterError(f'{name}: expected weights with "timm:NAME" only.')
    if text and not text.startswith(torch_modules.TIMM):
        path = Path(text).resolve()
        if not torch_modules.is_hugging_face(path):
            if calls:
                raise ParameterError(f"{name}: expected {min(calls)} with a function only.")
            record = _of_file(name, path, values)
            LOADED.get(record, record.framing.side)  # refuses what is not as described
            return user_models.add_to_process(record)
        model = torch_modules.opened_hugging_face(path)
    elif text:
        count = len(names) if names else None
        model = torch_modules.opened_timm(text.removeprefix(torch_modules.TIMM), weights, count)
    elif preprocess is not None:
        model = preprocessed(what, preprocess)
    else:
        model = opened(what)
    options = checked(user_models.Calls, calls, name).options
    return user_models.add_to_process(_of_model(name, what, model, values, options))


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


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
            f"{text!r}: describe its preprocessing by keys such as interpolation, mean and std."
        )
    if values.get("normalisation") is not None:
        raise ParameterError(
            f"{name}: expected no normalisation with preprocess, which returns what the model gets."
        )


def _labels(name: str, labels: Any) -> tuple[str | None, tuple[str, ...]]:
    """The value of ``labels`` for ``models.toml``, and the names if they are given."""
    if labels is None or labels == IMAGENET:
        return labels, ()
    if isinstance(labels, str | os.PathLike):
        path = Path(labels).resolve()
        return str(path), read_labels(path).names
    if not isinstance(labels, Sequence) or not all(isinstance(label, str) for label in labels):
        raise ParameterError(f"Expected labels of {name} to be {_EXPECTED['labels']}.")
    return _label_file(name, labels), tuple(labels)


def _label_file(name: str, names: Sequence[str]) -> str:
    path = new_folder() / f"{name}.txt"
    lines = [" ".join(label.split()) for label in names]
    check_class_names(lines, f"labels of {name}", "name")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _of_file(name: str, path: Path, values: Mapping[str, Any]) -> ModelRecord:
    model_file.model_file(path)  # says what else it may be
    choices = {key: value for key, value in values.items() if value is not None}
    entry: dict[str, Any] = {"path": str(path), **choices}
    warning = ""
    if missing := _missing(entry):
        description = propose(path, choices, name=name)
        warning = description.warning
        entry = {**description.entry, "path": str(path)}
        if description.classes:
            entry["labels"] = _label_file(name, description.classes)
        if missing := _missing(entry):
            raise _missing_value(name, missing, "the file")
    else:
        described = describe_file(model_file.model_file(path), shape_of(entry["input_size"]))
        warning = described["warning"] if entry.get("output") == "logits" else ""
        stated = {key: described["entry"].get(key) for key in FRAMING_KEYS}
        entry = framing_values(entry, _without_none(stated))
    _warn(name, warning)
    return _record(name, entry)


def _warn(name: str, warning: str) -> None:
    if warning:
        warnings.warn(f"{name}: {warning}", ModelWarning, stacklevel=5)


def _missing(values: Mapping[str, Any]) -> str:
    """The first required key that is missing; empty if none is."""
    return next((key for key in user_models.REQUIRED if values.get(key) is None), "")


def _missing_value(name: str, key: str, kind: str) -> ParameterError:
    return ParameterError(f"{name}: expected {key}={_EXPECTED[key]}, since {kind} does not say.")


def _record(name: str, values: Mapping[str, Any]) -> ModelRecord:
    entry = {key: value for key, value in values.items() if value is not None}
    (record,) = user_models.records_of(_WHERE, {name: entry})
    if any(other.label == record.label and other.name != name for other in REGISTRY):
        raise ParameterError(f"{name}: expected a title that no other model has.")
    if set(FRAMING_KEYS) & set(entry) or are_imagenet(record.labels().names):
        return record
    return replace(record, framing=Framing(WHOLE, record.input_size))


def _of_model(
    name: str, what: Any, model: LiveModel, arguments: Mapping[str, Any], calls: CallOptions
) -> ModelRecord:
    source = new_folder() / f"{name}.txt"
    values = {**framing_values(_without_none(arguments), model.entry), "path": str(source)}
    if values.get("labels") is None and model.labels:
        imagenet = are_imagenet(model.labels)
        values["labels"] = IMAGENET if imagenet else _label_file(name, model.labels)
    if missing := _missing(values):
        raise _missing_value(name, missing, f"a {model.kind}")
    output = values.get("output")
    record = _record(name, {**values, "output": output or "logits"})
    answers = _answers(record, model, calls)
    distribution = is_distribution(answers)
    if output is None:
        if answers.min() >= 0 and not distribution:
            raise ParameterError(
                f"{name}: expected output={_EXPECTED['output']}, since its answers do not tell: "
                f"they are not negative and the values of an image sum to {answers[0].sum():.3g}; "
                "if they come from a sigmoid, leave it out."
            )
        record = _record(name, {**values, "output": "probabilities" if distribution else "logits"})
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
    if arguments.get("features") is not None:
        raise ParameterError(f"{name}: expected no features, since {graph}.")
    if model.export:
        warnings.warn(
            f"{name} is called as a function, since {graph}: attacks other than Square, heat maps "
            "and features need its graph.",
            ModelWarning,
            stacklevel=4,
        )
    source.write_text(f"{model.kind}\n{source_text(what, answers)}", encoding="utf-8")
    call = PythonCall(ask=model.ask, limit=graph, options=calls)
    own = record.weights.own
    file = UserFile(source, own.output if own else "", (), kind=model.kind, call=call)
    return replace(record, weights=user_file(file))


def _answers(record: ModelRecord, model: LiveModel, calls: CallOptions) -> Floats:
    """The model's raw answers to two images, with a warning if they change.

    Raises ``WeightsError`` if it gives none.
    """
    use = replace(use_of(record, record.input_size), logits=True)
    pixels, check = model_pixels(trial_images(use.side), use), partial(problem, use)
    caller = Caller(model.ask, calls, check)
    replies = caller.answers(pixels)
    for answer in replies:
        if isinstance(answer, str):
            is_size = re.search("Error: .*(shape|size|dimension)", answer)
            size = f" Check input_size, which is {record.input_text}." if is_size else ""
            raise WeightsError(f"{record.name} cannot be used: {answer}.{size}")
    answers = np.stack([np.asarray(answer) for answer in replies])
    warn_if_unsteady(record.name, model.ask, calls, check, pixels, answers)
    return answers
