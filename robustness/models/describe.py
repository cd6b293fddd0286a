"""Descriptions of models, as ``models.toml`` holds them.

That of a model file is proposed from its contents and from its predictions on images. A model that
Python code adds is described by what it tells of itself; an error asks for the rest.
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
from robustness.models import own as own_models
from robustness.models import torch
from robustness.models.classifier import Classifier
from robustness.models.conversion import describe_file, use_of
from robustness.models.engine import Floats
from robustness.models.formats import (
    ENDINGS,
    MAX_BYTES,
    is_clip,
    is_saved_model,
    model_type,
    templates_problem,
)
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
    Normalisation,
    PythonCall,
    UserFile,
    check_class_names,
    imagenet,
    read_labels,
)
from robustness.models.sources import user_file
from robustness.models.torch import (
    as_graph,
    new_folder,
    open_model,
    open_preprocessed,
    source_text,
)
from robustness.models.trials import (
    Difference,
    Labelled,
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
from robustness.models.zero_shot import folder_facts

WHOLE = "squash"
"""The fit of models with classes of their own: their images may be framed as nobody knows."""

UNDECIDED = (
    "These images cannot decide the normalisation: use other labelled ones, or check the model's "
    "documentation."
)

_STAND_IN = "0..1"
"""The normalisation of a record that is needed before the right one is known."""


def sees_whole_images(entry: Mapping[str, Any], record: ModelRecord) -> bool:
    """Whether the fit is ``WHOLE``: own classes, and no key of ``entry`` says another."""
    if "fit" in entry or "crop_pct" in entry:
        return False
    return not are_imagenet(record.labels().names)


@dataclass(frozen=True)
class Description:
    """A proposed entry of ``models.toml`` for a model file, and where its values come from.

    ``entry`` holds the values. ``sources`` says where each comes from that the user did not give,
    and ``missing`` names the required keys that are still unknown. ``outputs`` is the number of
    classes of the file, None if unknown. ``classes`` are their names if the file gives them: they
    become the file that the key ``labels`` names.

    ``trials`` are the normalisations that were tried on ``tried_on`` images, the best first.
    ``samples`` holds the predictions for the bundled samples. ``native`` is set for a quantised
    file: how far OpenVINO's predictions differ from those of the file's own runtime. ``warning``
    says why a given value may be wrong. ``resizings`` says whether another interpolation than that
    of ``framing`` does better on the images. Both are empty where there is nothing to say.
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
        """The table that ``write`` adds to ``models.toml``."""
        return own_models.entry_text(self.name, self.entry)

    def document(self) -> dict[str, Any]:
        """The description as JSON-ready values."""
        values = asdict(self)
        values["told_by"] = values.pop("sources")
        values["framing"] = self.framing.as_dict()
        values["toml"] = self.toml
        return values

    @property
    def preprocessing(self) -> str:
        """How images become the input, and who says so, for people."""
        for key in FRAMING_KEYS:
            if key in self.sources:
                return f"{self.framing.text}, from {self.sources[key]}"
        # A value without a source was given by the user.
        if any(key in self.entry for key in FRAMING_KEYS):
            return f"{self.framing.text}, as given"
        return f"{self.framing.text}, assumed"

    def renamed(self, name: str) -> Description:
        """The description under another ``name``, with the file of its classes."""
        entry = dict(self.entry)
        if self.classes:
            entry["labels"] = own_models.label_file(name)
        return replace(self, name=name, entry=entry)

    def write(self, folder: Path | None = None) -> Path:
        """Add the entry, and the file of its classes, to the user's models.

        ``folder`` is a temporary one with the model, which is copied to stay. Returns the file of
        descriptions. Raises ``ParameterError`` if a value is missing or nothing can be written.
        """
        if self.missing:
            raise ParameterError(f"The description of {self.name!r} lacks {self.missing[0]!r}.")
        return own_models.add(self.name, self.entry, self.classes, folder)


# --- of a file ------------------------------------------------------------------------------------


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
    description = read_description(path, choices, name)
    return try_out(description, images, said)


def model_file(path: Path) -> Path:
    """``path`` itself, or the one model file below it if it is a folder and no SavedModel.

    Raises ``ParameterError`` if there is no such file, or more than one.
    """
    if not path.exists():
        raise ParameterError(f"There is no model at {path}.")
    if not path.is_dir():
        _check_file(path)
        return path
    if is_saved_model(path) or is_clip(path):
        return path
    files = files_below(path)
    model_files = [file for file in files if file.suffix.lower() in ENDINGS]
    if len(model_files) != 1:
        names = ", ".join(file.name for file in model_files[:5]) or "none"
        advice = ""
        if not model_files and model_type(path):
            advice = (
                f" Of Hugging Face's folders only those of CLIP are added here, got "
                f"{model_type(path)}: give others to api.add_model."
            )
        elif not model_files:
            advice = _advice(file.suffix.lower() for file in files)
        raise ParameterError(f"Expected one model ({', '.join(ENDINGS)}), got {names}.{advice}")
    _check_file(model_files[0])
    return model_files[0]


_WEIGHTS_ALONE = (
    " It holds weights alone: give api.add_model the network itself, or export it to ONNX."
)
_ADVICE = {
    ".pt": _WEIGHTS_ALONE,
    ".pth": _WEIGHTS_ALONE,
    ".safetensors": _WEIGHTS_ALONE,
    ".h5": " Load it in Keras and save it with model.save('x.keras').",
}
"""What to do with files that hold a model in another form, by their ending."""


def _advice(endings: Iterable[str]) -> str:
    for ending in endings:
        if ending in _ADVICE:
            return _ADVICE[ending]
    return ""


def _check_file(path: Path) -> None:
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ParameterError(
            f"Expected a model file ({', '.join(ENDINGS)}) or a folder, got {path.name}."
            f"{_advice([ending])}"
        )
    with reading(path.name):
        require_regular(path, MAX_BYTES)  # a pipe may never end


def read_description(path: Path, choices: Mapping[str, Any], name: str) -> Description:
    """Describe the model file ``path`` by what it holds; raises as ``propose``."""
    path = model_file(path.resolve())
    choices = dict(choices)
    labels_file = Path(choices.get("labels", ""))
    if labels_file.is_absolute():
        choices["labels"] = own_models.relative(labels_file)
    if is_clip(path):
        facts = folder_facts(path)
    else:
        facts = describe_file(path, shape_of(choices.get("input_size")))
    stated = dict(facts["entry"])
    sources = facts["told_by"]
    if sources.get("normalisation") == INPUT_TYPE:
        _check_normalisation_of_integers(name, choices.get("normalisation"))
    classes: tuple[str, ...] = ()
    if "labels" not in choices:
        classes = tuple(facts["classes"])
    if classes:
        stated["labels"] = own_models.label_file(name)
    entry = {"path": own_models.relative(path), **framing_values(choices, stated)}
    # The warning is about taking the output for logits, which the user may have denied.
    warning = facts["warning"] if entry.get("output") == "logits" else ""
    return Description(
        name=name,
        format=facts["format"],
        entry=_ordered(entry),
        sources={
            key: source for key, source in sources.items() if key in entry and key not in choices
        },
        missing=tuple(key for key in own_models.REQUIRED if key not in entry),
        classes=classes,
        warning=warning,
        outputs=facts["outputs"],
    )


def _check_normalisation_of_integers(name: str, normalisation: Any) -> None:
    """Raises ``ParameterError`` for one of ``NORMALISATIONS`` whose values are no integers."""
    is_named = isinstance(normalisation, str) and normalisation in NORMALISATIONS
    if is_named and normalisation != OF_BYTES:
        raise ParameterError(
            f"{name}: expected normalisation {OF_BYTES}, as its input holds whole numbers, got "
            f"{normalisation}."
        )


def try_out(
    description: Description,
    images: Path | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> Description:
    """Complete ``description`` by trying its model on images.

    Adds the fit and the normalisation if they are missing and can be told, and the predictions for
    the bundled samples. ``images`` and ``said`` are those of ``propose``. Returns ``description``
    unchanged if a value other than the normalisation is missing.
    """
    if set(description.missing) - {"normalisation"}:
        return description
    own_models.check(description.name, {"normalisation": _STAND_IN, **description.entry})
    entry = dict(description.entry)
    sources = dict(description.sources)
    with tempfile.TemporaryDirectory() as temporary:
        labels_folder = Path(temporary)
        record = _record(description, labels_folder)
        if sees_whole_images(entry, record):
            entry["fit"] = WHOLE
            sources["fit"] = "its own classes"
            record = _record(replace(description, entry=entry), labels_folder)
        ask = asks(record)
        labelled = _labelled_images(record, images)
        results: tuple[Trial, ...] = ()
        if labelled is not None:
            given = record.normalisation if "normalisation" in entry else None
            results = trials(ask, labelled, said, given)
            if given is None and is_clear(results, len(labelled.classes)):
                entry["normalisation"] = results[0].value
                sources["normalisation"] = "the images it was tried on"
        description = replace(
            description,
            entry=_ordered(entry),
            missing=() if "normalisation" in entry else ("normalisation",),
            sources=sources,
            trials=results,
            tried_on=0 if labelled is None else len(labelled.classes),
            framing=record.framing,
        )
        if description.missing:
            return description
        record = _record(description, labels_folder)
        return _with_predictions(description, record, ask, labelled, images, said)


def _labelled_images(record: ModelRecord, images: Path | None) -> Labelled | None:
    """The images of the folder ``images``; without one, the bundled ones if they can serve."""
    framing = record.own_framing
    labels = record.labels()
    if images is not None:
        return from_folder(images, record, framing)
    if labels == imagenet():
        return samples(framing)
    return None


def _with_predictions(
    description: Description,
    record: ModelRecord,
    ask: Callable[[Floats, Normalisation], Floats],
    labelled: Labelled | None,
    images: Path | None,
    said: Callable[[str], None],
) -> Description:
    """``description``, whose values are complete, with what its model predicts.

    ``record`` is its record, and ``ask`` predicts as in ``trials``.
    """
    labels = record.labels()
    pictures = sample_images(record.own_framing)
    predictions = answers(ask(pictures, record.normalisation), labels)
    said("predicting the samples")
    native = difference(record, pictures if labelled is None else labelled.images)
    resizings = ""
    if images is not None:
        resizings = resizing_difference(record, images, said)
    description = replace(description, samples=predictions, native=native, resizings=resizings)
    if labelled is None:
        return description
    chosen_value = value_of(record.normalisation)
    chosen = next(trial for trial in description.trials if trial.value == chosen_value)
    accuracy = LabelledAccuracy(
        images=len(labelled.classes),
        correct=chosen.correct,
        confidence=chosen.confidence,
        true_class_probability=chosen.true_class_probability,
        normalisation=description.sources.get("normalisation", ""),
    )
    warnings_so_far = (description.warning, accuracy.doubt(len(labels)))
    warning = " ".join(text for text in warnings_so_far if text)
    if images is None:  # the few bundled images tell no accuracy
        return replace(description, warning=warning)
    entry = {**description.entry, "accuracy": accuracy.model_dump(exclude_defaults=True)}
    return replace(description, warning=warning, entry=_ordered(entry))


def _ordered(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` in the order in which descriptions are documented."""
    order = (*own_models.REQUIRED, *own_models.OPTIONAL)
    return {key: values[key] for key in sorted(values, key=order.index)}


def _record(description: Description, labels_folder: Path) -> ModelRecord:
    """The record of ``description``, with a stand-in if it has no normalisation.

    Its class names, which have no file yet, are written to ``labels_folder``.
    """
    values = {"normalisation": _STAND_IN, **description.entry}
    if description.classes:
        labels_file = labels_folder / "labels.txt"
        labels_file.write_bytes(own_models.lines(description.classes))
        values["labels"] = str(labels_file)
    (record,) = own_models.records_of(own_models.described_in(), {description.name: values})
    return record


def name_of(path: Path) -> str:
    """A valid name for the model at ``path``."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-._")
    return name[: own_models.LONGEST_NAME] or "model"


# --- from Python ----------------------------------------------------------------------------------

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
    """Register the model ``what`` as ``name`` until this process ends; return its record.

    ``arguments`` holds values for keys of ``models.toml``, and for ``preprocess``; None stands for
    a value that was not given. ``calls`` are values for ``CallOptions``. Raises ``ParameterError``
    for what is missing or wrong, ``WeightsError`` for a model that cannot be used.
    """
    if name in REGISTRY and REGISTRY[name].group == OWN and name not in ADDED:
        raise ParameterError(f"{own_models.described_in()} describes a model called {name!r}.")
    given = {key: value for key, value in arguments.items() if value is not None}
    if isinstance(given.get("templates"), str):
        given["templates"] = [given["templates"]]
    preprocess = given.pop("preprocess", None)
    values, class_names = _with_label_file(name, given)
    known_keys = (*arguments, "weights", *CALL_KEYS)
    for key in calls:
        if key not in known_keys:
            hint = did_you_mean(key, known_keys)
            raise ParameterError(f"{name}: there is no {key!r}. {hint}.")
    LOADED.release(name)  # an earlier model of this name may have the same weights, other labels
    text = os.fspath(what) if isinstance(what, str | os.PathLike) else ""
    is_timm = text.startswith(torch.TIMM)
    if is_torchvision(preprocess):
        # Read as keys of the description, so that the model keeps its graph.
        values = framing_values(values, torchvision_entry(preprocess))
        preprocess = None
    elif preprocess is not None:
        _check_preprocess(name, preprocess, text, values)
    if weights is not None and not is_timm:
        raise ParameterError(f'{name}: expected weights with "timm:NAME" only.')
    if "templates" in values:
        problem_of_templates = templates_problem(Path(text) if text else None)
        if problem_of_templates:
            raise ParameterError(f"{name}: {problem_of_templates}.")
    if is_timm:
        class_count = len(class_names) if class_names else None
        model = torch.open_timm(text.removeprefix(torch.TIMM), weights, class_count)
    elif text:
        path = Path(text).resolve()
        if is_clip(path) or not torch.is_hugging_face(path):
            if calls:
                raise ParameterError(f"{name}: expected {min(calls)} with a function only.")
            record = _record_of_file(name, path, values)
            LOADED.get(record, record.framing.side)  # refuses what is not as described
            return own_models.add_to_process(record)
        model = torch.open_hugging_face(path)
    elif preprocess is not None:
        model = open_preprocessed(what, preprocess)
    else:
        model = open_model(what)
    options = checked(CallOptions, calls, name)
    record = _record_of_object(name, what, model, values, options)
    return own_models.add_to_process(record)


def _check_preprocess(name: str, preprocess: Any, text: str, values: Mapping[str, Any]) -> None:
    """Raises ``ParameterError`` unless ``preprocess`` can prepare the images of the model.

    ``text`` is the path or the name of the model, "" for an object.
    """
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
    return {**values, "labels": _write_labels(name, labels)}, tuple(labels)


def _write_labels(name: str, class_names: Sequence[str]) -> str:
    path = new_folder() / f"{name}.txt"
    lines = [" ".join(class_name.split()) for class_name in class_names]
    check_class_names(lines, f"labels of {name}", "name")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _record_of_file(name: str, path: Path, values: Mapping[str, Any]) -> ModelRecord:
    description = read_description(path, values, name)
    required = set(own_models.REQUIRED) - {"path"}
    # What a CLIP folder tells, its makers have written: nothing has to be found out.
    is_told = is_clip(path) or required <= set(values)
    if description.missing or not is_told:
        # Trying the model takes a while: it is left out where the user has given all values.
        description = try_out(description)
        proposed = dict(description.entry)
        if description.classes:
            proposed["labels"] = _write_labels(name, description.classes)
    else:
        told_keys = description.entry if is_clip(path) else FRAMING_KEYS
        proposed = {key: description.entry[key] for key in told_keys if key in description.entry}
    entry = {**proposed, **values, "path": str(path)}
    _check_complete(name, entry, "the file")
    _warn(name, description.warning)
    return _record_of_entry(name, entry)


def _warn(name: str, warning: str) -> None:
    if warning:
        warnings.warn(f"{name}: {warning}", ModelWarning, stacklevel=5)


def _check_complete(name: str, values: Mapping[str, Any], kind: str) -> None:
    """Raises ``ParameterError`` for the first required key that is missing."""
    for key in own_models.REQUIRED:
        if key not in values:
            raise ParameterError(
                f"{name}: expected {key}={_EXPECTED[key]}, since {kind} does not say."
            )


def _record_of_entry(name: str, entry: Mapping[str, Any]) -> ModelRecord:
    (record,) = own_models.records_of(_WHERE, {name: entry})
    if any(other.label == record.label and other.name != name for other in REGISTRY):
        raise ParameterError(f"{name}: expected a title that no other model has.")
    if sees_whole_images(entry, record):
        return _record_of_entry(name, {**entry, "fit": WHOLE})
    return record


def _record_of_object(
    name: str, what: Any, model: LiveModel, values: Mapping[str, Any], options: CallOptions
) -> ModelRecord:
    """The record of ``what``, opened as ``model``: of its exported graph, or of its function.

    ``values`` are the user's, which count before what ``model`` says of itself.
    """
    source = new_folder() / f"{name}.txt"
    entry = {**framing_values(values, model.entry), "path": str(source)}
    if "labels" not in entry and model.labels:
        if are_imagenet(model.labels):
            entry["labels"] = IMAGENET
        else:
            entry["labels"] = _write_labels(name, model.labels)
    _check_complete(name, entry, f"a {model.kind}")
    call = PythonCall(ask=model.ask, options=options)
    # As logits, any finite answers pass: whether they are probabilities is told from them below.
    trial_record = _record_of_entry(name, {**entry, "output": "logits"})
    trial = FunctionPass(trial_record, model.kind, call, trial_record.input_size)
    trial.warn_if_unsteady()
    answers = trial.trial_answers
    are_probabilities = is_distribution(answers)
    if "output" not in entry:
        if answers.min() >= 0 and not are_probabilities:
            raise ParameterError(
                f"{name}: expected output={_EXPECTED['output']}, since its answers do not tell: "
                f"they are not negative and the values of an image sum to {answers[0].sum():.3g}; "
                "if they come from a sigmoid, leave it out."
            )
        entry["output"] = "probabilities" if are_probabilities else "logits"
    record = _record_of_entry(name, entry)
    use = use_of(record, STUDY_SIDE)
    if use.logits and are_probabilities:
        raise ParameterError(f'{name}: expected logits, got probabilities: say "probabilities".')
    wrong = problem(use, answers, len(answers))
    if wrong:
        raise ParameterError(f"{name}: {wrong}.")
    if use.logits and are_logits(answers, False) is None:
        _warn(name, SIGMOID)
    side = record.framing.side
    graph = as_graph(record, model, lambda exported: LOADED.get(exported, side))
    if isinstance(graph, Classifier):
        return graph.record
    no_graph_reason = graph
    if "features" in entry:
        raise ParameterError(f"{name}: expected no features, since {no_graph_reason}.")
    if model.export:
        warnings.warn(
            f"{name} is called as a function, since {no_graph_reason}: attacks other than Square, "
            "heat maps and features need its graph.",
            ModelWarning,
            stacklevel=4,
        )
    # The file stands for the model: its digest changes with the source or the answers.
    source.write_text(f"{model.kind}\n{source_text(what, answers)}", encoding="utf-8")
    file = UserFile(
        source,
        entry["output"],
        (),
        kind=model.kind,
        call=replace(call, limit=no_graph_reason),
    )
    return replace(record, weights=user_file(file))
