"""The training: consistency to the frozen parent, in steps that can be interrupted and resumed.

The loss is the Kullback-Leibler divergence from the parent's prediction on the original to the
model's on the original and on the perturbed image. Batch statistics stay (as in Schneider et al.,
NeurIPS 2020, they would move with the perturbations), the learning rate follows a cosine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustness import __version__
from robustness.base import settings
from robustness.base.errors import ParameterError
from robustness.base.files_and_locks import put_whole
from robustness.base.progress_and_time_left import Note
from robustness.hardening.image_split import Views
from robustness.models.openvino_graph_training import GraphTrainer
from robustness.perturbations import check_seed, compose
from robustness.pictures.eight_bits import from_uint8

BATCH = 16
WEAKEST, STRONGEST = 0.1, 0.8
"""Range of the strengths, drawn uniformly."""

_SAVE_STEPS = 25
_LIFETIME = 7 * 24 * 3600.0
"""Seconds that an unfinished training stays in the cache."""


@dataclass(frozen=True)
class Settings:
    """How a model is trained: epochs over the images, the largest learning rate, the seed.

    Without a rate it is the model's own.
    """

    epochs: int = 5
    rate: float | None = None
    seed: int = 0

    def check(self) -> None:
        """Raise ``ParameterError`` for settings out of range."""
        if not 1 <= self.epochs <= 1000:
            raise ParameterError(f"Expected 1 to 1000 epochs, got {self.epochs}.")
        if self.rate is not None and not 0 < self.rate <= 1:
            raise ParameterError(f"Expected a learning rate above 0 up to 1, got {self.rate:g}.")
        check_seed(self.seed)


class Checkpoint:
    """The state of an unfinished training, a file of the cache; the same request finds it again."""

    def __init__(self, *request: object) -> None:
        """``request`` is all that the training depends on, JSON-ready."""
        key = hashlib.sha256(json.dumps([__version__, *request]).encode()).hexdigest()[:24]
        self._file = settings.cache_folder() / "hardening" / f"{key}.npz"

    def read(self, model: GraphTrainer) -> int:
        """Restore ``model``; return the number of steps done, 0 without a usable file."""
        try:
            with np.load(self._file, allow_pickle=False) as stored:
                state = dict(stored)
            model.restore(state)
            return int(state["steps"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return 0

    def write(self, model: GraphTrainer, steps: int) -> None:
        """Store the state of ``model`` after ``steps``.

        Raises ``ParameterError`` where it cannot be written; the file written before it stays.
        """

        def save(temporary: Path) -> None:
            # An open file, because NumPy adds .npz to a path with another ending.
            with temporary.open("wb") as stream:
                np.savez(stream, steps=np.array(steps), **model.state())  # type: ignore[arg-type]

        folder = self._file.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for other in folder.glob("*.npz"):
                if time.time() - other.stat().st_mtime > _LIFETIME and other != self._file:
                    other.unlink(missing_ok=True)
            put_whole(self._file, save)
        except OSError as error:
            raise ParameterError(
                f"The training cannot be saved: {error.strerror}. Make room on the disk, then "
                "train again: it continues from the last saved step.",
                hint=f"The folder is {folder}.",
            ) from error

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)


def train(
    model: GraphTrainer,
    images: Views,
    perturbations: Sequence[str],
    chosen: Settings,
    checkpoint: Checkpoint,
    note: Note,
) -> None:
    """Train ``model``, from the ``checkpoint`` on if there is one.

    Each image gets a random one of the ``perturbations`` at a random strength. What ``note`` raises
    ends the training; the next call continues it.
    """
    count = len(images.pixels)
    per_epoch = math.ceil(count / BATCH)
    total = per_epoch * chosen.epochs
    done = start = checkpoint.read(model)
    try:
        for step in range(start, total):
            note("Training", min(step * BATCH, count * chosen.epochs), count * chosen.epochs)
            epoch, place = divmod(step, per_epoch)
            order = np.random.default_rng([chosen.seed, epoch]).permutation(count)
            rows = order[place * BATCH : (place + 1) * BATCH]
            draws = np.random.default_rng([chosen.seed, step, 1])
            plain = from_uint8(images.pixels[rows])
            perturbed = []
            for image, row in zip(plain, rows, strict=True):
                name = perturbations[int(draws.integers(len(perturbations)))]
                steps = {name: float(draws.uniform(WEAKEST, STRONGEST))}
                seed = int(draws.integers(2**32))
                digests = [images.digests[row]]
                perturbed.append(compose(image[None], steps, seed=seed, digests=digests))
            both = model.resized(np.concatenate([plain, *perturbed]))
            targets = np.concatenate([images.targets[rows]] * 2)
            rate = (chosen.rate or model.rate) * (1 + math.cos(math.pi * step / total)) / 2
            try:
                model.step(both, targets, rate, step + 1)
            except ParameterError:  # it diverged
                checkpoint.remove()
                raise
            done = step + 1
            if done % _SAVE_STEPS == 0:
                checkpoint.write(model, done)
    except ParameterError:
        raise  # it diverged, or the disk is full
    except BaseException:
        # A full disk does not hide the reason, such as a cancellation; the last checkpoint stays.
        with contextlib.suppress(ParameterError):
            checkpoint.write(model, done)
        raise
    checkpoint.write(model, total)
    note("Training", count * chosen.epochs, count * chosen.epochs)
