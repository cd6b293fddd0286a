"""Times each perturbation against the same one of the PyPI package ``imagecorruptions``.

Both run in this process, in turns, on one 224 x 224 photograph; each gets the input that it is
made for (float32 here, uint8 there). Run it with ``python -m benchmarks.perturbation_speed``.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import imagecorruptions
import numpy as np
from skimage import data

from robustness import perturbations
from robustness.images import framing

STUDY_SEVERITY = 3
SEVERITIES = (1, 2, 3, 4, 5)
REPEATS = 25


def measure(severity: int = STUDY_SEVERITY, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """One row for each perturbation that has an ImageNet-C counterpart, in milliseconds.

    ``ratio`` is reference time / our time, each the median of ``repeats`` interleaved runs. Ours
    includes the creation of the random stream, but not the digest, which is taken once an image.
    ``same`` marks the corruptions of ImageNet-C themselves, one row each.
    """
    photo = cv2.resize(data.chelsea()[:, 75:375], (224, 224), interpolation=cv2.INTER_AREA)
    images = photo[None].astype(np.float32) / np.float32(255)
    digests = [framing.image_digest(images[0])]
    rows = []
    for record in perturbations.REGISTRY:
        if record.imagenet_c is None:
            continue
        strength = record.severity_strengths[severity - 1]

        def ours(record: perturbations.Perturbation = record, strength: float = strength) -> object:
            return perturbations.apply(record, images, strength, digests=digests)

        def reference(name: str = record.imagenet_c) -> object:
            return imagecorruptions.corrupt(photo, severity=severity, corruption_name=name)

        ours_ms, reference_ms = _interleaved_ms(ours, reference, repeats)
        rows.append(
            {
                "perturbation": record.name,
                "severity": severity,
                "same": record.name == record.imagenet_c,
                "ours_ms": ours_ms,
                "reference_ms": reference_ms,
                "ratio": reference_ms / ours_ms,
            }
        )
    return rows


def geometric_mean(rows: list[dict[str, Any]]) -> float:
    """Geometric mean of the ratios of ``rows`` over ImageNet-C's own 19 corruptions."""
    return math.exp(statistics.fmean(math.log(row["ratio"]) for row in rows if row["same"]))


def worst(by_severity: dict[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """For each perturbation the row of the severity at which its ratio is least."""
    by_perturbation = zip(*by_severity.values(), strict=True)
    return [min(rows, key=lambda row: row["ratio"]) for rows in by_perturbation]


def _interleaved_ms(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Median milliseconds of the two, run in turns so that both meet the same machine."""
    for warm_up in (first, second, first, second):  # the reference compiles some on first use
        warm_up()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for call, times in zip((first, second), seconds, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[0]), 1000 * statistics.median(seconds[1])


def main() -> None:
    """Prints the rows at the study's severity, and beside each the worst of all five."""
    by_severity = {severity: measure(severity) for severity in SEVERITIES}
    rows = by_severity[STUDY_SEVERITY]
    worst_rows = worst(by_severity)
    print(f"{'':20}severity {STUDY_SEVERITY}{'':22}worst severity")
    print(
        f"{'perturbation':20}{'ours ms':>8}{'reference ms':>14}{'ratio':>8}"
        f"{'ours ms':>10}{'reference ms':>14}{'ratio':>8}  at"
    )
    for row, least in zip(rows, worst_rows, strict=True):
        name = row["perturbation"] if row["same"] else f"({row['perturbation']})"
        print(
            f"{name:20}{row['ours_ms']:8.3f}{row['reference_ms']:14.3f}{row['ratio']:8.1f}"
            f"{least['ours_ms']:10.3f}{least['reference_ms']:14.3f}{least['ratio']:8.1f}"
            f"  {least['severity']}"
        )
    print(f"{'geometric mean':42}{geometric_mean(rows):8.1f}{geometric_mean(worst_rows):32.1f}")
    print("In brackets: distributed as ImageNet-C's 'impulse_noise', not counted in the mean.")


if __name__ == "__main__":
    main()
