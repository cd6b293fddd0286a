"""Training on unlabelled images makes a model more robust; other images judge by how much.

The parent itself gives the targets: its prediction on the original is what the trained model
learns to give under perturbations, too.
"""

from __future__ import annotations

from robustness.hardening.judgement import GroupDifference, names_to_train, unseen_conditions
from robustness.hardening.run import Hardening, check_name, harden
from robustness.hardening.train import Settings

__all__ = [
    "GroupDifference",
    "Hardening",
    "Settings",
    "check_name",
    "harden",
    "names_to_train",
    "unseen_conditions",
]
