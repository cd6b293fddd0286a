"""AutoAttack: several attacks in turn, each on the images not yet broken.

Croce & Hein, ICML 2020; the versions and their settings are those of the authors' package.
"""

from __future__ import annotations

from robustness.attacks.attack_and_settings import REGISTRY, Attack, Member, State, Task

_SOURCE = (
    "Croce & Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse "
    "Parameter-free Attacks, ICML 2020"
)


def no_move(task: Task, state: State) -> None:
    """The move of an ensemble: none, its members move."""


def _ensemble(name: str, label: str, steps: int, formula: str, *members: Member) -> None:
    REGISTRY.add(
        Attack(
            name=name,
            move=no_move,
            label=label,
            norms=("linf", "l2"),
            white_box=True,
            targeted=True,
            random=True,
            eager=True,
            steps=steps,
            most_steps=1000,
            formula=formula,
            source=_SOURCE,
            members=members,
        )
    )


_ensemble(
    "apgd",
    "APGD (CE, T)",
    20,
    "APGD-CE, then APGD-T on what is unbroken: the part of AutoAttack that breaks most",
    Member("apgd_ce"),
    Member("apgd_t"),
)
_ensemble(
    "autoattack",
    "AutoAttack",
    100,
    "APGD-CE, APGD-T, FAB-T, and Square with 50 queries for each step of these, in turns: each "
    "works on what is unbroken",
    Member("apgd_ce"),
    Member("apgd_t"),
    Member("fab_t"),
    Member("square", share=50),
)
_ensemble(
    "autoattack_rand",
    "AutoAttack (rand)",
    100,
    "APGD-CE, then APGD-DLR, each gradient the mean of 20 passes: for models with random "
    "predictions",
    Member("apgd_ce", passes=20),
    Member("apgd_dlr", passes=20),
)
