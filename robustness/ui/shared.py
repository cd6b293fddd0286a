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
from robustness.runs import Run
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
            self._bytes += size - self._results.pop(key, ([], 0))[1]
            self._results[key] = results, size
            while self._bytes > self._limit and len(self._results) > 1:
                self._bytes -= self._results.popitem(last=False)[1][1]

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
    digests = (version.digest for version in picture.versions)
    return " ".join([what, spec.digest, str(chosen()), *digests, picture.stream])


_KEYS: dict[str | type, Callable[[Any], object]] = {
    Picture: lambda picture: (picture.digest, picture.stream, picture.framing, picture.label),
    Classifier: lambda classifier: (
        classifier.record.name,
        models.digest(classifier.record),
        classifier.engine,
    ),
    # Everything that one model's row depends on.
    Request: lambda spec: (spec.conditions, spec.seed),
    Run: lambda run: (str(run.folder), repr(run.manifest)),  # which lists the files of its rows
    Budget: repr,
}
"""How arguments are hashed."""


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


Framings = tuple[Framing, ...]


@cached(16)
def sample_picture(name: str, framings: Framings = (STUDY_FRAMING,)) -> Picture:
    """A bundled sample in each of ``framings``."""
    pixels, _ = frame(decode(sample_bytes(name), name=name), framings)
    return pixels.picture(name, framings)


def is_sample(picture: Picture) -> bool:
    """Whether ``picture`` is a bundled sample, not just an image with its name."""
    return picture.name in SAMPLES and sample_picture(picture.name).source == picture.source


def uploaded_picture(name: str, data: bytes, framings: Framings) -> Picture:
    """An uploaded file in each of ``framings``; raises ``ImageError`` for an unusable one."""
    decoded = _decoded(data, framings)
    if isinstance(decoded, str):
        raise ImageError(decoded.replace(as_subject(""), as_subject(name), 1))
    return replace(decoded, name=name)


@cached(32)
def _decoded(data: bytes, framings: Framings) -> Picture | str:
    """The image or its error sentence, computed once, both without a file name.

    The cache keys ``data`` by a digest.
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
        return linked[0] if linked else None
    except RobustnessError as error:
        st.warning(plain(sentence(error)), icon=":material/link_off:")
        return None


def linked_class(picture: Picture) -> str | None:
    """The true class of ``picture`` in the link's run, if known."""
    with contextlib.suppress(RobustnessError):
        linked = _linked(())
        return linked[1] if linked and linked[0].source == picture.source else None
    return None


def _linked(names: Sequence[str]) -> tuple[Picture, str | None] | None:
    """The image that the link names and its true class; raises if it cannot be read."""
    run_id = st.query_params.get(RUN)
    name = st.query_params.get(IMAGE)
    if run_id is None or name is None:
        return None
    return _picture(opened_run(run_id), name, tuple(names))


@cached(32, "Reading the run …")
def _picture(run: Run, name: str, names: tuple[str, ...]) -> tuple[Picture, str | None]:
    values = options(dict(run.manifest.spec.framings))
    overrides = values.get("fit"), int(values["side"]) if "side" in values else None
    framings = list(by_framing(*overrides, names))
    return replace(run.picture(name, framings), overrides=overrides), _class(run, name)


def _class(run: Run, name: str) -> str | None:
    """The true class of the image ``name`` in ``run``, if known.

    Looks at one model for each set of classes, as a set may lack the class.
    """
    registered = [m for m in run.manifest.spec.model_names if m in models.REGISTRY]
    positions = [position for position, image in run.rows.names.items() if image == name]
    for labels, (model, *_) in models.by_labels(registered) if positions else ():
        query = "SELECT label FROM rows WHERE model = $model AND position = $position LIMIT 1"
        ((label,),) = run.rows.ask(query, model=model, position=positions[0]) or [(None,)]
        if label is not None:
            return labels.names[label]
    return None


@cached(8, "Reading the run …")
def _opened(folder: str, run_id: str, written: int) -> Run:
    return runs.find(Path(folder), run_id, unfinished=True)


def opened_run(run_id: str) -> Run:
    """The run ``run_id``, finished or not; raises ``RunError`` if it cannot be read."""
    folder = runs_folder()
    return _opened(str(folder), run_id, last_written(folder, run_id))


@cached(32)
def original_png(picture: Picture) -> bytes:
    """The original image as a PNG, encoded once."""
    return to_png(picture.image)


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
    """The class with the highest probability for the original over the models ``names``.

    For what the models have predicted already; it takes no turn.
    """
    shares: dict[str, float] = {}
    for name in names:
        own = version_for(picture, name)
        with contextlib.suppress(RobustnessError):
            probabilities = _clean(models.load(name, side=own.side), own).probabilities[0]
            for index in np.argsort(-probabilities)[:5].tolist():
                title = models.class_name(name, index)
                shares[title] = shares.get(title, 0.0) + float(probabilities[index])
    return max(shares, key=shares.__getitem__, default="")


Turn = Callable[[], AbstractContextManager[None]]
"""Makes a context that waits for a turn and holds it."""


@cached(512)
def _answer(
    spec: Request, picture: Picture, classifier: Classifier, _batch: Batch, _turn: Turn
) -> Measurement:
    with _turn():
        ((row,),) = measure_batch(spec, _batch, classifier, clean=[_clean(classifier, picture)])
    return row


def answers(
    spec: Request, picture: Picture, names: Sequence[str], altered: Altered, who: str | None = None
) -> Iterator[tuple[str, Measurement | RobustnessError]]:
    """Yield each model's row under the only condition of ``spec``, or its error, as they finish.

    Each takes a turn of ``who``, by default this session; its older requests still waiting for a
    turn end with ``SupersededError``. The pass over the original image is computed once a model,
    however often the condition changes.
    """
    who = who or session()
    wish = TURNS.wish(who)

    def answer(name: str) -> Measurement:
        own, batch = model_view(spec, picture, name, altered)
        classifier = models.load(name, side=own.side)
        row = _answer(spec, own, classifier, batch, lambda: TURNS.turn(who, wish))
        return replace(row, image=picture.name, image_digest=picture.source, label=picture.label)

    return run_parallel(names, answer)


def model_view(
    spec: Request, picture: Picture, name: str, altered: Altered
) -> tuple[Picture, Batch]:
    """``picture`` and ``altered`` as the model ``name`` sees them."""
    own = picture.at(spec.framing_of(name))
    if own.framing == picture.framing:
        return picture, altered.batch
    return own, change(own, spec.conditions[0], spec.seed).batch


class Remedied(NamedTuple):
    """The prediction of a model behind a remedy; ``view`` is the one that decided, if one did."""

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

    A remedy of several models, which are to have one side, has one prediction: the first name's.
    """
    who = who or session()
    wish = TURNS.wish(who)

    def predicted(name: str) -> Remedied:
        needed = names if chain.several_models else [name]
        own, batch = model_view(spec, picture, name, altered)
        loaded = tuple(models.load(model, side=own.side) for model in needed)
        turn = lambda: TURNS.turn(who, wish)  # noqa: E731
        return _remedied(spec, own, loaded, chain.id, Altered(batch).image, turn)

    predicting = names[:1] if chain.several_models else names
    predictions = dict(run_parallel(predicting, predicted))
    return {name: predictions[name] for name in predicting}


def comparison(spec: Request, picture: Picture, model: str, changed: Picture) -> Measurement:
    """The row of ``model`` for ``changed``, a variant of ``picture`` that no perturbation made.

    It is stored under the only condition of ``spec``.
    """
    classifier = models.load(model, side=picture.side)
    before, after = (_clean(classifier, image) for image in (picture, changed))
    scores = picture_scores(picture.image[None], changed.image[None])
    return measurements(spec, picture, classifier, before, after, scores)[0]


def attacked_picture(picture: Picture, condition: Condition, seed: int, model: str) -> Images:
    """The attacked image (S, S, 3) for ``model``, the same as in a dataset run."""
    judge = f"{models.digest(models.REGISTRY[model])} {chosen()}"
    return _attacked(picture, condition, seed, model, judge)


@cached(128)
def _attacked(picture: Picture, condition: Condition, seed: int, model: str, judge: str) -> Images:
    return condition.against(picture, seed, models.load(model, side=len(picture.image)))
