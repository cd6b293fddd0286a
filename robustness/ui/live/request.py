"""What Live shows: an image under a condition, and the models' predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from robustness import models as all_models
from robustness.base.errors import RobustnessError
from robustness.images.framing import Picture
from robustness.measure.condition import NOTHING, Condition
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request, framing, spec_of
from robustness.measure.strength import labelled
from robustness.report.tables import Mark, verdict
from robustness.report.threshold import ThresholdInUse
from robustness.ui import shared

Answer = Measurement | RobustnessError


class ThresholdVerdict(NamedTuple):
    """The verdict on a prediction, and what the safe threshold of its model says about it.

    ``text`` is "" for a model without a threshold.
    """

    mark: Mark
    text: str = ""


class LiveRequest(NamedTuple):
    """An image under a condition, and the models that predict it."""

    picture: Picture
    condition: Condition
    models: tuple[str, ...]
    seed: int
    truth: str | None = None
    """The true class of the image, where it is known."""
    remedy: str = ""
    """The id of the remedy whose effect is shown, too."""
    failed: Mapping[str, str] = MappingProxyType({})
    """The sentences of the chosen models that cannot run, by name."""
    thresholds: Mapping[str, ThresholdInUse] = MappingProxyType({})
    """The safe thresholds in use, by model."""

    @property
    def subject(self) -> tuple[str, ...]:
        """What a move of a slider leaves as it is: the image, its true class and the models."""
        digests = [version.digest for version in self.picture.versions]
        return (*digests, str(self.truth), *self.models)

    @property
    def id(self) -> str:
        """The id of the images and predictions that are shown."""
        return " ".join([*self.subject, self.condition.id, str(self.seed)])

    @property
    def bands_id(self) -> str:
        """The id of what the models' bands show, whatever the perturbations beside them."""
        return " ".join([*self.subject, str(self.seed), self.remedy])

    @property
    def spec(self) -> Request:
        return spec_of(self.picture, self.models, [self.condition], self.seed)

    @property
    def several_models(self) -> bool:
        """Whether several models can predict one image together."""
        return len(self.models) > 1 and not self.picture.others

    @property
    def condition_text(self) -> str:
        """The condition in words."""
        if self.condition.idle:
            return NOTHING
        return self.condition.label

    def change(self) -> shared.Altered:
        """The image under the condition."""
        return shared.change(self.picture, self.condition, self.seed)

    def acceptances(self, rows: Mapping[str, Measurement]) -> dict[str, ThresholdVerdict]:
        """The verdict on each of ``rows`` by the safe thresholds in use, by model."""
        return {name: self._acceptance(name, row) for name, row in rows.items()}

    def _acceptance(self, model_name: str, row: Measurement) -> ThresholdVerdict:
        mark = verdict(row)
        threshold = self.thresholds.get(model_name)
        if threshold is None:
            return ThresholdVerdict(mark)
        threshold_text = f"safe threshold {threshold.text}"
        weights = all_models.digest(all_models.REGISTRY[model_name])
        changes = threshold.stale(weights, framing(*self.picture.overrides, model_name))
        if changes:
            text = f"Its {threshold_text} is out of date: it was made for {changes}"
            return ThresholdVerdict(mark, text)
        untested = threshold.untested(self.condition)
        if untested:
            threshold_text += f", which was not tested under {untested}"
        if threshold.accepts(row.top5_probabilities):
            return ThresholdVerdict(mark, f"Accepted by its {threshold_text}")
        return ThresholdVerdict(mark.rejected, f"Would be rejected by its {threshold_text}")

    def answers(
        self, altered: shared.Altered, who: str | None = None
    ) -> Iterator[tuple[str, Answer]]:
        """Start all forward passes, in the turns of ``who``; yield each result as it arrives.

        Each row gets the true class as its label.
        """
        # Not a generator function: the passes run while the caller draws the images.
        results = shared.answers(self.spec, self.picture, self.models, altered, who)
        return ((name, labelled(result, self.truth)) for name, result in results)
