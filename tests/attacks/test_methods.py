"""Attacks on networks whose smallest changes are known, and the parts that they are made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize

from robustness import models
from robustness.attacks import NORMS, REGISTRY, AttackSpec, Step, attack
from robustness.attacks.loop import FAILED, any_success, attack_steps, make_task, run_to_end, search
from robustness.attacks.methods import _windows, no_move
from robustness.attacks.record import Attack, Member, State, Task
from robustness.images.framing import Picture
from robustness.models import Classifier
from robustness.models.engine import BEST_OTHER
from robustness.models.frameworks import keras
from tests.support.twelve_classes import of_twelve_classes

CLASSES, SIDE = 12, 8
DUAL = {"linf": 1, "l2": 2}
AUTO = ("apgd_ce", "apgd_dlr", "apgd_t", "fab_t", "autoattack")


@pytest.fixture(scope="module")
def network() -> Any:
    """Scores that are linear in the pixels, of twelve classes."""
    keras().utils.set_random_seed(0)
    layers = keras().layers
    pixels = layers.Input((SIDE, SIDE, 3))
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    network = keras().Model(pixels, head(layers.Flatten()(pixels)))
    head.set_weights([30 * part for part in head.get_weights()])  # so that few classes count
    return network


@pytest.fixture(scope="module")
def linear(network: Any) -> Classifier:
    return of_twelve_classes(network, SIDE, mean=0.0, spread=1.0)


@pytest.fixture(scope="module")
def grey() -> Picture:
    """Far from the ends of [0, 1], as the known distances heed no box."""
    image = np.random.default_rng(4).uniform(0.45, 0.55, (SIDE, SIDE, 3)).astype(np.float32)
    return Picture.of("grey", image)


def distance(network: Any, picture: Picture, norm: str) -> float:
    """To the nearest boundary: by how much a class is behind, over the dual norm of the slope."""
    weights, bias = (part.astype(np.float64) for part in network.layers[-1].get_weights())
    scores = picture.image.reshape(-1).astype(np.float64) @ weights + bias
    own = scores.argmax()
    others = np.delete(np.arange(CLASSES), own)
    slopes = weights[:, others] - weights[:, [own]]
    behind = scores[own] - scores[others]
    return float((behind / np.linalg.norm(slopes, DUAL[norm], axis=0)).min())


@pytest.mark.parametrize("norm", NORMS.names)
@pytest.mark.parametrize("name", AUTO)
def test_it_crosses_the_nearest_boundary_and_no_nearer_one(
    network: Any, linear: Classifier, grey: Picture, name: str, norm: str
) -> None:
    nearest = distance(network, grey, norm)
    own = linear(grey.image[None]).probabilities.argmax(1)
    for share, broken in ((0.98, False), (1.02, True)):
        spec = AttackSpec.of(name, norm=norm, epsilon=share * nearest, steps=10)
        made = attack(linear, grey.image[None], own, spec)
        assert (linear(made).probabilities.argmax(1) != own) == broken


@pytest.mark.parametrize("norm", NORMS.names)
def test_fab_finds_the_smallest_change(
    network: Any, linear: Classifier, grey: Picture, norm: str
) -> None:
    spec = AttackSpec.of("fab_t", norm=norm, steps=20, epsilon=NORMS[norm].most)
    made = run_to_end(attack_steps(linear, grey.image, None, spec, grey.digest)).images
    nearest = distance(network, grey, norm)
    assert nearest * 0.9999 < NORMS[norm].size(made - grey.image)[0] < nearest * 1.02


@pytest.mark.parametrize("norm", NORMS.names)
def test_the_shortest_way_to_a_gain_heeds_the_ends_of_the_range(norm: str) -> None:
    """Against solvers of other people: a linear program, and a quadratic one."""
    random = np.random.default_rng(1)
    image = random.choice([0.0, 0.1, 0.5, 1.0], (1, 2, 2, 3)).astype(np.float32)
    slope = random.standard_normal(image.shape).astype(np.float32)
    x, g = image.reshape(-1).astype(float), slope.reshape(-1).astype(float)
    for gain in (0.3, -1.0, 2.0):
        found = NORMS[norm].shortest(image, slope, np.array([gain]))
        assert (found * slope).sum() == pytest.approx(gain, rel=1e-5)
        assert ((image + found >= 0) & (image + found <= 1)).all()
        expected = _smallest(norm, x, g, gain)
        assert NORMS[norm].size(found)[0] == pytest.approx(expected, rel=1e-4)
    far = NORMS[norm].shortest(image, slope, np.array([1e3]))
    np.testing.assert_allclose(image + far, slope > 0)


def _smallest(norm: str, x: NDArray[Any], g: NDArray[Any], gain: float) -> float:
    if norm == "linf":
        box = np.block([[np.eye(len(x)), -np.ones((len(x), 1))]])
        both = np.vstack([box, box * np.append(-np.ones(len(x)), 1)])
        solved = optimize.linprog(
            np.append(np.zeros(len(x)), 1),
            A_ub=both,
            b_ub=np.zeros(2 * len(x)),
            A_eq=[np.append(g, 0)],
            b_eq=[gain],
            bounds=[*zip(-x, 1 - x, strict=True), (0, None)],
        )
        return float(solved.fun)
    solved = optimize.minimize(
        lambda d: d @ d,
        np.zeros(len(x)),
        jac=lambda d: 2 * d,
        bounds=list(zip(-x, 1 - x, strict=True)),
        constraints={"type": "eq", "fun": lambda d: g @ d - gain, "jac": lambda d: g},
        options={"ftol": 1e-14},
    )
    return float(np.sqrt(solved.fun))


def test_the_ratio_of_logits_is_the_papers(linear: Classifier, grey: Picture) -> None:
    own = linear(grey.image[None]).probabilities.argmax(1).astype(np.int32)
    plain = linear.gradients(grey.image[None], own)
    z = plain.scores[0].astype(np.float64)
    order = np.argsort(-z)
    rival = order[5]
    by_rival = {
        BEST_OTHER: (z[order[1]] - z[own[0]]) / (z[order[0]] - z[order[2]]),
        rival: (z[rival] - z[own[0]]) / (z[order[0]] - (z[order[2]] + z[order[3]]) / 2),
    }
    for code, expected in by_rival.items():
        rivals = np.array([code], np.int32)
        found = linear.gradients(grey.image[None], own, rivals, scaled=True)
        assert found.lead[0] == pytest.approx(expected, rel=1e-4)
        # Along its own gradient the ratio rises as that says.
        moved = grey.image[None] + np.float32(1e-3) * found.gradient
        risen = linear.gradients(moved, own, rivals, scaled=True).lead[0] - found.lead[0]
        assert risen == pytest.approx(1e-3 * np.square(found.gradient).sum(), rel=0.05)


def test_the_checkpoints_of_100_steps_are_the_papers() -> None:
    """Section 3.2: the shares 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93 and 0.99 of all moves."""
    assert list(_windows(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(_windows(100).values()) == [22, 19, 16, 13, 10, 7, 6, 6]


# --- ensembles ------------------------------------------------------------------------------------


def test_a_member_is_asked_of_what_is_unbroken_and_the_one_that_broke_it_is_named(
    network: Any, linear: Classifier, grey: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearest = distance(network, grey, "linf")
    asked: dict[str, int] = {}

    def member(name: str, share: float) -> Attack:
        """It jumps ``share`` of the allowed size, so that it breaks no row that is too small."""

        def move(task: Task, state: State) -> NDArray[np.float32]:
            asked[name] = len(state.images)
            jump = np.float32(share) * task.sizes[:, None, None, None]
            return state.images + jump * np.sign(state.gradient)

        return replace(REGISTRY["fgsm"], name=name, move=move)

    weak, strong = member("weak", 0.5), member("strong", 1)
    both = replace(weak, name="both", move=no_move, members=(Member("weak"), Member("strong")))
    for record in (weak, strong, both):
        monkeypatch.setitem(REGISTRY._records, record.name, record)
    sizes = [0.5 * nearest, 1.5 * nearest, 3 * nearest]
    own = int(linear(grey.image[None]).probabilities.argmax())
    task = make_task(
        linear,
        np.repeat(grey.image[None], 3, axis=0),
        own,
        AttackSpec("both", "linf", 1, 1),
        sizes,
        ["a", "b", "c"],
    )
    found = run_to_end(search(both, task, enough=any_success))
    assert asked == {"weak": 3, "strong": 2}
    assert (found.level > FAILED).tolist() == [False, True, True]
    assert found.by.tolist()[1:] == ["strong", "weak"]


def test_steps_are_counted_over_members_and_restarts(linear: Classifier, grey: Picture) -> None:
    spec = AttackSpec.of("autoattack", steps=2, restarts=3, epsilon=1e-6)
    assert spec.total_steps == 2 * 3 + 2 * 3 + 2 + 2 * 50 * 3
    steps: list[Step] = []
    attack(linear, grey.image[None], None, spec, report=steps.append)
    assert [step.done for step in steps] == list(range(1, spec.total_steps + 1))
    assert {step.total for step in steps} == {spec.total_steps}
    turns = list(dict.fromkeys(step.attack for step in steps))
    assert turns == ["apgd_ce", "apgd_t", "fab_t", "square"]


def test_a_gradient_is_the_mean_of_several_passes(linear: Classifier, grey: Picture) -> None:
    """A model whose answers are random is attacked by what they are on average."""
    record = replace(
        REGISTRY["autoattack_rand"], members=(Member("apgd_ce", passes=3),), name="apgd_ce"
    )
    noise = iter(np.random.default_rng(0).normal(0, 50, 1000))

    class Random:
        """The linear network with noise on every gradient, the same on all pixels."""

        record = linear.record
        exact = True

        @property
        def untempered(self) -> Random:
            return self

        def __call__(self, images: NDArray[np.float32]) -> models.Outputs:
            return linear(images)

        def gradients(self, *arguments: Any, **options: Any) -> Any:
            slope = linear.gradients(*arguments, **options)
            asked.append(float(next(noise)))
            return replace(slope, gradient=slope.gradient + np.float32(asked[-1]))

    asked: list[float] = []
    seen: list[NDArray[np.float32]] = []

    def move(task: Task, state: State) -> NDArray[np.float32]:
        seen.append(state.gradient)
        return state.images

    quiet = replace(REGISTRY["apgd_ce"], move=move)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGISTRY._records, "apgd_ce", quiet)
        spec = AttackSpec.of("apgd_ce", steps=1, epsilon=1e-6)
        task = make_task(Random(), grey.image[None], 0, spec, [1e-6], ["a"])  # type: ignore[arg-type]
        run_to_end(search(record, task))
    plain = linear.gradients(grey.image[None], np.array([0], np.int32)).gradient
    assert len(asked) == 3
    np.testing.assert_allclose(seen[0] - plain, np.mean(asked), atol=1e-3)
