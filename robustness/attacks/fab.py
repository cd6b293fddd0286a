"""FAB: moves along the boundary between two classes to its point nearest to the image.

Croce & Hein, ICML 2020, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary
Attack", whose constants these are, in the targeted version of AutoAttack.
"""

from __future__ import annotations

import numpy as np

from robustness.attacks.attack_record import State, Task, moves
from robustness.attacks.autopgd import RIVALS
from robustness.attacks.norms import column
from robustness.models.in_tensorflow.gradients import BEST_OTHER
from robustness.perturbations import Images

MOST_BIAS = 0.1
"""The largest weight of the step from the original to the boundary: alpha_max."""

OVERSHOOT = 1.05
"""Step length, as a share of the distance to the boundary: eta."""

BACKWARD = 0.9
"""Share of a successful change that is kept before the next step: beta."""


@moves(
    label="FAB-T",
    norms=("linf", "l2"),
    white_box=True,
    targeted=True,
    minimal=True,
    eager=True,
    steps=100,
    most_steps=1000,
    rival=BEST_OTHER,
    rivals=RIVALS,
    formula="for each of nine other classes, x ← (1 - a) (x + 1.05 d) + a (x₀ + 1.05 d'), x₀ the "
    "original, d and "
    "d' the smallest changes of both onto the linearised boundary within [0, 1], a = "
    "min(|d| / (|d| + |d'|), 0.1); after a success 0.9 of the change",
    source="Croce & Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary "
    "Attack, ICML 2020",
)
def fab_t(task: Task, state: State) -> Images:
    """The images projected onto the linearised boundary, with a bias to the originals."""
    images, gain, gradient = state.images.copy(), state.gain.copy(), state.gradient.copy()
    won = np.flatnonzero((state.scores.argmax(1) == task.classes) == task.targeted)
    if len(won):
        images[won] = task.clean[won] + np.float32(BACKWARD) * (images[won] - task.clean[won])
        part = task.rows(won)
        slope = task.classifier.gradients(images[won], part.classes, part.rivals)
        gain[won], gradient[won] = task.sign * slope.lead, task.sign * slope.gradient
    apart = ((task.clean - images) * gradient).sum((1, 2, 3), dtype=np.float64)
    here = task.norm.shortest(images, gradient, -gain)
    clean = task.norm.shortest(task.clean, gradient, -(gain + apart))
    near, far = task.norm.size(here), task.norm.size(clean)
    bias = column(np.minimum(near / np.maximum(near + far, 1e-16), MOST_BIAS))
    over = np.float32(OVERSHOOT)
    moved = (1 - bias) * (images + over * here) + bias * (task.clean + over * clean)
    return np.clip(moved, 0, 1)
