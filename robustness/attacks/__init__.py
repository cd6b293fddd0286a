"""Attacks: one loop, small hooks, each registered with its record.

Importing this package registers them all. TensorFlow is not imported until a model is asked.
"""

from importlib import import_module

from robustness.attacks.attack_record import REGISTRY, Attack, State, Task
from robustness.attacks.craft import Control, Outcome, adversarial, craft
from robustness.attacks.loop import Step, search
from robustness.attacks.norms import REGISTRY as NORMS
from robustness.attacks.norms import Norm
from robustness.attacks.perform import attack, attacked
from robustness.attacks.spec import AttackSpec, parse_epsilon

# In the order in which they are offered: an import statement would be sorted by name.
for _module in ("gradient_steps", "deepfool", "square"):
    import_module(f"{__name__}.{_module}")

__all__ = [
    "NORMS",
    "REGISTRY",
    "Attack",
    "AttackSpec",
    "Control",
    "Norm",
    "Outcome",
    "State",
    "Step",
    "Task",
    "adversarial",
    "attack",
    "attacked",
    "craft",
    "parse_epsilon",
    "search",
]
