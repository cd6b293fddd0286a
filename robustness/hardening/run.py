"""A hardened model: trained on unlabelled images, judged on others, added under its own name."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from robustness import __version__, models
from robustness.base.errors import ParameterError
from robustness.base.turns import Note
from robustness.datasets import Dataset
from robustness.hardening.judgement import (
    STRENGTH,
    Judgement,
    Logs,
    Predict,
    judge_training,
    measure_predictions,
    unseen_conditions,
)
from robustness.hardening.train import Checkpoint, Settings, Views, split_images, train
from robustness.images.framing import STUDY_FRAMING
from robustness.measure.condition import Condition
from robustness.models import own as own_models
from robustness.models.loaded import LOADED
from robustness.models.record import OWN, ModelRecord
from robustness.models.training import GraphTrainer
from robustness.models.weights import digest as weights_digest

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Interpolations between the parent (0) and the trained model (1): Wortsman et al., CVPR 2022."""

FILE = "model.xml"


@dataclass(frozen=True)
class Hardening:
    """The model ``name``, how it was trained, and the judgement.

    ``share`` is the interpolation; ``train``, ``choose`` and ``judgement.images`` count images,
    ``left_out`` those that are copies of others, ``unreadable`` those that cannot be read.
    """

    parent: str
    name: str
    trained_on: tuple[str, ...]
    settings: Settings
    share: float
    train: int
    choose: int
    left_out: int
    unreadable: int
    judgement: Judgement
    file: str

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready document."""
        return {**asdict(self), "judgement": self.judgement.as_dict()}


def harden(
    parent: str,
    name: str,
    images: Dataset,
    perturbations: Sequence[str],
    judging: Dataset | None,
    settings: Settings,
    note: Note,
) -> Hardening:
    """Train the model ``parent`` on ``images`` and add the result as ``name``.

    ``judging`` are labelled images to choose and judge on, otherwise a part of ``images``. ``note``
    receives the progress and may raise to cancel; the same call then continues. Raises
    ``ParameterError`` for a model that cannot be trained, too few images, or a name that is taken.
    """
    settings.check()
    record = models.REGISTRY[parent]
    parent = record.name  # also of a label
    check_name(name)
    trained = tuple(dict.fromkeys(Condition.of({each: STRENGTH}) for each in perturbations))
    names = [condition.name for condition in trained]
    trained_on = tuple(dict.fromkeys((*record.trained_on, *names)))
    unseen = unseen_conditions(trained_on)
    note("Preparing the training", 0, 1)
    model = GraphTrainer(models.load(parent, side=record.input_size))
    settings = replace(settings, rate=settings.rate or model.rate)
    own_models.check(name, {**_entry(record, model, name), "path": FILE})
    before = models.load(parent, side=record.framing.side)
    parts = split_images(record, before, images, judging, settings.seed, note)
    digest = hashlib.sha256("\n".join(sorted(parts.train.digests)).encode()).hexdigest()
    checkpoint = Checkpoint(weights_digest(record), digest, names, asdict(settings))
    train(model, parts.train, names, settings, checkpoint, note)
    share = _choose_share(model, parts.choose, trained, settings.seed, note)
    with _result_folder() as folder:
        model.save(model.interpolated(share), Path(folder) / FILE)
        values = {**_entry(record, model, name), "path": str(Path(folder) / FILE)}
        (child,) = own_models.records_of(
            own_models.described_in(), {name: {**values, "labels": "imagenet"}}
        )
        child = replace(child, labels=record.labels, group=OWN)
        try:
            after = LOADED.get(child, record.framing.side)
            (flags_before, flags_after), _ = measure_predictions(
                parts.judge,
                (*trained, *unseen),
                [lambda x: before(x).probabilities, lambda x: after(x).probabilities],
                settings.seed,
                note,
            )
        finally:
            LOADED.release(name)
        verdict = judge_training(
            flags_before, flags_after, trained, unseen, labelled=parts.labelled
        )
        origin = {
            "parent": parent,
            "digest": weights_digest(record),
            "trained_on": list(trained_on),
            "images": digest,
            "image_count": len(parts.train.pixels),
            "epochs": settings.epochs,
            "rate": settings.rate,
            "seed": settings.seed,
            "share": share,
            "recommended": verdict.recommended,
            "version": __version__,
        }
        classes = () if record.labels is models.imagenet else record.labels().names
        own_models.add(name, {**values, "origin": origin}, classes, Path(folder))
    checkpoint.remove()
    return Hardening(
        parent,
        name,
        trained_on,
        settings,
        share,
        len(parts.train.pixels),
        len(parts.choose.pixels),
        parts.left_out,
        parts.unreadable,
        verdict,
        str(models.REGISTRY[name].weights.paths()[0]),
    )


@contextmanager
def _result_folder() -> Iterator[str]:
    """A temporary folder for the result; raises ``ParameterError`` where it cannot be written."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield folder
    except OSError as error:
        raise ParameterError(
            f"The trained model cannot be written: {error.strerror}. Make room on the disk, then "
            "train again: the training continues from its end.",
            hint=f"The folder is {tempfile.gettempdir()}.",
        ) from error


def check_name(name: str) -> None:
    """Raise ``ParameterError`` before the training for a name that is taken."""
    problem = own_models.name_problem(name)
    if problem or name in models.REGISTRY:
        reason = problem or "a model of that name exists; choose another name"
        raise ParameterError(f"Expected a new name for the model, got {name!r}: {reason}.")


def _choose_share(
    model: GraphTrainer, views: Views, conditions: Sequence[Condition], seed: int, note: Note
) -> float:
    """The interpolation to take, by the predictions on the choosing images."""

    def predict(share: float) -> Predict:
        answers = model.answers(model.interpolated(share))
        return lambda images: answers(model.resized(images))

    def choosing(_what: str, done: int, total: int) -> None:
        note("Choosing the interpolation", done, total)

    candidates = [predict(share) for share in SHARES]
    _, logs = measure_predictions(views, conditions, candidates, seed, choosing)
    return SHARES[most_likely(logs)]


def most_likely(logs: Logs) -> int:
    """The candidate of (candidates, images, 1 + conditions) with the largest log-likelihood.

    Originals weigh twice as much as all conditions together.
    With few images it is far less noisy than accuracy.
    """
    return int((2 * logs[:, :, 0] + logs[:, :, 1:].mean(2)).mean(1).argmax())


def _entry(record: ModelRecord, model: GraphTrainer, name: str) -> dict[str, Any]:
    """The table of the hardened model in the user's file, without its path."""
    own = record.labels is not models.imagenet
    framing = record.framing.as_dict() if record.framing != STUDY_FRAMING else {}
    return {
        "labels": own_models.label_file(name) if own else "imagenet",
        "input_size": model.side,
        "normalisation": "0..1",
        **{key: value for key, value in framing.items() if key != "side"},
        **({"features": list(model.stages)} if model.stages else {}),
        "family": "Hardened",
        "default": False,  # nobody asked that every visitor's choice has it
    }
