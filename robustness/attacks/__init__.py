"""Attacks: one loop, small hooks, each registered with its record.

Importing this package registers them all. TensorFlow is imported only when an attack runs.
"""

from importlib import import_module

from robustness.attacks.attack_and_settings import REGISTRY, Attack, AttackSpec, parse_epsilon
from robustness.attacks.attack_image import Control, Outcome, adversarial, craft
from robustness.attacks.batch_attack_and_loop import Step, attack
from robustness.attacks.norms import REGISTRY as NORMS

# In the order of the controls: an import statement would be sorted by name.
for _module in ("gradient_attacks", "square", "autoattack_ensembles"):
    import_module(f"{__name__}.{_module}")

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
