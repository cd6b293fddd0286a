"""Networks of torchvision, timm and Hugging Face with random weights, against torch itself.

Each is added as a ``torch.nn.Module``. Its probabilities and the gradient that attacks follow are
compared with torch's, computed in double precision. Torch's own gradient in single precision stands
beside them: where a unit is at the kink of its ReLU, rounding decides. Where there is no gradient,
the operation without one is named.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from robustness import api
from robustness.base.errors import GradientError, RobustnessError
from robustness.images.pixels import round_to_grid
from robustness.models.loaded import LOADED

SIDE = 224
IMAGES = 2


def _torchvision(name: str) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module("torchvision.models"), name)()


def _timm(name: str) -> Callable[[], Any]:
    return lambda: importlib.import_module("timm").create_model(name)


def _hugging_face(kind: str, **config: Any) -> Callable[[], Any]:
    def make() -> Any:
        transformers = importlib.import_module("transformers")
        settings = getattr(transformers, f"{kind}Config")(num_labels=1000, **config)
        return transformers.AutoModelForImageClassification.from_config(settings)

    return make


_SMALL = {
    "hidden_size": 192,
    "num_hidden_layers": 12,
    "num_attention_heads": 3,
    "intermediate_size": 768,
}

NETWORKS: dict[str, Callable[[], Any]] = {
    "torchvision shufflenet_v2_x0_5": _torchvision("shufflenet_v2_x0_5"),
    "timm mobilevit_xxs": _timm("mobilevit_xxs"),
    "Hugging Face ViT": _hugging_face("ViT", **_SMALL),
    "timm lambda_resnet26t": _timm("lambda_resnet26t"),
    "timm fastvit_t8": _timm("fastvit_t8"),
    "Hugging Face MobileViT": _hugging_face("MobileViT"),
    "timm tf_efficientnetv2_b0": _timm("tf_efficientnetv2_b0"),
    "Hugging Face DINOv2": _hugging_face(
        "Dinov2", hidden_size=192, num_hidden_layers=12, num_attention_heads=3
    ),
    "torchvision swin_t": _torchvision("swin_t"),
    "torchvision convnext_tiny": _torchvision("convnext_tiny"),
    "Hugging Face ResNet": _hugging_face("ResNet"),
    "torchvision densenet121": _torchvision("densenet121"),
}


def added(what: Any) -> None:
    """Add ``what``, a module or a file of one, as the model ``network``."""
    api.add_model(
        "network",
        what,
        labels=[f"class {index}" for index in range(1000)],
        input_size=SIDE,
        normalisation="0..1",
        output="logits",
    )


def measure() -> Iterator[dict[str, Any]]:
    """Yields one row a network.

    ``probabilities`` and ``gradients`` are the largest differences from torch's in double
    precision, as shares of the largest value, and ``torch`` that of torch's gradients in single
    precision; ``cosine`` is that of the two gradients. ``problem`` says why one is missing.
    """
    torch = importlib.import_module("torch")
    rng = np.random.default_rng(0)
    images = round_to_grid(rng.random((IMAGES, SIDE, SIDE, 3), np.float32))
    for name, make in NETWORKS.items():
        row: dict[str, Any] = {"network": name, "problem": ""}
        try:
            torch.manual_seed(0)
            module = make().eval()
            added(module)
            classifier = api.load_model("network")
            _, single, classes = _by_torch(torch, module, images)
            probabilities, gradient, _ = _by_torch(
                torch, module.double(), images.astype(np.float64)
            )
            row["probabilities"] = _apart(classifier(images).probabilities, probabilities)
            row["torch"] = _apart(single, gradient)
            found = classifier.gradients(images, classes.astype(np.int32))
            row["gradients"] = _apart(found.gradient, gradient)
            ours, theirs = (each.astype(np.float64) for each in (found.gradient, gradient))
            row["cosine"] = float(
                (ours * theirs).sum() / np.linalg.norm(ours) / np.linalg.norm(theirs)
            )
        except GradientError as error:
            row["problem"] = str(error)
        except (RobustnessError, ImportError, AttributeError) as error:
            row["problem"] = f"{type(error).__name__}: {error}"
        LOADED.release()
        yield row


def _by_torch(torch: Any, module: Any, images: Any) -> tuple[Any, Any, Any]:
    """Torch's probabilities, the gradient of the lead of all other classes, and the top-1."""
    pixels = torch.tensor(images.transpose(0, 3, 1, 2)).requires_grad_()
    answers = module(pixels)
    logits = getattr(answers, "logits", answers)
    classes = logits.argmax(1)
    own = torch.nn.functional.one_hot(classes, logits.shape[1]).bool()
    lead = logits.masked_fill(own, -torch.inf).logsumexp(1) - logits[own]
    (gradient,) = torch.autograd.grad(lead.sum(), pixels)
    probabilities = logits.softmax(1).detach().numpy()
    return probabilities, gradient.numpy().transpose(0, 2, 3, 1), classes.numpy()


def _apart(found: Any, expected: Any) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def main() -> None:
    """Print the table, in Markdown."""
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed: pip install -r requirements-torch.in")
        return
    print("| network | probabilities | gradients | torch's own | cosine | without gradients |")
    print("|---|---|---|---|---|---|")
    for row in measure():
        keys = ("probabilities", "gradients", "torch")
        shown = [f"{row[key]:.0e}" if key in row else "" for key in keys]
        shown.append(f"{row['cosine']:.6f}" if "cosine" in row else "")
        print(f"| {row['network']} | {' | '.join(shown)} | {row['problem']} |", flush=True)


if __name__ == "__main__":
    main()
