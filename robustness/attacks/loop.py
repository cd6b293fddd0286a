"""The loop of all attacks, and attacks on batches of images, one image at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.attacks import norms
from robustness.attacks.norms import Sizes
from robustness.attacks.record import REGISTRY, Attack, AttackSpec, Classes, State, Task
from robustness.base.errors import ParameterError
from robustness.base.validation import check_finite, checked_array
from robustness.images.framing import image_digest
from robustness.models import Classifier
from robustness.models.engine import ALL_OTHERS, BEST_OTHER
from robustness.perturbations import Images
from robustness.perturbations.record import stream

Bools = NDArray[np.bool_]
Places = NDArray[np.intp]
Enough = Callable[[Attack, Task, Images], Bools]
"""A function from the rows with a success, and their images, to those that need no more work."""

FAILED = 0
BEYOND = 1
SUCCEEDED = 2
SETTLED = 3
"""Levels of a row. BEYOND: a success of a minimal attack outside the allowed size. SETTLED: a
success that is enough."""

_SLACK = np.float32(1 + 1e-6)
"""Tolerance for rounding in single precision."""


@dataclass(frozen=True)
class Step:
    """Progress: ``done`` of at most ``total`` steps over all restarts and members.

    ``attack`` is the current one, a member for an ensemble. ``gain`` is the mean gain of the rows
    just evaluated: positive once the rivals lead. ``succeeded`` counts the rows with a success so
    far.
    """

    done: int
    total: int
    attack: str
    gain: float
    succeeded: int


@dataclass
class BestImages:
    """The best images of N rows so far: by the highest level, then by the highest merit.

    ``images`` are (N, S, S, 3) in [0, 1]; ``level`` (N,) is FAILED, BEYOND, SUCCEEDED or SETTLED;
    ``merit`` (N,) is the signed lead, for a success of a minimal attack minus the size of its
    change; ``by`` (N,) names the attacks that made the images.
    """

    images: Images
    level: Places
    merit: Sizes
    by: NDArray[np.object_]

    @classmethod
    def nothing(cls, clean: Images, name: str) -> BestImages:
        """The start: every row is its original."""
        rows = len(clean)
        merit = np.full(rows, -np.inf, np.float32)
        return cls(clean.copy(), np.full(rows, FAILED), merit, np.full(rows, name, object))

    @property
    def success(self) -> Bools:
        return self.level >= SUCCEEDED

    def take(self, places: Places, other: BestImages) -> None:
        """Replace the rows at ``places`` by those of ``other`` that are better."""
        levels = self.level[places]
        better = (other.level > levels) | (
            (other.level == levels) & (other.merit > self.merit[places])
        )
        for field in fields(self):
            getattr(self, field.name)[places[better]] = getattr(other, field.name)[better]

    def best_of(self, group: int) -> BestImages:
        """The best of each ``group`` consecutive rows."""
        rank = np.lexsort((self.merit, self.level)).argsort().reshape(-1, group)
        places = rank.argmax(1) + group * np.arange(len(rank))
        return BestImages(
            self.images[places], self.level[places], self.merit[places], self.by[places]
        )

    def unsettled(self, group: int) -> Bools:
        """The rows that still need work; one success is enough for ``group`` consecutive rows."""
        settled = (self.level == SETTLED).reshape(-1, group).any(1)
        return np.repeat(~settled, group)


def leads(
    scores: NDArray[np.floating[Any]], classes: Classes, rival: int = ALL_OTHERS
) -> NDArray[np.float32]:
    """The lead of other classes over ``classes``, in natural-log units, (N,).

    ``scores`` (N, classes) are logits or logarithms of probabilities. ``rival`` is ``ALL_OTHERS``
    together or ``BEST_OTHER``, as in ``models.gradients``.
    """
    rows = np.arange(len(scores))
    others = scores.astype(np.float64)
    own = others[rows, classes]
    others[rows, classes] = -np.inf
    ahead = others.max(axis=1) if rival == BEST_OTHER else np.logaddexp.reduce(others, axis=1)
    return (ahead - own).astype(np.float32)


def any_success(attack: Attack, task: Task, images: Images) -> Bools:
    """Every success is enough."""
    return np.ones(len(images), bool)


def search(
    attack: Attack, task: Task, restarts: int = 1, *, enough: Enough | None = None
) -> Generator[Step, None, BestImages]:
    """Run ``attack`` on the rows of ``task``; yield after every step, return the best images.

    The changes stay within the sizes of the task. Closing the generator stops within one step. A
    row is finished once ``enough`` accepts a success. Without ``enough`` each row gets all steps,
    and later members of an ensemble work on rows without a success. Raises ``GradientError`` for a
    model that the attack cannot use.
    """
    best = BestImages.nothing(task.clean, attack.turns[0].name)
    done = 0
    total = attack.total_steps(task.steps, restarts)
    for number, turn in enumerate(attack.turns):
        places = np.flatnonzero(best.level < (SUCCEEDED if enough is None else SETTLED))
        if not len(places):
            break
        record = REGISTRY[turn.name]
        part = replace(task.rows(places), steps=task.steps * turn.share, passes=turn.passes)
        runs = restarts if record.random else 1
        stop = enough or (any_success if number else None)
        before = Step(done, total, turn.name, 0.0, len(best.level) - len(places))
        best.take(places, (yield from _rounds(record, part, runs, stop, before)))
        done += part.steps * runs
    best.images = task.within(best.images)
    return best


def _rounds(
    attack: Attack, task: Task, restarts: int, enough: Enough | None, before: Step
) -> Generator[Step, None, BestImages]:
    """Run all restarts of one attack after ``before``; yield the steps."""
    if attack.rivals and not task.targeted:
        wide = task.aimed(attack.rivals)
    else:
        wide = replace(task, rivals=np.full(len(task.clean), attack.rival, np.int32))
    group = len(wide.clean) // len(task.clean)
    best = BestImages.nothing(wide.clean, attack.name)
    for start in range(0, restarts * task.steps, task.steps):
        places = np.flatnonzero(best.unsettled(group))
        if not len(places):
            break
        part = wide.rows(places)
        memory = dict[str, Any]()
        images = _checked(attack, attack.start(part), part)
        for step in range(task.steps):
            state = _state(attack, part, images, step, memory)
            if step or attack.random or attack.minimal:  # others start at the original
                best.take(places, _judged(attack, part, state, enough))
                open_rows = np.flatnonzero(best.unsettled(group)[places])
                if not len(open_rows):
                    break
                if len(open_rows) < len(places):
                    places = places[open_rows]
                    part = part.rows(open_rows)
                    state = state.rows(open_rows)
                    memory = state.memory
            moved = attack.move(part, state)
            if moved is None:
                break
            moved = _checked(attack, moved, part)
            images = moved if attack.minimal else part.within(moved)
            yield replace(
                before,
                done=before.done + start + step + 1,
                gain=float(state.gain.mean()),
                succeeded=before.succeeded + int(best.success.reshape(-1, group).any(1).sum()),
            )
        else:
            state = _state(attack, part, images, task.steps, memory, blind=True)
            best.take(places, _judged(attack, part, state, enough))
    return best.best_of(group)


def _checked(attack: Attack, images: object, task: Task) -> Images:
    """``images`` of a hook of ``attack``; raises ``PluginError`` unless they are finite images."""
    what = f"attack {attack.name!r}"
    checked = checked_array(what, images, task.clean.shape, "images", "f", "i", "u")
    check_finite(what, checked)
    return checked.astype(np.float32, copy=False)


def _state(
    attack: Attack,
    task: Task,
    images: Images,
    step: int,
    memory: dict[str, Any],
    *,
    blind: bool = False,
) -> State:
    """The state at ``images``; without the gradient if ``blind``."""
    if attack.white_box and not blind:
        slopes = [
            task.classifier.gradients(images, task.classes, task.rivals, scaled=attack.scaled)
            for _ in range(task.passes)
        ]
        lead, scores, gradient = (
            sum(getattr(slope, name) for slope in slopes) / np.float32(len(slopes))
            for name in ("lead", "scores", "gradient")
        )
        if not task.classifier.exact:  # success is decided by the prediction
            scores = _scores(task, images)
        return State(images, step, task.sign * lead, scores, task.sign * gradient, memory)
    scores = _scores(task, images)
    gain = task.sign * leads(scores, task.classes, attack.rival)
    return State(images, step, gain, scores, np.zeros_like(images), memory)


def _scores(task: Task, images: Images) -> NDArray[np.float64]:
    """The logarithms of the probabilities for ``images``."""
    probabilities = task.classifier(images).probabilities.astype(np.float64)
    return np.log(probabilities + np.finfo(np.float64).tiny)


def _judged(attack: Attack, task: Task, state: State, enough: Enough | None) -> BestImages:
    """The levels and merits of the images of ``state``."""
    success = (state.scores.argmax(1) == task.classes) == task.targeted
    level = np.where(success, SUCCEEDED, FAILED)
    merit = task.sign * leads(state.scores, task.classes)
    if attack.minimal:
        size = task.norm.size(state.images - task.clean).astype(np.float32)
        merit = np.where(success, -size, merit)
        level[success & (size > task.sizes * _SLACK)] = BEYOND
    won = np.flatnonzero(level == SUCCEEDED)
    if enough is not None and len(won):
        level[won[enough(attack, task.rows(won), state.images[won])]] = SETTLED
    return BestImages(state.images, level, merit, np.full(len(level), attack.name, object))


def attack(
    classifier: Classifier,
    images: Images,
    labels: NDArray[Any] | None = None,
    spec: AttackSpec | None = None,
    *,
    digests: Sequence[str] | None = None,
    report: Callable[[Step], None] | None = None,
) -> Images:
    """The adversarial versions of ``images`` (N, S, S, 3), float32 in [0, 1]; failures included.

    ``labels`` (N,) are the classes to leave, by default the model's predictions; a ``target`` of
    ``spec`` takes precedence. Without ``spec`` the attack is PGD. ``digests`` seed the random
    streams, by default those of the images. Each image passes through the model alone, since the
    batch size changes the last bits of sums: results do not depend on other images. ``report`` is
    called at every step; an exception from it ends the work. Raises ``ParameterError`` for another
    shape or an invalid label, and ``GradientError`` for a model that the attack cannot use.
    """
    classifier.check_images(images)
    spec = spec or AttackSpec.of("pgd")
    digests = digests if digests is not None else [image_digest(image) for image in images]
    results = []
    for row, digest in enumerate(digests):
        label = None if labels is None else int(labels[row])
        enough = any_success if spec.record.eager else None
        steps = attack_steps(classifier, images[row], label, spec, digest, enough=enough)
        results.append(run_to_end(steps, report).images[0])
    return np.stack(results)


def run_to_end(
    steps: Generator[Step, None, BestImages], report: Callable[[Step], None] | None = None
) -> BestImages:
    """The return value of ``steps``; calls ``report`` at every step."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if report is not None:
            report(step)


def attack_steps(
    classifier: Classifier,
    image: Images,
    label: int | None,
    spec: AttackSpec,
    digest: str,
    *,
    enough: Enough | None = None,
) -> Generator[Step, None, BestImages]:
    """Attack one image (S, S, 3) with ``enough`` as in ``search``: yield the steps.

    Returns the best image of this row. Labels and exceptions as in ``attack``.
    """
    clean = image[None]
    if spec.epsilon == 0:
        return BestImages.nothing(clean, spec.name)
    if spec.target is not None:
        label = spec.target
    if label is None:
        label = int(classifier(clean).probabilities[0].argmax())
    task = make_task(classifier, clean, label, spec, [spec.epsilon], [digest])
    return (yield from search(spec.record, task, spec.restarts, enough=enough))


def make_task(
    classifier: Classifier,
    clean: Images,
    label: int,
    spec: AttackSpec,
    sizes: Sequence[float],
    digests: Sequence[str],
) -> Task:
    """The task of ``spec`` for rows ``clean``, each with its own largest change.

    A calibrated copy takes the attacks of its original: a temperature changes the steps of an
    attack, but not whether an image fools the model, so that copies would differ by luck alone.
    Raises ``ParameterError`` for a ``label`` that is no class of the model.
    """
    check_class(classifier, label)
    return Task(
        classifier=classifier.untempered,
        clean=clean,
        classes=np.full(len(clean), label, np.int32),
        rivals=np.full(len(clean), ALL_OTHERS, np.int32),
        targeted=spec.target is not None,
        norm=norms.REGISTRY[spec.norm],
        sizes=np.asarray(sizes, np.float32),
        steps=spec.steps,
        streams=[stream(spec.seed, digest, f"attack {spec.name}") for digest in digests],
    )


def check_class(classifier: Classifier, index: int) -> None:
    """Raise ``ParameterError`` unless the model has a class ``index``."""
    count = len(classifier.record.labels())
    if not 0 <= index < count:
        raise ParameterError(
            f"Expected a class of {classifier.record.label} from 0 to {count - 1}, got {index}."
        )
