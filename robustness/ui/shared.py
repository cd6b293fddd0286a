"""Results that all sessions of this server share: of long work, and of calls of the core.

Keys are digests of pixels and weights: Streamlit's own hash samples large arrays and would mistake
a changed image for the old one. Cached results contain no file names.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from robustness import models, runs
from robustness.base.errors import ImageError, RobustnessError
from robustness.base.text import plain
from robustness.base.turns import TURNS
from robustness.gate import Budget
from robustness.images import sandbox
from robustness.images.decoding import REGISTRY as SAMPLES
from robustness.images.decoding import as_subject, decode, sample_bytes
from robustness.images.framing import STUDY_FRAMING, Framing, Picture, frame
from robustness.images.pixels import to_png
from robustness.images.sandbox import BusyError
from robustness.measure.condition import Condition
from robustness.measure.loop import measure_batch, measurements, picture_scores, prepare
from robustness.measure.measurement import Batch, Measurement
from robustness.measure.request import Request, by_framing, options, spec_of, version_for
from robustness.models import Classifier, Outputs
from robustness.models.engine import chosen
from robustness.models.loaded import run_parallel
from robustness.perturbations import Images
from robustness.remedies import Chain, parse
from robustness.remedies.chain import SUREST
from robustness.runs import Analysis, Run
from robustness.ui.patches import CachedFunc
from robustness.ui.session import IMAGE, RUN, last_written, runs_folder, sentence, session

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

LIMIT = 48 * 1024 * 1024
"""Pickled bytes; in memory, rows take up to seven times as much. One model's sweeps of an image
over every perturbation take 1.4 MB, so two images with all models fit."""


class ResultCache:
    """Results by key; drops the least recently used beyond its limit. Thread-safe."""

    def __init__(self, limit: int) -> None:
        """``limit`` is in bytes of the pickled results."""
        self._limit = limit
        self._bytes = 0
        self._lock = threading.Lock()
        self._results: OrderedDict[str, tuple[list[Any], int]] = OrderedDict()

    def get(self, key: str) -> list[Any] | None:
        """Return the results under ``key`` and mark them as used; None if there are none."""
        with self._lock:
            if key not in self._results:
                return None
            self._results.move_to_end(key)
            return self._results[key][0]

    def put(self, key: str, results: list[Any]) -> None:
        """Store ``results`` under ``key``, whatever their size."""
        size = len(pickle.dumps(results, pickle.HIGHEST_PROTOCOL))
        with self._lock:
            if key in self._results:
                _, replaced_size = self._results.pop(key)
                self._bytes -= replaced_size
            self._results[key] = results, size
            self._bytes += size
            while self._bytes > self._limit and len(self._results) > 1:
                _, (_, dropped_size) = self._results.popitem(last=False)
                self._bytes -= dropped_size

    @property
    def bytes(self) -> int:
        """Bytes of all results when pickled."""
        with self._lock:
            return self._bytes


RESULT_CACHE = ResultCache(LIMIT)
"""The cache of this server. Unfinished work is never stored."""


def work_key(
    what: str, picture: Picture, names: Sequence[str], conditions: Sequence[Condition], seed: int
) -> str:
    """The key of the work ``what``: pixels, conditions, each model's weights, and the engine."""
    spec = spec_of(picture, names, conditions, seed)
    digests = [version.digest for version in picture.versions]
    return " ".join([what, spec.digest, str(chosen()), *digests, picture.stream])


# --- keys of cached calls -------------------------------------------------------------------------


def _picture_key(picture: Picture) -> object:
    return picture.digest, picture.stream, picture.framing, picture.label


def _classifier_key(classifier: Classifier) -> object:
    return classifier.record.name, models.digest(classifier.record), classifier.engine


def _request_key(request: Request) -> object:
    """Everything in ``request`` that one model's row depends on."""
    return request.conditions, request.seed


def _run_key(run: Run) -> object:
    """The manifest changes with the rows of ``run``, as it lists their files."""
    return str(run.folder), repr(run.manifest)


_KEYS: dict[str | type, Callable[[Any], object]] = {
    Picture: _picture_key,
    Classifier: _classifier_key,
    Request: _request_key,
    Run: _run_key,
    Budget: repr,
}
"""How arguments are hashed, by their type."""


def cached(
    most: int, waiting: str = "", *, seconds: float | None = None
) -> Callable[[Callable[Arguments, Result]], CachedFunc[Arguments, Result]]:
    """Keep the ``most`` latest results of a function, each for up to ``seconds`` if given.

    A page shows ``waiting`` while it computes. Arguments that begin with an underscore are not part
    of the key.
    """
    return st.cache_resource(
        show_spinner=waiting or False, max_entries=most, ttl=seconds, hash_funcs=_KEYS
    )


# --- images ---------------------------------------------------------------------------------------


Framings = tuple[Framing, ...]


@cached(16)
def sample_picture(name: str, framings: Framings = (STUDY_FRAMING,)) -> Picture:
    """A bundled sample in each of ``framings``."""
    pixels, _ = frame(decode(sample_bytes(name), name=name), framings)
    return pixels.picture(name, framings)


def is_sample(picture: Picture) -> bool:
    """Whether ``picture`` is a bundled sample, not just an image with its name."""
    if picture.name not in SAMPLES:
        return False
    return sample_picture(picture.name).source == picture.source


def uploaded_picture(name: str, data: bytes, framings: Framings) -> Picture:
    """An uploaded file in each of ``framings``; raises ``ImageError`` for an unusable one."""
    decoded = _decoded(data, framings)
    if isinstance(decoded, str):
        raise ImageError(decoded.replace(as_subject(""), as_subject(name), 1))
    return replace(decoded, name=name)


@cached(32)
def _decoded(data: bytes, framings: Framings) -> Picture | str:
    """The image or its error sentence, computed once, both without a file name.

    An error is returned, not raised, so that the cache keeps it. It keys ``data`` by a digest.
    """
    try:
        return sandbox.framed_image(data, framings).picture("", framings)
    except BusyError:  # a later attempt may succeed
        raise
    except ImageError as error:
        return str(error)


def linked_picture(names: Sequence[str]) -> Picture | None:
    """The image that the link names, if any, as the run shows it to the models ``names``.

    Shows a warning if it cannot be read.
    """
    try:
        linked = _linked(names)
    except RobustnessError as error:
        st.warning(plain(sentence(error)), icon=":material/link_off:")
        return None
    if linked is None:
        return None
    return linked.picture


def linked_class(picture: Picture) -> str | None:
    """The true class of ``picture`` in the link's run, if known."""
    try:
        linked = _linked(names=())
    except RobustnessError:  # said by ``linked_picture``
        return None
    if linked is None or linked.picture.source != picture.source:
        return None
    return linked.true_class


class _Linked(NamedTuple):
    """An image of a run, with its true class if that is known."""

    picture: Picture
    true_class: str | None


def _linked(names: Sequence[str]) -> _Linked | None:
    """The image that the link names, as the run shows it to the models ``names``.

    Returns None without one in the link; raises ``RobustnessError`` if it cannot be read.
    """
    run_id = st.query_params.get(RUN)
    image_name = st.query_params.get(IMAGE)
    if run_id is None or image_name is None:
        return None
    return _image_of_run(opened_run(run_id), image_name, tuple(names))


@cached(32, "Reading the run …")
def _image_of_run(run: Run, image_name: str, names: tuple[str, ...]) -> _Linked:
    values = options(dict(run.manifest.spec.framings))
    side = int(values["side"]) if "side" in values else None
    overrides = values.get("fit"), side
    framings = list(by_framing(*overrides, names))
    picture = replace(run.picture(image_name, framings), overrides=overrides)
    return _Linked(picture, _true_class(run, image_name))


def _true_class(run: Run, image_name: str) -> str | None:
    """The true class of the image in ``run``, if known.

    Looks at one model for each set of classes, as a set may lack the class.
    """
    positions = [position for position, name in run.rows.names.items() if name == image_name]
    if not positions:
        return None
    registered = [name for name in run.manifest.spec.model_names if name in models.REGISTRY]
    query = "SELECT label FROM rows WHERE model = $model AND position = $position LIMIT 1"
    for labels, (model, *_) in models.by_labels(registered):
        rows = run.rows.ask(query, model=model, position=positions[0])
        if not rows:
            continue
        ((label,),) = rows
        if label is not None:
            return labels.names[label]
    return None


@cached(8, "Reading the run …")
def _opened(folder: str, run_id: str, written: int) -> Run:
    return runs.find(Path(folder), run_id, unfinished=True)


def opened_run(run_id: str) -> Run:
    """The run ``run_id``, finished or not; raises ``RunError`` if it cannot be read."""
    folder = runs_folder()
    # A run that is written again, or another of the same id, is not the one in the cache.
    return _opened(str(folder), run_id, last_written(folder, run_id))


def analysis_of(run: Run) -> Analysis:
    """The results of ``run``, which sessions share: each is worked out once."""
    groups = models.by_labels(run.manifest.spec.model_names)
    return _analysis(run, [(labels.title, labels.key, names) for labels, names in groups])


@cached(8)
def _analysis(run: Run, classes: Sequence[tuple[str, str, Sequence[str]]]) -> Analysis:
    """``classes`` are part of the key alone: a file of labels may change."""
    return Analysis(run)


@cached(32)
def original_png(picture: Picture) -> bytes:
    """The original image as a PNG, encoded once."""
    return to_png(picture.image)


# --- predictions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Altered:
    """An image under one condition, as the ``batch`` that models classify."""

    batch: Batch

    @property
    def image(self) -> Images:
        """The perturbed image, (S, S, 3)."""
        return self.batch.frames[0, 1]

    @property
    def scores(self) -> Mapping[str, NDArray[np.float64]]:
        """The ``picture_scores`` of the image."""
        return self.batch.scores[0]


@cached(64)
def change(picture: Picture, condition: Condition, seed: int) -> Altered:
    """The image under ``condition``."""
    return Altered(prepare([picture], [condition], seed))


@cached(256)
def _clean(classifier: Classifier, picture: Picture) -> Outputs:
    return classifier(picture.image[None])


def likeliest_class(picture: Picture, names: Sequence[str]) -> str:
    """The class with the highest sum of probabilities for the original over the models ``names``.

    Returns "" if none of them can predict. For what the models have predicted already: it takes no
    turn.
    """
    sums: dict[str, float] = {}
    for name in names:
        version = version_for(picture, name)
        with contextlib.suppress(RobustnessError):
            classifier = models.load(name, side=version.side)
            probabilities = _clean(classifier, version).probabilities[0]
            for index in np.argsort(-probabilities)[:5].tolist():
                class_name = models.class_name(name, index)
                sums[class_name] = sums.get(class_name, 0.0) + float(probabilities[index])
    return max(sums, key=sums.__getitem__, default="")


Turn = Callable[[], AbstractContextManager[None]]
"""Makes a context that waits for a turn and holds it."""


@cached(512)
def _answer(
    spec: Request, picture: Picture, classifier: Classifier, _batch: Batch, _turn: Turn
) -> Measurement:
    with _turn():
        clean = _clean(classifier, picture)
        ((row,),) = measure_batch(spec, _batch, classifier, clean=[clean])
    return row


def answers(
    spec: Request, picture: Picture, names: Sequence[str], altered: Altered, who: str | None = None
) -> Iterator[tuple[str, Measurement | RobustnessError]]:
    """Yield each model's row under the only condition of ``spec``, or its error, as they finish.

    Each takes a turn of ``who``, by default this session; its older requests still waiting for a
    turn end with ``SupersededError``. The pass over the original image is computed once a model,
    however often the condition changes.
    """
    turn = _new_turn(who or session())

    def answer(name: str) -> Measurement:
        version, batch = model_view(spec, picture, name, altered)
        classifier = models.load(name, side=version.side)
        row = _answer(spec, version, classifier, batch, turn)
        # The cached row may come from the same image by another name.
        return replace(row, image=picture.name, image_digest=picture.source, label=picture.label)

    return run_parallel(names, answer)


def _new_turn(who: str) -> Turn:
    """Replace the older requests of ``who`` by one; returns what waits for a turn of it."""
    wish = TURNS.wish(who)

    def turn() -> AbstractContextManager[None]:
        return TURNS.turn(who, wish)

    return turn


def model_view(
    spec: Request, picture: Picture, name: str, altered: Altered
) -> tuple[Picture, Batch]:
    """``picture`` and ``altered`` as the model ``name`` sees them."""
    version = picture.at(spec.framing_of(name))
    if version.framing == picture.framing:
        return picture, altered.batch
    return version, change(version, spec.conditions[0], spec.seed).batch


class Remedied(NamedTuple):
    """The prediction of a model behind a remedy: class index and probability.

    ``view`` is the index of the view that decided, None if it was not a single one.
    """

    top1: int
    probability: float
    view: int | None


@cached(2048)
def _remedied(
    spec: Request,
    picture: Picture,
    classifiers: Sequence[Classifier],
    remedy: str,
    _image: Images,
    _turn: Turn,
) -> Remedied:
    chain = parse(remedy)
    first, *others = classifiers
    with _turn():
        probabilities = first.with_remedies(chain, others)(_image[None]).probabilities[0]
        view = None
        if chain.last.combine == SUREST:
            by_view = [first(image).probabilities for image in chain.views(_image[None])]
            view = int(chain.weights(np.stack(by_view))[:, 0].argmax())
    return Remedied(int(probabilities.argmax()), float(probabilities.max()), view)


def remedied(
    spec: Request,
    picture: Picture,
    names: Sequence[str],
    altered: Altered,
    chain: Chain,
    who: str | None = None,
) -> dict[str, Remedied | RobustnessError]:
    """Each model's prediction for the perturbed image behind ``chain``, or its error.

    A remedy of several models, which must have one side, has one prediction: the first name's.
    """
    turn = _new_turn(who or session())

    def predict(name: str) -> Remedied:
        model_names = names if chain.several_models else [name]
        version, batch = model_view(spec, picture, name, altered)
        classifiers = tuple(models.load(model, side=version.side) for model in model_names)
        return _remedied(spec, version, classifiers, chain.id, Altered(batch).image, turn)

    predicting = names[:1] if chain.several_models else names
    predictions = dict(run_parallel(predicting, predict))
    # Predictions come as they finish; the result has the order of the names.
    return {name: predictions[name] for name in predicting}


def comparison(spec: Request, picture: Picture, model: str, changed: Picture) -> Measurement:
    """The row of ``model`` for ``changed``, a variant of ``picture`` that no perturbation made.

    It is stored under the only condition of ``spec``.
    """
    classifier = models.load(model, side=picture.side)
    before = _clean(classifier, picture)
    after = _clean(classifier, changed)
    scores = picture_scores(picture.image[None], changed.image[None])
    return measurements(spec, picture, classifier, before, after, scores)[0]


def attacked_picture(picture: Picture, condition: Condition, seed: int, model: str) -> Images:
    """The attacked image (S, S, 3) for ``model``, the same as in a dataset run."""
    weights_and_engine = f"{models.digest(models.REGISTRY[model])} {chosen()}"
    return _attacked(picture, condition, seed, model, weights_and_engine)


@cached(128)
def _attacked(
    picture: Picture, condition: Condition, seed: int, model: str, weights_and_engine: str
) -> Images:
    """Compute the attack; ``weights_and_engine`` is only part of the cache's key."""
    return condition.against(picture, seed, models.load(model, side=len(picture.image)))
