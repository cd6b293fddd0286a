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
from robustness.base.files import file_errors
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
from robustness.hardening.train import (
    Checkpoint,
    ImageParts,
    Settings,
    Views,
    split_images,
    train,
)
from robustness.images.framing import STUDY_FRAMING
from robustness.measure.condition import Condition
from robustness.models import own as own_models
from robustness.models.loaded import LOADED
from robustness.models.record import OWN, ModelRecord
from robustness.models.training import GraphTrainer
from robustness.models.weights import digest as weights_digest
from robustness.perturbations import Images

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
        """Return the hardening as a JSON-ready document."""
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
    check_name(name)
    trained = tuple(dict.fromkeys(Condition.of({each: STRENGTH}) for each in perturbations))
    perturbation_names = [condition.name for condition in trained]
    # What an ancestor was trained on is not unseen either.
    trained_on = tuple(dict.fromkeys((*record.trained_on, *perturbation_names)))
    unseen = unseen_conditions(trained_on)

    note("Preparing the training", 0, 1)
    model = GraphTrainer(models.load(record.name, side=record.input_size))
    settings = replace(settings, rate=settings.rate or model.rate)
    # Before the training, which takes long, rather than when its result is added.
    own_models.check(name, {**_entry(record, model, name), "path": FILE})
    parent_model = models.load(record.name, side=record.framing.side)
    parts = split_images(record, parent_model, images, judging, settings.seed, note)
    images_digest = _digest_of_images(parts.train)
    checkpoint = Checkpoint(
        weights_digest(record), images_digest, perturbation_names, asdict(settings)
    )
    train(model, parts.train, perturbation_names, settings, checkpoint, note)
    share = _choose_share(model, parts.choose, trained, settings.seed, note)

    with _result_folder() as folder:
        path = folder / FILE
        model.save(model.interpolated(share), path)
        entry = {**_entry(record, model, name), "path": str(path)}
        judgement = _judge(
            child=_unregistered(name, entry, record),
            parent=parent_model,
            parts=parts,
            trained=trained,
            unseen=unseen,
            side=record.framing.side,
            seed=settings.seed,
            note=note,
        )
        origin = {
            "parent": record.name,
            "digest": weights_digest(record),
            "trained_on": list(trained_on),
            "images": images_digest,
            "image_count": len(parts.train.pixels),
            "epochs": settings.epochs,
            "rate": settings.rate,
            "seed": settings.seed,
            "share": share,
            "recommended": judgement.recommended,
            "version": __version__,
        }
        class_names = () if record.labels is models.imagenet else record.labels().names
        own_models.add(name, {**entry, "origin": origin}, class_names, folder)
    # Only now: an addition that fails can be repeated without another training.
    checkpoint.remove()

    return Hardening(
        parent=record.name,
        name=name,
        trained_on=trained_on,
        settings=settings,
        share=share,
        train=len(parts.train.pixels),
        choose=len(parts.choose.pixels),
        left_out=parts.left_out,
        unreadable=parts.unreadable,
        judgement=judgement,
        file=str(models.REGISTRY[name].weights.paths()[0]),
    )


def _digest_of_images(images: Views) -> str:
    """A digest of the images that does not depend on their order."""
    return hashlib.sha256("\n".join(sorted(images.digests)).encode()).hexdigest()


def _unregistered(name: str, entry: dict[str, Any], parent: ModelRecord) -> ModelRecord:
    """The record of the hardened model before it is added, with the classes of its parent."""
    # A file of the parent's classes is written only when the model is added.
    entries = {name: {**entry, "labels": "imagenet"}}
    (record,) = own_models.records_of(own_models.described_in(), entries)
    return replace(record, labels=parent.labels, group=OWN)


def _judge(
    child: ModelRecord,
    parent: models.Classifier,
    parts: ImageParts,
    trained: Sequence[Condition],
    unseen: Sequence[Condition],
    side: int,
    seed: int,
    note: Note,
) -> Judgement:
    """Compare the hardened model ``child`` with its parent on judging images of this ``side``."""
    try:
        child_model = LOADED.get(child, side)

        def predict_by_parent(images: Images) -> Images:
            return parent(images).probabilities

        def predict_by_child(images: Images) -> Images:
            return child_model(images).probabilities

        (parent_flags, child_flags), _ = measure_predictions(
            parts.judge,
            (*trained, *unseen),
            [predict_by_parent, predict_by_child],
            seed,
            note,
        )
    finally:
        # Its file is in a folder that will be gone.
        LOADED.release(child.name)
    return judge_training(parent_flags, child_flags, trained, unseen, labelled=parts.labelled)


@contextmanager
def _result_folder() -> Iterator[Path]:
    """A temporary folder for the result; raises ``ParameterError`` where it cannot be written."""
    with (
        file_errors(
            "The trained model cannot be written",
            "Make room on the disk, then train again: the training continues from its end.",
            hint=f"The folder is {tempfile.gettempdir()}.",
        ),
        tempfile.TemporaryDirectory() as folder,
    ):
        yield Path(folder)


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

    def predictor(share: float) -> Predict:
        answers = model.answers(model.interpolated(share))

        def predict(images: Images) -> Images:
            return answers(model.resized(images))

        return predict

    def note_choosing(_phase: str, done: int, total: int) -> None:
        note("Choosing the interpolation", done, total)

    candidates = [predictor(share) for share in SHARES]
    _, logs = measure_predictions(views, conditions, candidates, seed, note_choosing)
    return SHARES[most_likely(logs)]


def most_likely(logs: Logs) -> int:
    """Return the candidate of the largest log-likelihood.

    ``logs`` (candidates, images, 1 + conditions) are those of ``measure_predictions``.
    Originals weigh twice as much as all conditions together. With few images the likelihood is far
    less noisy than accuracy.
    """
    of_originals = logs[:, :, 0]
    of_conditions = logs[:, :, 1:].mean(2)
    likelihoods = (2 * of_originals + of_conditions).mean(1)
    return int(likelihoods.argmax())


def _entry(record: ModelRecord, model: GraphTrainer, name: str) -> dict[str, Any]:
    """The table of the hardened model in the user's file, without its path."""
    if record.labels is models.imagenet:
        labels = "imagenet"
    else:
        labels = own_models.label_file(name)
    entry: dict[str, Any] = {
        "labels": labels,
        "input_size": model.side,
        "normalisation": "0..1",
    }
    if record.framing != STUDY_FRAMING:
        framing = record.framing.as_dict()
        framing.pop("side", None)  # it is the input size
        entry |= framing
    if model.stages:
        entry["features"] = list(model.stages)
    entry["family"] = "Hardened"
    entry["default"] = False  # nobody asked that every visitor's choice has it
    return entry
