"""Attacks: one loop, small hooks, each registered with its record.

Importing this package registers them all. TensorFlow is imported only when an attack runs.
"""

from __future__ import annotations

from robustness.attacks import methods as _methods  # noqa: F401  (registers the attacks)
from robustness.attacks.image import Control, Outcome, adversarial, craft
from robustness.attacks.loop import Step, attack
from robustness.attacks.norms import REGISTRY as NORMS
from robustness.attacks.record import REGISTRY, Attack, AttackSpec, parse_epsilon

__all__ = [
    "NORMS",
    "REGISTRY",
    "Attack",
    "AttackSpec",
    "Control",
    "Outcome",
    "Step",
    "adversarial",
    "attack",
    "craft",
    "parse_epsilon",
]
