"""Holds AutoAttack and its members against the authors' package, on the same networks.

It is optional: it needs PyTorch and the authors' package (``pip install torch pyautoattack``), and
is run by itself, as it takes minutes: ``python -m benchmarks.attack_strength FOLDER``, where FOLDER
holds photographs; without it the sample photographs are used.

The authors' attacks see the very network that ours see: a function of PyTorch whose forward pass
asks TensorFlow for the logits, and whose backward pass asks it for the product with their Jacobian.
Both sides take the same steps, and leave the model's own answers. An image counts as robust where
the answer is still that one; images are floats, as the authors' are. Of Square, which is luck to
a large part, it is the mean over ``SEEDS`` of either side.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.study_networks import study_network
from benchmarks.support.image_files import load_study_image
from robustness import models
from robustness.attacks import AttackSpec, attack
from robustness.images.decoding import REGISTRY as SAMPLES
from robustness.images.decoding import sample_path
from robustness.models import Classifier
from robustness.models.frameworks import tensorflow

Images = NDArray[np.float32]
MOST_PICTURES = 30
STEPS = 10
QUERIES = 100
SETTINGS = {
    "SqueezeNet": {"linf": (0.1 / 255, 1 / 255), "l2": (0.1, 1.0)},
    "EfficientNetLite0": {"linf": (0.15 / 255, 4 / 255), "l2": (0.15, 2.0)},
}
"""By model and norm: the epsilon of the attacks that follow gradients, and that of Square. With
them some images hold and some do not."""

SEEDS = range(4)
WHITE_BOX = ("apgd_ce", "apgd_dlr", "apgd_t", "fab_t")
ENSEMBLES = {
    "autoattack": ("apgd_ce", "apgd_t", "fab_t"),
    "autoattack_rand": ("apgd_ce", "apgd_dlr"),
}
"""By name, those of ``WHITE_BOX`` that belong to it: *theirs* is what these leave together."""


def measure(folder: Path | None = None) -> Iterator[dict[str, Any]]:
    """One row a model, norm and attack: how many images are robust, by ours and by theirs."""
    images = _images(folder)
    for name, norms in SETTINGS.items():
        classifier = models.load(name)
        own = classifier(images).probabilities.argmax(1)
        for norm, (epsilon, of_square) in norms.items():
            theirs = _Theirs(classifier, images, own, norm)
            plain = _robust(classifier, images, own, _spec("pgd", norm, epsilon))
            left = {}
            for attack_name in WHITE_BOX:
                ours = _robust(classifier, images, own, _spec(attack_name, norm, epsilon))
                left[attack_name] = theirs.robust(attack_name, epsilon)
                yield _row(name, norm, epsilon, attack_name, ours, left[attack_name], plain)
            specs = [_spec("square", norm, of_square, seed) for seed in SEEDS]
            ours = np.stack([_robust(classifier, images, own, spec) for spec in specs])
            found = np.stack([theirs.robust("square", of_square, seed) for seed in SEEDS])
            yield _row(name, norm, of_square, "square", ours, found, plain)
            for ensemble, members in ENSEMBLES.items():
                whole = _robust(classifier, images, own, _spec(ensemble, norm, epsilon))
                together = np.all([left[member] for member in members], 0)
                yield _row(name, norm, epsilon, ensemble, whole, together, plain)


def _images(folder: Path | None) -> Images:
    if folder is None:
        paths = [sample_path(sample.name) for sample in SAMPLES]
    else:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        paths = paths[:: max(1, len(paths) // MOST_PICTURES)][:MOST_PICTURES]
    return np.stack([load_study_image(path) for path in paths])


def _spec(name: str, norm: str, epsilon: float, seed: int = 0) -> AttackSpec:
    steps = QUERIES if name == "square" else STEPS
    return AttackSpec.of(name, norm=norm, epsilon=epsilon, steps=steps, seed=seed)


def _robust(
    classifier: Classifier, images: Images, own: NDArray[np.intp], spec: AttackSpec
) -> NDArray[np.bool_]:
    found = attack(classifier, images, own, spec)
    return classifier(found).probabilities.argmax(1) == own


def _row(
    model: str,
    norm: str,
    epsilon: float,
    name: str,
    ours: NDArray[np.bool_],
    theirs: NDArray[np.bool_],
    pgd: NDArray[np.bool_],
) -> dict[str, Any]:
    return {
        "model": model,
        "norm": norm,
        "epsilon": epsilon,
        "attack": name,
        "ours": float(ours.sum(-1).mean()),
        "theirs": float(theirs.sum(-1).mean()),
        "pgd": int(pgd.sum()),
        "pictures": len(pgd),
    }


class _Theirs:
    """The authors' attacks on a classifier and its own answers to ``images``, in one norm."""

    def __init__(
        self, classifier: Classifier, images: Images, own: NDArray[np.intp], norm: str
    ) -> None:
        import torch

        self._classifier = classifier
        self._own = own
        self._norm = norm
        self._network = _bridge(classifier)
        self._images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        self._classes = torch.from_numpy(own.astype(np.int64))

    def robust(self, name: str, epsilon: float, seed: int = 0) -> NDArray[np.bool_]:
        """Which images hold against their attack ``name``."""
        found = self._made(name, epsilon, seed).detach().numpy().transpose(0, 2, 3, 1)
        answers = self._classifier(np.ascontiguousarray(found)).probabilities.argmax(1)
        return answers == self._own

    def _made(self, name: str, epsilon: float, seed: int) -> Any:
        from pyautoattack import AutoAttack

        norm = {"linf": "Linf", "l2": "L2"}[self._norm]
        their = AutoAttack(self._network, norm=norm, eps=epsilon, seed=seed)
        member = {
            "apgd_ce": their.apgd,
            "apgd_dlr": their.apgd,
            "apgd_t": their.apgd_targeted,
            "fab_t": their.fab,
            "square": their.square,
        }[name]
        if name.startswith("apgd"):
            # Its windows are worked out when it is made, from the number of steps.
            member.__init__(
                self._network, n_iter=STEPS, norm=norm, eps=epsilon, seed=0, device="cpu"
            )
            member.loss = {"apgd_ce": "ce", "apgd_dlr": "dlr"}.get(name, member.loss)
        member.n_iter = STEPS
        member.n_queries = QUERIES
        member.resc_schedule = True
        member.rescale_schedule = True
        member.targeted = name == "fab_t"
        return member.perturb(self._images, self._classes)


def _under_softmax(probabilities: Any) -> Any:
    """The logits that the closing softmax of a graph reads."""
    tensor = probabilities
    while tensor.op.type != "Softmax":
        (tensor,) = tensor.op.inputs
    return tensor.op.inputs[0]


def _bridge(classifier: Classifier) -> Callable[[Any], Any]:
    """The logits of ``classifier`` as a function of PyTorch's (N, 3, S, S) that has gradients."""
    import torch

    tf = tensorflow()
    side = classifier.side
    graph = study_network(classifier.record.name)
    pixels = tf.TensorSpec((None, side, side, 3), tf.float32)
    anything = tf.TensorSpec((None, None), tf.float32)

    def scores(images: Any) -> Any:
        probabilities = graph.model(graph.prepare(images), training=False)[0]
        return _under_softmax(probabilities)

    forward = tf.function(scores, input_signature=[pixels], autograph=False)

    @tf.function(input_signature=[pixels, anything], autograph=False)
    def backward(images: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.reduce_sum(scores(images) * weights)
        return tape.gradient(total, images)

    class Network(torch.autograd.Function):
        """One network on both sides."""

        @staticmethod
        def forward(context: Any, images: Any) -> Any:
            context.save_for_backward(images)
            return torch.from_numpy(_each(forward, _last(images)))

        @staticmethod
        def backward(context: Any, weights: Any) -> Any:
            (images,) = context.saved_tensors
            slope = _each(backward, _last(images), weights.numpy())
            return torch.from_numpy(slope.transpose(0, 3, 1, 2).copy())

    return Network.apply


def _last(images: Any) -> Images:
    return np.ascontiguousarray(images.detach().numpy().transpose(0, 2, 3, 1))


def _each(function: Callable[..., Any], *arrays: NDArray[np.float32]) -> NDArray[np.float32]:
    """``function`` of each row alone, as our attacks ask the network."""
    rows = zip(*arrays, strict=True)
    return np.concatenate([function(*(array[None] for array in row)).numpy() for row in rows])


def main() -> None:
    """Prints the table, or what is missing."""
    try:
        import pyautoattack  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        print(f"{error.name} is missing: pip install torch pyautoattack")
        return
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    print(f"{'model':20}{'norm':6}{'epsilon':>10}  {'attack':12}{'ours':>6}{'theirs':>8}{'PGD':>6}")
    for row in measure(folder):
        print(
            f"{row['model']:20}{row['norm']:6}{row['epsilon']:10.5f}  {row['attack']:12}"
            f"{row['ours']:6g}{row['theirs']:8g}{row['pgd']:6} of {row['pictures']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
