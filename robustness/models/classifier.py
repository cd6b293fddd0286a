"""A classifier: a loaded model, which turns study images into probabilities and features."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError, WeightsError
from robustness.models.engine import Floats, ForwardPass, Gradients, Network
from robustness.models.passes import ChainGradients, ChainPass
from robustness.models.record import ModelRecord

if TYPE_CHECKING:
    from robustness.remedies import Chain

MAX_BATCH = 16
"""The most images that are worth predicting at once; more gain nothing on a CPU and cost memory."""

_BITS_OF_ONE = int(np.float32(1).view(np.uint32))
"""The bits of 1.0 as an integer. The bits of the float32 numbers from 0 to 1, and of no others, are
integers from 0 to this one."""


@dataclass(frozen=True)
class Outputs:
    """A classifier's output for N images.

    ``probabilities`` is (N, classes). Its rows sum to 1, unless the model is quantised, which
    rounds them. ``features`` maps each stage, shallow to deep, to (N, D): the activations of the
    stage, averaged over height and width.
    """

    probabilities: Floats
    features: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Outputs:
        features = {stage: values[rows] for stage, values in self.features.items()}
        return Outputs(self.probabilities[rows], features)

    @staticmethod
    def join(parts: list[Outputs]) -> Outputs:
        """The outputs of consecutive batches, one or more, as one."""
        probabilities = np.concatenate([part.probabilities for part in parts])
        features = {}
        for stage in parts[0].features:
            features[stage] = np.concatenate([part.features[stage] for part in parts])
        return Outputs(probabilities, features)


class Classifier:
    """A model that is loaded for study images of ``side`` pixels.

    It resizes images from ``side`` to the model's input size, and normalises them. Several threads
    may call it at once.
    """

    def __init__(
        self,
        record: ModelRecord,
        forward: ForwardPass,
        network: Callable[[], Network],
        side: int,
        key: str = "",
        behind: tuple[Chain, Sequence[Classifier]] | None = None,
    ) -> None:
        """``forward`` predicts; ``network()`` makes the same model in TensorFlow's graph.

        ``network`` is called when the graph is first needed. Classifiers with the same ``key``
        predict the same, in other processes too; it is empty where no key can identify the model.
        ``behind`` are the remedies that ``forward`` applies, and the classifiers behind them.
        """
        self.record = record
        self.side = side
        self.key = key
        self.stages = forward.stages
        self.forward = forward
        self._make_network = network
        self._loading = threading.Lock()
        self._network: Network | None = None
        self._behind = behind
        self._calibrated: dict[str, Classifier] = {}

    @property
    def call_seconds(self) -> tuple[float, ...] | None:
        """Seconds per image of the latest calls of a function; None for other models."""
        seconds: tuple[float, ...] | None = getattr(self.forward, "call_seconds", None)
        return seconds

    def with_remedies(
        self,
        remedies: str | Iterable[str] | Chain,
        others: Sequence[Classifier] = (),
    ) -> Classifier:
        """The same model behind ``remedies``, applied in order, such as ``["median", "tta"]``.

        ``others`` are the further models of an average or a vote. Raises ``UnknownNameError`` for
        an unknown remedy, and ``ParameterError`` for remedies that cannot be combined, or for
        models with other classes or another side.
        """
        from robustness.remedies import parse  # imports OpenCV, which most commands do without

        chain = parse(remedies)
        if chain.several_models and not others:
            raise ParameterError(f"{chain.id} expects other models.")
        if others and not chain.several_models:
            raise ParameterError(f"{chain.id} expects no other models.")
        for other in others:
            same_classes = other.record.labels().key == self.record.labels().key
            if not same_classes or other.side != self.side:
                raise ParameterError(
                    f"{chain.id} expects models with the same classes, loaded with the same side; "
                    f"{other.record.name} differs from {self.record.name}."
                )
        classifiers = [self, *others]
        keys = [classifier.key for classifier in classifiers]
        key = ""
        if all(keys):
            key = "-".join([*keys, chain.id])
        return Classifier(
            self.record,
            ChainPass([classifier.forward for classifier in classifiers], chain),
            network=lambda: self.graph,
            side=self.side,
            key=key,
            behind=(chain, classifiers),
        )

    def calibrated(self, record: ModelRecord) -> Classifier:
        """The classifier of the calibrated model ``record``, whose base is the model of this one.

        It is kept here, so that each call returns the same object until the record changes.
        """
        classifier = self._calibrated.get(record.name)
        if classifier is None or classifier.record != record:
            classifier = self.with_remedies(f"temperature={record.temperature}")
            classifier.record = record
            self._calibrated[record.name] = classifier
        return classifier

    @property
    def untempered(self) -> Classifier:
        """The same classifier without its temperature.

        A temperature does not change the order of the classes, so an image that fools one of the
        two classifiers also fools the other.
        """
        if self._behind is None:
            return self
        chain, classifiers = self._behind
        if chain.last.temperature == 1:
            return self
        # Models together have no temperature, so there is one classifier behind this one.
        plain = classifiers[0]
        if len(chain.remedies) > 1:
            return plain.with_remedies(replace(chain, remedies=chain.remedies[:-1]))
        return plain.untempered

    def __call__(self, images: Floats) -> Outputs:
        """Classify ``images``, float32 (N, side, side, 3) in [0, 1], N >= 1.

        Raises ``ParameterError`` for another shape or other values, and ``WeightsError`` for an
        output that is not finite.
        """
        self.check_images(images)
        return self.unchecked(images)

    def unchecked(self, images: Floats) -> Outputs:
        """Classify ``images`` of any values, such as those in another normalisation.

        Raises ``WeightsError`` for an output that is not finite.
        """
        outputs = Outputs(*self.forward(images))
        self._check_output("probabilities", outputs.probabilities, len(images))
        for stage, features in outputs.features.items():
            self._check_output(stage, features, len(images))
        return outputs

    def _check_output(self, name: str, values: Floats, count: int) -> None:
        """Raise ``WeightsError`` unless ``values`` are finite numbers for ``count`` images."""
        # An engine without memory gives an empty array, and a network may overflow.
        if values.ndim != 2 or len(values) != count or not values.size:
            problem = f"an array of shape {values.shape}"
        elif not np.isfinite(values).all():
            problem = "NaN or infinity"
        else:
            return
        raise WeightsError(
            f"{self.record.name}: expected finite numbers as the {name} of {count} images, "
            f"got {problem}. Leave the model out, or give the machine more memory."
        )

    @property
    def engine(self) -> str:
        """The engine that predicts, with its version and precision."""
        return self.forward.engine

    def check_images(self, images: Floats) -> None:
        """Raise ``ParameterError`` unless they are (N, side, side, 3), N >= 1, within [0, 1]."""
        expected_shape = (self.side, self.side, 3)
        if images.ndim != 4 or images.shape[1:] != expected_shape or not len(images):
            raise ParameterError(
                f"{self.record.name} expects images of shape (N, {self.side}, {self.side}, 3), "
                f"got {images.shape}."
            )
        # One pass over integers; the minimum and the maximum below take longer.
        if images.dtype == np.float32 and images.view(np.uint32).max() <= _BITS_OF_ONE:
            return
        low = images.min()
        high = images.max()
        if not (low >= 0 and high <= 1):  # also true for NaN
            raise ParameterError(
                f"{self.record.name} expects values from 0 to 1, got {low:g} to {high:g}; divide "
                "pixels by 255."
            )

    @property
    def graph(self) -> Network:
        """The model in TensorFlow's graph, for explanations.

        It is made on first access. Raises ``GradientError`` for a model that cannot be
        differentiated.
        """
        with self._loading:
            if self._network is None:
                self._network = self._make_network()
            return self._network

    @property
    def exact(self) -> bool:
        """Whether the scores that come with gradients equal those of the predictions.

        For a quantised model, or one that another runtime computes, they may differ slightly.
        """
        return self.forward.exact and self.graph.exact

    @property
    def gradients(self) -> Gradients | ChainGradients:
        """The pass that gives gradients for attacks, compiled on first access.

        It goes through the remedies; for several models together it is the mean. Raises
        ``GradientError`` for a model that cannot be differentiated.
        """
        if self._behind is None:
            return self.graph.gradients
        chain, classifiers = self._behind

        def first_probabilities(views: Floats) -> Floats:
            return classifiers[0](views).probabilities

        gradients = [classifier.gradients for classifier in classifiers]
        return ChainGradients(gradients, chain, first_probabilities)
