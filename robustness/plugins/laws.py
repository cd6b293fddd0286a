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
_STEPS = 3


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
    laws: dict[str, Callable[[str], list[Law]]] = {
        PERTURBATIONS.kind: lambda record: _of_perturbation(PERTURBATIONS[record]),
        METRICS.kind: lambda record: _of_metric(METRICS[record]),
        REMEDIES.kind: lambda record: _of_remedy(parse(record)),
        ATTACKS.kind: lambda record: _of_attack(ATTACKS[record]),
    }
    for kind, record in records:
        for law, broken in laws[kind](record):
            try:
                trouble = broken()
            except RobustnessError as error:
                trouble = str(error)
            yield LawResult(kind, record, law, trouble)
            if trouble and law.startswith("runs"):
                break  # without a result no other law can be tried


def images(side: int) -> Images:
    """Three 8-bit images: noise, a gradient and a grey plane."""
    noise = np.random.default_rng(side).random((side, side, 3))
    ramp = np.linspace(0, 1, side)
    gradient = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], ramp[::-1, None]), axis=-1)
    stack: Images = np.stack([noise, gradient, np.full_like(noise, 0.5)]).astype(np.float32)
    return round_to_grid(stack)


def _of_perturbation(record: Perturbation) -> list[Law]:
    by_side = {side: images(side) for side in SIDES}
    digests = [f"{record.name} {place}" for place in range(3)]

    def changed(strength: float, side: int = SIDES[0], seed: int = 0) -> Images:
        return apply(record, by_side[side], strength, seed=seed, digests=digests)

    def runs(side: int) -> str:
        for strength in STRENGTHS:
            changed(strength, side)
        return ""

    def tells() -> str:
        for strength in (0.0, *STRENGTHS):
            record.value_text(strength)
            record.value_at(strength)
        return ""

    def repeats() -> str:
        for strength in STRENGTHS:
            if not np.array_equal(changed(strength), changed(strength)):
                return f"they differ at strength {strength}"
        return ""

    def alone() -> str:
        for place in range(3):
            one = apply(
                record, by_side[224][place : place + 1], 0.75, seed=0, digests=digests[place:][:1]
            )
            if not np.array_equal(one[0], changed(0.75)[place]):
                return f"image {place + 1} of 3 differs from the same image alone"
        return ""

    def acts() -> str:
        same = np.array_equal(round_to_grid(changed(1.0)), by_side[SIDES[0]])
        return "strength 1 leaves all three images unchanged" if same else ""

    def grows() -> str:
        sizes = [np.abs(changed(s) - by_side[SIDES[0]]).mean() for s in STRENGTHS]
        for place, (low, high) in enumerate(pairwise(sizes)):
            if high < low - 1e-4:
                return (
                    f"mean change {low:.4f} at strength {STRENGTHS[place]}, {high:.4f} at "
                    f"{STRENGTHS[place + 1]}; set monotone=False if this is intended"
                )
        return ""

    def seeded() -> str:
        if np.array_equal(changed(1.0), changed(1.0, seed=1)):
            return "seeds 0 and 1 give the same images; set random=False"
        return ""

    return [
        *((f"runs on images of {side} pixels", partial(runs, side)) for side in SIDES),
        ("has a parameter value for every strength", tells),
        ("gives the same images for the same seed", repeats),
        ("changes an image the same way alone and in a batch", alone),
        ("changes something at strength 1", acts),
        *([("changes more at a higher strength", grows)] if record.monotone else []),
        *([("depends on the seed", seeded)] if record.random else []),
    ]


def _of_metric(record: Metric) -> list[Law]:
    rng = np.random.default_rng(0)
    if record.subject == PICTURE:
        before = images(SIDES[1])
    else:
        before = rng.random((3, 12)).astype(np.float32)
        if record.subject != FEATURES:
            before /= before.sum(1, keepdims=True)
    after = before[::-1].copy()

    def runs() -> str:
        record.scores(before, after)
        return ""

    def repeats() -> str:
        pair = record.scores(before, after), record.scores(before, after)
        return "" if np.array_equal(*pair, equal_nan=True) else f"{pair[0]}, then {pair[1]}"

    def alone() -> str:
        whole = record.scores(before, after)
        parts = [record.scores(before[i : i + 1], after[i : i + 1])[0] for i in range(3)]
        if np.allclose(whole, parts, atol=1e-9, equal_nan=True):
            return ""
        return f"{whole} together, {np.array(parts)} alone"

    def bounded() -> str:
        scores = np.concatenate([record.scores(before, after), record.scores(before, before)])
        present = scores[~np.isnan(scores)]
        out = present[(present < record.low - 1e-6) | (present > record.high + 1e-6)]
        return f"{out[0]:g} is not from {record.low:g} to {record.high:g}" if len(out) else ""

    def finite() -> str:
        scores = record.scores(before, after)
        return "" if np.isfinite(scores).all() else f"got {scores}"

    bounds = math.isfinite(record.low) or math.isfinite(record.high)
    return [
        ("runs on three pairs", runs),
        ("gives the same numbers again", repeats),
        ("gives a pair the same number alone and in a batch", alone),
        ("gives finite numbers for different inputs", finite),
        *([("stays within its bounds", bounded)] if bounds else []),
    ]


def _of_remedy(chain: Chain) -> list[Law]:
    def runs(side: int) -> str:
        chain.images(images(side))
        return ""

    return [
        *((f"runs on images of {side} pixels", partial(runs, side)) for side in SIDES),
        ("gives the same image again", partial(_repeats, lambda: chain.images(images(SIDES[0])))),
    ]


def _repeats(make: Callable[[], Images]) -> str:
    first = make()
    second = make()
    return "" if np.array_equal(first, second) else "the second image differs from the first"


def _of_attack(record: Attack) -> list[Law]:
    def crafted(norm: str) -> Images:
        spec = AttackSpec.of(record.name, norm=norm, steps=min(_STEPS, record.most_steps))
        model = models.load("SqueezeNet", side=224)
        image = images(224)[1]
        label = int(model(image[None]).probabilities[0].argmax())
        return adversarial(model, image, label, spec, record.name)

    def runs(norm: str) -> str:
        crafted(norm)
        return ""

    crafts = partial(crafted, record.norms[0])
    return [
        *((f"runs on a model in {norm}", partial(runs, norm)) for norm in record.norms),
        ("gives the same image for the same seed", partial(_repeats, crafts)),
    ]
