"""Runs with made-up predictions of two models behind remedies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.synthetic_runs import ESPRESSO, TABBY, pictures, saved
from robustness.measure.condition import Condition
from robustness.measure.measurement import Measurement
from robustness.remedies import parse_all
from robustness.runs.latencies import Latencies

MODELS = ("SqueezeNet", "EfficientNetLite0")
CONDITIONS = (Condition.of({"fog": 0.6}), Condition.of({"gaussian_noise": 0.4}))
IMAGES = 60
TOGETHER = "+".join([*MODELS, "average"])
SIZES: Any = {
    "SqueezeNet": {"megabytes": 5.0, "memory_megabytes": 90.0},
    "EfficientNetLite0": {"megabytes": 19.0, "memory_megabytes": 110.0},
    TOGETHER: {"megabytes": 24.0, "memory_megabytes": 200.0},
}
for name in MODELS:
    for remedy in ("median", "flip"):
        SIZES[f"{name}+{remedy}"] = SIZES[name]
ASKED = "median,flip,average"
MILLISECONDS = {
    "SqueezeNet": 4.0,
    "SqueezeNet+median": 4.5,
    "SqueezeNet+flip": 8.25,
    "EfficientNetLite0": 10.0,
    "EfficientNetLite0+median": 10.5,
    "EfficientNetLite0+flip": 20.25,
    TOGETHER: 14.125,
}
LATENCIES = Latencies(
    measured="2026-01-02T03:04:05+00:00",
    processor="a processor",
    cores=2,
    engines=dict.fromkeys(MODELS, "OpenVINO"),
    models={name: (milliseconds,) * 3 for name, milliseconds in MILLISECONDS.items()},
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
        self.attacked = conditions[0].needs_model
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
        label = None
        if place < self.labelled * len(self.labels):
            label = int(self.labels[place])
        if not row.base:
            clean, top = (
                int(self.clean["", row.model][place]),
                int(self.top["", row.model][place, at]),
            )
            return replace(
                row,
                label=label,
                clean_top1=clean,
                top1=top,
                clean_probability=float(self.sure_clean[row.model][place]),
                probability=float(self.sure[row.model][place, at]),
                scores={**row.scores, "consistent": float(clean == top)},
            )
        remedy = row.model.split("+")[-1]
        key = remedy, "" if remedy == "average" else row.base
        clean, top = int(self.clean[key][place]), int(self.top[key][place, at])
        reference = None if remedy == "average" else int(self.clean["", row.base][place])
        if self.attacked:
            reference = label
        return replace(
            row,
            label=label,
            reference=reference,
            clean_top1=clean,
            clean_probability=0.5,
            top1=top,
            probability=0.5,
        )
