"""Forward passes of ONNX files beside onnxruntime's, one image, in one process and in turns.

The files are exported from networks of torchvision, timm and Hugging Face with random weights. Ours
also resizes, normalises and returns features; onnxruntime only computes the logits.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.framework_models import NETWORKS, SIDE, added
from benchmarks.timing import in_turns_ms
from robustness import api
from robustness.models.loaded import LOADED
from robustness.models.torch import open_module

LEAST_MEAN = 0.95
LEAST = 0.85
"""The ratios to reach: their geometric mean, and each."""


def measure(turns: int = 5) -> Iterator[dict[str, Any]]:
    """Yield one row a network; ``ratio`` is onnxruntime's time over ours."""
    import onnxruntime

    torch = importlib.import_module("torch")
    images = np.random.default_rng(0).random((1, SIDE, SIDE, 3), np.float32)
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    for name, make in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(0)
            export = open_module(make().eval()).export
            assert export is not None, "a module is exported"
            path = export(Path(folder), (SIDE, SIDE))
            added(str(path))
            classifier = api.load_model("network")
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            theirs = partial(session.run, None, {session.get_inputs()[0].name: pixels})
            ms, reference = in_turns_ms(partial(classifier, images), theirs, turns=turns)
        LOADED.release()
        yield {"network": name, "ms": ms, "onnxruntime_ms": reference, "ratio": reference / ms}


def main() -> None:
    """Print the table and the geometric mean."""
    if not importlib.util.find_spec("torch"):
        print("not measured beside onnxruntime: torch is not installed")
        return
    print(f"{'network':34}{'ms':>8}{'onnxruntime ms':>16}{'ratio':>8}")
    ratios = []
    for row in measure():
        ratios.append(row["ratio"])
        print(
            f"{row['network']:34}{row['ms']:8.1f}{row['onnxruntime_ms']:16.1f}{row['ratio']:8.2f}",
            flush=True,
        )
    print(
        f"geometric mean {statistics.geometric_mean(ratios):.2f} (wanted: {LEAST_MEAN}), least "
        f"{min(ratios):.2f} (wanted: {LEAST})"
    )


if __name__ == "__main__":
    main()
