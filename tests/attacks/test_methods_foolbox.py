"""Attacks against foolbox's on the same graphs: same epsilon, steps and step size."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.support.lazy_modules import Later
from robustness.attacks import AttackSpec, attack
from robustness.attacks.loop import make_task
from robustness.images.framing import image_digest
from robustness.models import Classifier
from robustness.models.frameworks import keras, tensorflow
from tests.attacks.conftest import SIDE
from tests.support.preparing import in_tensorflow
from tests.support.twelve_classes import of_twelve_classes

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # foolbox's model zoo asks for git at import
eagerpy, foolbox = Later("eagerpy"), Later("foolbox")

# foolbox's own imports, and how it asks TensorFlow for a GPU.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Images = NDArray[np.float32]
TOLERANCE = 0.002
"""Of the loss: a pass over two images differs in its last bits from two passes over one, and so
does a path along signs that follow it. Measured: 0.0004."""


@dataclass(frozen=True)
class Peer:
    """One of our classifiers, and foolbox's view of the logits of the same graph."""

    classifier: Classifier
    model: Any
    images: Images
    clean: NDArray[np.int64]

    def loss(self, images: Images, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cross-entropy of ``classes``, (N,), of float64 logits."""
        logits = self.model(tensorflow().constant(images)).numpy().astype(np.float64)
        return np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(images)), classes]

    def top1(self, images: Images) -> NDArray[np.int64]:
        return self.classifier(images).probabilities.argmax(1)


def peer(classifier: Classifier, keras_network: Any, images: Images) -> Peer:
    tf = tensorflow()
    (last,) = (layer for layer in keras_network.layers if layer.name in ("probabilities", "head"))
    body = keras().Model(keras_network.inputs, last.input)

    @tf.function(reduce_retracing=True)
    def logits(pixels: Any) -> Any:
        features = body(in_tensorflow(classifier.record, pixels), training=False)
        return features @ last.kernel + last.bias if last.weights else features

    model = foolbox.TensorFlowModel(logits, bounds=(0, 1), device="/CPU:0")
    return Peer(classifier, model, images, classifier(images).probabilities.argmax(1))


@pytest.fixture(scope="module")
def bent(thumbnails: Images) -> Peer:
    """A network with weights so large that an attack with a wrong or short step does worse."""
    keras().utils.set_random_seed(3)
    layers = keras().layers
    maps = pixels = layers.Input((SIDE, SIDE, 3))
    for strides in (2, 1, 2, 1, 1):
        maps = layers.Conv2D(16, 3, strides=strides, activation="relu")(maps)
    head = layers.Dense(12, activation="softmax", name="head")
    network = keras().Model(pixels, head(layers.Flatten()(maps)))
    network.set_weights([2 * weights for weights in network.get_weights()])
    return peer(of_twelve_classes(network, SIDE, mean=0.5, spread=0.25), network, thumbnails)


def theirs(
    peer: Peer, attack: Any, epsilon: float, target: int | None = None
) -> tuple[Images, NDArray[np.bool_]]:
    """foolbox's images within epsilon, and which of them succeed."""
    tf = tensorflow()
    criterion: Any = foolbox.Misclassification(tf.constant(peer.clean))
    if target is not None:
        classes = tf.constant(np.full(len(peer.clean), target))
        criterion = foolbox.criteria.TargetedMisclassification(classes)
    inputs = tf.constant(peer.images)
    _, clipped, success = attack(peer.model, inputs, criterion, epsilons=epsilon)
    return clipped.numpy(), success.numpy()


def pgd(peer: Peer, spec: AttackSpec) -> Any:
    """foolbox's PGD from our random starts, as other ones would end elsewhere."""
    starts = []
    for image in peer.images:
        digest = image_digest(image)
        task = make_task(peer.classifier, image[None], 0, spec, [spec.epsilon], [digest])
        starts.append(spec.record.start(task))
    start = eagerpy.astensor(tensorflow().constant(np.concatenate(starts)))
    family = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[spec.norm]
    reference: Any = family(steps=spec.steps, rel_stepsize=2.5 / spec.steps, random_start=True)
    reference.get_random_start = lambda clean, epsilon: start
    return reference


def compare(peer: Peer, spec: AttackSpec, reference: Any) -> tuple[float, float]:
    """Checks ours against theirs; returns both mean losses, higher being the better attack."""
    ours = attack(peer.classifier, peer.images, None, spec)
    other, succeeded = theirs(peer, reference, spec.epsilon, spec.target)
    top1 = peer.top1(ours)
    success = top1 != peer.clean if spec.target is None else top1 == spec.target
    assert abs(int(success.sum()) - int(succeeded.sum())) <= 1
    if spec.target is None:
        return peer.loss(ours, peer.clean).mean(), peer.loss(other, peer.clean).mean()
    classes = np.full(len(peer.clean), spec.target)
    return -peer.loss(ours, classes).mean(), -peer.loss(other, classes).mean()


def at_least_as_high(ours: float, theirs: float) -> bool:
    return ours >= theirs - TOLERANCE * abs(theirs)


FGSM = {"linf": "FGSM", "l2": "FGM"}


@pytest.mark.parametrize(
    ("norm", "epsilon", "target"),
    [
        ("linf", 0.5 / 255, None),
        ("linf", 1 / 255, 0),
        ("l2", 0.3, None),
        ("l2", 0.3, 0),
    ],
)
def test_pgd(bent: Peer, norm: str, epsilon: float, target: int | None) -> None:
    spec = AttackSpec.of("pgd", norm=norm, epsilon=epsilon, steps=8, target=target)
    assert at_least_as_high(*compare(bent, spec, pgd(bent, spec)))


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.5 / 255), ("l2", 0.3)])
def test_fgsm_takes_the_same_step(bent: Peer, norm: str, epsilon: float) -> None:
    """Without a random start or a choice among steps, the images themselves agree."""
    spec = AttackSpec.of("fgsm", norm=norm, epsilon=epsilon)
    reference = getattr(foolbox.attacks, FGSM[norm])()
    assert at_least_as_high(*compare(bent, spec, reference))
    ours = attack(bent.classifier, bent.images, None, spec)
    other, _ = theirs(bent, reference, epsilon)
    assert np.mean(np.abs(ours - other) > 1e-5) < 1e-3  # signs of gradients that are all but zero


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.5 / 255), ("l2", 0.1)])
def test_momentum(bent: Peer, norm: str, epsilon: float) -> None:
    """foolbox gathers signs or unit vectors, the paper gradients over their mean size."""
    spec = AttackSpec.of("mifgsm", norm=norm, epsilon=epsilon, steps=10)
    name = {"linf": "LinfMomentumIterative", "l2": "L2MomentumIterative"}[norm]
    reference = getattr(foolbox.attacks.mi_fgsm, f"{name}FastGradientMethod")(
        steps=10, rel_stepsize=1 / 10, momentum=1.0
    )
    assert at_least_as_high(*compare(bent, spec, reference))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_finds_changes_as_small(bent: Peer, norm: str) -> None:
    spec = AttackSpec.of("deepfool", norm=norm, epsilon=1)
    ours = attack(bent.classifier, bent.images, None, spec)
    name = {"l2": "L2DeepFoolAttack", "linf": "LinfDeepFoolAttack"}[norm]
    other, succeeded = theirs(bent, getattr(foolbox.attacks, name)(), 1)
    assert succeeded.all()
    assert (bent.top1(ours) != bent.clean).all()
    order = {"l2": 2, "linf": np.inf}[norm]
    sizes = [
        np.linalg.norm((images - bent.images).reshape(len(images), -1), order, axis=1)
        for images in (ours, other)
    ]
    np.testing.assert_allclose(sizes[0], sizes[1], rtol=0.01)
