"""The memory of a process that has the offline models loaded, with either engine.

Each in a process of its own, after two passes of 16 images by every model, so that a first pass
and what a second one takes again are both in it. Memory is what is in use then, as Linux tells it;
weights that OpenVINO has mapped from their file are counted with it.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from benchmarks.offline_models import NAMES, run_by
from robustness.models.engine import OPENVINO, TENSORFLOW

_SCRIPT = f"""
import numpy as np
from robustness import models
from robustness.models.classifier import MAX_BATCH
from benchmarks.support.process_memory import resident
images = np.random.default_rng(0).random((MAX_BATCH, 224, 224, 3), np.float32)
classifiers = [models.load(name) for name in {NAMES!r}]
for classifier in classifiers * 2:
    classifier(images)
print(resident())
"""


def measure() -> dict[str, Any]:
    """Bytes with OpenVINO and with TensorFlow, and ``ratio``, ours over TensorFlow's."""
    _resident(OPENVINO)  # converts what is not kept yet
    ours = _resident(OPENVINO)
    reference = _resident(TENSORFLOW)
    return {"bytes": ours, "reference_bytes": reference, "ratio": ours / reference}


def _resident(engine: str) -> int:
    with run_by(engine):
        command = [sys.executable, "-c", _SCRIPT]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def main() -> None:
    """Prints the line."""
    row = measure()
    print(
        f"{row['bytes'] / 1e6:.0f} MB, with TensorFlow's passes "
        f"{row['reference_bytes'] / 1e6:.0f} MB: {row['ratio']:.2f} times"
    )


if __name__ == "__main__":
    main()
