"""The smallest composition within a domain that changes a model's prediction for one image.

Its size is the sum of its strengths. A survey tries each perturbation at several strengths, pairs
on a coarser grid and the rows of the domain's array, from the smallest composition on. From the
smallest that change the prediction the search descends: it leaves perturbations out, lowers one or
all, and exchanges some of one for half as much of another, by ever smaller steps, as long as the
prediction stays changed. So lowering any perturbation of the result to the beginning of its range
keeps the prediction. As predictions are not monotone, a smaller composition may exist beside the
tried ones.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

from robustness import models
from robustness.images.framing import Picture
from robustness.measure.condition import Condition
from robustness.measure.domain import Domain, Range
from robustness.measure.labels import is_correct, label_index
from robustness.measure.loop import measure_batch, perturbed, prepare
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request, spec_of
from robustness.measure.strength import TOLERANCE, leads_of
from robustness.models import Classifier
from robustness.perturbations import Images, check_seed

_SINGLE_LEVELS = 8
_PAIR_LEVELS = 4
_PAIR_LEVELS_OF_MANY = 2
_MANY_PAIRS = 15
"""Strengths above the lowest that the survey tries, of a perturbation alone and of two together."""

_MARGIN = 1.5
"""The survey goes on to this multiple of the first size that changes the prediction: a larger
composition of other perturbations may shrink further."""

_STARTS = 2
"""Compositions from which the search descends, each of other perturbations."""

_STEPS_OF_STRENGTH = (0.08, 0.04, 0.02, 0.01, TOLERANCE)
"""By how much the descent lowers strengths, as long as that keeps the prediction changed."""

_BATCH = 24
_DESCENT = 80
"""Compositions that a descent tries, as a rule; for the progress."""

_DIGITS = 6
"""Digits of sizes and strengths after the point."""

Point = tuple[float, ...]
"""The strength of each range of a domain."""

_Steps = Generator[list[Point], Sequence[float], None]
"""Yields compositions to try, and is sent by how much the original class leads under each."""


@dataclass(frozen=True)
class Tried:
    """Progress: a model has predicted ``done`` compositions, of about ``total`` so far as known."""

    model: str
    done: int
    total: int


class Progress:
    """How far the searches of a number of ``models`` are, together."""

    def __init__(self, models: int) -> None:
        self._models = models
        self._tried: dict[str, Tried] = {}

    def note(self, tried: Tried) -> None:
        self._tried[tried.model] = tried

    @property
    def done(self) -> int:
        return sum(tried.done for tried in self._tried.values())

    @property
    def total(self) -> int:
        """About how many compositions all models predict; 0 before the first is noted."""
        known = sum(tried.total for tried in self._tried.values())
        if not self._tried:
            return 0
        # Those that have not begun are expected to take as long as the others.
        return round(known * self._models / len(self._tried))


@dataclass(frozen=True)
class SmallestBreak:
    """What a model predicts under the smallest composition found, as the measurement ``row``.

    If no composition changes its prediction, it is the one with the smallest lead of the original
    class. ``tried`` compositions were predicted; all of them are within the domain.
    """

    row: Measurement
    tried: int

    @property
    def model(self) -> str:
        return self.row.model

    @property
    def found(self) -> bool:
        """Whether a composition within the domain changes the prediction."""
        return not self.row.consistent

    @property
    def condition(self) -> Condition:
        return Condition.parse(self.row.condition)

    @property
    def size(self) -> float:
        """The sum of the strengths of the composition."""
        return round(sum(strength for _, strength in self.condition.steps), _DIGITS)

    @property
    def was_correct(self) -> bool | None:
        """Whether the model is correct on the original; None without a true class."""
        return is_correct(self.row.label, self.row.clean_top1)

    def labelled(self, truth: str | None) -> SmallestBreak:
        """The same with the true class ``truth``, as far as the model knows it."""
        return replace(self, row=replace(self.row, label=label_index(self.model, truth)))

    def as_row(self) -> dict[str, Any]:
        """JSON-ready: ``found``, ``size``, ``tried`` and the columns of the measurement."""
        return {"found": self.found, "size": self.size, "tried": self.tried, **self.row.as_row()}


def survey(domain: Domain) -> list[Point]:
    """Return the compositions that the search tries first, the smallest first, each once."""
    ranges = domain.ranges
    lowest = tuple(each.low for each in ranges)
    points = [lowest]
    for index, each in enumerate(ranges):
        points += [_replaced(lowest, {index: level}) for level in _levels(each, _SINGLE_LEVELS)]
    count = _PAIR_LEVELS if len(domain.pairs) <= _MANY_PAIRS else _PAIR_LEVELS_OF_MANY
    for first, second in combinations(range(len(ranges)), 2):
        levels = product(_levels(ranges[first], count), _levels(ranges[second], count))
        points += [_replaced(lowest, {first: low, second: high}) for low, high in levels]
    for condition in domain.array:
        strengths = dict(condition.steps)
        points.append(tuple(strengths.get(each.perturbation, 0.0) for each in ranges))
    return sorted(dict.fromkeys(points), key=sum)


def _levels(each: Range, count: int) -> list[float]:
    """``count`` strengths of a range above its lowest, at equal distances; of a switch one."""
    if not each.record.graded:
        return [each.high]
    width = each.high - each.low
    inner = [_rounded(each.low + width * step / count) for step in range(1, count)]
    return [level for level in inner if each.low < level < each.high] + [each.high]


def _rounded(strength: float) -> float:
    """The nearest multiple of ``TOLERANCE``, so that results are short to write down."""
    return round(TOLERANCE * round(strength / TOLERANCE), _DIGITS)


def _replaced(point: Point, strengths: dict[int, float]) -> Point:
    return tuple(strengths.get(index, strength) for index, strength in enumerate(point))


class CompositionSearch:
    """The search in a ``domain``, whatever predicts.

    ``steps`` yields compositions, and is sent by how much the original class leads under each:
    below 0 the prediction has changed. ``best`` is the result so far, and ``expected`` about how
    many compositions it will have tried.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.leads: dict[Point, float] = {}
        self.expected = len(survey(domain)) + _STARTS * _DESCENT
        self._ranges = domain.ranges

    @property
    def best(self) -> Point:
        """The smallest composition that changes the prediction, else that with the least lead."""
        changed = self._changed()
        if changed:
            return changed[0]
        return min(self.leads, key=self.leads.__getitem__)

    def condition(self, point: Point) -> Condition:
        """The composition of a point."""
        return self.domain.at(
            {each.perturbation: value for each, value in zip(self._ranges, point, strict=True)}
        )

    def steps(self) -> _Steps:
        """Yield the compositions to try, at most ``_BATCH`` at once."""
        yield from self._survey()
        starts = self._starts()
        for index, start in enumerate(starts):
            self.expected = len(self.leads) + (len(starts) - index) * _DESCENT
            yield from self._descend(start)

    def _changed(self) -> list[Point]:
        """The tried points that change the prediction: the smallest first, then the clearest."""
        changed = [point for point, lead in self.leads.items() if lead < 0]
        return sorted(changed, key=lambda point: (sum(point), self.leads[point]))

    def _try(self, points: Sequence[Point]) -> _Steps:
        untried = [point for point in dict.fromkeys(points) if point not in self.leads]
        for start in range(0, len(untried), _BATCH):
            batch = untried[start : start + _BATCH]
            leads = yield batch
            self.leads.update(zip(batch, leads, strict=True))

    def _survey(self) -> _Steps:
        points = survey(self.domain)
        for start in range(0, len(points), _BATCH):
            batch = points[start : start + _BATCH]
            changed = self._changed()
            if changed:
                largest = _MARGIN * sum(changed[0])
                if sum(batch[0]) > largest:
                    return
                left = sum(sum(point) <= largest for point in points[start:])
                self.expected = start + left + _STARTS * _DESCENT
            yield from self._try(batch)

    def _starts(self) -> list[Point]:
        """The smallest points that change the prediction, each of other perturbations."""
        by_perturbations: dict[tuple[int, ...], Point] = {}
        for point in self._changed():
            by_perturbations.setdefault(tuple(self._raised(point)), point)
        return list(by_perturbations.values())[:_STARTS]

    def _raised(self, point: Point) -> list[int]:
        """The ranges in which ``point`` is above the lowest strength."""
        return [index for index, each in enumerate(self._ranges) if point[index] > each.low]

    def _descend(self, point: Point) -> _Steps:
        """Try smaller and smaller compositions that change the prediction, from ``point`` on."""
        for step in _STEPS_OF_STRENGTH:
            smaller = self._smaller(point, step)
            while smaller:
                yield from self._try(smaller)
                changed = [each for each in smaller if self.leads[each] < 0]
                if not changed:
                    break
                point = min(changed, key=lambda each: (sum(each), self.leads[each]))
                smaller = self._smaller(point, step)

    def _smaller(self, point: Point, step: float) -> list[Point]:
        """Compositions smaller than ``point``, by about ``step`` or a whole perturbation."""
        raised = self._raised(point)
        points = []
        lowered_all = {}
        for index in raised:
            each = self._ranges[index]
            points.append(_replaced(point, {index: each.low}))
            if not each.record.graded:
                continue
            lowered = max(each.low, _rounded(point[index] - step))
            lowered_all[index] = lowered
            points.append(_replaced(point, {index: lowered}))
            for other in range(len(self._ranges)):
                raised_other = self._raised_by(other, point, (point[index] - lowered) / 2)
                if other != index and raised_other > point[other]:
                    points.append(_replaced(point, {index: lowered, other: raised_other}))
        points.append(_replaced(point, lowered_all))
        return [each for each in dict.fromkeys(points) if sum(each) < sum(point)]

    def _raised_by(self, index: int, point: Point, strength: float) -> float:
        """The strength in a range, raised as far as the range goes; a switch stays as it is."""
        each = self._ranges[index]
        if not each.record.graded:
            return point[index]
        return min(each.high, _rounded(point[index] + strength))


def smallest_breaks(
    picture: Picture,
    domain: Domain,
    model_names: Sequence[str] | None = None,
    *,
    seed: int = 0,
    load: Callable[..., Classifier] = models.load,
) -> Iterator[Tried | SmallestBreak]:
    """Search the smallest composition within ``domain`` that changes each model's prediction.

    Yields the progress, then a result for each model. A random perturbation has one draw, scaled by
    its strength. Models of one framing share the perturbed images of the survey. Closing the
    iterator stops the work. Raises what ``spec_of`` raises.
    """
    original = Condition.of({})
    spec = spec_of(picture, model_names, [original], check_seed(seed))
    results: dict[str, SmallestBreak] = {}
    for framing, names in spec.by_framing.items():
        version = picture.at(framing)
        searches = [_ModelSearch(spec, version, domain, name, load) for name in names]
        unfinished = searches
        shared: dict[tuple[Point, ...], Images] = {}
        while unfinished:
            for search in unfinished:
                points = tuple(search.points)
                if points not in shared:  # the others of the survey ask for the same next
                    conditions = [search.condition(point) for point in points]
                    shared = {points: perturbed(version, conditions, seed)}
                search.predict(shared[points])
                yield search.progress
            unfinished = [search for search in unfinished if search.points]
        for search in searches:
            results[search.model] = search.result()
    for name in spec.model_names:
        yield results[name]


class _ModelSearch:
    """The search for one model; ``points`` are what it predicts next, none at the end."""

    def __init__(
        self,
        spec: Request,
        picture: Picture,
        domain: Domain,
        model: str,
        load: Callable[..., Classifier],
    ) -> None:
        self.model = model
        self._spec = spec
        self._picture = picture
        self._load = load
        self._search = CompositionSearch(domain)
        self._steps = self._search.steps()
        self._clean = self._classifier(picture.image[None])
        self.points = next(self._steps, [])

    @property
    def _classifier(self) -> Classifier:
        # Again if memory ran short meanwhile.
        return self._load(self.model, side=self._picture.side)

    def condition(self, point: Point) -> Condition:
        return self._search.condition(point)

    def predict(self, images: Images) -> None:
        """Predict the ``images`` of ``points``, and find out what to try next."""
        clean_top1 = int(self._clean.probabilities[0].argmax())
        probabilities = self._classifier(images).probabilities
        try:
            self.points = self._steps.send(leads_of(probabilities, clean_top1))
        except StopIteration:
            self.points = []

    @property
    def progress(self) -> Tried:
        done = len(self._search.leads)
        if not self.points:  # it has ended
            return Tried(self.model, done, done)
        return Tried(self.model, done, max(done, self._search.expected))

    def result(self) -> SmallestBreak:
        conditions = (self._search.condition(self._search.best),)
        spec = replace(self._spec.of_models([self.model]), conditions=conditions)
        batch = prepare([self._picture], conditions, spec.seed)
        ((row,),) = measure_batch(spec, batch, self._classifier, clean=[self._clean])
        return SmallestBreak(row, tried=len(self._search.leads))
