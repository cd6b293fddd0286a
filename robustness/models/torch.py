"""Models that are objects of Python: recognised, called, and exported to a file with their graph.

Of torch they are modules, timm's architectures, and folders in Hugging Face's format. Weights are
read from safetensors, or by ``torch.load`` with ``weights_only``; code beside them is never run.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import inspect
import math
import re
import sys
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from robustness.base.errors import ParameterError, RobustnessError, WeightsError
from robustness.base.files import BoundedZip, file_errors, require_regular
from robustness.base.text import nearest
from robustness.base.validation import json_values, read_object
from robustness.images.decoding import REGISTRY as SAMPLES
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Framing, study_image
from robustness.models.classifier import Classifier
from robustness.models.conversion import use_of
from robustness.models.engine import Floats, first_line
from robustness.models.formats import CONFIG, MAX_BYTES, SAFETENSORS
from robustness.models.frameworks import silent_export
from robustness.models.graph import Use, probabilities_of
from robustness.models.metadata import (
    hugging_face_shape,
    shape_of,
    size_of,
    stated_entry,
    timm_entry,
)
from robustness.models.python import LiveModel, as_array, model_pixels
from robustness.models.record import FUNCTION, ModelRecord, PythonCall, UserFile
from robustness.models.sources import user_file
from robustness.models.weights import file_digest

TORCH_MODULE = "torch module"
TIMM = "timm:"

LEAST_TIMM = (1, 0, 26)
"""From here on timm reads checkpoints without running code in them."""

_PLAIN_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
_TIMM_ARGUMENTS = {"act_layer", "drop_path_rate", "drop_rate", "global_pool", "img_size"}
"""Arguments of an architecture that a folder may give; others name files or hosts."""

_MOST_HEADER_BYTES = 4 * 2**20
"""Of the list of tensors in a file of safetensors."""

_LARGEST_NUMBER = 10**6
"""In the configuration of a network."""

_MOST_PARTS = 20_000
"""Modules and parameters of a network; ViT-g has 1,500."""

_WRAPPER_KEYS = ("state_dict", "model", "state_dict_ema", "model_ema")
"""Under which training scripts keep the weights in a checkpoint."""


def package(name: str) -> Any:
    """The optional package ``name``; raises ``ParameterError`` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ParameterError(
            f"This model needs the package {name}: run 'pip install {name}'."
        ) from error


def open_module(module: Any) -> LiveModel:
    """A ``torch.nn.Module`` from images (N, 3, H, W) to answers (N, classes), as it is now."""
    torch = package("torch")
    module = getattr(module, "_orig_mod", module)  # as before torch.compile
    network = copy.deepcopy(module).cpu().float().eval()

    module_type: Any = torch.nn.Module

    class Logits(module_type):
        """The network with its logits alone, where it answers with a record, as transformers do."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> Any:
            output = self.network(images)
            return getattr(output, "logits", output)

    logits = Logits().eval()

    def ask(pixels: Any) -> Any:
        channels_second = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        with torch.inference_mode():
            return logits(torch.from_numpy(channels_second))

    def export(folder: Path, shape: tuple[int, int]) -> Path:
        path = folder / "model.onnx"
        images = torch.zeros(1, 3, *shape)
        with warnings.catch_warnings(record=True) as caught, silent_export(torch):
            warnings.simplefilter("always")
            # The older exporter: a third of the time of OpenVINO's own, and any batch.
            torch.onnx.export(
                logits,
                (images,),
                str(path),
                dynamo=False,
                # In evaluation mode, but with its batch normalisations, which hardening trains.
                training=torch.onnx.TrainingMode.PRESERVE,
                input_names=["image"],
                dynamic_axes={"image": {0: "n"}},
            )
        traced = torch.jit.TracerWarning
        if any(issubclass(warning.category, traced) for warning in caught):
            _check_runs_without_values(torch, logits, images)
        return path

    config = getattr(module, "pretrained_cfg", None)
    entry = timm_entry(config) if isinstance(config, Mapping) else {}
    return LiveModel(TORCH_MODULE, ask, entry=entry, export=export)


def _check_runs_without_values(torch: Any, network: Any, images: Any) -> None:
    """Raises ``WeightsError`` if ``network`` reads values of ``images`` in Python.

    torch also warns of shapes that it reads there, as transformers do; those do not change.
    """
    # On the device "meta" a tensor has a shape and no values: reading one is an error.
    without_values = {}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        without_values[name] = tensor.detach().to("meta")
    try:
        with torch.inference_mode():
            torch.func.functional_call(network, without_values, (images.to("meta"),))
    except Exception as error:  # a forward pass raises anything
        raise WeightsError(
            "torch traces its operations for one image, but they depend on the image's values, as "
            "after a branch"
        ) from error


# --- timm -----------------------------------------------------------------------------------------


def open_timm(name: str, weights: Path | None, classes: int | None) -> LiveModel:
    """timm's architecture ``name`` with the weights of a local file; nothing is downloaded.

    ``classes`` is the number of classes, None if unknown: then it is that of the architecture.
    Raises ``ParameterError`` for an unknown name or a missing package, ``WeightsError`` for a file
    that cannot be used.
    """
    timm = _timm()
    if not timm.is_model(name):
        similar_names = " or ".join(map(repr, nearest(name, timm.list_models())))
        hint = f" Did you mean {similar_names}?" if similar_names else ""
        raise ParameterError(f"timm has no architecture called {name!r}.{hint}")
    if weights is None:
        raise ParameterError(
            f"Expected weights=, a local file with the weights of {name} (.safetensors, or of "
            "torch.save), got none: nothing is downloaded."
        )
    state = read_state(weights)
    arguments = {}
    if classes is not None:
        arguments["num_classes"] = classes
    network = timm.create_model(name, pretrained=False, **arguments)
    _fill(network, state, weights)
    model = open_module(network)
    return replace(model, kind=f"timm {name}", entry={**model.entry, "output": "logits"})


def _timm() -> Any:
    """The package timm; raises ``ParameterError`` without it, or if it is too old."""
    timm = package("timm")
    installed = version("timm")
    numbers = tuple(int(number) for number in re.findall(r"\d+", installed)[:3])
    if numbers < LEAST_TIMM:
        least = ".".join(map(str, LEAST_TIMM))
        raise ParameterError(
            f"Expected timm {least} or newer, got {installed}: run 'pip install -U timm'."
        )
    return timm


def _check_timm(name: Any, arguments: Any) -> None:
    """Raises ``WeightsError`` unless a folder names a plain architecture and known arguments."""
    # A name such as hf-hub:user/model would have timm download it.
    is_plain = isinstance(name, str) and _PLAIN_NAME.fullmatch(name)
    if not is_plain or not _timm().is_model(name):
        raise WeightsError(f"expected the name of an architecture of timm, got {name!r}")
    for key in arguments or {}:
        if key not in _TIMM_ARGUMENTS:
            allowed = ", ".join(sorted(_TIMM_ARGUMENTS))
            raise WeightsError(f"expected {allowed} in model_args, got {key!r}")


def _fill(network: Any, state: Mapping[str, Any], path: Path) -> None:
    """Give ``network`` the weights ``state`` of the file ``path``.

    Raises ``WeightsError`` unless their names and shapes are those of the network.
    """
    expected_shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    for key in sorted(expected_shapes.keys() | shapes.keys()):
        if key not in shapes:
            problem = f"it lacks {key}"
        elif key not in expected_shapes:
            problem = f"{key} is not part of it"
        elif shapes[key] != expected_shapes[key]:
            problem = f"expected {key} with shape {expected_shapes[key]}, got {shapes[key]}"
        else:
            continue
        raise WeightsError(f"{path.name} does not fit this architecture: {problem}.")
    network.load_state_dict(state)


def read_state(path: Path) -> dict[str, Any]:
    """The tensors in a file of safetensors, or of ``torch.save`` without code, by name.

    Raises ``WeightsError`` for another file, for sizes that it does not hold, and for more than
    ``MAX_BYTES``.
    """
    if not path.is_file():
        raise WeightsError(f"There is no file of weights at {path}.")
    _check_size(path)
    torch = package("torch")
    if path.suffix.lower() == ".safetensors":
        return _safetensors(path)
    try:
        _check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # unpickling raises anything
        raise WeightsError(
            f"{path.name} is not loaded: expected tensors alone, as torch.save(model.state_dict()) "
            f"writes them, got a file that is damaged or holds code ({type(error).__name__})."
        ) from error
    state = _unwrapped(state)
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path.name} is not loaded: expected a mapping from names to tensors.")
    stored_bytes = path.stat().st_size
    for key, tensor in state.items():
        size = math.prod(tensor.shape) * tensor.element_size()
        if size > min(stored_bytes, tensor.untyped_storage().nbytes()):
            raise WeightsError(
                f"{path.name} is not loaded: its tensor {key} claims {size:,} bytes, more than "
                "the file holds."
            )
    # DataParallel puts this prefix before every name.
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def _unwrapped(state: Any) -> Any:
    """The weights in what a training script has saved, which may wrap them several times."""
    for _ in _WRAPPER_KEYS:  # no more often, as a mapping may hold itself
        if not isinstance(state, dict):
            break
        for key in _WRAPPER_KEYS:
            if key in state:
                state = state[key]
                break
        else:
            break
    return state


def _check_size(path: Path) -> None:
    """Raises ``WeightsError`` for a file of weights that is too large."""
    with file_errors(f"{path} is not loaded", kind=WeightsError):
        require_regular(path, MAX_BYTES)


def _check_archive(path: Path) -> None:
    """Raises ``WeightsError`` for an archive that would unpack to more than it holds."""
    if not zipfile.is_zipfile(path):
        raise WeightsError(
            f"{path.name} is not loaded: expected a file of torch.save in its current format."
        )
    with BoundedZip(path, _MOST_PARTS) as archive:
        unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
    # torch.save stores its tensors without compression.
    if unpacked_bytes > path.stat().st_size:
        raise WeightsError(f"{path.name} is not loaded: it would unpack to more bytes than it has.")


def _safetensors(path: Path) -> dict[str, Any]:
    _check_header(path)
    try:
        return dict(package("safetensors.torch").load_file(str(path)))
    except ParameterError:
        raise
    except Exception as error:  # its error is a class of its own
        raise WeightsError(
            f"{path.name} is not a whole file of safetensors ({' '.join(str(error).split())})."
        ) from error


def _check_header(path: Path) -> None:
    """Raises ``WeightsError`` for a file of safetensors that lists too many tensors."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > _MOST_HEADER_BYTES:
        raise WeightsError(
            f"{path.name} is not loaded: expected a list of tensors of at most "
            f"{_MOST_HEADER_BYTES:,} bytes, got {header_bytes:,}."
        )


# --- Hugging Face ---------------------------------------------------------------------------------


def is_hugging_face(folder: Path) -> bool:
    """Whether ``folder`` is in Hugging Face's format, going by its files."""
    return (folder / CONFIG).is_file() and not (folder / "saved_model.pb").exists()


def open_hugging_face(folder: Path) -> LiveModel:
    """The image classifier in ``folder``: config.json, model.safetensors, and its preprocessing.

    Raises ``ParameterError`` without the package, ``WeightsError`` for a folder that cannot be
    used.
    """
    config, network = read_hugging_face(
        folder, "AutoModelForImageClassification", "an image classifier"
    )
    model = open_module(network)
    entry = {**model.entry, **stated_entry(folder / SAFETENSORS)[0], "output": "logits"}
    shape = hugging_face_shape(folder) or shape_of(getattr(config, "image_size", None))
    if shape:
        entry["input_size"] = size_of(*shape)
    names_by_index = getattr(config, "id2label", None) or {}
    labels = [" ".join(str(names_by_index[index]).split()) for index in sorted(names_by_index)]
    return replace(
        model,
        kind=f"Hugging Face {config.model_type}",
        labels=tuple(labels),
        entry=entry,
    )


def read_hugging_face(folder: Path, network_type: str, kind: str) -> tuple[Any, Any]:
    """The configuration and the network in ``folder``, built by a class of transformers.

    Errors call the network a ``kind``. Raises as ``open_hugging_face`` does.
    """
    for name in ("transformers", "torch"):
        package(name)  # that one is missing is no fault of the folder
    weights = folder / SAFETENSORS
    check_safetensors(weights)
    try:
        config, network, missing_tensors = _read_safely(folder, weights, network_type)
    except Exception as error:  # it raises anything for a folder that is none
        if "trust_remote_code" in str(error):
            reason = "transformers does not know its architecture"
        else:
            first_sentence = " ".join(str(error).split()).partition(". ")[0]
            reason = first_sentence[:300].removesuffix(".")
        raise WeightsError(
            f"{folder} cannot be used as {kind}: {reason}. Code of its own is never run."
        ) from error
    if missing_tensors:
        raise WeightsError(
            f"{weights} lacks {missing_tensors[0]} and {len(missing_tensors) - 1} more tensors."
        )
    return config, network


def _read_safely(folder: Path, weights: Path, network_type: str) -> tuple[Any, Any, list[str]]:
    """The configuration and the network in ``folder``, and the tensors that ``weights`` lacks.

    What would take more memory than the file holds is refused before it is built. Raises
    ``WeightsError`` for that, and whatever transformers raise.
    """
    transformers = package("transformers")
    torch = package("torch")
    factory = getattr(transformers, network_type)
    local = {"local_files_only": True, "trust_remote_code": False}
    check_numbers(folder / CONFIG)
    with offline(), at_most_parts(torch):
        config = transformers.AutoConfig.from_pretrained(str(folder), **local)
        if config.model_type == "timm_wrapper":
            _check_timm(config.architecture, config.model_args)
        with torch.device("meta"):  # takes no memory
            network = factory.from_config(config)
        check_parameters(network, weights, CONFIG)
        if int(transformers.__version__.partition(".")[0]) >= 5:
            local["use_kernels"] = False  # layers from the hub, in place of those of the network
        network, report = factory.from_pretrained(
            str(folder), config=config, use_safetensors=True, output_loading_info=True, **local
        )
    return config, network, sorted(report["missing_keys"])


def check_safetensors(path: Path) -> None:
    """Raises ``WeightsError`` where ``path`` is missing or too large to be read."""
    if not path.is_file():
        raise WeightsError(f"{path.parent} has no {path.name}: save the model as safetensors.")
    _check_size(path)
    _check_header(path)


def check_numbers(config: Path) -> None:
    """Raises ``WeightsError`` for numbers in ``config`` whose network would never end."""
    for value in json_values(read_object(config)):
        if isinstance(value, int) and value > _LARGEST_NUMBER:
            raise WeightsError(
                f"expected numbers of at most {_LARGEST_NUMBER:,} in {config.name}, got {value:,}"
            )


def check_parameters(network: Any, weights: Path, config_name: str) -> None:
    """Raises ``WeightsError`` where ``network`` has more parameters than ``weights`` can hold."""
    parameter_count = sum(parameter.numel() for parameter in network.parameters())
    if parameter_count > weights.stat().st_size:  # a parameter takes a byte at least
        raise WeightsError(
            f"its {config_name} describes {parameter_count:,} parameters, more than "
            f"{weights.name} holds"
        )


@contextmanager
def offline() -> Iterator[None]:
    """Keep Hugging Face's packages from making requests, and from drawing progress bars."""
    constants = package("huggingface_hub").constants
    logging = package("transformers").utils.logging
    was_offline = constants.HF_HUB_OFFLINE
    had_bars = logging.is_progress_bar_enabled()
    constants.HF_HUB_OFFLINE = True
    logging.disable_progress_bar()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline
        if had_bars:
            logging.enable_progress_bar()


@contextmanager
def at_most_parts(torch: Any) -> Iterator[None]:
    """A network of more than ``_MOST_PARTS`` that this thread builds raises ``WeightsError``."""
    building_thread = threading.get_ident()
    part_count = 0

    def count_part(*_: Any) -> None:
        nonlocal part_count
        if threading.get_ident() != building_thread:  # the hooks are torch's, for all threads
            return
        part_count += 1
        if part_count > 2 * _MOST_PARTS:  # it is built twice
            raise WeightsError(f"its {CONFIG} describes more than {_MOST_PARTS:,} layers")

    hooks = torch.nn.modules.module
    handles = (
        hooks.register_module_module_registration_hook(count_part),
        hooks.register_module_parameter_registration_hook(count_part),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# --- objects --------------------------------------------------------------------------------------

KERAS_MODEL = "Keras model"


def open_model(what: Any) -> LiveModel:
    """The Keras model, torch module or function ``what``.

    Raises ``ParameterError`` for any other object.
    """
    # An object of a framework that nobody has imported does not exist.
    keras = sys.modules.get("keras")
    torch = sys.modules.get("torch")
    if keras is not None and isinstance(what, keras.Model):
        return _open_keras(what)
    if torch is not None and isinstance(what, torch.nn.Module):
        return open_module(what)
    if callable(what) and not isinstance(what, type):
        return LiveModel(FUNCTION, what)
    hint = ""
    if isinstance(what, Mapping):
        hint = " Load these weights into their network."
    raise ParameterError(
        "Expected a model file, a Keras model, a torch.nn.Module, a folder in Hugging Face's "
        f'format, "timm:NAME" or a function, got {type(what).__name__}.{hint}'
    )


def open_preprocessed(what: Any, preprocess: Callable[[Any], Any]) -> LiveModel:
    """The model ``what``, whose input the function ``preprocess`` makes of each image.

    ``preprocess`` gets an image (H, W, 3) of 8 bits, and ``what`` a batch of what it returns.
    Raises ``ParameterError`` for an object that is no model.
    """
    model = open_model(what)
    torch = sys.modules.get("torch")
    is_torch = torch is not None and isinstance(what, torch.nn.Module)
    network = copy.deepcopy(what).cpu().eval() if is_torch else what

    def ask(pixels: Any) -> Any:
        levels = np.rint(255 * pixels).astype(np.uint8)
        inputs = [preprocess(image) for image in levels]
        # A function that is no module may want tensors as well.
        if torch is not None and (is_torch or isinstance(inputs[0], torch.Tensor)):
            batch = torch.stack([torch.as_tensor(item) for item in inputs])
            with torch.inference_mode():
                answer = network(batch)
                return getattr(answer, "logits", answer)
        return network(np.stack([np.asarray(item) for item in inputs]))

    return LiveModel(
        f"{model.kind} with preprocess",
        ask,
        model.labels,
        {"normalisation": "0..1", "fit": "crop"},
        limit="preprocess shows no graph",
    )


def _open_keras(model: Any) -> LiveModel:
    def ask(pixels: Any) -> Any:
        return model(pixels, training=False)

    def export(folder: Path, _shape: tuple[int, int]) -> Path:
        path = folder / "model.keras"
        model.save(path)
        return path

    def content() -> str:
        # Not of the file, which holds the time at which it was written.
        digest = hashlib.sha256(model.to_json().encode())
        for weights in model.get_weights():
            digest.update(np.ascontiguousarray(weights).tobytes())
        return f"sha256:{digest.hexdigest()}"

    entry = {}
    shape = tuple(getattr(model, "input_shape", None) or ())
    if len(shape) == 4:
        _, height, width, _ = shape
        if height is not None and width is not None:
            entry["input_size"] = size_of(height, width)
    return LiveModel(KERAS_MODEL, ask, entry=entry, export=export, content=content)


# --- by name --------------------------------------------------------------------------------------

_importing = threading.Lock()
_imported_digests: dict[str, str] = {}
"""The digest of the source of each module when it was imported."""


def open_reference(record: ModelRecord, source: Path, call: PythonCall) -> LiveModel:
    """The model that ``module:name`` names; raises ``WeightsError`` where there is none."""
    try:
        return open_model(import_object(call.reference, source, call.folder))
    except RobustnessError as error:
        raise WeightsError(f"{record.name}: {error}") from error


def source_of(reference: str, folder: Path) -> Path:
    """The file of the module in ``reference``, found without importing anything.

    It is looked for where Python looks, then in ``folder``. A module that is nowhere gets the path
    that it would have in ``folder``.
    """
    module, _, _ = reference.partition(":")
    parts = module.split(".")
    search_path = [*sys.path, str(folder)]
    origin = None
    for part in parts:
        spec = PathFinder.find_spec(part, search_path)
        if spec is None:
            origin = None
            search_path = []
        else:
            origin = spec.origin
            search_path = list(spec.submodule_search_locations or ())
    if origin:
        return Path(origin)
    return folder.joinpath(*parts).with_suffix(".py")


def import_object(reference: str, source: Path, folder: Path) -> Any:
    """The object ``module:name``; the module is reloaded once its ``source`` has changed.

    Raises ``WeightsError`` where that fails.
    """
    module_name, _, object_name = reference.partition(":")
    with _importing:
        added_folder = ""
        if str(folder) not in sys.path:
            added_folder = str(folder)
            sys.path.append(added_folder)  # searched last
        try:
            source_digest = file_digest(source, "sha256:")
            module = importlib.import_module(module_name)
            if _imported_digests.get(module_name, source_digest) != source_digest:
                module = importlib.reload(module)
            _imported_digests[module_name] = source_digest
        except (Exception, SystemExit) as error:  # importing may raise anything
            text = " ".join(str(error).split())
            raise WeightsError(
                f"The module {module_name!r} cannot be imported ({type(error).__name__}: {text})."
            ) from error
        finally:
            if added_folder and added_folder in sys.path:  # the module may have removed it itself
                sys.path.remove(added_folder)
    try:
        return attrgetter(object_name)(module)
    except AttributeError as error:
        raise WeightsError(f"The module {module_name!r} has no {object_name!r}.") from error


# --- as a file ------------------------------------------------------------------------------------

_TOLERANCE = 1e-3
"""Accepted difference of a probability between a network and its exported file."""


@cache
def _process_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with the object, which the cache keeps until this process ends."""
    return tempfile.TemporaryDirectory(prefix="robustness-")


def new_folder() -> Path:
    """An empty folder that lasts as long as this process."""
    return Path(tempfile.mkdtemp(dir=_process_folder().name))


def as_graph(
    record: ModelRecord, model: LiveModel, load: Callable[[ModelRecord], Classifier]
) -> Classifier | str:
    """The classifier of the exported ``model``, or a clause that says why there is none.

    ``load`` loads a record. The predictions of the exported file must be those of the model.
    """
    if model.export is None:
        return model.limit
    own = record.weights.own
    assert own, "a model of the user's"
    try:
        file = UserFile(
            path=model.export(new_folder(), record.shape),
            output=own.output,
            features=own.features,
            kind=model.kind,
            content=model.content() if model.content else "",
        )
        classifier = load(replace(record, weights=user_file(file)))
    except Exception as error:  # an exporter raises anything
        if isinstance(error, RobustnessError):
            reason = str(error)
        else:
            reason = f"{type(error).__name__}: {first_line(error)}"
        return f"its graph could not be exported ({reason.removesuffix('.')})"
    difference = difference_of_graph(model, classifier, use_of(record, classifier.side))
    if difference:
        return difference
    return classifier


def difference_of_graph(model: LiveModel, classifier: Classifier, use: Use) -> str:
    """A clause that says how ``classifier``, of the exported graph, differs from ``model``.

    Both predict varied images; ``use`` says how the model is asked. Empty if they agree.
    """
    images = _varied_images(classifier.side)
    pixels = model_pixels(images, use)
    answers = np.concatenate([as_array(model.ask(image[None])) for image in pixels])
    differences = np.abs(probabilities_of(answers, use) - classifier(images).probabilities)
    largest = differences.max()
    if largest > _TOLERANCE:
        return f"the exported graph predicts differently (probabilities differ by {largest:.2g})"
    return ""


def _varied_images(side: int) -> Floats:
    """Four photographs, the same inverted and dark, and four images of noise: (16, S, S, 3)."""
    framing = Framing(side=side)
    photographs = [study_image(sample_bytes(name), framing) for name in SAMPLES.names[:4]]
    levels = np.rint(255 * np.stack(photographs))
    noise = np.random.default_rng(0).integers(0, 256, levels.shape)
    noise[0] = noise[0, :1, :1]  # one colour
    images = np.concatenate([levels, 255 - levels, levels // 8, noise])
    return images.astype(np.float32) / np.float32(255)


def source_text(what: Any, answers: Any) -> str:
    """Identify the function ``what`` by its source and its ``answers`` to two images.

    Weights that it holds elsewhere show in the answers alone.
    """
    function = getattr(what, "__wrapped__", what)
    source_object = function if inspect.isroutine(function) else type(function)
    try:
        text = inspect.getsource(source_object)
    except (OSError, TypeError, SyntaxError, TokenError):  # the file may have changed since
        text = f"{type(what).__module__}.{type(what).__qualname__}"
    rounded = np.round(np.asarray(answers, np.float64), 4)
    rounded += 0.0  # makes -0.0 a 0.0, which has other bytes
    return f"{text}\nanswers: {hashlib.sha256(rounded.tobytes()).hexdigest()}\n"
