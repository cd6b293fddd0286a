"""Attacks against foolbox's on the same graphs: same epsilon, steps and step size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness.attacks import AttackSpec, attack
from robustness.attacks.perform import make_task
from robustness.models import Classifier
from robustness.models.runtime import keras, tensorflow
from robustness.pictures.picture import image_digest

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # foolbox's model zoo asks for git at import
import eagerpy
import foolbox

# foolbox's own imports, and how it asks TensorFlow for a GPU.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Images = NDArray[np.float32]
TOLERANCE = 0.002
"""Of the loss: a pass over two pictures differs in its last bits from two passes over one, and
so does a path along signs that follow it. Measured: 0.0004."""


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


def peer(classifier: Classifier, images: Images) -> Peer:
    tf = tensorflow()
    network = classifier.graph.model
    last = network.get_layer("probabilities" if "Squeeze" in classifier.record.name else "fc")
    body = keras().Model(network.inputs, last.input)

    @tf.function(reduce_retracing=True)
    def logits(pixels: Any) -> Any:
        features = body(classifier.graph.prepare(pixels), training=False)
        return features @ last.kernel + last.bias if last.weights else features

    model = foolbox.TensorFlowModel(logits, bounds=(0, 1), device="/CPU:0")
    return Peer(classifier, model, images, classifier(images).probabilities.argmax(1))


@pytest.fixture(scope="module")
def squeezenet(classifiers: Mapping[str, Classifier], photographs: Images) -> Peer:
    return peer(classifiers["SqueezeNet"], photographs[:2])


@pytest.fixture(scope="module")
def lite0(classifiers: Mapping[str, Classifier], photographs: Images) -> Peer:
    return peer(classifiers["EfficientNetLite0"], photographs[:2])


def theirs(
    peer: Peer, attack: Any, epsilon: float, target: int | None = None
) -> tuple[Images, NDArray[np.bool_]]:
    """foolbox's pictures within epsilon, and which of them succeed."""
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


FGSM = {"linf": foolbox.attacks.FGSM, "l2": foolbox.attacks.FGM}


@pytest.mark.parametrize(
    ("norm", "epsilon", "target"),
    [
        ("linf", 0.5 / 255, None),
        ("linf", 8 / 255, None),
        ("linf", 1 / 255, 968),
        ("l2", 0.3, None),
        ("l2", 0.3, 968),
    ],
)
def test_pgd(squeezenet: Peer, norm: str, epsilon: float, target: int | None) -> None:
    spec = AttackSpec.of("pgd", norm=norm, epsilon=epsilon, steps=8, target=target)
    assert at_least_as_high(*compare(squeezenet, spec, pgd(squeezenet, spec)))


def test_pgd_on_a_network_that_ends_in_a_dense_softmax(lite0: Peer) -> None:
    spec = AttackSpec.of("pgd", epsilon=0.25 / 255, steps=5)
    assert at_least_as_high(*compare(lite0, spec, pgd(lite0, spec)))


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.25 / 255), ("linf", 8 / 255), ("l2", 1)])
def test_fgsm_takes_the_same_step(squeezenet: Peer, norm: str, epsilon: float) -> None:
    """Without a random start or a choice among steps, the pictures themselves agree."""
    spec = AttackSpec.of("fgsm", norm=norm, epsilon=epsilon)
    reference = FGSM[norm]()
    assert at_least_as_high(*compare(squeezenet, spec, reference))
    ours = attack(squeezenet.classifier, squeezenet.images, None, spec)
    other, _ = theirs(squeezenet, reference, epsilon)
    assert np.mean(np.abs(ours - other) > 1e-5) < 1e-3  # signs of gradients that are all but zero


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.5 / 255), ("l2", 0.3)])
def test_momentum(squeezenet: Peer, norm: str, epsilon: float) -> None:
    """foolbox gathers signs or unit vectors, the paper gradients over their mean size."""
    spec = AttackSpec.of("mifgsm", norm=norm, epsilon=epsilon, steps=10)
    name = {"linf": "LinfMomentumIterative", "l2": "L2MomentumIterative"}[norm]
    reference = getattr(foolbox.attacks.mi_fgsm, f"{name}FastGradientMethod")(
        steps=10, rel_stepsize=1 / 10, momentum=1.0
    )
    assert at_least_as_high(*compare(squeezenet, spec, reference))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_finds_changes_as_small(squeezenet: Peer, norm: str) -> None:
    spec = AttackSpec.of("deepfool", norm=norm, epsilon=1)
    ours = attack(squeezenet.classifier, squeezenet.images, None, spec)
    name = {"l2": "L2DeepFoolAttack", "linf": "LinfDeepFoolAttack"}[norm]
    other, succeeded = theirs(squeezenet, getattr(foolbox.attacks, name)(), 1)
    assert succeeded.all()
    assert (squeezenet.top1(ours) != squeezenet.clean).all()
    order = {"l2": 2, "linf": np.inf}[norm]
    sizes = [
        np.linalg.norm((images - squeezenet.images).reshape(len(images), -1), order, axis=1)
        for images in (ours, other)
    ]
    np.testing.assert_allclose(sizes[0], sizes[1], rtol=0.01)
