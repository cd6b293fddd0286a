"""Requests, and what is measured of images."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from robustness import models as known_models
from robustness import runs
from robustness.api.argument_checks import checked_call
from robustness.api.arrays import levels
from robustness.api.result import EvaluatedRun
from robustness.api.sources import check_classes, opened
from robustness.base.errors import ModelWarning, ParameterError
from robustness.datasets import FOLDERS, PublishedTree
from robustness.evaluation import loop
from robustness.evaluation import request as requests
from robustness.evaluation import sweep as sweeps
from robustness.evaluation.condition import Condition
from robustness.evaluation.correctness import labelled, true_class
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.remedy_trials import loader_with_remedies
from robustness.evaluation.request import Request
from robustness.evaluation.row_schema import NUMBERS, own_scores, to_frame, to_table
from robustness.evaluation.suites import (
    STUDY_SUITE,
    graded_conditions,
    side_note,
    stored_conditions,
    suite_conditions,
)
from robustness.evaluation.sweep import Break
from robustness.pictures.fitting import STUDY_SIDE, Framing
from robustness.pictures.picture import Overrides, Picture, frame, load_picture
from robustness.pictures.samples import picture_file
from robustness.remedies import parse
from robustness.runs import Progress, image_export, installation

if TYPE_CHECKING:
    import pandas as pd

_DEFAULTS = (0, None, None)


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
    if note := side_note(suite, spec) if uses_suite else "":
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
    dataset = opened(source, classes)
    if spec is None:
        names = None if models is None else [_name(model) for model in _listed(models)]
        if conditions is None and isinstance(dataset, PublishedTree):
            conditions = stored_conditions(dataset)
        spec = make_spec(
            names, conditions=conditions, seed=seed, fit=fit, side=side, remedies=remedies
        )
    elif not (models is conditions is None and not remedies and (seed, fit, side) == _DEFAULTS):
        raise ParameterError(
            "Expected a spec, or models, conditions, remedies, seed, fit and side, got both."
        )
    plan = runs.plan(
        dataset, spec, labelling=labelling, limit=limit, sample=sample, own_classes=own_classes
    )
    with _progress_reporter(note, progress, len(plan.dataset)) as tell:
        run = performed(plan, out, engine, address, resume=resume, tell=tell)
    if not isinstance(source, str | PathLike):
        run.dataset = plan.dataset  # it cannot be opened by name
    return run


def performed(
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
        run = EvaluatedRun.of(runs.load(writer.folder, anywhere=True))
    except BaseException:
        if out is None:
            _discard(folder)
        raise
    if out is None:
        weakref.finalize(run, _discard, folder)
    return run


def _discard(runs_folder: Path) -> None:
    """Remove the temporary ``runs_folder``, of which this installation then knows no run."""
    for folder in runs_folder.glob("*/"):
        installation.forget(folder)
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
    names = None if models is None else [_name(model) for model in _listed(models)]
    if names is None:  # images of no model in particular
        study = Framing()
        fit, side = fit or study.fit, side or study.side
    spec = make_spec(names, conditions=conditions, seed=seed, fit=fit, side=side)
    check_classes(classes, source)
    dataset = opened(source, classes)
    if names is None:
        plan, own = image_export.plan_without_models(dataset, spec)
    else:
        plan, own = runs.plan(dataset, spec), ()
    with _progress_reporter(None, progress, len(plan.dataset)) as tell:
        for state in image_export.export(plan, fspath(to), own):
            tell(state)
    return Path(to)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _name(model: Any) -> str:
    """The name of a model, given by name, or as what ``model`` returned."""
    if isinstance(model, str):
        return model
    record = getattr(model, "record", model)
    if isinstance(record, known_models.ModelRecord):
        return record.name
    raise ParameterError(
        f"Expected the name of a model, got {type(model).__name__}: add it with "
        "robustness.model(..., labels=..., normalisation=...) first."
    )


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
def evaluate_pictures(
    pictures: Mapping[str, Any], spec: Request, *, labels: Mapping[str, int | str] | None = None
) -> pd.DataFrame:
    """The rows of a few images, as ``Run.frame`` has them; nothing is kept.

    With remedies in ``spec`` the last column lists the predictions behind each.

    ``pictures`` are by name: the path of a file, a sample as ``sample:coffee``, a PIL image, or an
    array (H, W, 3) of any size, uint8 or floating point in [0, 1]. Floating point (224, 224, 3) is
    a study image, and not fitted again. ``labels`` are true classes by the image's name, each a
    class index or the name of a class. Raises ``ImageError`` for a file that is no image,
    ``ParameterError`` for another kind of array, ``UnknownNameError`` for a class of no model.
    """
    label_by_name = labels or {}
    indices = {name: label for name, label in label_by_name.items() if not isinstance(label, str)}
    inputs = [_picture(name, image, spec, indices.get(name)) for name, image in pictures.items()]
    named = {
        name: true_class(name, label, spec.model_names)
        for name, label in label_by_name.items()
        if isinstance(label, str)
    }
    rows = [
        labelled(row, named[row.image]) if row.image in named else row
        for row in loop.evaluate(spec, inputs)
    ]
    frame = to_frame(to_table(rows, [0] * len(rows)).select([*NUMBERS, *own_scores()]))
    if not spec.remedies:
        return frame
    trials: Any = [[trial._asdict() for trial in row.remedies] for row in rows]
    return frame.assign(remedies=trials)


def _picture(
    name: str,
    source: Any,
    spec: Request,
    label: int | None,
    overrides: Overrides = (None, None),
) -> Picture:
    """The image ``source``, in each framing of ``spec``."""
    framings = list(spec.by_framing)
    if isinstance(source, str | PathLike):
        picture = load_picture(
            picture_file(source), framings, name=fspath(source), overrides=overrides
        )
        versions = [replace(version, name=name, label=label) for version in picture.versions]
        return replace(versions[0], others=tuple(versions[1:]))
    shape, kind = getattr(source, "shape", None), getattr(source, "dtype", None)
    pixels = levels(source, name)  # refuses values out of range
    if kind is not None and np.issubdtype(kind, np.floating):
        alike = {each for each in framings if shape == (each.side, each.side, 3)}
    else:
        alike = set()
    whole = Image.fromarray(pixels)
    ways = [Framing("squash", each.side) if each in alike else each for each in framings]
    study = Framing("squash") if shape == (STUDY_SIDE, STUDY_SIDE, 3) and alike else Framing()
    result, _ = frame(whole, ways, study=study)
    return result.picture(name, framings, overrides=overrides, label=label)


@dataclass(frozen=True)
class Sweep:
    """How one image fares under one perturbation at rising strengths.

    ``points`` has a row per model and strength; ``breaks`` an entry per model; ``breaking`` the
    strength at which each model's prediction changes, None where it never does.
    """

    points: pd.DataFrame
    breaks: tuple[Break, ...]

    @property
    def breaking(self) -> dict[str, float | None]:
        return {point.model: point.strength for point in self.breaks}


@checked_call
def sweep(
    image: Any,
    *,
    models: Any = None,
    perturbation: str,
    label: int | str | None = None,
    steps: int = sweeps.DEFAULT_STEPS,
    seed: int = 0,
    fit: str | None = None,
    side: int | None = None,
    remedy: str | None = None,
) -> Sweep:
    """Find the strength at which each model's prediction of ``image`` changes.

    ``image`` is an array, a PIL image or the path of a file. Floating point (224, 224, 3), or of
    another ``side``, is a study image, and not fitted again. ``label`` is its true class, an index
    or a name. ``fit`` and ``side`` are as for ``make_spec``. ``steps`` strengths from 0 to 1 are
    tried, and more near a change. With a ``remedy``, such as ``median`` or ``median+tta``, every
    model is behind it. Raises as ``evaluate`` does.
    """
    names = None if models is None else [_name(model) for model in _listed(models)]
    chosen = known_models.resolve(names)
    conditions = [Condition.of({perturbation: 1.0})]
    spec = make_spec(chosen, conditions=conditions, seed=seed, fit=fit, side=side)
    picture = _picture("image", image, spec, None, (fit, side))
    truth = None if label is None else true_class("image", str(label), chosen)
    load = loader_with_remedies(parse(remedy), chosen) if remedy else known_models.load
    progress = sweeps.sweep(picture, [perturbation], chosen, load=load, steps=steps, seed=seed)
    events = [labelled(event, truth) for event in progress]
    rows = [event for event in events if isinstance(event, Measurement)]
    return Sweep(
        to_frame(to_table(rows, [0] * len(rows)).select([*NUMBERS, *own_scores()])),
        tuple(event for event in events if isinstance(event, Break)),
    )
