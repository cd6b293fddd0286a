"""Reads, compiles and asks a model file, in a process with limits on its memory and time.

It is started by ``graph_files.examine``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.limited_worker import serve
from robustness.models.file_formats.formats import format_of
from robustness.models.file_formats.model_format import Quantisation, Runtime, UnusableError
from robustness.models.graph_files.native import native_answers, native_facts, session_maker
from robustness.models.graph_files.preprocessing import (
    ANY_BATCH,
    ONE_IMAGE,
    Facts,
    Make,
    OpenVinoError,
    Shape,
    StudyModel,
    Use,
    check_count,
    check_loops,
    facts,
    study_models,
)
from robustness.models.in_tensorflow.replay.graph import Operations, simplified
from robustness.models.in_tensorflow.user_network import NOT_FINITE, OTHER_OUTPUTS, are_logits
from robustness.models.inference.compiled import MOST, SOONEST
from robustness.models.inference.forward_pass import F32
from robustness.models.inference.kept import Written
from robustness.models.inference.openvino_core import core, first_line
from robustness.models.model_record import Normalisation

SIMPLEX_TOLERANCE = 1e-3
"""How far the probabilities of an image may be from summing to 1 (half precision rounds)."""

_AGREEMENT = 1e-4
"""Largest difference between answers to the same image, relative to the largest of them."""

_THREADS = "2"
"""Each thread takes memory."""

_RANDOM = "its answers to the same image differ, as if it drew random numbers"

Floats = NDArray[np.float32]


def answer(head: bytes, _data: bytes) -> bytes:
    """Write the study model; return JSON as ``Written`` has it, or the ``problem``.

    ``head`` is JSON with the ``path`` of the file, its ``use``, whether its ``native`` runtime runs
    it, or may run what OpenVINO cannot read (``fallback``), and the path ``to`` write to.
    Without ``to``, only the facts of the file are returned.
    """
    asked = json.loads(head)
    path = Path(asked["path"])
    try:
        format_of(path).check(path)
        if "to" not in asked:
            shape = tuple(asked["shape"]) if asked["shape"] else None
            reply = _facts(path, shape, asked)
        else:
            reply = asdict(_written(path, _use(asked["use"]), asked))
    except UnusableError as error:
        reply = {"problem": str(error)}
    except OSError as error:
        reply = {"unwritten": str(error)}
    return json.dumps(reply).encode()


def _written(path: Path, use: Use, asked: Mapping[str, Any]) -> Written:
    """The study model of ``path``, saved, or what OpenVINO lacks for it, once it has been run."""
    refusal, native = "", format_of(path).runtime if asked["native"] else None
    try:
        model = examined(path, use, Path(asked["to"]))
    except OpenVinoError as error:
        native = _fallback(path, asked, error)
        refusal = str(error)
    if native:
        _ask_natively(path, native, use, refusal)
    if refusal:
        return Written((), refusal=refusal)
    return Written(model.stages, Operations(simplified(model.model)).missing)


def _fallback(path: Path, asked: Mapping[str, Any], error: OpenVinoError) -> Runtime:
    """What runs a file that OpenVINO refuses with ``error``, which is raised where nothing does.

    Raises ``UnusableError`` for a graph whose work has no limit.
    """
    runtime = format_of(path).runtime
    if not asked["fallback"] or runtime is None or runtime.graph_size is None:
        raise error
    try:
        size = runtime.graph_size(path)
    except UnusableError:
        raise error from None
    check_count(size.count)
    check_loops(size.loops)
    return runtime


def _use(told: dict[str, Any]) -> Use:
    """A ``Use`` that has been through JSON."""
    ends = {end: Quantisation(**told[end]) if told[end] else None for end in ("input", "output")}
    normalisation = Normalisation(**told["normalisation"])
    shape = tuple(told["shape"])
    return Use(**{**told, **ends, "normalisation": normalisation, "shape": shape})


def examined(path: Path, use: Use, target: Path) -> StudyModel:
    """Read, compile and ask the file ``path``; save its study model to ``target`` and return it.

    Raises ``UnusableError`` for a file that cannot be used so, and
    ``OSError`` where nothing can be written.
    """
    import openvino

    make = study_models(_read(path), use)
    found = make(ONE_IMAGE)
    images = _images(use.side)
    answers = _asked(found, images, 1)
    _check_answers(answers[0], use)
    for values in answers[1:]:
        _check_finite(values)
    if not _agree(answers, _asked(found, images, 1, MOST)):
        raise UnusableError(_RANDOM)
    kept = _for_any_batch(make, images, answers) or found
    try:
        openvino.save_model(kept.model, target, compress_to_fp16=False)
    except RuntimeError as error:  # what it raises on a full disk
        raise OSError(str(error)) from error
    return kept


def _ask_natively(path: Path, runtime: Runtime, use: Use, refusal: str) -> None:
    """Asks the file by the runtime that it was made for; ``refusal`` is what OpenVINO lacks."""
    with _native(runtime, refusal):
        session, images = session_maker(path, runtime)(), _images(use.side)
        answers, repeated = (native_answers(session, images, use) for _ in range(2))
    _check_answers(answers, use)
    if not _agree([answers], [repeated]):
        raise UnusableError(_RANDOM)


@contextmanager
def _native(runtime: Runtime, refusal: str) -> Iterator[None]:
    try:
        yield
    except UnusableError:
        raise
    except Exception as error:  # a runtime raises whatever its kernels do
        problem = f"{runtime.package} cannot compute it ({first_line(error)})"
        raise UnusableError(", and ".join(filter(None, (refusal, problem)))) from error


def _images(side: int) -> Floats:
    """Noise, and an image of one colour."""
    images = np.random.default_rng(0).random((2, side, side, 3), np.float32)
    images[1] = images[1, :1, :1]
    return images


def _read(path: Path) -> Any:
    try:
        return core().read_model(path)
    except Exception as error:  # a front end raises whatever reading an operation does
        told = first_line(error)
        if told.startswith("Unable to read the model"):
            name = format_of(path).name
            raise UnusableError(f"it is not a model in the {name} format, or damaged") from error
        raise OpenVinoError(f"OpenVINO cannot read it ({told})") from error


def _facts(path: Path, shape: Shape | None, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The input's shape and the classes of the file, and whether its answers are ``logits``."""

    def ask(use: Use) -> Floats:
        return _asked(study_models(_read(path), use)(ONE_IMAGE), _images(use.side), 1)[0]

    try:
        return _with_logits(path, facts(_read(path), shape), ask)
    except OpenVinoError as error:
        runtime = _fallback(path, asked, error)
        with _native(runtime, str(error)):
            session = session_maker(path, runtime)()
            return _with_logits(
                path,
                native_facts(session, shape),
                lambda use: native_answers(session, _images(use.side), use),
            )


def _with_logits(path: Path, graph: Facts, ask: Callable[[Use], Floats]) -> dict[str, Any]:
    if graph.shape is None or graph.classes is None:
        return {**asdict(graph), "logits": None}
    numbers = format_of(path).numbers(path)
    plain = Normalisation("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    use = Use(
        max(graph.shape),
        graph.shape,
        plain,
        True,
        graph.classes,
        False,
        output=numbers.output,
        quantised=numbers.quantised,
    )
    answers = ask(use)
    return {**asdict(graph), "logits": are_logits(answers, _is_distribution(answers, use))}


def _for_any_batch(make: Make, images: Floats, answers: list[Floats]) -> StudyModel | None:
    """The study model for several images at once; None where their answers are not those alone."""
    try:
        found = make(ANY_BATCH)
        return found if _agree(_asked(found, images, len(images)), answers) else None
    except UnusableError:
        return None


def _asked(
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
    _check_finite(answers)
    distribution = _is_distribution(answers, use)
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


def _check_finite(values: Floats) -> None:
    if not np.isfinite(values).all():
        raise UnusableError(NOT_FINITE)


def _is_distribution(answers: Floats, use: Use) -> bool:
    slack = SIMPLEX_TOLERANCE
    if use.quantised:  # each probability to one of 256 steps; a thousand small ones to nothing
        slack += min(1.0, use.classes / 512)
    sums = answers.sum(axis=1, dtype=np.float64)
    return bool(answers.min() >= -SIMPLEX_TOLERANCE and np.abs(sums - 1).max() <= slack)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = _THREADS
    core()  # OpenVINO itself is not under a file's limit
    serve(answer)
