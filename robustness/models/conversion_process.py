"""Converts a model and tries it out, in a process with limits on its memory and time.

``conversion`` starts the process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from robustness.base.errors import WeightsError
from robustness.base.workers import serve
from robustness.models.conversion import Conversion
from robustness.models.engine import F32, MOST, SOONEST, Floats, core, first_line
from robustness.models.formats import KERAS, UnusableError, format_of
from robustness.models.graph import (
    ANY_BATCH,
    NOT_FINITE,
    ONE_IMAGE,
    OTHER_OUTPUTS,
    FileFacts,
    OpenVinoError,
    Shape,
    StudyModel,
    Use,
    are_logits,
    check_count,
    check_loops,
    facts,
    is_distribution,
    only_count,
    probabilities_of,
    study_models,
    trial_images,
)
from robustness.models.keras import image_shape, keras_graph, named_stages, open_keras
from robustness.models.metadata import describe
from robustness.models.operations import Operations, simplified
from robustness.models.passes import (
    RuntimeSession,
    keras_session,
    native_answers,
    native_facts,
    session_maker,
)
from robustness.models.record import REGISTRY, Normalisation

TOLERANCE = 1e-4
"""Largest accepted difference between OpenVINO's and TensorFlow's probabilities. In float32 they
differ by less than 1e-6. A network in half precision differs by more, as OpenVINO computes it in
float32."""

_AGREEMENT = 1e-4
"""Largest accepted difference between two outputs for the same image, relative to the largest
value in them."""

_THREADS = "2"
"""The number of threads is limited because each takes memory."""

_RANDOM = "its predictions for the same image differ, as if it used random numbers"

_USE = TypeAdapter(Use)


def answer(head: bytes, _data: bytes) -> bytes:
    """Convert a model, or return the facts of its file if no path to write to is given.

    ``head`` is a JSON object:

    - ``path`` is that of the model, and ``record`` the name of its record in the catalogue, "" for
      a file of the user's.
    - ``native`` is whether the file is deployed in its own runtime, ``fallback`` whether that may
      run what OpenVINO cannot.
    - To convert, ``to`` is the path of the study model to write, and ``use`` the fields of a
      ``Use``. For the facts, ``shape`` is the height and width of the images, or null.

    The reply is JSON as well: the fields of ``Conversion``, or the facts. If the model cannot be
    used, it has a ``problem``, if the weights are not those of the record, an ``error``, and if
    nothing can be written, ``unwritten``; each is a text.
    """
    request = json.loads(head)
    path = Path(request["path"])
    try:
        if "to" not in request:
            shape = tuple(request["shape"]) if request["shape"] else None
            reply = describe(path, _facts(path, shape, request))
        else:
            use = _USE.validate_python(request["use"])
            reply = asdict(_convert(path, use, request))
    except UnusableError as error:
        reply = {"problem": str(error)}
    except WeightsError as error:
        reply = {"error": str(error)}
    except OSError as error:
        reply = {"unwritten": str(error)}
    return json.dumps(reply).encode()


class _ModelSource:
    """A model as a graph in OpenVINO, and in its own runtime.

    ``native`` is whether the file is deployed in its own runtime. ``shape`` is the height and width
    of its images, zeros if they are open.
    """

    def __init__(self, path: Path, shape: Shape | None, request: Mapping[str, Any]) -> None:
        """Open a network of Keras; other files are read later.

        Raises ``WeightsError`` if the network does not take images of ``shape``, and
        ``UnusableError`` if the file is no model of a known format.
        """
        self.path = path
        self.shape = shape or (0, 0)
        self.native = request["native"]
        self._of_catalogue = bool(request["record"])
        self.format = KERAS if self._of_catalogue else format_of(path)
        self.is_keras = not self.format.is_graph
        self._fallback = request["fallback"]
        if self._of_catalogue:
            record = REGISTRY[request["record"]]
            self.network, self._stages = record.weights.load(record, path)
        elif self.is_keras:
            self.network = open_keras(path, self.shape)
            self.shape = image_shape(self.network, shape) or self.shape
            self._stages = named_stages(self.network, request.get("use", {}).get("features", ()))

    def graph(self) -> Any:
        """Return its OpenVINO model; raises ``OpenVinoError`` if it cannot be made."""
        try:
            if self.is_keras:
                return keras_graph(
                    self.network,
                    self._stages,
                    self.shape,
                    has_functions=not self._of_catalogue,
                )
            return core().read_model(self.path)
        except Exception as error:  # a front end raises whatever reading an operation does
            reason = first_line(error)
            if reason.startswith("Unable to read the model"):
                raise UnusableError(
                    f"it is not a model in the {self.format.name} format, or damaged"
                ) from error
            raise OpenVinoError(f"OpenVINO cannot read it ({reason})") from error

    def session(self) -> RuntimeSession:
        """Load the model into its own runtime."""
        if self.is_keras:
            return keras_session(self.network, self.shape)()
        assert self.format.runtime
        return session_maker(self.path, self.format.runtime)()

    def check_fallback(self, error: OpenVinoError) -> None:
        """Raise ``error`` unless the model's own runtime can run what OpenVINO refuses.

        Raises ``UnusableError`` for a graph that is too large, or that has loops.
        """
        runtime = self.format.runtime
        if not self._fallback or runtime is None or runtime.graph_size is None:
            raise error
        try:
            size = runtime.graph_size(self.path)
        except UnusableError:
            raise error from None
        check_count(size.count)
        check_loops(size.loops)


def _convert(path: Path, use: Use, request: Mapping[str, Any]) -> Conversion:
    """Save the study model of ``path``.

    If OpenVINO cannot run the model and its own runtime can, nothing is saved, and the result has
    OpenVINO's refusal.
    """
    source = _ModelSource(path, use.shape, request)
    expected = None
    if source.is_keras:
        expected = _ask_natively(source, use)
    try:
        model = compile_and_check(source.graph, use, Path(request["to"]), expected)
    except OpenVinoError as error:
        source.check_fallback(error)
        refusal = str(error)
        if not source.is_keras:
            _ask_natively(source, use, refusal)
        return Conversion((), refusal=refusal)
    if source.native and not source.is_keras:
        _ask_natively(source, use)
    return Conversion(model.stages, Operations(simplified(model.model)).missing)


def compile_and_check(
    graph: Callable[[], Any], use: Use, target: Path, expected: Floats | None = None
) -> StudyModel:
    """Try out the study model of ``graph``, save it to ``target`` and return it.

    ``graph`` returns an OpenVINO model. ``expected`` are the outputs (images, classes) of its own
    runtime for the trial images, if there is one. Raises ``OpenVinoError`` if OpenVINO cannot run
    the model or its probabilities differ, ``UnusableError`` for a model that does not fit ``use``,
    and ``OSError`` if nothing can be written.
    """
    import openvino

    make = study_models(graph(), use, tapped=expected is not None)
    model = make(ONE_IMAGE)
    images = trial_images(use.side)
    outputs = _outputs(model, images, batch=1)
    answers, *features = outputs
    if expected is not None:
        probabilities = probabilities_of(answers, use)
        difference = np.abs(probabilities - probabilities_of(expected, use)).max()
        if not difference <= TOLERANCE:  # as it is for NaN, too
            raise OpenVinoError(
                f"OpenVINO's probabilities differ from TensorFlow's by {difference:.1g}"
            )
    _check_answers(answers, use)
    if not all(np.isfinite(values).all() for values in features):
        raise UnusableError(NOT_FINITE)
    # A network that gives what is expected gives the same again.
    if expected is None and not _agree(outputs, _outputs(model, images, batch=1, options=MOST)):
        raise UnusableError(_RANDOM)
    chosen = model
    with suppress(UnusableError):  # raised for a graph that takes one image only
        model_of_batches = make(ANY_BATCH)
        if _agree(_outputs(model_of_batches, images, batch=len(images)), outputs):
            chosen = model_of_batches
    try:
        openvino.save_model(chosen.model, target, compress_to_fp16=False)
    except RuntimeError as error:  # what it raises on a full disk
        raise OSError(str(error)) from error
    return chosen


def _ask_natively(source: _ModelSource, use: Use, refusal: str = "") -> Floats:
    """Return the answers of the model's own runtime for the trial images, once checked.

    ``refusal`` is why OpenVINO cannot run the model, if that was tried. Raises ``UnusableError`` if
    the runtime cannot run it either, or for answers that do not fit ``use``.
    """
    with _native_errors(source, refusal):
        session = source.session()
        images = trial_images(use.side)
        answers = native_answers(session, images, use)
        repeated = native_answers(session, images, use)
    _check_answers(answers, use)
    if not _agree([answers], [repeated]):
        raise UnusableError(_RANDOM)
    return answers


@contextmanager
def _native_errors(source: _ModelSource, refusal: str) -> Iterator[None]:
    """Raise the errors of the model's own runtime as ``UnusableError``, after the ``refusal``."""
    try:
        yield
    except UnusableError:
        raise
    except Exception as error:  # a runtime raises whatever its kernels do
        reason = first_line(error)
        if reason.startswith("Graph execution error"):
            reason = type(error).__name__
        runtime = source.format.runtime
        assert runtime is not None
        problem = f"{runtime.package} cannot compute it ({reason})"
        if refusal:
            problem = f"{refusal}, and {problem}"
        raise UnusableError(problem) from error


def _facts(path: Path, shape: Shape | None, request: Mapping[str, Any]) -> FileFacts:
    """Return the size of the images and the number of classes, as far as they are known.

    Where both are, the model is asked whether its answers are logits. Raises ``UnusableError`` for
    a model that cannot be run.
    """
    if path.is_dir() and not shape:
        return FileFacts()
    source = _ModelSource(path, shape, request)
    if source.is_keras and not any(source.shape):
        widths = (output.shape[-1] or 0 for output in source.network.outputs)
        return FileFacts(classes=only_count(widths))
    known_shape = source.shape if any(source.shape) else None

    def ask(use: Use) -> Floats:
        make = study_models(source.graph(), use, tapped=source.is_keras)
        answers, *_ = _outputs(make(ONE_IMAGE), trial_images(use.side), batch=1)
        return answers

    try:
        graph_facts = facts(source.graph(), known_shape, loops=source.is_keras)
        return _with_logits(source, graph_facts, ask)
    except OpenVinoError as error:
        source.check_fallback(error)
        with _native_errors(source, str(error)):
            session = source.session()
            return _with_logits(
                source,
                native_facts(session, known_shape),
                lambda use: native_answers(session, trial_images(use.side), use),
            )


def _with_logits(source: _ModelSource, known: FileFacts, ask: Callable[[Use], Floats]) -> FileFacts:
    """Return the facts ``known`` with whether the answers are logits, if the model can be asked.

    ``ask`` returns the answers (images, classes) for the trial images.
    """
    if known.shape is None or known.classes is None:
        return known
    numbers = source.format.numbers(source.path)
    use = Use(
        side=max(known.shape),
        shape=known.shape,
        normalisation=Normalisation(),
        logits=True,
        classes=known.classes,
        background=False,
        output=numbers.output,
        quantised=numbers.quantised,
    )
    answers = ask(use)
    return replace(known, logits=are_logits(answers, is_distribution(answers, _slack(use))))


def _outputs(
    model: StudyModel, images: Floats, *, batch: int, options: Mapping[str, object] = SOONEST
) -> list[Floats]:
    """Return every output for ``images``, computed ``batch`` images at a time.

    The first are the model's own answers, the others its features. Raises ``OpenVinoError`` if
    OpenVINO cannot compute them, and ``UnusableError`` for an output without a row for each image.
    """
    settings = {
        **options,
        "INFERENCE_PRECISION_HINT": F32,
        "INFERENCE_NUM_THREADS": _THREADS,
    }
    try:
        compiled = core().compile_model(model.raw, "CPU", settings)
        batches = []
        for start in range(0, len(images), batch):
            outputs = compiled(images[start : start + batch]).values()
            batches.append([np.array(output) for output in outputs])
    except Exception as error:  # OpenVINO raises whatever its kernels do
        raise OpenVinoError(f"OpenVINO cannot compute it ({first_line(error)})") from error
    for outputs_of_batch in batches:
        for number, values in enumerate(outputs_of_batch):
            if values.shape[:1] != (batch,) or not values.size:
                raise UnusableError(f"its output {number} has the shape {values.shape}")
    return [np.concatenate(values) for values in zip(*batches, strict=True)]


def _agree(first: list[Floats], second: list[Floats]) -> bool:
    """Return whether two lists of outputs for the same images are alike."""
    for values, others in zip(first, second, strict=True):
        if values.shape != others.shape:
            return False
        largest_difference = np.abs(values - others).max()
        # A difference that is NaN is no agreement.
        if not largest_difference <= _AGREEMENT * max(1.0, np.abs(others).max()):
            return False
    return True


def _check_answers(answers: Floats, use: Use) -> None:
    """Raise ``UnusableError`` if ``answers`` (images, classes) are not what ``use`` says."""
    if not np.isfinite(answers).all():
        raise UnusableError(NOT_FINITE)
    distribution = is_distribution(answers, _slack(use))
    if use.logits and distribution and not use.quantised:
        raise UnusableError(
            'its output is probabilities already; write output = "probabilities", or leave that '
            "line out"
        )
    if not use.logits and not distribution:
        raise UnusableError(
            f"its output is not a distribution over the classes (the values of an image sum to "
            f"{answers[0].sum():.3g}, the least is {answers[0].min():.3g}); {OTHER_OUTPUTS}"
        )


def _slack(use: Use) -> float:
    """Return by how much the probabilities of an image may sum to more or less than 1.

    A quantised file rounds each of them to one of 256 steps.
    """
    if not use.quantised:
        return 0.0
    return min(1.0, use.classes / 512)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = _THREADS
    core()  # OpenVINO itself is not under a file's limit
    serve(answer)
