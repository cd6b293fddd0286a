"""Remedies as Python for a product's own code, with OpenCV and NumPy alone."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from robustness.base.errors import ParameterError
from robustness.remedies.chain import Chain

_HEAD = '''def remedied(image: np.ndarray) -> np.ndarray:
    """Apply the remedy to an RGB image, uint8 (H, W, 3); OpenCV reads images as BGR."""
'''


def python(chain: Chain) -> str:
    """The source of functions of one RGB image, uint8 (H, W, 3), that do what ``chain`` does.

    The last, ``remedied``, calls the others. Raises ``ParameterError`` for a chain that acts on
    the prediction.
    """
    if not chain.on_image:
        raise ParameterError(
            f"Expected a remedy on the image to copy as code, got {chain.id}. Use "
            "load_model(name).with_remedies([...])."
        )
    functions: dict[str, Callable[..., Any]] = {}
    steps = []
    for remedy in chain.remedies:
        step = f"image = {remedy.function.__name__}(image)"
        functions[remedy.function.__name__] = remedy.function
        if remedy.gate is not None:
            detector = remedy.gate.detector
            functions[detector.__name__] = detector
            step = f"if {detector.__name__}(image) > {remedy.gate.threshold}:\n    {step}"
        steps.append(step)
    parts = [_source(function) for function in functions.values()]
    body = textwrap.indent("\n".join([*steps, "return image"]), "    ")
    return "\n\n\n".join(["import cv2\nimport numpy as np", *parts, f"{_HEAD}{body}\n"])


def _source(function: Callable[..., Any]) -> str:
    """The source of ``function`` without its decorator, its types those of NumPy."""
    source = inspect.getsource(function)
    source = source[source.index("def ") :].strip()
    return re.sub(r"\bLevels\b", "np.ndarray", source)
