"""The laws of the registries, tried on one plugin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from robustness import models
from robustness.attacks import REGISTRY as ATTACKS
from robustness.attacks import Attack, AttackSpec, adversarial
from robustness.base.errors import PluginError, RobustnessError
from robustness.datasets import Dataset
from robustness.datasets.rows import REGISTRY as DATASETS
from robustness.datasets.rows import NamedRows, open_rows
from robustness.images.pixels import round_to_grid
from robustness.metrics import FEATURES, PICTURE, Metric
from robustness.metrics import REGISTRY as METRICS
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.perturbations import Images, Perturbation, apply
from robustness.plugins.loading import records_of
from robustness.remedies import REGISTRY as REMEDIES
from robustness.remedies import Chain, parse

SIDES = (224, 96)
STRENGTHS = (0.05, 0.25, 0.5, 0.75, 1.0)
_IMAGE_COUNT = 3
_ATTACK_STEPS = 3
"""Most steps of an attack: a law needs its result, not a strong one."""


@dataclass(frozen=True)
class LawResult:
    """One law for one record: whether it holds and, if not, what breaks it."""

    kind: str
    name: str
    law: str
    trouble: str = ""

    @property
    def holds(self) -> bool:
        return not self.trouble


Law = tuple[str, Callable[[], str]]
"""A sentence, and a function that returns what breaks it, or ""."""


def check(name: str) -> Iterator[LawResult]:
    """Try every law on every record of the loaded plugin ``name``; attacks attack SqueezeNet.

    Raises ``PluginError`` if it has no record.
    """
    records = records_of(name)
    if not records:
        raise PluginError(
            f"The plugin {name} adds nothing: use @rb.perturbation or another decorator."
        )
    for kind, record_name in records:
        for law, find_trouble in _laws(kind, record_name):
            try:
                trouble = find_trouble()
            except RobustnessError as error:
                trouble = str(error)
            yield LawResult(kind, record_name, law, trouble)
            if trouble and law.startswith("runs"):
                break  # without a result no other law can be tried


def _laws(kind: str, record_name: str) -> list[Law]:
    if kind == PERTURBATIONS.kind:
        return _laws_of_perturbation(PERTURBATIONS[record_name])
    if kind == METRICS.kind:
        return _laws_of_metric(METRICS[record_name])
    if kind == REMEDIES.kind:
        return _laws_of_remedy(parse(record_name))
    if kind == ATTACKS.kind:
        return _laws_of_attack(ATTACKS[record_name])
    if kind == DATASETS.kind:
        return _laws_of_dataset(DATASETS[record_name])
    raise KeyError(kind)


def images(side: int) -> Images:
    """Return three 8-bit images (3, side, side, 3): noise, a gradient and a grey plane."""
    noise = np.random.default_rng(side).random((side, side, 3))
    ramp = np.linspace(0, 1, side)
    gradient = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], ramp[::-1, None]), axis=-1)
    grey = np.full_like(noise, 0.5)
    stack: Images = np.stack([noise, gradient, grey]).astype(np.float32)
    return round_to_grid(stack)


def _laws_of_perturbation(record: Perturbation) -> list[Law]:
    originals_by_side = {side: images(side) for side in SIDES}
    originals = originals_by_side[SIDES[0]]
    digests = [f"{record.name} {index}" for index in range(_IMAGE_COUNT)]

    def perturb(strength: float, *, side: int = SIDES[0], seed: int = 0) -> Images:
        return apply(record, originals_by_side[side], strength, seed=seed, digests=digests)

    def run_at_every_strength(side: int) -> str:
        for strength in STRENGTHS:
            perturb(strength, side=side)
        return ""

    def tell_parameter() -> str:
        for strength in (0.0, *STRENGTHS):
            record.value_text(strength)
            record.value_at(strength)
        return ""

    def repeat() -> str:
        for strength in STRENGTHS:
            if not np.array_equal(perturb(strength), perturb(strength)):
                return f"they differ at strength {strength}"
        return ""

    def compare_with_batch() -> str:
        in_batch = perturb(0.75)
        for index in range(_IMAGE_COUNT):
            (alone,) = apply(
                record,
                originals[index : index + 1],
                0.75,
                seed=0,
                digests=digests[index : index + 1],
            )
            if not np.array_equal(alone, in_batch[index]):
                return f"image {index + 1} of 3 differs from the same image alone"
        return ""

    def look_for_change() -> str:
        if np.array_equal(round_to_grid(perturb(1.0)), originals):
            return "strength 1 leaves all three images unchanged"
        return ""

    def compare_strengths() -> str:
        changes = [np.abs(perturb(strength) - originals).mean() for strength in STRENGTHS]
        pairs = zip(pairwise(STRENGTHS), pairwise(changes), strict=True)
        for (weaker, stronger), (smaller, larger) in pairs:
            if larger < smaller - 1e-4:
                return (
                    f"mean change {smaller:.4f} at strength {weaker}, {larger:.4f} at "
                    f"{stronger}; set monotone=False if this is intended"
                )
        return ""

    def compare_seeds() -> str:
        if np.array_equal(perturb(1.0), perturb(1.0, seed=1)):
            return "seeds 0 and 1 give the same images; set random=False"
        return ""

    laws: list[Law] = []
    for side in SIDES:
        laws.append((f"runs on images of {side} pixels", partial(run_at_every_strength, side)))
    laws.append(("has a parameter value for every strength", tell_parameter))
    laws.append(("gives the same images for the same seed", repeat))
    laws.append(("changes an image the same way alone and in a batch", compare_with_batch))
    laws.append(("changes something at strength 1", look_for_change))
    if record.monotone:
        laws.append(("changes more at a higher strength", compare_strengths))
    if record.random:
        laws.append(("depends on the seed", compare_seeds))
    return laws


def _laws_of_metric(record: Metric) -> list[Law]:
    if record.subject == PICTURE:
        originals = images(SIDES[1])
    else:
        originals = np.random.default_rng(0).random((3, 12)).astype(np.float32)
        if record.subject != FEATURES:
            originals /= originals.sum(axis=1, keepdims=True)  # probabilities
    others = originals[::-1].copy()

    def run() -> str:
        record.scores(originals, others)
        return ""

    def repeat() -> str:
        first = record.scores(originals, others)
        second = record.scores(originals, others)
        if np.array_equal(first, second, equal_nan=True):
            return ""
        return f"{first}, then {second}"

    def compare_with_batch() -> str:
        together = record.scores(originals, others)
        alone = []
        for index in range(len(originals)):
            (score,) = record.scores(originals[index : index + 1], others[index : index + 1])
            alone.append(score)
        if np.allclose(together, alone, atol=1e-9, equal_nan=True):
            return ""
        return f"{together} together, {np.array(alone)} alone"

    def compare_with_bounds() -> str:
        scores = np.concatenate(
            [record.scores(originals, others), record.scores(originals, originals)]
        )
        # A metric may have no number for some pairs; another law is about these.
        numbers = scores[~np.isnan(scores)]
        for number in numbers:
            if not record.low - 1e-6 <= number <= record.high + 1e-6:
                return f"{number:g} is not from {record.low:g} to {record.high:g}"
        return ""

    def look_for_gaps() -> str:
        scores = record.scores(originals, others)
        if np.isfinite(scores).all():
            return ""
        return f"got {scores}"

    laws: list[Law] = [
        ("runs on three pairs", run),
        ("gives the same numbers again", repeat),
        ("gives a pair the same number alone and in a batch", compare_with_batch),
        ("gives finite numbers for different inputs", look_for_gaps),
    ]
    if math.isfinite(record.low) or math.isfinite(record.high):
        laws.append(("stays within its bounds", compare_with_bounds))
    return laws


def _laws_of_remedy(chain: Chain) -> list[Law]:
    def apply_remedy(side: int) -> Images:
        return chain.images(images(side))

    def run(side: int) -> str:
        apply_remedy(side)
        return ""

    def repeat() -> str:
        return _difference(apply_remedy(SIDES[0]), apply_remedy(SIDES[0]))

    laws: list[Law] = []
    for side in SIDES:
        laws.append((f"runs on images of {side} pixels", partial(run, side)))
    laws.append(("gives the same image again", repeat))
    return laws


def _laws_of_dataset(record: NamedRows) -> list[Law]:
    def open_and_read() -> Dataset:
        opened = open_rows(record.function())
        opened.read(opened.entries[0])
        return opened

    def run() -> str:
        open_and_read()
        return ""

    def repeat() -> str:
        if open_and_read().digest == open_and_read().digest:
            return ""
        return "labels or images differ"

    return [("runs, and its first image is read", run), ("gives the same rows again", repeat)]


def _difference(first: Images, second: Images) -> str:
    if np.array_equal(first, second):
        return ""
    return "the second image differs from the first"


def _laws_of_attack(record: Attack) -> list[Law]:
    def attack(norm: str) -> Images:
        steps = min(_ATTACK_STEPS, record.most_steps)
        spec = AttackSpec.of(record.name, norm=norm, steps=steps)
        model = models.load("SqueezeNet", side=224)
        image = images(224)[1]  # the gradient
        label = int(model(image[None]).probabilities[0].argmax())
        return adversarial(model, image, label, spec, record.name)

    def run(norm: str) -> str:
        attack(norm)
        return ""

    def repeat() -> str:
        norm = record.norms[0]
        return _difference(attack(norm), attack(norm))

    laws: list[Law] = []
    for norm in record.norms:
        laws.append((f"runs on a model in {norm}", partial(run, norm)))
    laws.append(("gives the same image for the same seed", repeat))
    return laws
