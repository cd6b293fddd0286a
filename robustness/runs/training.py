"""Trainings among the runs: the request that a job performs, and its answer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar, Literal

from robustness import hardening
from robustness.base.text import counted
from robustness.base.turns import Pace, Unit
from robustness.base.validation import read_json
from robustness.hardening import Hardening, Settings
from robustness.runs.manifest import FILE as MANIFEST
from robustness.runs.task import (
    ANSWER,
    MOST_ANSWER,
    MOST_REQUEST,
    KindName,
    Progress,
    Show,
    TaskRequest,
    open_source,
    write_answer,
)


class TrainingRequest(TaskRequest):
    """The request to train ``model`` and to add the result as ``name``.

    ``source`` are the images to train on and ``judging_source`` those that judge, as
    ``open_dataset`` takes them; without the latter, a part of the former judges. ``run`` is the id
    of the run that suggested the training.
    """

    noun: ClassVar[KindName] = "training"

    format: Literal["robustness training"] = "robustness training"
    run: str
    model: str
    name: str
    source: str
    judging_source: str = ""
    perturbations: tuple[str, ...]
    settings: Settings = Settings()

    @property
    def model_names(self) -> tuple[str, ...]:
        return (self.model,)

    @property
    def how(self) -> str:
        return f"{counted(self.settings.epochs, 'epoch')}, seed {self.settings.seed}"

    def answer(self, folder: Path) -> Hardening | None:
        return read_json(Hardening, folder / ANSWER, MOST_ANSWER)

    def perform(self, folder: Path, show: Show) -> None:
        """Trains the model, and writes the judgement into ``folder``; see ``hardening.harden``."""
        judging = None
        if self.judging_source:
            judging = open_source(self.judging_source)
        answer = hardening.harden(
            self.model,
            self.name,
            open_source(self.source),
            self.perturbations,
            judging,
            self.settings,
            PhaseProgress(show),
        )
        write_answer(
            folder / ANSWER,
            answer,
            "The model is added, but its judgement cannot be written",
            "Make room on the disk, remove the model and train again.",
        )


def trainings_of(run: Path) -> list[tuple[Path, TrainingRequest]]:
    """The trainings that the run in the folder ``run`` suggested, the newest first."""
    trainings = []
    for manifest in run.parent.glob(f"*/{MANIFEST}"):
        request = read_json(TrainingRequest, manifest, MOST_REQUEST)
        if request is not None and request.run == run.name:
            trainings.append((manifest.parent, request))
    return sorted(trainings, key=lambda training: training[1].created, reverse=True)


def last_trained(run: Path) -> Hardening | None:
    """The answer of the last finished training that the run in the folder ``run`` suggested."""
    for folder, request in trainings_of(run):
        answer = request.answer(folder)
        if answer is not None:
            return answer
    return None


class PhaseProgress:
    """Shows each phase of a training with its rate and the time left, at most once a second."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._phase = ""
        self._reported = 0.0
        self._pace = Pace(Unit("images"))

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase != self._phase:
            self._phase = phase
            self._pace = Pace(Unit("images"), overall=True)
            self._reported = 0.0
        self._pace.note(done, total)
        if time.monotonic() - self._reported < 1:
            return
        self._reported = time.monotonic()
        if total > 1:
            text = f"{phase}: {self._pace.text}"
        else:
            text = f"{phase} …"
        self._show(Progress(done, total, text=text))
