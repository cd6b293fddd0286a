"""A trained model against its parent, on other images and on perturbations of other kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.base.turns import Note
from robustness.hardening.train import Views
from robustness.images.pixels import from_uint8
from robustness.measure.condition import Condition
from robustness.perturbations import REGISTRY, Perturbation
from robustness.perturbations.record import BLUR, COLOUR, FAMILIES, LIGHTING, WEATHER
from robustness.statistics.means import SMALLEST, established, holm, images_needed, overall

Flags = NDArray[np.bool_]
Logs = NDArray[np.float32]
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]

ORIGINALS = "originals"
TRAINED = "trained"
UNSEEN = "unseen"
GROUPS = (ORIGINALS, TRAINED, UNSEEN)

MOST_LOSS = 0.03
"""Loss of accuracy on originals that a recommended model excludes."""

_BATCH = 16

_UNLIKELY = 0.01
"""Smallest probability that counts: hopeless images must not outweigh a loss on originals."""

STRENGTH = 0.5
"""At which perturbations are judged."""

MOST_UNSEEN = 8
MOST_TRAINED = 5
_LEFT_OUT = 2
"""Kinds that the default leaves to the judgement."""

_KIND_BY_NAME = {
    "gaussian_blur": BLUR,
    "defocus_blur": BLUR,
    "fog": WEATHER,
    "low_resolution": BLUR,
}
"""Perturbations whose effect belongs to another family than their own."""
_KIND_BY_FAMILY = {LIGHTING: COLOUR}
"""The same for all others of a family."""


@dataclass(frozen=True)
class GroupDifference:
    """The share of good predictions before and after training, under some conditions.

    ``low`` and ``high`` are the 95 % interval of the paired difference; ``p`` is corrected for the
    number of groups, or of conditions.
    """

    name: str
    conditions: int
    before: float
    after: float
    difference: float
    low: float | None
    high: float | None
    p: float

    @property
    def significant(self) -> bool:
        return established(self.p, self.low, self.high)


@dataclass(frozen=True)
class Judgement:
    """The differences on ``images`` images: of ``groups`` and of each condition.

    With labels good predictions are correct ones. Without, they are those that the parent gives on
    the original.
    """

    images: int
    labelled: bool
    groups: tuple[GroupDifference, ...]
    conditions: tuple[GroupDifference, ...]

    def group(self, name: str) -> GroupDifference:
        """One of ``GROUPS``."""
        return self.groups[GROUPS.index(name)]

    @property
    def gain_established(self) -> bool:
        """Whether unseen perturbations improve significantly, measured with labels."""
        unseen = self.group(UNSEEN)
        return self.labelled and unseen.difference > 0 and unseen.significant

    @property
    def loss_excluded(self) -> bool:
        """Whether a loss on originals above ``MOST_LOSS`` is excluded."""
        low = self.group(ORIGINALS).low
        return self.labelled and low is not None and low >= -MOST_LOSS

    @property
    def recommended(self) -> bool:
        return self.gain_established and self.loss_excluded

    @property
    def more_images(self) -> int | None:
        """How many more labelled images would show a gain of 1 point, or exclude the loss.

        None if none are needed, or too many would be, as without any difference.
        """
        if not self.labelled or self.recommended:
            return None
        if not any(each.difference for each in (*self.groups, *self.conditions)):
            return None
        if not self.gain_established:
            group = self.group(UNSEEN)
            margin = SMALLEST
            tests = len(GROUPS)
        else:
            # A gain on originals is not taken for granted.
            group = self.group(ORIGINALS)
            margin = MOST_LOSS + min(group.difference, 0.0)
            tests = 1
        if group.low is None or margin <= 0:
            return None
        needed = images_needed(group.difference, group.low, self.images, tests, margin)
        if needed is None:
            return None
        return needed - self.images

    def as_dict(self) -> dict[str, Any]:
        """Return the judgement as a JSON-ready document."""
        return {
            **asdict(self),
            "gain_established": self.gain_established,
            "loss_excluded": self.loss_excluded,
            "recommended": self.recommended,
            "more_images": self.more_images,
        }


def measure_predictions(
    views: Views,
    conditions: Sequence[Condition],
    models: Sequence[Predict],
    seed: int,
    note: Note,
) -> tuple[Flags, Logs]:
    """Return which predictions are good, and the logarithms of a good one's probability.

    Both are (models, images, 1 + conditions); the first column is that of the originals.
    """
    image_count = len(views.pixels)
    flags = np.zeros((len(models), image_count, 1 + len(conditions)), bool)
    logs = np.zeros(flags.shape, np.float32)
    for start in range(0, image_count, _BATCH):
        rows = slice(start, min(start + _BATCH, image_count))
        originals = from_uint8(views.pixels[rows])
        digests = views.digests[rows]
        targets = views.targets[rows]
        for column in range(1 + len(conditions)):
            images = originals
            if column > 0:
                images = conditions[column - 1].images(originals, digests, seed)
            for index, predict in enumerate(models):
                probabilities = predict(images)
                flags[index, rows, column] = probabilities.argmax(1) == targets
                of_targets = probabilities[np.arange(len(targets)), targets]
                logs[index, rows, column] = np.log(np.maximum(of_targets, _UNLIKELY))
        note("Judging", rows.stop, image_count)
    return flags, logs


def judge_training(
    before: Flags,
    after: Flags,
    trained: Sequence[Condition],
    unseen: Sequence[Condition],
    *,
    labelled: bool,
) -> Judgement:
    """Return the judgement of the good predictions ``before`` and ``after`` the training.

    Both are (images, 1 + trained + unseen), as ``measure_predictions`` returns them by model.
    """
    conditions = [*trained, *unseen]
    columns = np.arange(1 + len(conditions))
    columns_of_groups = np.split(columns, [1, 1 + len(trained)])
    columns_of_conditions = [np.array([column]) for column in columns[1:]]
    names = [condition.id for condition in conditions]
    return Judgement(
        images=len(before),
        labelled=labelled,
        groups=_differences(before, after, GROUPS, columns_of_groups),
        conditions=_differences(before, after, names, columns_of_conditions),
    )


def _differences(
    before: Flags, after: Flags, names: Sequence[str], columns: Sequence[NDArray[np.intp]]
) -> tuple[GroupDifference, ...]:
    """The difference in the ``columns`` of each of ``names``, which are one family of tests."""
    estimates = []
    for chosen in columns:
        gaps = after[:, chosen].astype(np.int64) - before[:, chosen]
        everywhere = np.ones(gaps.shape, bool)
        estimates.append(overall(gaps, everywhere, everywhere))
    corrected = holm([estimate.p for estimate in estimates])
    differences = []
    for index, (name, chosen) in enumerate(zip(names, columns, strict=True)):
        estimate = estimates[index]
        differences.append(
            GroupDifference(
                name=name,
                conditions=len(chosen),
                before=float(before[:, chosen].mean()),
                after=float(after[:, chosen].mean()),
                difference=estimate.value or 0.0,
                low=estimate.low,
                high=estimate.high,
                p=corrected[index],
            )
        )
    return tuple(differences)


def kind(name: str) -> str:
    """Return the family that a perturbation belongs to by its effect."""
    if name in _KIND_BY_NAME:
        return _KIND_BY_NAME[name]
    family = REGISTRY[name].family
    return _KIND_BY_FAMILY.get(family, family)


def unseen_conditions(trained: Iterable[str]) -> tuple[Condition, ...]:
    """Return up to ``MOST_UNSEEN`` perturbations of kinds that no perturbation in ``trained`` has.

    Those of ImageNet-C come first, the kinds in turns. Raises ``ParameterError`` if no kind is
    left.
    """
    trained_kinds = {kind(name) for name in trained}
    names_by_kind: dict[str, list[str]] = {}
    for record in sorted(REGISTRY, key=_is_outside_imagenet_c):
        record_kind = kind(record.name)
        if record.family in FAMILIES and record_kind not in trained_kinds:
            names_by_kind.setdefault(record_kind, []).append(record.name)
    names = []
    for one_of_each_kind in zip_longest(*names_by_kind.values()):
        names += [name for name in one_of_each_kind if name is not None]
    if not names:
        raise ParameterError(
            "Expected perturbations that leave a family out, as unseen ones judge the result; got "
            f"{len(trained_kinds)} families. Choose fewer perturbations."
        )
    return tuple(Condition.of({name: STRENGTH}) for name in names[:MOST_UNSEEN])


def _is_outside_imagenet_c(record: Perturbation) -> bool:
    return record.imagenet_c != record.name


def names_to_train(names: Iterable[str]) -> tuple[str, ...]:
    """Return the first ``MOST_TRAINED`` of ``names``, weakest first, that leave some kinds out.

    ``_LEFT_OUT`` kinds stay for the judgement.
    """
    every_kind = {kind(record.name) for record in REGISTRY if record.family in FAMILIES}
    chosen: list[str] = []
    for name in dict.fromkeys(names):
        trained_kinds = {kind(other) for other in (*chosen, name)}
        if len(every_kind - trained_kinds) >= _LEFT_OUT:
            chosen.append(name)
    return tuple(chosen[:MOST_TRAINED])
