"""Requests, and the evaluation of datasets: by models here, or by another system."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from robustness import runs
from robustness.api.argument_checks import checked_call
from robustness.api.dataset_argument import check_classes, open_images
from robustness.api.evaluated_run import EvaluatedRun
from robustness.api.own_models import names_of
from robustness.base.errors import ModelWarning, ParameterError
from robustness.datasets import FOLDERS, ImageNetCTree
from robustness.datasets.prediction_table import Predictions, read_predictions
from robustness.evaluation import request as requests
from robustness.evaluation.perturbation_and_attack_conditions import Condition
from robustness.evaluation.request import Request
from robustness.evaluation.suites_and_strengths import (
    STUDY_SUITE,
    graded_conditions,
    profile_note,
    stored_conditions,
    suite_conditions,
)
from robustness.pictures.framing_and_study_image import Framing
from robustness.runs import (
    Progress,
    dataset_image_export,
    imported_predictions,
)


@checked_call
def make_spec(
    model_names: Sequence[str] | None = None,
    *,
    suite: str = STUDY_SUITE,
    perturbations: Sequence[str] | None = None,
    strengths: Sequence[float] | None = None,
    severities: Sequence[int] | None = None,
    conditions: Sequence[Condition | str] | None = None,
    seed: int = 0,
    fit: str | None = None,
    side: int | None = None,
    remedies: Sequence[str] = (),
) -> Request:
    """Make a request: models, and perturbations with their strengths.

    The models are by default those of the command line. The perturbations are those of a ``suite``
    (``study``, ``imagenet-c``, ``imagenet-c-jpeg``, which saves each image as JPEG, or the path of
    a .toml file with conditions, such as a profile that ``match`` wrote), or named
    one by one, each at its study setting, at the ``strengths`` (0 to 1) or at ImageNet-C's
    ``severities`` (1 to 5); ``conditions`` replace all of that: ids such as "fog=0.6",
    "fog=0.2+gaussian_blur=0.4" or "pgd(epsilon=2/255)", or ``Condition`` objects. Each model sees
    the images as it is described; ``fit`` (crop, squash or letterbox) and ``side`` in pixels
    override that for all alike. ``remedies`` are tried on every image, such as "median" or
    "median+tta". Raises ``UnknownNameError``, ``WeightsError`` or ``ParameterError`` for what does
    not exist.
    """
    if model_names is not None and not model_names:
        raise ParameterError("Expected at least one model, got none.")
    given = conditions
    if conditions is None:
        conditions = (
            suite_conditions(suite, strengths=strengths, severities=severities)
            if perturbations is None
            else graded_conditions(perturbations, strengths=strengths, severities=severities)
        )
    parsed = [
        Condition.parse(condition) if isinstance(condition, str) else condition
        for condition in conditions
    ]
    spec = requests.make_spec(model_names, parsed, seed=seed, fit=fit, side=side, remedies=remedies)
    uses_suite = given is None and perturbations is None
    if note := profile_note(suite, spec) if uses_suite else "":
        warnings.warn(note, ModelWarning, stacklevel=3)
    return spec


@checked_call
def read_request(path: str | PathLike[str]) -> Request:
    """The request in the TOML file ``path``, described in ``robustness.evaluation.request``.

    Raises ``ParameterError`` for a file that cannot be used, and what ``make_spec`` raises.
    """
    return requests.read_request(Path(path))


@checked_call
def evaluate(
    source: Any,
    spec: Request | None = None,
    *,
    classes: Any = None,
    models: Any = None,
    conditions: Sequence[Condition | str] | None = None,
    seed: int = 0,
    fit: str | None = None,
    side: int | None = None,
    remedies: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    labelling: str = FOLDERS,
    limit: int | None = None,
    sample: int | None = None,
    own_classes: bool = False,
    resume: bool = True,
    engine: str = "local",
    address: str | None = None,
    note: Callable[[Progress], object] | None = None,
    progress: bool | None = None,
) -> EvaluatedRun:
    """Evaluate every image of ``source``; keep the run in the folder ``out``, if one is given.

    ``source`` is a folder (its subfolders may be classes), a zip, a table, a URL or ``samples``;
    images as an array (N, H, W, 3), uint8 or floating point in [0, 1], or as a list of arrays, PIL
    images or paths, alone or with labels as ``(images, labels)``; any sequence of
    ``(image, label)``; or a frame with the columns ``path`` and ``label``. A published tree
    such as ImageNet-C is "TREE::ORIGINALS"; its images are read as stored. All others are made
    square for each model, as files are; the fit "squash" leaves images of ``side`` pixels as they
    are. A label
    is the name or synset of a class; integers need ``classes``: names in order, a file with one
    per line, or "imagenet".

    What is asked is a ``spec``, or ``models`` (names, or what ``model`` returns), ``conditions``
    and ``remedies`` as for ``make_spec``. ``own_classes`` limits predictions to the classes that
    the labels name, as is published for ImageNet-A and -R. With ``out`` and ``resume`` an
    unfinished run of the same request is continued, and a finished one is not computed again.
    ``note`` is called with the progress; ``progress`` draws a bar with tqdm (by default in
    notebooks). Raises ``ParameterError`` for a source that cannot be used, ``RunError`` where the
    run cannot be kept.
    """
    check_classes(classes, source)
    dataset = open_images(source, classes)
    if spec is None:
        if conditions is None and isinstance(dataset, ImageNetCTree):
            conditions = stored_conditions(dataset)
        spec = make_spec(
            names_of(models),
            conditions=conditions,
            seed=seed,
            fit=fit,
            side=side,
            remedies=remedies,
        )
    elif not (
        models is conditions is None and not remedies and (seed, fit, side) == (0, None, None)
    ):
        raise ParameterError(
            "Expected a spec, or models, conditions, remedies, seed, fit and side, got both."
        )
    plan = runs.plan(
        dataset, spec, labelling=labelling, limit=limit, sample=sample, own_classes=own_classes
    )
    with _progress_reporter(note, progress, len(plan.dataset)) as tell:
        run = perform(plan, out, engine, address, resume=resume, tell=tell)
    if not isinstance(source, str | PathLike):
        run.dataset = plan.dataset  # it cannot be opened by name
    return run


def perform(
    plan: runs.Plan,
    out: str | PathLike[str] | None,
    engine: str,
    address: str | None = None,
    *,
    resume: bool = True,
    tell: Callable[[Progress], object] = lambda _: None,
) -> EvaluatedRun:
    """The run of ``plan`` in the folder ``out``; without one, it goes with its last reference."""
    folder = Path(tempfile.mkdtemp(prefix="robustness-")) if out is None else Path(out)
    try:
        with runs.start(plan, folder, engine=engine, resume=resume) as writer:
            for state in () if writer.finished else writer.perform(engine, address):
                tell(state)
        run = EvaluatedRun.of(runs.load(writer.folder))
    except BaseException:
        if out is None:
            _discard(folder)
        raise
    if out is None:
        weakref.finalize(run, _discard, folder)
    return run


def _discard(runs_folder: Path) -> None:
    """Remove the temporary ``runs_folder``."""
    shutil.rmtree(runs_folder, ignore_errors=True)


@checked_call
def export(
    source: Any,
    to: str | PathLike[str],
    *,
    conditions: Sequence[Condition | str],
    classes: Any = None,
    models: Any = None,
    seed: int = 0,
    fit: str | None = None,
    side: int | None = None,
    progress: bool | None = None,
) -> Path:
    """Write the images of ``source``, original and perturbed, to ``to``; return it.

    ``to`` is a folder, a ``.zip`` or a URL of fsspec; ``images.csv`` in it says what each image is.
    The other arguments are those of ``evaluate``. Without ``models``, labels that are not all
    classes of ImageNet are classes of their own. Raises ``ParameterError`` for attacks,
    ``RunError`` where the images cannot be written.
    """
    names = names_of(models)
    if names is None:  # images of no model in particular
        study = Framing()
        fit, side = fit or study.fit, side or study.side
    spec = make_spec(names, conditions=conditions, seed=seed, fit=fit, side=side)
    check_classes(classes, source)
    dataset = open_images(source, classes)
    if names is None:
        plan, own = dataset_image_export.plan_without_models(dataset, spec)
    else:
        plan, own = runs.plan(dataset, spec), ()
    with _progress_reporter(None, progress, len(plan.dataset)) as tell:
        for state in dataset_image_export.export(plan, fspath(to), own):
            tell(state)
    return Path(to)


@contextmanager
def _progress_reporter(
    note: Callable[[Progress], object] | None, with_bar: bool | None, total: int
) -> Iterator[Callable[[Progress], object]]:
    """A function that reports progress to ``note`` and, if ``with_bar``, in a bar."""
    if with_bar is None:
        with_bar = note is None and "ipykernel" in sys.modules
    if not with_bar:
        yield note or (lambda _state: None)
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="image") as bar:

        def tell(state: Progress) -> None:
            bar.update(state.done - bar.n)
            if note is not None:
                note(state)

        yield tell


@checked_call
def evaluate_predictions(
    table: Any,
    source: Any = None,
    *,
    classes: Any = None,
    out: str | PathLike[str] | None = None,
) -> EvaluatedRun:
    """Evaluate the predictions that another system made of exported images; no model runs.

    ``table`` is a file (.csv, .parquet or .jsonl) or a frame with the rows of ``images.csv``, as
    ``export`` writes it, and one of these: ``prediction`` (the class) with ``confidence``;
    ``classes`` and ``probabilities``, lists of the top classes; ``probabilities`` of all classes;
    or a column ``p0``, ``p1``, ... for each class. A column ``model`` names several models.
    ``classes`` says what indices mean: "imagenet", a file with one class per line, or a list of
    names. ``source`` has the images to show where the table names no files. Without ``out`` nothing
    is kept. Raises ``ParameterError`` for a table that cannot be used.
    """
    if isinstance(table, str | PathLike):
        predictions = read_predictions(Path(table))
    elif hasattr(table, "columns") and hasattr(table, "reset_index"):
        try:
            frame: pd.DataFrame = table.reset_index(drop=True)
            rows = pa.Table.from_pandas(frame, preserve_index=False)
        except (TypeError, ValueError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise ParameterError(
                f"Expected a frame with distinct columns of one kind of value each: {reason}."
            ) from error
        predictions = Predictions(
            rows, "python:predictions", "predictions", Path.cwd(), "predictions"
        )
    else:
        raise ParameterError(
            f"Expected a table of predictions, as a file or a frame, got {type(table).__name__}."
        )
    dataset = None if source is None else open_images(source, classes)
    plan = imported_predictions.plan_predictions(
        predictions, source=dataset, classes=imported_predictions.class_names(classes)
    )
    run = perform(plan, out, imported_predictions.ENGINE)
    if dataset is not None:
        run.dataset = dataset
    elif not isinstance(table, str | PathLike):
        run.dataset = predictions  # it cannot be opened by name
    return run
