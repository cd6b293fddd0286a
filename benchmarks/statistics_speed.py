"""Times the figures of a run over many images, and a bootstrap of the same means by SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.support.synthetic_rows import rows, severities
from benchmarks.timing import interleaved_ms
from robustness.statistics import Figures
from robustness.statistics.tables import FIGURES

IMAGES = 2000
RESAMPLES = 2000
MODELS = ("SqueezeNet", "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2")


def measure(repeats: int = 5) -> list[dict[str, Any]]:
    """Milliseconds of one condition of one model by both, and of a whole run by ours."""
    one = _run(MODELS[:1], severities("fog")[:1])
    whole = _run(MODELS, severities("fog", "snow"))
    columns = [one[column].to_numpy(float) for column in FIGURES.values()]

    def peer() -> None:
        for column in columns:
            stats.bootstrap(
                (column,), np.mean, n_resamples=RESAMPLES, method="percentile", vectorized=True
            )

    ours_ms, peer_ms = interleaved_ms(lambda: Figures(one).by_perturbation, peer, repeats=repeats)
    (whole_ms,) = interleaved_ms(lambda: Figures(whole).by_perturbation, repeats=repeats)
    return [
        {"what": "1 model, 1 condition", "ms": ours_ms, "ratio": peer_ms / ours_ms},
        {"what": "a bootstrap by SciPy", "ms": peer_ms, "ratio": 1.0},
        {"what": "4 models, 10 conditions", "ms": whole_ms, "ratio": None},
    ]


def _run(models: tuple[str, ...], conditions: list[tuple[str, float | None]]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    shape = (IMAGES, len(conditions))
    right = rng.random(IMAGES) < 0.8
    return pd.concat(
        [
            rows(
                rng.random(shape) < 0.6,
                model=model,
                conditions=conditions,
                labels=np.arange(IMAGES) % 100,
                clean_correct=right,
                correct=right[:, None] & (rng.random(shape) < 0.6),
            )
            for model in models
        ],
        ignore_index=True,
    )


def main() -> None:
    """Prints the table."""
    print(f"{'what':<30} {'ms':>7}   times faster than SciPy")
    for row in measure():
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}"
        print(f"{row['what']:<30} {row['ms']:>7.0f}   {ratio:>22}")


if __name__ == "__main__":
    main()
