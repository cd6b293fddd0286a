"""The strength at which a prediction changes, and bands of predictions along the strength.

A sweep finds the strength; it searches more finely near the change. A band is what one model
predicts for one image along the strength of one perturbation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.attacks.image import Transfer
from robustness.base.errors import ParameterError
from robustness.base.text import counted
from robustness.images.framing import Picture
from robustness.measure import STEPS
from robustness.measure.condition import Condition
from robustness.measure.labels import label_index
from robustness.measure.loop import measure_batch, perturbed, picture_scores, prepare
from robustness.measure.measurement import Measurement
from robustness.measure.request import spec_of
from robustness.models import Classifier
from robustness.models.classifier import Floats
from robustness.perturbations import REGISTRY, Perturbation, check_seed

MAX_STEPS = 101
TOLERANCE = 0.005
"""Resolution of the search."""

CLOSE = 4.0
"""A prediction may change unseen between two strengths where its lead is below this multiple of the
lead's largest bend nearby. This finds most earlier changes: of 144 sweeps (6 photographs, two
models, 12 perturbations) 201 steps show 7 that change more than 0.005 earlier, six by at most 0.026
and one by 0.5. It adds 15 passes to the 21, instead of 3."""


@dataclass(frozen=True)
class Break:
    """The strength at which one model's prediction first changes under one perturbation.

    With a true class as its ``label``, a model whose original prediction is correct becomes
    incorrect there; one that was incorrect may become correct. ``top1`` is the class there.

    The resolution is ``grid``, and ``TOLERANCE`` where the prediction was close to changing.

    ``strength`` is None if ``never``: the prediction is unchanged up to strength 1. ``low`` and
    ``high`` are the last unchanged and the first changed strength, the latter None if ``never``.
    ``parameter`` (physical), ``severity`` (nearest ImageNet-C one) and ``ssim`` belong to
    ``strength``. ``returns`` are swept strengths beyond it with the original prediction again.
    """

    model: str
    perturbation: str
    strength: float | None
    parameter: float | None
    severity: int | None
    ssim: float | None
    low: float | None
    high: float | None
    never: bool
    returns: tuple[float, ...]
    grid: float
    clean_top1: int
    clean_probability: float
    top1: int | None = None
    label: int | None = None

    def as_row(self) -> dict[str, Any]:
        """The record as one JSON-ready row, with ``incorrect_at`` and ``resolution``."""
        return {**asdict(self), "incorrect_at": self.incorrect_at, "resolution": self.resolution}

    @property
    def resolution(self) -> str:
        """The resolution, such as "0.05, refined to 0.005"; "" without a strength."""
        if self.strength is None or not self.graded:
            return ""
        return resolution(self.grid)

    @property
    def clean_correct(self) -> bool | None:
        """Whether the original prediction is correct; None without a label."""
        if self.label is None:
            return None
        return self.clean_top1 == self.label

    @property
    def correct(self) -> bool | None:
        """Whether the prediction at ``strength`` is correct; None without a label or a break."""
        if self.label is None or self.top1 is None:
            return None
        return self.top1 == self.label

    @property
    def incorrect_at(self) -> float | None:
        """The first strength with an incorrect prediction: 0 on the original, None if never."""
        if self.clean_correct is None:
            return None
        if not self.clean_correct:
            return 0.0
        return self.strength

    @property
    def graded(self) -> bool:
        """Whether the perturbation has strengths; a switch, such as a flip, is on or off."""
        return REGISTRY[self.perturbation].graded

    @property
    def at(self) -> str:
        """The strength of the change: "0.250" or "never"; for a switch "when on" or "never"."""
        if self.strength is None:
            return "never"
        if not self.graded:
            return "when on"
        return f"{self.strength:.3f}"


def resolution(step: float) -> str:
    """The resolution of a sweep with grid step ``step``, as text."""
    return f"{step:.2g}, refined to {TOLERANCE:g}"


def grid(record: Perturbation, steps: int) -> tuple[float, ...]:
    """The strengths of a sweep: ``steps`` even ones from 0 to 1; 0 and 1 for a switch."""
    if not record.graded:
        return (0.0, 1.0)
    # Rounded, so that a strength is 0.15 and not 0.15000000000000002 in ids of conditions.
    return tuple(round(float(value), 6) for value in np.linspace(0.0, 1.0, steps))


def sweep(
    picture: Picture,
    names: Sequence[str],
    model_names: Sequence[str] | None = None,
    *,
    steps: int = STEPS,
    seed: int = 0,
    load: Callable[..., Classifier] = models.load,
) -> Iterator[Measurement | Break]:
    """Sweep each perturbation of ``names``; yield its points, then its breaks.

    A random perturbation has one draw, scaled by the strength. The points are those of the even
    ``steps``; up to the first break the search is refined where the prediction is close to
    changing. The original is predicted once per model. Closing the iterator stops the work. Raises
    what ``spec_of`` raises, and ``ParameterError`` for ``steps`` out of range.
    """
    if not 2 <= steps <= MAX_STEPS:
        raise ParameterError(f"Expected 2 to {MAX_STEPS} steps, got {counted(steps, 'step')}.")
    records = [REGISTRY[name] for name in dict.fromkeys(names)]
    specs = []
    for record in records:
        conditions = [Condition.of({record.name: strength}) for strength in grid(record, steps)]
        specs.append(spec_of(picture, model_names, conditions, check_seed(seed)))
    # Originals are predicted once, for all perturbations.
    clean_passes = {}
    for name, framing in specs[0].framings:
        classifier = load(name, side=framing.side)
        clean_passes[name] = classifier(picture.at(framing).image[None])
    for record, spec in zip(records, specs, strict=True):
        breaks: dict[str, Break] = {}
        for framing, names_of_framing in spec.by_framing.items():
            version = picture.at(framing)
            batch = prepare([version], spec.conditions, spec.seed)
            for name in names_of_framing:
                classifier = load(name, side=framing.side)  # again if memory ran short
                (rows,) = measure_batch(spec, batch, classifier, clean=[clean_passes[name]])
                yield from rows
                breaks[name] = _search(version, classifier, rows, spec.seed, record)
        # In the order of the request, which the framings may have changed.
        for name in spec.model_names:
            yield breaks[name]


def _search(
    picture: Picture,
    classifier: Classifier,
    rows: Sequence[Measurement],
    seed: int,
    record: Perturbation,
) -> Break:
    """Find the first change of the prediction, near the even steps of which ``rows`` are."""
    clean_top1 = rows[0].clean_top1
    leads = {row.strength or 0.0: _lead_of(row) for row in rows}
    classes = {row.strength or 0.0: row.top1 for row in rows}
    step = list(leads)[1]  # the first strength is 0
    while record.graded:
        doubtful = _doubtful(leads)[:_BATCH]
        if not doubtful:
            break
        conditions = [Condition.of({record.name: strength}) for strength in doubtful]
        probabilities = classifier(perturbed(picture, conditions, seed)).probabilities
        leads |= zip(doubtful, leads_of(probabilities, clean_top1), strict=True)
        classes |= zip(doubtful, probabilities.argmax(axis=1).tolist(), strict=True)

    unchanged, changed = _first_break(sorted(leads.items()))
    found = Break(
        model=rows[0].model,
        perturbation=record.name,
        strength=changed,
        parameter=None,
        severity=None,
        ssim=None,
        low=unchanged,
        high=changed,
        never=changed is None,
        returns=(),
        grid=step,
        clean_top1=clean_top1,
        clean_probability=rows[0].clean_probability,
    )
    if changed is None:
        return found
    images = perturbed(picture, [Condition.of({record.name: changed})], seed)
    unchanged_strengths = [row.strength or 0.0 for row in rows if row.consistent]
    return replace(
        found,
        parameter=record.value_at(changed),
        severity=record.severity_at(changed),
        ssim=float(picture_scores(picture.image[None], images)["ssim"][0]),
        returns=tuple(strength for strength in unchanged_strengths if strength > changed),
        top1=classes[changed],
    )


def _lead_of(row: Measurement) -> float:
    """The lead of the original class in one row, as ``_lead`` has it."""
    if row.consistent:
        best_other = row.top5_probabilities[1]
    else:
        best_other = row.probability
    return _lead(row.retained_probability, best_other, is_first=row.consistent)


def leads_of(probabilities: NDArray[np.float32], clean_top1: int) -> list[float]:
    """The lead of the class ``clean_top1`` in each row of ``probabilities`` (n, classes)."""
    others = probabilities.copy()
    others[:, clean_top1] = -1
    best_others = others.max(axis=1).tolist()
    top1 = probabilities.argmax(axis=1).tolist()
    leads = []
    for row, probability in enumerate(probabilities[:, clean_top1].tolist()):
        leads.append(_lead(probability, best_others[row], is_first=top1[row] == clean_top1))
    return leads


def _lead(probability: float, best_other: float, *, is_first: bool) -> float:
    """By how much the log of ``probability`` exceeds that of ``best_other``; negative if behind.

    ``is_first`` decides the sign: of equal probabilities, that of the smaller class index wins.
    """
    difference = np.log(max(probability, _NIL)) - np.log(max(best_other, _NIL))
    size = abs(float(difference))
    if is_first:
        return size
    return min(-size, -_NIL)


_BATCH = 32
"""Strengths that the search tries at once."""

_NIL = 1e-12
"""Replaces a probability of 0, which has no logarithm."""


def _first_break(leads: Sequence[tuple[float, float]]) -> tuple[float, float | None]:
    """The last strength before the first changed prediction, and that one; (1, None) if none.

    ``leads`` are (strength, lead), by ascending strength.
    """
    for (before, _), (strength, lead) in pairwise(leads):
        if lead < 0:
            return before, strength
    return leads[-1][0], None


def _doubtful(leads: Mapping[float, float]) -> list[float]:
    """Strengths between tried ones, up to the first break, where the prediction may change earlier.

    That is where the lead at either end is small against its deviation from a straight line nearby.
    """
    tried = sorted(leads.items())
    _, changed = _first_break(tried)
    if changed is not None:
        tried = [(strength, lead) for strength, lead in tried if strength <= changed]
    strength = np.array([strength for strength, _ in tried])
    lead = np.array([lead for _, lead in tried])
    # How far each lead lies from the line through its neighbours; 0 at the ends and beyond them.
    bend = np.zeros(len(strength) + 2)
    if len(strength) > 2:
        share = (strength[1:-1] - strength[:-2]) / (strength[2:] - strength[:-2])
        bend[2:-2] = np.abs(lead[1:-1] - lead[:-2] - share * (lead[2:] - lead[:-2]))
    largest_bend_nearby = np.maximum.reduce([bend[:-3], bend[1:-2], bend[2:-1], bend[3:]])
    is_close = np.minimum(lead[:-1], lead[1:]) < CLOSE * largest_bend_nearby
    if changed is not None:
        is_close[-1] = True  # the break itself lies in the last gap
    is_wide = np.diff(strength) > TOLERANCE
    middles = (strength[:-1] + strength[1:]) / 2
    return [float(middle) for middle in middles[is_close & is_wide]]


Event = TypeVar("Event")


def labelled(event: Event, truth: str | None) -> Event:
    """``event`` with the label ``truth``, if it is a prediction of a model.

    The label is None if the model has no such class, or ``truth`` is None.
    """
    if not isinstance(event, Measurement | Break | Transfer):
        return event
    base = getattr(event, "base", "")  # of the row of a variant, which has its classes
    return replace(event, label=label_index(base or event.model, truth))


COARSE = 5
"""Cells of a band that shows first where a model breaks, and is refined between them."""

ROUNDS = tuple(range(COARSE, STEPS + 1, COARSE - 1))
"""Cells of a band at first, and after each refinement, up to ``STEPS``."""


@dataclass(frozen=True)
class Cell:
    """The top-1 class, an index, and its ``probability`` at one ``strength``."""

    strength: float
    top1: int
    probability: float


@dataclass(frozen=True)
class Band:
    """The ``cells`` of one ``model`` under one ``perturbation``, by ascending strength.

    ``original`` is the cell of the unperturbed image, which differs from the first cell where other
    perturbations stand beside this one. ``label`` is the true class; None if it is unknown.
    """

    model: str
    perturbation: str
    cells: tuple[Cell, ...]
    original: Cell
    label: int | None = None

    def good(self, cell: Cell) -> bool:
        """Whether ``cell`` is correct or, without a true class, unchanged."""
        if self.label is None:
            return cell.top1 == self.original.top1
        return cell.top1 == self.label

    @cached_property
    def breakable(self) -> bool:
        """Whether the model can break: its original is correct, or has no true class."""
        return self.good(self.original)

    @cached_property
    def breaks_at(self) -> float | None:
        """The strength of the first incorrect (changed) cell; None if there is none.

        None, too, unless ``breakable``.
        """
        if not self.breakable:
            return None
        for cell in self.cells:
            if not self.good(cell):
                return cell.strength
        return None

    @property
    def words(self) -> tuple[str, str]:
        """What a good cell is called, and any other."""
        if self.label is None:
            return ("unchanged", "changed")
        return ("correct", "incorrect")

    @property
    def text(self) -> str:
        """The band in words: "correct up to 0.35, incorrect from 0.4, correct again at 0.6"."""
        if not REGISTRY[self.perturbation].graded:
            return f"{self._word(self.cells[0])}; {self._word(self.cells[-1])} when on"
        parts: list[str] = []
        for _, group in groupby(self.cells, key=self.good):
            cells = list(group)
            again = " again" if len(parts) > 1 else ""
            parts.append(f"{self._word(cells[0])}{again} {self._range_text(cells)}")
        return ", ".join(parts)

    def _range_text(self, cells: Sequence[Cell]) -> str:
        """Where ``cells``, which follow each other, lie in the band, such as "up to 0.35"."""
        first = cells[0]
        last = cells[-1]
        is_at_start = first is self.cells[0]
        is_at_end = last is self.cells[-1]
        if len(cells) == 1:
            return f"at {first.strength:g}"
        if is_at_start and is_at_end:
            return "always"
        if is_at_start:
            return f"up to {last.strength:g}"
        if is_at_end:
            return f"from {first.strength:g}"
        return f"from {first.strength:g} to {last.strength:g}"

    def _word(self, cell: Cell) -> str:
        good_word, other_word = self.words
        return good_word if self.good(cell) else other_word

    def labelled(self, truth: str | None) -> Band:
        """The band with the true class ``truth``, if the model has it."""
        return replace(self, label=label_index(self.model, truth))


def strengths(record: Perturbation, count: int = STEPS) -> tuple[float, ...]:
    """The first ``count`` strengths of a band, in the order in which they are computed.

    The first ``COARSE`` are even; each further four lie between them. A switch has two: off and on.
    Raises ``ParameterError`` unless ``count`` is one of ``ROUNDS``.
    """
    if count not in ROUNDS:
        known = ", ".join(map(str, ROUNDS))
        raise ParameterError(f"Expected one of {known} as the strengths of a band, got {count}.")
    every = grid(record, STEPS)
    if not record.graded:
        return every
    step = (STEPS - 1) // (COARSE - 1)
    # Every other strength first, so that each refinement spreads over the gaps.
    offsets = [0, *range(2, step, 2), *range(1, step, 2)]
    ordered: list[float] = []
    for offset in offsets:
        ordered += every[offset::step]
    return tuple(ordered[:count])


def conditions(others: Condition, name: str, strengths: Sequence[float]) -> list[Condition]:
    """The perturbation ``name`` at each of ``strengths``, with the ``others`` as they stand."""
    fixed = {other: strength for other, strength in others.steps if other != name}
    return [Condition.of({**fixed, name: strength}) for strength in strengths]


def cells(strengths: Sequence[float], probabilities: Floats) -> list[Cell]:
    """The cells at ``strengths`` from a row of ``probabilities`` each."""
    top1 = probabilities.argmax(axis=1)
    best = probabilities[np.arange(len(top1)), top1]
    columns = zip(strengths, top1.tolist(), best.tolist(), strict=True)
    return [Cell(strength, index, probability) for strength, index, probability in columns]
