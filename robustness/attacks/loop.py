"""The loop of all attacks, and attacks on batches of images, one image at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
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
"""A function of an attack, the task of the rows (N,) with a success, and their images (N, S, S, 3).

It returns which of these rows need no more work.
"""

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
        """Return the start, in which every row is its original, by the attack ``name``."""
        row_count = len(clean)
        return cls(
            images=clean.copy(),
            level=np.full(row_count, FAILED),
            merit=np.full(row_count, -np.inf, np.float32),
            by=np.full(row_count, name, object),
        )

    @property
    def success(self) -> Bools:
        return self.level >= SUCCEEDED

    def take(self, places: Places, other: BestImages) -> None:
        """Replace the rows at ``places`` by those of ``other`` that are better."""
        is_higher = other.level > self.level[places]
        is_level = other.level == self.level[places]
        has_more_merit = other.merit > self.merit[places]
        is_better = is_higher | (is_level & has_more_merit)
        for field in fields(self):
            values = getattr(self, field.name)
            values[places[is_better]] = getattr(other, field.name)[is_better]

    def best_of(self, group: int) -> BestImages:
        """Return the best of each ``group`` consecutive rows."""
        order = np.lexsort((self.merit, self.level))  # by level, then by merit
        ranks = order.argsort().reshape(-1, group)
        places = ranks.argmax(1) + group * np.arange(len(ranks))
        return BestImages(
            images=self.images[places],
            level=self.level[places],
            merit=self.merit[places],
            by=self.by[places],
        )

    def unsettled(self, group: int) -> Bools:
        """Return which rows need more work; one success is enough for ``group`` rows in line."""
        is_settled = (self.level == SETTLED).reshape(-1, group).any(1)
        return np.repeat(~is_settled, group)


def leads(
    scores: NDArray[np.floating[Any]], classes: Classes, rival: int = ALL_OTHERS
) -> NDArray[np.float32]:
    """Return the lead (N,) of other classes over ``classes`` (N,), in natural-log units.

    ``scores`` (N, classes) are logits or logarithms of probabilities. ``rival`` is ``ALL_OTHERS``
    together or ``BEST_OTHER``, as in ``models.gradients``.
    """
    rows = np.arange(len(scores))
    other_scores = scores.astype(np.float64)
    own_scores = other_scores[rows, classes]
    other_scores[rows, classes] = -np.inf
    if rival == BEST_OTHER:
        rival_scores = other_scores.max(axis=1)
    else:
        rival_scores = np.logaddexp.reduce(other_scores, axis=1)
    return (rival_scores - own_scores).astype(np.float32)


def any_success(attack: Attack, task: Task, images: Images) -> Bools:
    """An ``Enough`` for which every success is enough."""
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
    open_below = SUCCEEDED if enough is None else SETTLED
    done = 0
    total = attack.total_steps(task.steps, restarts)
    for number, member in enumerate(attack.turns):
        places = np.flatnonzero(best.level < open_below)
        if not len(places):
            break
        record = REGISTRY[member.name]
        member_restarts = restarts if record.random else 1
        member_task = replace(
            task.rows(places), steps=task.steps * member.share, passes=member.passes
        )
        member_enough = enough
        if enough is None and number > 0:
            member_enough = any_success
        before = Step(done, total, member.name, gain=0.0, succeeded=len(best.level) - len(places))
        found = yield from _restarts(record, member_task, member_restarts, member_enough, before)
        best.take(places, found)
        done += member_task.steps * member_restarts
    best.images = task.within(best.images)
    return best


def _restarts(
    attack: Attack, task: Task, restarts: int, enough: Enough | None, before: Step
) -> Generator[Step, None, BestImages]:
    """Run all restarts of one attack after ``before``: yield the steps, return the best images."""
    if attack.rivals and not task.targeted:
        rival_task = task.aimed(attack.rivals)
    else:
        rival_task = replace(task, rivals=np.full(len(task.clean), attack.rival, np.int32))
    # Each row of ``task`` has so many consecutive rows, one for each of its rivals.
    group = len(rival_task.clean) // len(task.clean)
    best = BestImages.nothing(rival_task.clean, attack.name)
    for restart in range(restarts):
        places = np.flatnonzero(best.unsettled(group))
        if not len(places):
            break
        gains = _run_once(attack, rival_task.rows(places), places, best, group, enough)
        for step, gain in enumerate(gains, 1):
            is_success = best.success.reshape(-1, group).any(1)
            yield replace(
                before,
                done=before.done + restart * task.steps + step,
                gain=gain,
                succeeded=before.succeeded + int(is_success.sum()),
            )
    return best.best_of(group)


def _run_once(
    attack: Attack,
    task: Task,
    places: Places,
    best: BestImages,
    group: int,
    enough: Enough | None,
) -> Iterator[float]:
    """Run ``attack`` from its start on ``task``, the rows ``places`` of ``best``, and update these.

    Yields the mean gain after every step. Rows that need no more work are left out.
    """
    starts_at_original = not attack.random and not attack.minimal
    memory: dict[str, Any] = {}
    images = _checked(attack, attack.start(task), task)
    for step in range(task.steps):
        state = _state(attack, task, images, step, memory)
        if step > 0 or not starts_at_original:
            best.take(places, _judged(attack, task, state, enough))
            open_rows = np.flatnonzero(best.unsettled(group)[places])
            if not len(open_rows):
                return
            if len(open_rows) < len(places):
                places = places[open_rows]
                task = task.rows(open_rows)
                state = state.rows(open_rows)
                memory = state.memory
        moved = attack.move(task, state)
        if moved is None:
            return
        images = _checked(attack, moved, task)
        if not attack.minimal:
            images = task.within(images)
        yield float(state.gain.mean())
    state = _state(attack, task, images, task.steps, memory, blind=True)
    best.take(places, _judged(attack, task, state, enough))


def _checked(attack: Attack, images: object, task: Task) -> Images:
    """Return what a hook of ``attack`` gave, float32; raise ``PluginError`` unless it is images."""
    subject = f"attack {attack.name!r}"
    checked = checked_array(subject, images, task.clean.shape, "images", "f", "i", "u")
    check_finite(subject, checked)
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
    if blind or not attack.white_box:
        scores = _log_probabilities(task, images)
        gain = task.sign * leads(scores, task.classes, attack.rival)
        return State(images, step, gain, scores, np.zeros_like(images), memory)
    slopes = []
    for _ in range(task.passes):
        slopes.append(
            task.classifier.gradients(images, task.classes, task.rivals, scaled=attack.scaled)
        )
    gain = task.sign * _mean([slope.lead for slope in slopes])
    scores = _mean([slope.scores for slope in slopes])
    gradient = task.sign * _mean([slope.gradient for slope in slopes])
    if not task.classifier.exact:
        # Success is decided by the prediction, whose scores are not quite these.
        scores = _log_probabilities(task, images)
    return State(images, step, gain, scores, gradient, memory)


def _mean(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.asarray(sum(arrays) / np.float32(len(arrays)))


def _log_probabilities(task: Task, images: Images) -> NDArray[np.float64]:
    probabilities = task.classifier(images).probabilities.astype(np.float64)
    return np.log(probabilities + np.finfo(np.float64).tiny)


def _judged(attack: Attack, task: Task, state: State, enough: Enough | None) -> BestImages:
    """The images of ``state`` with their levels and merits."""
    is_class = state.scores.argmax(1) == task.classes
    is_success = is_class if task.targeted else ~is_class
    level = np.where(is_success, SUCCEEDED, FAILED)
    merit = task.sign * leads(state.scores, task.classes)
    if attack.minimal:
        sizes = task.norm.size(state.images - task.clean).astype(np.float32)
        merit = np.where(is_success, -sizes, merit)
        level[is_success & (sizes > task.sizes * _SLACK)] = BEYOND
    succeeded = np.flatnonzero(level == SUCCEEDED)
    if enough is not None and len(succeeded):
        is_enough = enough(attack, task.rows(succeeded), state.images[succeeded])
        level[succeeded[is_enough]] = SETTLED
    names = np.full(len(level), attack.name, object)
    return BestImages(state.images, level, merit, names)


def attack(
    classifier: Classifier,
    images: Images,
    labels: NDArray[Any] | None = None,
    spec: AttackSpec | None = None,
    *,
    digests: Sequence[str] | None = None,
    report: Callable[[Step], None] | None = None,
) -> Images:
    """Return adversarial versions of ``images`` (N, S, S, 3), float32 in [0, 1], failures included.

    ``labels`` (N,) are the classes to leave, by default the model's predictions; a ``target`` of
    ``spec`` takes precedence. Without ``spec`` the attack is PGD. ``digests`` seed the random
    streams, by default those of the images. Each image passes through the model alone, since the
    batch size changes the last bits of sums: results do not depend on other images. ``report`` is
    called at every step; an exception from it ends the work. Raises ``ParameterError`` for another
    shape or an invalid label, and ``GradientError`` for a model that the attack cannot use.
    """
    classifier.check_images(images)
    spec = spec or AttackSpec.of("pgd")
    enough = any_success if spec.record.eager else None
    if digests is None:
        digests = [image_digest(image) for image in images]
    results = []
    for row, digest in enumerate(digests):
        label = None if labels is None else int(labels[row])
        steps = attack_steps(classifier, images[row], label, spec, digest, enough=enough)
        results.append(run_to_end(steps, report).images[0])
    return np.stack(results)


def run_to_end(
    steps: Generator[Step, None, BestImages], report: Callable[[Step], None] | None = None
) -> BestImages:
    """Return what the generator ``steps`` returns; call ``report`` at every step."""
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
    """Attack one image (S, S, 3): yield the steps, return the best image as the only row.

    ``enough`` is as in ``search``; the label and exceptions are as in ``attack``.
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
    """Return the task of ``spec`` for rows ``clean`` (N, S, S, 3), each with its largest change.

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
