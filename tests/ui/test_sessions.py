"""What Streamlit does between runs must not cost the models their preparation."""

from __future__ import annotations

import numpy as np
from streamlit.runtime.scriptrunner import script_runner

from robustness import models


def test_a_models_kernels_outlive_a_script_run() -> None:
    from tensorflow.python.eager import context

    classifier = models.load("SqueezeNet")
    images = np.zeros((1, 224, 224, 3), np.float32)
    before = classifier(images).probabilities
    cleared: list[bool] = []
    plain = context.Context.clear_kernel_cache
    try:
        context.Context.clear_kernel_cache = lambda self: cleared.append(True)
        script_runner._clean_problem_modules()
    finally:
        context.Context.clear_kernel_cache = plain
    assert not cleared
    np.testing.assert_array_equal(classifier(images).probabilities, before)
