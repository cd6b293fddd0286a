"""What was done to an image, whole: perturbations that compose, or an attack.

A condition's ``id`` is a text that carries all of what was asked, such as ``fog=0.6``,
``fog=0.2+gaussian_blur=0.4`` or ``pgd(epsilon=0.03,norm=l2,restarts=1,steps=20)``. Every row
carries it, equal conditions have equal ids, and everything groups by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from pydantic import StrictBool, StrictFloat

from robustness.attacks import NORMS, AttackSpec, adversarial
from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.validation import StrictTable, checked, expected
from robustness.models import Classifier
from robustness.perturbations import REGISTRY, Images, compose, ordered
from robustness.pictures.picture import Picture

CLEAN = "clean"
"""What people call an image to which nothing is done."""

NOTHING = "no perturbation"
"""How a condition without any is described."""

_ATTACK_ID = re.compile(r"(\w+)\((.*)\)")


class _AttackTable(StrictTable):
    """An attack as ``as_dict`` has it."""

    attack: str
    epsilon: float
    norm: str
    steps: int
    restarts: int
    target: int | None = None


_Strengths = dict[str, Annotated[StrictFloat | StrictBool, expected("a strength from 0 to 1")]]
"""Strengths by perturbation; a switch may be on (true)."""


@dataclass(frozen=True)
class Condition:
    """One or several perturbations with their strengths, in the order in which they compose.

    Made by ``Condition.of``, which checks names and strengths, by ``Condition.attack``, and from
    their texts by ``from_dict`` and ``parse``.
    """

    steps: tuple[tuple[str, float], ...]

    needs_model: ClassVar[bool] = False
    """Whether the image depends on the model that is asked, as an attack's does."""

    @staticmethod
    def of(strengths: Mapping[str, float]) -> Condition:
        """Raises ``UnknownNameError`` or ``ParameterError`` for a bad name or strength."""
        active = [(record.name, strength) for record, strength in ordered(strengths)]
        idle = [(name, 0.0) for name in strengths if name not in dict(active)]
        return Condition(tuple(active or idle[:1]))

    @staticmethod
    def attack(name: str, **settings: Any) -> AttackCondition:
        """An attack with the ``settings`` of ``AttackSpec.of``, which raises for a bad one."""
        return AttackCondition.of_spec(AttackSpec.of(name, **settings))

    @staticmethod
    def from_dict(values: Any) -> Condition:
        """The condition that ``as_dict`` gave.

        Raises ``ParameterError`` for anything else, and what ``of`` and ``attack`` raise.
        """
        if not isinstance(values, Mapping) or "attack" not in values:
            return Condition.of(checked(_Strengths, values))
        table = checked(_AttackTable, values, f"attack {values['attack']!r}")
        return Condition.attack(table.attack, **table.model_dump(exclude={"attack"}))

    @staticmethod
    def parse(text: str) -> Condition:
        """The condition whose ``id`` is ``text``; raises ``ParameterError`` if it is none."""
        try:
            attack = _ATTACK_ID.fullmatch(text)
            parts = attack[2].split(",") if attack else text.split("+")
            values: dict[str, Any] = dict(part.split("=") for part in parts)
            if attack:
                values = {"attack": attack[1], **values}
                values = _AttackTable.model_validate_strings(values, strict=False).model_dump()
            else:
                values = {name: float(value) for name, value in values.items()}
        except ValueError as error:
            raise ParameterError(f"{text!r} is no condition: expected such as fog=0.6.") from error
        found = Condition.from_dict(values)
        if found.id != text:
            raise ParameterError(f"{text!r} is no condition as it is written; {found.id!r} is.")
        return found

    @property
    def id(self) -> str:
        return "+".join(f"{name}={float(strength)!r}" for name, strength in self.steps)

    @property
    def name(self) -> str:
        """Names of what is applied, joined by "+": the column ``perturbation`` of a row."""
        return "+".join(name for name, _ in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """The condition as it stands in a spec: {perturbation: strength}."""
        return dict(self.steps)

    @property
    def label(self) -> str:
        return " + ".join(REGISTRY[name].label for name, _ in self.steps) or NOTHING

    @property
    def described(self) -> str:
        """The label with strengths; of a single perturbation with its physical value, too."""
        if len(self.steps) != 1 or not REGISTRY[self.name].graded:
            return self.short
        ((name, strength),) = self.steps
        return f"{self.short} ({REGISTRY[name].value_text(strength)})"

    @property
    def named(self) -> str:
        """Its names as a command takes them, with strengths."""
        return " + ".join(f"{name} {strength:g}" for name, strength in self.steps)

    @property
    def short(self) -> str:
        """The label with strengths."""
        return " + ".join(_step(name, strength) for name, strength in self.steps) or NOTHING

    @property
    def setting(self) -> str:
        """What tells it apart from others of the same ``name``."""
        steps = self.steps if self.degree is None else (self.degree,)
        return " + ".join(f"{strength:g}" for _, strength in steps)

    @property
    def series(self) -> str:
        """The label of all conditions that differ from this one in strength alone."""
        return self.short if self.degree is None else self.label

    @property
    def degree(self) -> tuple[str, float] | None:
        """The only step, or the only one of several that is no switch; None where more are."""
        if len(self.steps) == 1:
            return self.steps[0]
        graded = [(name, strength) for name, strength in self.steps if REGISTRY[name].graded]
        return graded[0] if len(graded) == 1 else None

    @property
    def strength(self) -> float | None:
        """The strength of ``degree``; None where several perturbations have one."""
        return None if self.degree is None else self.degree[1]

    @property
    def parameter(self) -> float | None:
        """The physical value of ``degree``; None where several perturbations have one."""
        if self.degree is None:
            return None
        name, strength = self.degree
        return REGISTRY[name].parameter_at(strength)

    @property
    def idle(self) -> bool:
        """Whether it changes nothing, as strength 0 does."""
        return all(strength == 0 for _, strength in self.steps)

    @property
    def effect(self) -> str:
        """The ``id`` of all that give the same images: a switch is on at any strength above 0."""
        whole = ((n, s if REGISTRY[n].graded or s == 0 else 1.0) for n, s in self.steps)
        return Condition(tuple(whole)).id

    @property
    def perturbations(self) -> tuple[str, ...]:
        """Names of the perturbations applied."""
        return tuple(name for name, _ in self.steps)

    @property
    def attacks(self) -> tuple[AttackSpec, ...]:
        """The attack performed; nothing where there is none."""
        return ()

    def images(self, clean: Images, digests: Sequence[str], seed: int) -> Images:
        """``clean`` (N, S, S, 3) under the condition, as far as that needs no model."""
        return compose(clean, dict(self.steps), seed=seed, digests=digests)

    def against(self, picture: Picture, seed: int, classifier: Classifier) -> Images:
        """The image (S, S, 3) under the condition, where ``classifier`` is asked about it."""
        return self.images(picture.image[None], [picture.digest], seed)[0]


def _step(name: str, strength: float) -> str:
    record = REGISTRY[name]
    return f"{record.label} {strength:g}" if record.graded else record.label


@dataclass(frozen=True)
class AttackCondition(Condition):
    """An attack in the place of perturbations; its strength is epsilon.

    ``spec`` is the attack; the seed is that of the run. Made by ``Condition.attack``.
    """

    spec: AttackSpec

    needs_model: ClassVar[bool] = True

    @staticmethod
    def of_spec(spec: AttackSpec) -> AttackCondition:
        """The attack of ``spec``, whatever its seed."""
        return AttackCondition(((spec.name, spec.epsilon),), spec.seeded(0))

    @property
    def id(self) -> str:
        values = self.as_dict()
        name = values.pop("attack")
        return f"{name}({','.join(f'{key}={value}' for key, value in sorted(values.items()))})"

    def as_dict(self) -> dict[str, Any]:
        """The condition as it stands in a spec; ``from_dict`` reads it."""
        spec = self.spec
        aim = {} if spec.target is None else {"target": spec.target}
        return {
            "attack": spec.name,
            "epsilon": spec.epsilon,
            "norm": spec.norm,
            "steps": spec.steps,
            "restarts": spec.restarts,
            **aim,
        }

    @property
    def effect(self) -> str:
        return self.id

    @property
    def label(self) -> str:
        return self.spec.record.label

    @property
    def described(self) -> str:
        return self.short

    @property
    def named(self) -> str:
        return f"{self.name} {self.setting}"

    @property
    def short(self) -> str:
        return f"{self.label}, {self.setting}"

    @property
    def setting(self) -> str:
        """Epsilon, and whatever else is not the attack's default."""
        return ", ".join([f"epsilon {self.spec.size_text}", *self._unusual])

    @property
    def series(self) -> str:
        return f"{self.label} ({', '.join(self._unusual)})" if self._unusual else self.label

    @property
    def _unusual(self) -> list[str]:
        """Every setting but epsilon that is not the attack's default, as a text each."""
        spec, record = self.spec, self.spec.record
        parts = []
        if spec.norm != record.norms[0]:
            parts.append(NORMS[spec.norm].label)
        if spec.steps != record.steps:
            parts.append(f"{spec.steps} step{'s' * (spec.steps != 1)}")
        if spec.restarts != 1:
            parts.append(f"{spec.restarts} restarts")
        if spec.target is not None:
            parts.append(f"target {spec.target}")
        return parts

    @property
    def parameter(self) -> float | None:
        return self.strength

    @property
    def perturbations(self) -> tuple[str, ...]:
        return ()

    @property
    def attacks(self) -> tuple[AttackSpec, ...]:
        return (self.spec,)

    def images(self, clean: Images, digests: Sequence[str], seed: int) -> Images:
        """The clean images: which model is attacked is not known yet."""
        return clean

    def against(self, picture: Picture, seed: int, classifier: Classifier) -> Images:
        """The image (S, S, 3) after the attack on ``classifier``, in 8 bits.

        It leads to its target, else away from the image's label where that is known, else from
        the model's answer.
        """
        label = picture.label
        if label is None:
            label = int(classifier(picture.image[None]).probabilities[0].argmax())
        spec = self.spec.seeded(seed)
        return adversarial(classifier, picture.image, label, spec, picture.digest)


def setting(text: str) -> str:
    """``Condition.setting`` of an ``id``; what it says where it is of something not known here."""
    found = readable(text)
    return text.partition("=")[2] if found is None else found.setting


def named(text: str) -> str:
    """``Condition.named`` of an ``id``, such as "fog 0.6"; what it says where it is not known."""
    found = readable(text)
    return text.replace("=", " ") if found is None else found.named


def short(text: str) -> str:
    """``Condition.short`` of an ``id``, such as "Fog 0.6"; what it says where it is not known."""
    found = readable(text)
    if found is None:
        return f"{perturbation_label(text.partition('=')[0])} {setting(text)}".strip()
    return found.short


def series(text: str) -> str:
    """``Condition.series`` of an ``id``; a readable name where it says no more than one."""
    found = readable(text)
    return perturbation_label(text.partition("=")[0]) if found is None else found.series


def degree(text: str) -> tuple[str, float] | None:
    """``Condition.degree`` of an ``id``; None also where it is not known."""
    found = readable(text)
    return None if found is None else found.degree


def effect(text: str) -> str:
    """``Condition.effect`` of an ``id``; the text itself where it is not known."""
    found = readable(text)
    return text if found is None else found.effect


@lru_cache(maxsize=1024)
def readable(text: str) -> Condition | None:
    """The condition whose ``id`` is ``text``; None where it is of something not known here."""
    try:
        return Condition.parse(text)
    except RobustnessError:
        return None


@lru_cache(maxsize=1024)
def unspecified(perturbation: str, strength: float | None) -> str:
    """An id of what a row without one says: its name and strength, and no more than that."""
    return perturbation if strength is None else f"{perturbation}={float(strength)!r}"


def perturbation_label(name: str) -> str:
    """The readable name of a perturbation, of several joined by "+", or of an attack."""
    known = {record.name: record.label for record in (*REGISTRY, *ATTACKS)}
    return " + ".join(known.get(part, part) for part in name.split("+"))
