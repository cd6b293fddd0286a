"""Reads, compiles and asks a model file, in a process with limits on its memory and time.

It is started by ``graph_files.examine``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.limited_worker import serve
from robustness.models.file_formats.kinds import FORMATS
from robustness.models.file_formats.tflite_file import Quantisation
from robustness.models.graph_files.native import native_answers, session_maker
from robustness.models.graph_files.study_model import (
    ANY_BATCH,
    ONE_IMAGE,
    Make,
    Shape,
    StudyModel,
    UnusableError,
    Use,
    facts,
    study_models,
)
from robustness.models.in_tensorflow.replay.graph import Operations, simplified
from robustness.models.in_tensorflow.user_network import OTHER_OUTPUTS, are_logits
from robustness.models.inference.compiled import MOST, SOONEST
from robustness.models.inference.forward_pass import F32
from robustness.models.inference.openvino_core import core, first_line
from robustness.models.model_record import Normalisation

SIMPLEX_TOLERANCE = 1e-3
"""How far the probabilities of an image may be from summing to 1 (half precision rounds)."""

_AGREEMENT = 1e-4
"""Largest difference between answers to the same image, relative to the largest of them."""

_FEW_THREADS = {"INFERENCE_PRECISION_HINT": F32, "INFERENCE_NUM_THREADS": 2}
"""Each thread takes memory."""

Floats = NDArray[np.float32]


def answer(head: bytes, _data: bytes) -> bytes:
    """Write the study model; return JSON with its ``stages``, or the ``problem``.

    The JSON also names the operations without gradients (``missing``). ``head`` is JSON with the
    ``path`` of the file, its ``use``, a native ``runtime``, if any, and the path ``to`` write to.
    Without ``to``, only the facts of the file are returned.
    """
    asked = json.loads(head)
    try:
        if "to" not in asked:
            shape = tuple(asked["shape"]) if asked["shape"] else None
            return json.dumps(_told(Path(asked["path"]), shape, asked)).encode()
        path, use = Path(asked["path"]), _use(asked["use"])
        if asked["runtime"]:
            _ask_natively(path, asked["runtime"], use)
        found = examined(path, use, Path(asked["to"]))
        stages, missing = found.stages, Operations(simplified(found.model)).missing
        return json.dumps({"stages": stages, "missing": missing}).encode()
    except UnusableError as error:
        return json.dumps({"problem": str(error)}).encode()
    except OSError as error:
        return json.dumps({"unwritten": str(error)}).encode()


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
    if not _agree(answers, _asked(found, images, 1, MOST)):
        raise UnusableError("its answers to the same image differ, as if it drew random numbers")
    kept = _for_any_batch(make, images, answers) or found
    try:
        openvino.save_model(kept.model, target, compress_to_fp16=False)
    except RuntimeError as error:  # what it raises on a full disk
        raise OSError(str(error)) from error
    return kept


def _ask_natively(path: Path, runtime: str, use: Use) -> None:
    """Asks the file by the runtime that it was made for."""
    try:
        answers = native_answers(session_maker(path, runtime, use)(), _images(use.side), use)
    except Exception as error:  # it raises whatever its kernels do
        raise UnusableError(f"{runtime} cannot compute it ({first_line(error)})") from error
    _check_answers(answers, use)


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
            kind = FORMATS[path.suffix.lower()]
            raise UnusableError(f"it is not a model in the {kind} format, or damaged") from error
        raise UnusableError(f"OpenVINO cannot read it ({told})") from error


def _told(path: Path, shape: Shape | None, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The input's shape and the classes of the file, and whether its answers are ``logits``."""
    found = facts(_read(path), shape)
    if found.shape is None or found.classes is None:
        return {**asdict(found), "logits": None}
    plain = Normalisation("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    use = Use(
        max(found.shape),
        found.shape,
        plain,
        True,
        found.classes,
        False,
        output=Quantisation(**asked["output"]) if asked["output"] else None,
        quantised=asked["quantised"],
    )
    images = _images(use.side)
    answers = _asked(study_models(_read(path), use)(ONE_IMAGE), images, 1)[0]
    return {**asdict(found), "logits": are_logits(answers, _is_distribution(answers, use))}


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
        compiled = core().compile_model(model.raw, "CPU", {**options, **_FEW_THREADS})
        parts = []
        for start in range(0, len(images), rows):
            outputs = compiled(images[start : start + rows]).values()
            parts.append([np.array(output) for output in outputs])
    except Exception as error:  # OpenVINO raises whatever its kernels do
        raise UnusableError(f"OpenVINO cannot compute it ({first_line(error)})") from error
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
        raise UnusableError("its answer to an image is not finite (NaN or infinity)")
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


def _is_distribution(answers: Floats, use: Use) -> bool:
    slack = SIMPLEX_TOLERANCE
    if use.quantised:  # each probability to one of 256 steps; a thousand small ones to nothing
        slack += min(1.0, use.classes / 512)
    sums = answers.sum(axis=1, dtype=np.float64)
    return bool(answers.min() >= -SIMPLEX_TOLERANCE and np.abs(sums - 1).max() <= slack)


if __name__ == "__main__":
    core()  # OpenVINO itself is not under a file's limit
    serve(answer)
