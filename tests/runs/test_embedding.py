"""Principal components against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.support.lazy_modules import Later
from robustness.runs.embedding import principal_components

decomposition = Later("sklearn.decomposition")


@pytest.mark.parametrize("shape", [(40, 7), (6, 50)])
def test_components_are_those_of_scikit_learn_up_to_their_signs(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(size=shape) * np.arange(1, shape[1] + 1)
    found, explained = principal_components(features)
    oracle = decomposition.PCA(2, svd_solver="full").fit(features)
    np.testing.assert_allclose(np.abs(found), np.abs(oracle.transform(features)), atol=1e-9)
    np.testing.assert_allclose(explained, oracle.explained_variance_ratio_)
