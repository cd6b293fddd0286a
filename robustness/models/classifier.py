"""A classifier: study images in; probabilities and the features of every stage out, in one pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError, WeightsError
from robustness.models.engine import Floats, ForwardPass, Gradients, Network
from robustness.models.passes import RemediedGradients, RemediedPass
from robustness.models.record import ModelRecord

if TYPE_CHECKING:
    from robustness.remedies import Chain

MAX_BATCH = 16
"""Images that are worth asking about at once; more gain nothing on a CPU and cost memory."""

_ONE = int(np.float32(1).view(np.uint32))
"""The bits of 1.0: as whole numbers, those of 0 to 1 are the smallest of all float32, in order."""


@dataclass(frozen=True)
class Outputs:
    """A classifier's output for N images.

    ``probabilities`` is (N, classes), rows summing to 1 unless the model is quantised, which rounds
    them; ``features`` maps each stage, shallow to deep, to (N, D): the stage's activations averaged
    over height and width.
    """

    probabilities: Floats
    features: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Outputs:
        return Outputs(
            self.probabilities[rows], {stage: f[rows] for stage, f in self.features.items()}
        )

    @staticmethod
    def join(parts: list[Outputs]) -> Outputs:
        """The outputs of consecutive batches as one."""
        return Outputs(
            np.concatenate([part.probabilities for part in parts]),
            {
                stage: np.concatenate([part.features[stage] for part in parts])
                for stage in parts[0].features
            },
        )


class Classifier:
    """One pass over study images of ``side`` pixels, for any batch size.

    Resizing from ``side`` to the model's input size and normalisation are inside it. Calls are
    safe, and give equal results, from several threads at once.
    """

    def __init__(
        self,
        record: ModelRecord,
        forward: ForwardPass,
        network: Callable[[], Network],
        side: int,
        key: str = "",
        remedied: tuple[Chain, Sequence[Classifier]] | None = None,
    ) -> None:
        """``forward`` answers; ``network`` gives the same in TensorFlow's graph, when it is needed.

        Two of one ``key`` give the same answers, in other processes too; it is empty for a network
        that nobody can tell from others. ``remedied`` are the remedies and the models behind them.
        """
        self.record = record
        self.side = side
        self.key = key
        self.stages = forward.stages
        self.forward = forward
        self._make_network = network
        self._loading = threading.Lock()
        self._network: Network | None = None
        self._remedied = remedied
        self._calibrated: dict[str, Classifier] = {}

    @property
    def call_seconds(self) -> tuple[float, ...] | None:
        """Seconds per image of a function's latest calls; None for other models."""
        seconds: tuple[float, ...] | None = getattr(self.forward, "call_seconds", None)
        return seconds

    def with_remedies(
        self,
        remedies: str | Iterable[str] | Chain,
        others: Sequence[Classifier] = (),
    ) -> Classifier:
        """The same model behind ``remedies``, applied in order, such as ``["median", "tta"]``.

        ``others`` are the further models of an average or a vote. Raises ``UnknownNameError`` for
        an unknown remedy, ``ParameterError`` for remedies that do not go together, and for models
        with other classes or another side.
        """
        from robustness.remedies import parse  # imports OpenCV, which most commands do without

        chain = parse(remedies)
        if chain.several_models != bool(others):
            needs = "other models" if chain.several_models else "no other models"
            raise ParameterError(f"{chain.id} expects {needs}.")
        own = self.side, self.record.labels().key
        for other in others:
            if (other.side, other.record.labels().key) != own:
                raise ParameterError(
                    f"{chain.id} expects models with the same classes, loaded with the same side; "
                    f"{other.record.name} differs from {self.record.name}."
                )
        forward = RemediedPass([self.forward, *(other.forward for other in others)], chain)
        keys = [self.key, *(other.key for other in others)]
        key = "-".join([*keys, chain.id]) if all(keys) else ""
        return Classifier(
            self.record,
            forward,
            lambda: self.graph,
            self.side,
            key,
            remedied=(chain, [self, *others]),
        )

    def calibrated(self, record: ModelRecord) -> Classifier:
        """The classifier of ``record``, whose base this one is; one for each, kept with this."""
        classifier = self._calibrated.get(record.name)
        if classifier is None or classifier.record != record:
            classifier = self.with_remedies(f"temperature={record.temperature}")
            classifier.record = record
            self._calibrated[record.name] = classifier
        return classifier

    @property
    def untempered(self) -> Classifier:
        """The same classifier before its temperature, which leaves the order of classes as it is.

        An image that fools one of them fools the other.
        """
        if self._remedied is None:
            return self
        chain, plain = self._remedied
        if chain.last.temperature == 1:
            return self
        if chain.remedies[1:]:
            return plain[0].with_remedies(replace(chain, remedies=chain.remedies[:-1]))
        return plain[0].untempered

    def __call__(self, images: Floats) -> Outputs:
        """Classifies ``images``, float32 (N, side, side, 3) in [0, 1], N >= 1.

        Raises ``ParameterError`` for another shape, and ``WeightsError`` for an answer that is
        not finite.
        """
        self.check_images(images)
        return self.unchecked(images)

    def unchecked(self, images: Floats) -> Outputs:
        """Classifies ``images`` of any values, as the trial of another normalisation shows them.

        Raises ``WeightsError`` for an answer that is not finite.
        """
        outputs = Outputs(*self.forward(images))
        count = len(images)
        for name, values in [("probabilities", outputs.probabilities), *outputs.features.items()]:
            # A network may overflow, and an engine without memory answers with an empty array.
            got = "NaN or infinity" if not np.isfinite(values).all() else ""
            if values.ndim != 2 or len(values) != count or not values.size:
                got = f"an array of shape {values.shape}"
            if got:
                raise WeightsError(
                    f"{self.record.name}: expected finite numbers as the {name} of {count} images, "
                    f"got {got}. Leave the model out, or give the machine more memory."
                )
        return outputs

    @property
    def engine(self) -> str:
        """What runs the pass, in which version and precision."""
        return self.forward.engine

    def check_images(self, images: Floats) -> None:
        """Raises ``ParameterError`` unless they are (N, side, side, 3), N >= 1, within [0, 1]."""
        expected = (self.side, self.side, 3)
        if images.ndim != 4 or images.shape[1:] != expected or not len(images):
            raise ParameterError(
                f"{self.record.name} expects images of shape (N, {self.side}, {self.side}, 3), "
                f"got {images.shape}."
            )
        if images.dtype == np.float32 and images.view(np.uint32).max() <= _ONE:
            return
        low = images.min()
        high = images.max()
        if not (low >= 0 and high <= 1):  # NaN, too
            raise ParameterError(
                f"{self.record.name} expects values from 0 to 1, got {low:g} to {high:g}; divide "
                "pixels by 255."
            )

    @property
    def graph(self) -> Network:
        """The model in TensorFlow's graph, for explanations; made when it is first asked for.

        Raises ``GradientError`` for a model that cannot be differentiated.
        """
        with self._loading:
            if self._network is None:
                self._network = self._make_network()
            return self._network

    @property
    def exact(self) -> bool:
        """Whether the scores beside its gradients are those that it answers with.

        Those of a quantised model, or of one that another runtime computes, may be a step off.
        """
        return self.forward.exact and self.graph.exact

    @property
    def gradients(self) -> Gradients | RemediedGradients:
        """The pass that attacks need, compiled when it is first asked for; through its remedies.

        Of models together it is the mean. Raises ``GradientError`` for a model that cannot be
        differentiated.
        """
        if self._remedied is None:
            return self.graph.gradients
        chain, plain = self._remedied
        return RemediedGradients(
            [classifier.gradients for classifier in plain],
            chain,
            lambda views: plain[0](views).probabilities,
        )
