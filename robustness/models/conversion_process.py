"""Reads, converts, compiles and asks a model, in a process with limits on its memory and time.

``conversion`` starts it.
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
"""Largest accepted difference of a probability from TensorFlow's. In float32 both differ by less
than 1e-6; a network in half precision is computed in float32 and differs by more."""

_AGREEMENT = 1e-4
"""Largest difference between answers to the same image, relative to the largest of them."""

_THREADS = "2"
"""Each thread takes memory."""

_RANDOM = "its predictions for the same image differ, as if it used random numbers"

_USE = TypeAdapter(Use)


def answer(head: bytes, _data: bytes) -> bytes:
    """Write the study model; return JSON as ``Conversion`` has it, or the ``problem``.

    ``head`` is JSON with the ``path`` of the model, the name of its ``record`` if it is one of the
    catalogue, its ``use``, whether its ``native`` runtime runs it, or may run what OpenVINO cannot
    read (``fallback``), and the path ``to`` write to. Without ``to``, it returns facts of the file
    alone.
    """
    request = json.loads(head)
    path = Path(request["path"])
    try:
        if "to" not in request:
            shape = tuple(request["shape"]) if request["shape"] else None
            reply = describe(path, _facts(path, shape, request))
        else:
            reply = asdict(_written(path, _USE.validate_python(request["use"]), request))
    except UnusableError as error:
        reply = {"problem": str(error)}
    except WeightsError as error:
        reply = {"error": str(error)}
    except OSError as error:
        reply = {"unwritten": str(error)}
    return json.dumps(reply).encode()


class _ModelSource:
    """A model to read: its graph in OpenVINO, and how its own runtime computes it.

    ``native`` is whether the file is deployed in that. ``shape`` is that of its images, zeros if
    open.
    """

    def __init__(self, path: Path, shape: Shape | None, request: Mapping[str, Any]) -> None:
        """Raises ``WeightsError`` for a network of Keras that does not take such images, and
        ``UnusableError`` for a file that is no such model."""
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
        """Its OpenVINO model; raises ``OpenVinoError`` where there is none."""
        try:
            if self.is_keras:
                functions = not self._of_catalogue
                return keras_graph(self.network, self._stages, self.shape, has_functions=functions)
            return core().read_model(self.path)
        except Exception as error:  # a front end raises whatever reading an operation does
            reason = first_line(error)
            if reason.startswith("Unable to read the model"):
                raise UnusableError(
                    f"it is not a model in the {self.format.name} format, or damaged"
                ) from error
            raise OpenVinoError(f"OpenVINO cannot read it ({reason})") from error

    def session(self) -> RuntimeSession:
        """The model in its own runtime."""
        if self.is_keras:
            return keras_session(self.network, self.shape)()
        assert self.format.runtime
        return session_maker(self.path, self.format.runtime)()

    def check_fallback(self, error: OpenVinoError) -> None:
        """Raises ``error`` where nothing else runs what OpenVINO refuses.

        Raises ``UnusableError`` for a graph whose work has no limit.
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


def _written(path: Path, use: Use, request: Mapping[str, Any]) -> Conversion:
    """The study model of ``path``, saved, or what OpenVINO lacks for it, once it has been run."""
    source = _ModelSource(path, use.shape, request)
    expected = _ask_natively(source, use, "") if source.is_keras else None
    refusal = ""
    try:
        model = compile_and_check(source.graph, use, Path(request["to"]), expected)
    except OpenVinoError as error:
        source.check_fallback(error)
        refusal = str(error)
    if not source.is_keras and (source.native or refusal):
        _ask_natively(source, use, refusal)
    if refusal:
        return Conversion((), refusal=refusal)
    return Conversion(model.stages, Operations(simplified(model.model)).missing)


def compile_and_check(
    graph: Callable[[], Any], use: Use, target: Path, expected: Floats | None = None
) -> StudyModel:
    """Compile and ask the model ``graph``; save its study model to ``target`` and return it.

    Its raw answers must equal those ``expected``, if any. Raises ``UnusableError`` for a model that
    cannot be used so, and ``OSError`` where nothing can be written.
    """
    import openvino

    make = study_models(graph(), use, tapped=expected is not None)
    model = make(ONE_IMAGE)
    images = trial_images(use.side)
    answers = _outputs(model, images, 1)
    if expected is not None:
        ours, theirs = (probabilities_of(rows, use) for rows in (answers[0], expected))
        difference = np.abs(ours - theirs).max()
        if not difference <= TOLERANCE:
            raise OpenVinoError(
                f"OpenVINO's probabilities differ from TensorFlow's by {difference:.1g}"
            )
    _check_answers(answers[0], use)
    if not all(np.isfinite(values).all() for values in answers[1:]):
        raise UnusableError(NOT_FINITE)
    if expected is None and not _agree(answers, _outputs(model, images, 1, MOST)):
        raise UnusableError(_RANDOM)
    chosen = model
    with suppress(UnusableError):  # a graph for one image alone
        whole = make(ANY_BATCH)
        if _agree(_outputs(whole, images, len(images)), answers):
            chosen = whole
    try:
        openvino.save_model(chosen.model, target, compress_to_fp16=False)
    except RuntimeError as error:  # what it raises on a full disk
        raise OSError(str(error)) from error
    return chosen


def _ask_natively(source: _ModelSource, use: Use, refusal: str) -> Floats:
    """The model's answers in its own runtime; ``refusal`` is what OpenVINO lacks."""
    with _native(source, refusal):
        session = source.session()
        images = trial_images(use.side)
        answers, repeated = (native_answers(session, images, use) for _ in range(2))
    _check_answers(answers, use)
    if not _agree([answers], [repeated]):
        raise UnusableError(_RANDOM)
    return answers


@contextmanager
def _native(source: _ModelSource, refusal: str) -> Iterator[None]:
    try:
        yield
    except UnusableError:
        raise
    except Exception as error:  # a runtime raises whatever its kernels do
        reason = first_line(error)
        if reason.startswith("Graph execution error"):
            reason = type(error).__name__
        runtime = source.format.runtime
        problem = f"{runtime.package if runtime else ''} cannot compute it ({reason})"
        raise UnusableError(", and ".join(filter(None, (refusal, problem)))) from error


def _facts(path: Path, shape: Shape | None, request: Mapping[str, Any]) -> FileFacts:
    """The input's shape and the classes of the model, and whether its answers are ``logits``."""
    if path.is_dir() and not shape:
        return FileFacts()
    source = _ModelSource(path, shape, request)
    if source.is_keras and not any(source.shape):
        widths = (output.shape[-1] or 0 for output in source.network.outputs)
        return FileFacts(classes=only_count(widths))
    shape = source.shape if any(source.shape) else None

    def ask(use: Use) -> Floats:
        make = study_models(source.graph(), use, tapped=source.is_keras)
        return _outputs(make(ONE_IMAGE), trial_images(use.side), 1)[0]

    try:
        return _with_logits(source, facts(source.graph(), shape, loops=source.is_keras), ask)
    except OpenVinoError as error:
        source.check_fallback(error)
        with _native(source, str(error)):
            session = source.session()
            return _with_logits(
                source,
                native_facts(session, shape),
                lambda use: native_answers(session, trial_images(use.side), use),
            )


def _with_logits(source: _ModelSource, graph: FileFacts, ask: Callable[[Use], Floats]) -> FileFacts:
    if graph.shape is None or graph.classes is None:
        return graph
    numbers = source.format.numbers(source.path)
    use = Use(
        max(graph.shape),
        graph.shape,
        Normalisation(),
        True,
        graph.classes,
        False,
        output=numbers.output,
        quantised=numbers.quantised,
    )
    answers = ask(use)
    return replace(graph, logits=are_logits(answers, is_distribution(answers, _slack(use))))


def _outputs(
    model: StudyModel, images: Floats, rows: int, options: Mapping[str, object] = SOONEST
) -> list[Floats]:
    """Every output for ``images``, ``rows`` at a time: the file's own answer, and the features."""
    try:
        few = {"INFERENCE_PRECISION_HINT": F32, "INFERENCE_NUM_THREADS": _THREADS}
        compiled = core().compile_model(model.raw, "CPU", {**options, **few})
        parts = []
        for start in range(0, len(images), rows):
            outputs = compiled(images[start : start + rows]).values()
            parts.append([np.array(output) for output in outputs])
    except Exception as error:  # OpenVINO raises whatever its kernels do
        raise OpenVinoError(f"OpenVINO cannot compute it ({first_line(error)})") from error
    for part in parts:
        for place, values in enumerate(part):
            if values.shape[:1] != (rows,) or not values.size:
                raise UnusableError(f"its output {place} has the shape {values.shape}")
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _agree(some: list[Floats], others: list[Floats]) -> bool:
    return all(
        one.shape == other.shape
        and np.abs(one - other).max() <= _AGREEMENT * max(1.0, np.abs(other).max())
        for one, other in zip(some, others, strict=True)
    )


def _check_answers(answers: Floats, use: Use) -> None:
    """Raises ``UnusableError`` where the rows are not what the description says they are."""
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
    """Tolerance of probability sums of a quantised file, which rounds to one of 256 steps."""
    return min(1.0, use.classes / 512) if use.quantised else 0.0


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = _THREADS
    core()  # OpenVINO itself is not under a file's limit
    serve(answer)
