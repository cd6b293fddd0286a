"""Robustness from Python: ten lines from models to figures.

::

    from robustness import api

    spec = api.make_spec(["SqueezeNet", "EfficientNetLite0"], suite="study", seed=0)
    run = api.evaluate("photos", spec)
    for entry in api.summary(run):
        print(entry["model"], entry["consistency_low"], entry["consistency_high"])
    api.report(run, "report.html")

A ``Run`` is a folder on the disk: ``run.frame()`` has one row a measurement, and ``open_run``
opens it again in another process. Everything that goes wrong raises a ``RobustnessError`` with a
sentence for people. Nothing imports TensorFlow before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustness import models, runs, statistics
from robustness import report as reports
from robustness.base.errors import ParameterError, RobustnessError
from robustness.datasets import FOLDERS
from robustness.evaluation import loop, request_file, sides, spec
from robustness.evaluation.condition import Condition
from robustness.evaluation.correctness import labelled, true_class
from robustness.evaluation.rows import NUMBERS, to_frame, to_table
from robustness.evaluation.spec import RunSpec
from robustness.evaluation.suites import STUDY_SUITE, graded_conditions, suite_conditions
from robustness.pictures import fitting
from robustness.pictures.eight_bits import round_to_grid
from robustness.pictures.fitting import DEFAULT_FIT, STUDY_SIDE
from robustness.pictures.picture import Picture
from robustness.pictures.samples import picture_file
from robustness.runs import Comparison, Progress, Replay, Run, compare, gate, replay
from robustness.runs.gate import choosing
from robustness.statistics import Criteria, ModelChoice
from robustness.statistics.criteria import MARGIN

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Comparison",
    "Condition",
    "ModelChoice",
    "Progress",
    "Replay",
    "RobustnessError",
    "Run",
    "RunSpec",
    "add_model",
    "check",
    "choose",
    "compare",
    "evaluate",
    "evaluate_pictures",
    "load_model",
    "make_spec",
    "model_names",
    "open_run",
    "read_request",
    "remove_model",
    "replay",
    "report",
    "summary",
]


def model_names(*, ready: bool = True) -> tuple[str, ...]:
    """The names of the models that can run here, or of all."""
    return tuple(
        record.name for record in models.REGISTRY if not ready or models.state(record).ready
    )


def add_model(
    name: str,
    what: Any,
    *,
    labels: str | PathLike[str] | Sequence[str] | None = None,
    input_size: int | tuple[int, int] | None = None,
    normalisation: str | Mapping[str, Any] | None = None,
    output: str | None = None,
    weights: str | PathLike[str] | None = None,
    features: Sequence[str] | None = None,
    runtime: str | None = None,
    title: str | None = None,
    family: str | None = None,
    year: int | None = None,
    **calls: Any,
) -> models.ModelRecord:
    """Add the model ``what`` as ``name`` until this process ends; return its record.

    ``what`` is a model file or SavedModel folder, a Keras model, a ``torch.nn.Module``, a folder in
    Hugging Face's format, ``"timm:NAME"`` with local ``weights``, a maite model, or a function of
    normalised pixels, float32 (N, H, W, 3), that returns (N, classes). The other arguments are the
    keys of ``models.toml``; ``labels`` may also be a list of names. ``calls`` limit the calls of a
    function: ``batch``, ``concurrency``, ``retries``, ``timeout``, ``per_second``, ``cache``,
    ``version``. Raises ``ParameterError`` for what is missing or wrong, ``WeightsError`` for a
    model that cannot be used.
    """
    from robustness.models.own.from_python import add_model as add

    given = {
        "labels": labels,
        "input_size": input_size,
        "normalisation": normalisation,
        "output": output,
        "features": None if features is None else list(features),
        "runtime": runtime,
        "title": title,
        "family": family,
        "year": year,
    }
    return add(name, what, given, calls, None if weights is None else Path(fspath(weights)))


def remove_model(name: str) -> None:
    """Remove a model of your own: from this process, or from ``models.toml``.

    Its file stays, unless it was uploaded on the Models page or unpacked from a zip archive. Raises
    ``UnknownNameError`` for a model that is not your own.
    """
    from robustness.models.own import entry, package, user_models

    if not user_models.remove_from_process(name):
        entry.remove(name)
        package.discard(name)


def load_model(name: str) -> models.Classifier:
    """The model called ``name``, ready to be called.

    Called with study images (N, 224, 224, 3), float32 RGB in [0, 1], it gives ``probabilities``
    (N, classes) and ``features`` by stage, (N, D) each. Raises ``UnknownNameError`` or
    ``WeightsError``.
    """
    return models.load(name)


def make_spec(
    model_names: Sequence[str] | None = None,
    *,
    suite: str = STUDY_SUITE,
    perturbations: Iterable[str] | None = None,
    strengths: Iterable[float] | None = None,
    severities: Iterable[int] | None = None,
    conditions: Sequence[Condition] | None = None,
    seed: int = 0,
    fit: str = DEFAULT_FIT,
    side: int | str = STUDY_SIDE,
) -> RunSpec:
    """What is to be asked: models, and perturbations with their strengths.

    The models are by default those of the command line. The perturbations are those of a ``suite``
    (``study``, ``imagenet-c``, or ``imagenet-c-jpeg``, which saves each image as JPEG), or named
    one by one, each at its study setting, at the ``strengths`` (0 to 1) or at ImageNet-C's
    ``severities`` (1 to 5); ``conditions`` replace all of that, compositions included. ``fit`` is
    crop, squash or letterbox; ``side`` is in pixels, or "model" for the published side of models
    that share one. Raises ``UnknownNameError``, ``WeightsError`` or ``ParameterError``
    for what does not exist.
    """
    if conditions is None:
        conditions = (
            suite_conditions(suite, strengths=strengths, severities=severities)
            if perturbations is None
            else graded_conditions(perturbations, strengths=strengths, severities=severities)
        )
    names = models.resolve(list(model_names) if model_names else None)
    asked = sides.one_side(str(side), names)
    return spec.make_spec(names, conditions, seed=seed, fit=fit, side=asked)


def read_request(path: str | PathLike[str]) -> RunSpec:
    """What the TOML file ``path`` asks for, as ``robustness.evaluation.request_file`` describes it.

    Raises ``ParameterError`` for a file that cannot be used, and what ``make_spec`` raises.
    """
    return request_file.read_request(Path(path))


def evaluate(
    source: str | PathLike[str],
    spec: RunSpec,
    *,
    out: str | PathLike[str] = "runs",
    labelling: str = FOLDERS,
    limit: int | None = None,
    sample: int | None = None,
    resume: bool = True,
    engine: str = "local",
    address: str | None = None,
    note: Callable[[Progress], object] = lambda _state: None,
) -> Run:
    """Evaluates every image of ``source`` and keeps the run in the folder ``out``.

    ``source`` is a folder (its sub-folders may be classes), a zip, a table, a URL, or ``samples``.
    With ``resume`` an unfinished run of the same request is continued, and a finished one is
    not computed again. ``note`` hears how far it is. Raises ``ParameterError`` for a source that
    cannot be used, ``RunError`` where the run cannot be kept.
    """
    plan = runs.plan(fspath(source), spec, labelling=labelling, limit=limit, sample=sample)
    with runs.start(plan, Path(out), engine=engine, resume=resume) as session:
        for state in () if session.finished else session.perform(engine, address):
            note(state)
    return runs.load(session.folder, anywhere=True)


def evaluate_pictures(
    pictures: Mapping[str, Any], spec: RunSpec, *, labels: Mapping[str, int | str] | None = None
) -> pd.DataFrame:
    """The rows of a few images, as ``Run.frame`` has them; nothing is kept.

    ``pictures`` are by name: the path of a file, a sample as ``sample:coffee``, uint8 RGB (H, W, 3)
    of any size, or a study image, floating point (224, 224, 3) in [0, 1], which is rounded to 8
    bits. ``labels`` are true classes by the image's name, each a class index or the name of a
    class. Raises ``ImageError`` for a file that is no image, ``ParameterError`` for an array of
    another kind, ``UnknownNameError`` for a class that no model has.
    """
    known = labels or {}
    indices = {name: label for name, label in known.items() if not isinstance(label, str)}
    shown = [_picture(name, given, spec, indices.get(name)) for name, given in pictures.items()]
    named = {
        name: true_class(name, label, spec.model_names)
        for name, label in known.items()
        if isinstance(label, str)
    }
    rows = [
        labelled(row, named[row.image]) if row.image in named else row
        for row in loop.evaluate(spec, shown)
    ]
    return to_frame(to_table(rows, [0] * len(rows)).select(NUMBERS))


def _picture(name: str, given: Any, spec: RunSpec, label: int | None) -> Picture:
    if isinstance(given, str | PathLike):
        image = fitting.load_study_image(picture_file(given), fit=spec.fit, side=spec.side)
    else:
        image = _from_array(np.asarray(given), name, spec)
    return Picture.of(name, image, label=label, fit=spec.fit)


def _from_array(given: NDArray[Any], name: str, spec: RunSpec) -> NDArray[np.float32]:
    rgb = given.ndim == 3 and given.shape[2] == 3 and given.size > 0
    if rgb and given.dtype == np.uint8:
        return fitting.fit(Image.fromarray(given), fit=spec.fit, side=spec.side)
    if given.shape == (spec.side, spec.side, 3) and np.issubdtype(given.dtype, np.floating):
        if given.min() >= 0 and given.max() <= 1:  # false for NaN, too
            return round_to_grid(np.array(given, np.float32, order="C"))
        raise ParameterError(
            f"{name}: expected values in [0, 1], got {given.min():g} to {given.max():g}; divide "
            "pixels by 255."
        )
    raise ParameterError(
        f"{name}: expected the path of an image, uint8 RGB of shape (height, width, 3), or a "
        f"study image, floating point of shape ({spec.side}, {spec.side}, 3); got "
        f"{given.dtype} of shape {given.shape}."
    )


def open_run(folder: str | PathLike[str]) -> Run:
    """The finished run in ``folder``; raises ``RunError`` where there is none."""
    return runs.load(Path(folder), anywhere=True)


def summary(run: Run | pd.DataFrame) -> list[dict[str, Any]]:
    """Per model the figures with 95 % intervals over the images: ``statistics.summary``.

    ``robustness.statistics`` has everything else, all of it functions of ``run.frame()``.
    """
    return statistics.summary(run.frame() if isinstance(run, Run) else run)


def report(run: Run, to: str | PathLike[str]) -> list[Path]:
    """Writes the report of ``run`` as the suffix of ``to`` says, and gives the files written.

    The suffix is .html, .pdf, .csv, .parquet, .json or .md. Raises ``ParameterError`` for another
    one and where the file cannot be written, ``RunError`` for a run without rows.
    """
    reports.format_of(Path(to))  # now rather than after all the work
    return reports.write(reports.of_run(run), Path(to))


def check(run: Run, budget: str | PathLike[str], *, baseline: Run | None = None) -> gate.Check:
    """Holds ``run`` against the budget in a TOML file; ``.passed`` and ``.broken`` say how it went.

    ``baseline`` is the run that limits of regression compare with. Raises ``ParameterError`` for a
    budget that cannot be checked.
    """
    return gate.check(gate.read_budget(Path(budget)), run, baseline)


def choose(
    run: Run,
    *,
    weights: Mapping[str, float] | None = None,
    min_accuracy: float | None = None,
    max_latency_ms: float | None = None,
    max_megabytes: float | None = None,
    margin: float = MARGIN,
    budget: str | PathLike[str] | None = None,
) -> ModelChoice:
    """The model of ``run`` to ship, or those that cannot be told apart; ``.sentences`` say it.

    ``weights`` are by perturbation or risk, such as ``{"low light": 3, "others": 0}``. Models below
    ``min_accuracy`` (a share), above ``max_latency_ms`` (milliseconds an image) or
    ``max_megabytes``, or that break a limit of the gate's file ``budget`` are ruled out. A
    difference below ``margin`` (a share) is a tie. Raises ``ParameterError`` for criteria that the
    run cannot answer.
    """
    criteria = Criteria(weights or {}, min_accuracy, max_latency_ms, max_megabytes, margin)
    limits = None if budget is None else gate.read_budget(Path(budget))
    return choosing.choose(run, criteria, limits)
