"""Whether the raw answers of a network are probabilities or logits, or neither."""

from __future__ import annotations

from typing import Any

import numpy as np

SIMPLEX_TOLERANCE = 1e-3
"""Accepted distance of an image's probabilities from a sum of 1; half precision rounds."""

NOT_FINITE = (
    "its output for an image is not finite (NaN or infinity), as with damaged weights; train or "
    "save it again"
)

OTHER_OUTPUTS = (
    'if these are logits, write output = "logits"; if they come from a sigmoid, export the model '
    "without it"
)

SIGMOID = (
    "Its outputs all lie between 0 and 1, as after a sigmoid: taken as logits they give nearly "
    "equal probabilities. Export the model without the sigmoid."
)


def is_distribution(answers: Any, slack: float = 0.0) -> bool:
    """Whether each row is finite, not negative, and sums to 1, give or take ``slack`` more."""
    rows = np.asarray(answers, np.float64)
    return bool(
        np.isfinite(rows).all()
        and (rows >= -SIMPLEX_TOLERANCE).all()
        and np.abs(rows.sum(axis=1) - 1).max() <= SIMPLEX_TOLERANCE + slack
    )


def are_logits(answers: Any, distribution: bool) -> bool | None:
    """Whether answers are logits; None if that is unknown, as after a sigmoid.

    ``distribution`` says whether their rows are probabilities that sum to 1.
    """
    if distribution:
        return False
    return None if np.min(answers) >= 0 and np.max(answers) <= 1 else True


def other_classes(count: int, named: int) -> str:
    """A clause for a network whose number of classes is not that of its labels."""
    if count == 1:
        return (
            "its output is one number for an image, as of one sigmoid; export it with one output "
            "for each class"
        )
    return f"it has {count} outputs; its labels name {named} classes"
