"""Runs with made-up predictions of two models behind remedies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.synthetic_runs import ESPRESSO, TABBY, pictures, saved
from robustness.measure.condition import Condition
from robustness.measure.measurement import Measurement, RemediedPrediction
from robustness.remedies import parse_all
from robustness.runs.latencies import Latencies

MODELS = ("SqueezeNet", "EfficientNetLite0")
CONDITIONS = (Condition.of({"fog": 0.6}), Condition.of({"gaussian_noise": 0.4}))
IMAGES = 60
SIZES: Any = {
    "SqueezeNet": {"megabytes": 5.0, "memory_megabytes": 90.0},
    "EfficientNetLite0": {"megabytes": 19.0, "memory_megabytes": 110.0},
}
ASKED = "median,flip,average"
MILLISECONDS = {"median": 0.5, "flip": 0.25, "average": 0.125}
LATENCIES = Latencies(
    measured="2026-01-02T03:04:05+00:00",
    processor="a processor",
    cores=2,
    engines=dict.fromkeys(MODELS, "OpenVINO"),
    models={"SqueezeNet": (4.0,) * 3, "EfficientNetLite0": (10.0,) * 3},
    remedies={name: (milliseconds,) * 3 for name, milliseconds in MILLISECONDS.items()},
)

Classes = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class Made:
    """Predictions drawn by chance, and the run that has them.

    The first ``labelled`` images, all or a share, have a label. ``clean`` (images,) and ``top``
    (images, conditions) are by remedy and model; "" is none, and ``average`` has no model. ``sure``
    (images, conditions) are confidences, by model. Under an attack what was incorrect before is so
    after. A remedy that is ``lone`` gives the predictions of the models themselves, which try none.
    If ``telling``, confidence tells what is correct; conditions at the places ``hard``, and the
    first model if ``weak``, are correct on a tenth of the images. The run is called "made" or,
    among other ``runs``, like ``folder``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        labelled: bool | float = True,
        asked: str = ASKED,
        conditions: Sequence[Condition] = CONDITIONS,
        seed: int = 1,
        lone: str = "",
        images: int = IMAGES,
        telling: bool = False,
        hard: Sequence[int] = (),
        weak: bool = False,
        classes: Sequence[int] = (ESPRESSO, TABBY),
        runs: Path | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.labelled = labelled
        self.tried = [name for name in asked.split(",") if name]
        self.labels = rng.choice(classes, images)
        self.clean: dict[tuple[str, str], Classes] = {}
        self.top: dict[tuple[str, str], Classes] = {}
        keys = [(remedy, model) for remedy in ("", "median", "flip") for model in MODELS]
        for place, key in enumerate([*keys, ("average", "")]):
            self.clean[key] = self._drawn(rng, 0.9, self.labels)
            labels = np.stack([self.labels] * len(conditions), 1)
            self.top[key] = self._drawn(rng, 0.5 + 0.05 * place, labels)
            for at in hard:
                self.top[key][:, at] = self._drawn(rng, 0.1, self.labels)
            if weak and key[1] == MODELS[0]:
                self.top[key] = self._drawn(rng, 0.1, labels)
            if conditions[0].needs_model:
                wrong = self.clean[key] != self.labels
                self.top[key][wrong] = self.clean[key][wrong, None]
        for model in MODELS if lone else ():
            key = lone, "" if lone == "average" else model
            self.clean["", model], self.top["", model] = self.clean[key], self.top[key]
        self.sure = {model: rng.random((images, len(conditions))) for model in MODELS}
        self.sure_clean = {model: rng.random(images) for model in MODELS}
        for model in MODELS if telling else ():
            right = self.top["", model] == self.labels[:, None]
            self.sure[model] = np.where(right, 0.5 + self.sure[model] / 2, self.sure[model] / 2)
        digests = pictures(folder / "set", [f"{number}.png" for number in range(images)])
        self.run = saved(
            folder / "runs" / "made" if runs is None else runs / folder.name,
            digests,
            dict.fromkeys(MODELS, 0.5),
            source=folder / "set",
            conditions=conditions,
            remedies=parse_all(asked),
            changed=self._row,
        )
        self.run.manifest = replace(self.run.manifest, sizes=SIZES, latencies=(LATENCIES,))
        self.run.manifest.write(self.run.folder)

    def _drawn(self, rng: np.random.Generator, share: float, labels: Classes) -> Classes:
        return np.where(rng.random(labels.shape) < share, labels, ESPRESSO + TABBY - labels)

    def _row(self, row: Measurement, place: int, at: int) -> Measurement:
        model = row.model

        def trial(remedy: str) -> RemediedPrediction:
            key = remedy, "" if remedy == "average" else model
            return RemediedPrediction(
                remedy, int(self.clean[key][place]), 0.5, int(self.top[key][place, at]), 0.5
            )

        clean, top = int(self.clean["", model][place]), int(self.top["", model][place, at])
        return replace(
            row,
            label=int(self.labels[place]) if place < self.labelled * len(self.labels) else None,
            clean_top1=clean,
            top1=top,
            clean_probability=float(self.sure_clean[model][place]),
            probability=float(self.sure[model][place, at]),
            scores={**row.scores, "consistent": float(clean == top)},
            remedies=tuple(trial(each) for each in self.tried),
        )
