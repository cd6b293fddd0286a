"""Conditions: what was done to an image, as perturbations with strengths or as an attack.

A condition's ``id`` describes it completely, such as ``fog=0.6``, ``fog=0.2+gaussian_blur=0.4`` or
``pgd(epsilon=0.03,norm=l2,restarts=1,steps=20)``. Equal conditions have equal ids. Every row has
one, and tables and charts group by it.

Compositions may be those of a profile, such as a camera's: they count alike, and together they are
one condition, which has the name of the profile as its id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from pydantic import Field, StrictBool, StrictFloat

from robustness.attacks import NORMS, AttackSpec, adversarial, parse_epsilon
from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.text import counted
from robustness.base.validation import StrictTable, checked, expected
from robustness.images.framing import Picture
from robustness.models import Classifier
from robustness.perturbations import REGISTRY, Images, compose, ordered

CLEAN = "clean"
"""The name of the original image on the command line."""

STORED = "stored:"
"""Prefix of a published tree's corruption, which distinguishes it from our own."""

NOTHING = "no perturbation"
"""The description of a condition without perturbations."""

YOUR_CAMERA = "your camera"
"""The profile that a match finds."""

_PROFILE_NAME = re.compile(r"\w([\w .-]{0,62}\w)?")
_RESERVED = {CLEAN, "original", "originals", "suite", "others", "all conditions"}
"""Names that stand for something else beside conditions."""

_ATTACK_ID = re.compile(r"(\w+) *\((.*)\)")


class _AttackTable(StrictTable):
    """An attack as ``as_dict`` has it."""

    attack: str
    epsilon: float
    norm: str
    steps: int
    restarts: int
    target: int | None = None


class _WrittenAttack(StrictTable):
    """An attack as people write it; what is left out has the attack's default."""

    attack: str
    epsilon: float | None = None
    norm: str | None = None
    steps: int | None = None
    restarts: int = 1
    target: int | None = None


def _assignments(parts: Sequence[str]) -> dict[str, str]:
    """The values by name of ``parts`` such as "fog=0.6".

    Raises ``ValueError`` for a part of another form, and for a name that stands twice.
    """
    values: dict[str, str] = {}
    for part in parts:
        name, value = part.split("=")
        if name.strip() in values:
            raise ValueError(part)
        values[name.strip()] = value.strip()
    return values


_Strengths = dict[str, Annotated[StrictFloat | StrictBool, expected("a strength from 0 to 1")]]
"""Strengths by perturbation; a switch may be on (true)."""


@dataclass(frozen=True)
class Condition:
    """Perturbations with their strengths, in the order in which they are applied.

    Created by ``of``, ``attack``, ``from_dict`` and ``parse``, which check their arguments.
    """

    steps: tuple[tuple[str, float], ...]
    profile: str = field(default="", kw_only=True)
    """The name of the profile that it is a composition of, if any; see ``pool_profiles``."""

    needs_model: ClassVar[bool] = False
    """Whether the image depends on the model, as that of an attack does."""

    in_files: ClassVar[bool] = False
    """Whether the images are files of a published dataset, see ``StoredCondition``."""

    @staticmethod
    def of(strengths: Mapping[str, float]) -> Condition:
        """The condition of ``strengths`` by perturbation.

        Raises ``UnknownNameError`` or ``ParameterError`` for a bad name or strength.
        """
        active = [(record.name, strength) for record, strength in ordered(strengths)]
        idle = [(REGISTRY[name].name, 0.0) for name in strengths]
        return Condition(tuple(active or idle[:1]))

    @staticmethod
    def attack(name: str, **settings: Any) -> AttackCondition:
        """The attack ``name`` with the ``settings`` of ``AttackSpec.of``; raises as that does."""
        return AttackCondition.of_spec(AttackSpec.of(name, **settings))

    @staticmethod
    def from_dict(values: Any) -> Condition:
        """The condition from the result of ``as_dict``.

        Raises ``ParameterError`` for anything else, and as ``of`` and ``attack`` do.
        """
        if isinstance(values, Mapping) and isinstance(values.get("profile"), str):
            strengths = {key: value for key, value in values.items() if key != "profile"}
            return as_profile([Condition.from_dict(strengths)], values["profile"])[0]
        if isinstance(values, Mapping) and "corruption" in values:
            return StoredCondition.of_table(checked(StoredTable, values))
        if not isinstance(values, Mapping) or "attack" not in values:
            strengths = checked(_Strengths, values)
            for name, strength in strengths.items():
                if strength is True and REGISTRY[name].graded:
                    raise ParameterError(f"{name}: expected a strength from 0 to 1, got true.")
            return Condition.of(strengths)
        table = checked(_AttackTable, values, f"attack {values['attack']!r}")
        return Condition.attack(table.attack, **table.model_dump(exclude={"attack"}))

    @staticmethod
    def parse(text: str) -> Condition:
        """The condition that ``text`` describes: an id, or one that people wrote.

        ``fog=0.6``, ``fog=.2 + gaussian_blur=0.4`` and ``pgd(epsilon=2/255)`` are read; settings of
        an attack that are left out have its defaults. Raises ``ParameterError`` for anything else.
        """
        if not isinstance(text, str):
            raise ParameterError(
                f"Expected the text of a condition such as 'fog=0.6', got {text!r}."
            )
        called = _ATTACK_ID.fullmatch(text.strip())
        try:
            if called is None:
                strengths = _assignments(text.split("+"))
                return Condition.of({name: float(value) for name, value in strengths.items()})
            name = called[1]
            settings = _assignments([part for part in called[2].split(",") if part.strip()])
            if name == "stored":
                stored = StoredTable.model_validate_strings(settings, strict=False)
                return StoredCondition.of_table(stored)
            if "epsilon" in settings:  # may be a fraction
                settings["epsilon"] = str(parse_epsilon(settings["epsilon"]))
            written = _WrittenAttack.model_validate_strings(
                {"attack": name, **settings}, strict=False
            )
            return Condition.attack(written.attack, **written.model_dump(exclude={"attack"}))
        except ValueError as error:
            raise ParameterError(
                f"Expected a condition such as fog=0.6 or pgd(epsilon=2/255), got {text!r}."
            ) from error

    @property
    def id(self) -> str:
        return "+".join(f"{name}={float(strength)!r}" for name, strength in self.steps)

    @property
    def name(self) -> str:
        """Names of the perturbations or of the attack, joined by "+"; a row's ``perturbation``."""
        return "+".join(name for name, _ in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """{perturbation: strength}, and of a composition the profile, as in the spec of a run."""
        strengths = dict(self.steps)
        if not self.profile:
            return strengths
        return {"profile": self.profile, **strengths}

    @property
    def label(self) -> str:
        return " + ".join(REGISTRY[name].label for name, _ in self.steps) or NOTHING

    @property
    def described(self) -> str:
        """The label with strengths, and with the physical value of a single perturbation."""
        if len(self.steps) != 1 or not REGISTRY[self.name].graded:
            return self.short
        ((name, strength),) = self.steps
        return f"{self.short} ({REGISTRY[name].value_text(strength)})"

    @property
    def named(self) -> str:
        """The names used on the command line, with strengths."""
        return " + ".join(f"{name} {strength:g}" for name, strength in self.steps)

    @property
    def short(self) -> str:
        """The label with strengths, of three digits: those of a domain are seldom round."""
        texts = []
        for name, strength in self.steps:
            record = REGISTRY[name]
            texts.append(f"{record.label} {strength:.3g}" if record.graded else record.label)
        return " + ".join(texts) or NOTHING

    @property
    def setting(self) -> str:
        """The strengths as text; distinguishes conditions of the same ``name``."""
        if self.degree is not None:
            _, strength = self.degree
            return f"{strength:g}"
        return " + ".join(f"{strength:g}" for _, strength in self.steps)

    @property
    def series(self) -> str:
        """The label shared by all conditions that differ only in strength."""
        return self.short if self.degree is None else self.label

    @property
    def degree(self) -> tuple[str, float] | None:
        """The only step, or the only one that is not a switch; None if there are several."""
        if len(self.steps) == 1:
            return self.steps[0]
        graded = [(name, strength) for name, strength in self.steps if REGISTRY[name].graded]
        return graded[0] if len(graded) == 1 else None

    @property
    def strength(self) -> float | None:
        """The strength of ``degree``; None if several perturbations have a strength."""
        return None if self.degree is None else self.degree[1]

    @property
    def parameter(self) -> float | None:
        """The physical value of ``degree``; None if several perturbations have a strength."""
        if self.degree is None:
            return None
        name, strength = self.degree
        return REGISTRY[name].value_at(strength)

    def parameter_at(self, side: int) -> float | None:
        """``parameter`` in images of ``side`` pixels; only that of an attack depends on it."""
        return self.parameter

    @property
    def idle(self) -> bool:
        """Whether the condition changes nothing, as at strength 0."""
        return all(strength == 0 for _, strength in self.steps)

    @property
    def effect(self) -> str:
        """Canonical id: conditions that produce the same images share it.

        A switch is on at any strength above 0.
        """
        steps = []
        for name, strength in self.steps:
            is_switched_on = strength > 0 and not REGISTRY[name].graded
            steps.append((name, 1.0 if is_switched_on else strength))
        return Condition(tuple(steps)).id

    @property
    def perturbations(self) -> tuple[str, ...]:
        """Names of the perturbations applied."""
        return tuple(name for name, _ in self.steps)

    @property
    def attacks(self) -> tuple[AttackSpec, ...]:
        """The attack, if the condition is one."""
        return ()

    def images(self, clean: Images, digests: Sequence[str], seed: int) -> Images:
        """``clean`` (N, S, S, 3) under the condition, as far as no model is needed."""
        return compose(clean, dict(self.steps), seed=seed, digests=digests)

    def against(self, picture: Picture, seed: int, classifier: Classifier) -> Images:
        """The image (S, S, 3) under the condition, as ``classifier`` sees it."""
        return self.images(picture.image[None], [picture.stream], seed)[0]


@dataclass(frozen=True)
class _OfOneKind(Condition):
    """A condition that is no composition of perturbations."""

    @property
    def effect(self) -> str:
        return self.id

    @property
    def described(self) -> str:
        return self.short

    @property
    def short(self) -> str:
        return f"{self.label}, {self.setting}"

    @property
    def perturbations(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class ProfileCondition(_OfOneKind):
    """All compositions of a profile as one condition; ``pool_profiles`` makes it."""

    compositions: tuple[Condition, ...]
    title: str

    @property
    def id(self) -> str:
        return self.title

    name = label = short = named = series = id

    @property
    def effect(self) -> str:
        """The name with a digest of the compositions: two matches name different ones alike."""
        effects = "\n".join(sorted(each.effect for each in self.compositions))
        return f"{self.title} {hashlib.sha256(effects.encode()).hexdigest()[:8]}"


def pool_profiles(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """``conditions`` with one in place of the compositions of each profile."""
    parts: dict[str, list[Condition]] = {}
    for condition in conditions:
        parts.setdefault(condition.profile or condition.id, []).append(condition)
    pooled: list[Condition] = []
    for name, members in parts.items():
        if members[0].profile:
            pooled.append(ProfileCondition((), compositions=tuple(members), title=name))
        else:
            pooled.append(members[0])
    return tuple(pooled)


def as_profile(conditions: Sequence[Condition], name: str = YOUR_CAMERA) -> tuple[Condition, ...]:
    """``conditions`` as the compositions of the profile ``name``.

    Raises ``ParameterError`` for a name that stands for something else, and for an attack.
    """
    is_reserved = bool(REGISTRY.find(name) or ATTACKS.find(name) or name.casefold() in _RESERVED)
    if is_reserved or not _PROFILE_NAME.fullmatch(name):
        raise ParameterError(
            "Expected a name of a profile that no perturbation has, of up to 64 letters, digits, "
            f"spaces, dots and hyphens, got {name[:80]!r}."
        )
    if any(each.needs_model or each.in_files or not each.steps for each in conditions):
        raise ParameterError(
            f"Expected perturbations with strengths in the profile {name!r}, got another condition."
        )
    return tuple(replace(each, profile=name) for each in conditions)


@dataclass(frozen=True)
class AttackCondition(_OfOneKind):
    """An attack; its strength is epsilon, its seed that of the run. See ``Condition.attack``."""

    spec: AttackSpec

    needs_model: ClassVar[bool] = True

    @staticmethod
    def of_spec(spec: AttackSpec) -> AttackCondition:
        """The condition of the attack ``spec``, ignoring its seed."""
        return AttackCondition(((spec.name, spec.epsilon),), spec.seeded(0))

    @property
    def id(self) -> str:
        settings = self.as_dict()
        name = settings.pop("attack")
        texts = [f"{key}={value}" for key, value in sorted(settings.items())]
        return f"{name}({','.join(texts)})"

    def as_dict(self) -> dict[str, Any]:
        """The settings of the attack, as in the spec of a run."""
        settings = {
            "attack": self.spec.name,
            "epsilon": self.spec.epsilon,
            "norm": self.spec.norm,
            "steps": self.spec.steps,
            "restarts": self.spec.restarts,
        }
        if self.spec.target is not None:
            settings["target"] = self.spec.target
        return settings

    @property
    def label(self) -> str:
        return self.spec.record.label

    @property
    def named(self) -> str:
        return f"{self.name} {self.setting}"

    @property
    def setting(self) -> str:
        """Epsilon, and every other setting that is not the default of the attack."""
        return ", ".join([f"epsilon {self.spec.size_text}", *self._unusual])

    @property
    def series(self) -> str:
        if not self._unusual:
            return self.label
        return f"{self.label} ({', '.join(self._unusual)})"

    @property
    def _unusual(self) -> list[str]:
        """Texts of the settings, other than epsilon, that are not the default of the attack."""
        spec = self.spec
        record = self.spec.record
        parts = []
        if spec.norm != record.norms[0]:
            parts.append(NORMS[spec.norm].label)
        if spec.steps != record.steps:
            parts.append(counted(spec.steps, "step"))
        if spec.restarts != 1:
            parts.append(f"{spec.restarts} restarts")
        if spec.target is not None:
            parts.append(f"target {spec.target}")
        return parts

    @property
    def parameter(self) -> float | None:
        return self.strength

    def parameter_at(self, side: int) -> float | None:
        """Epsilon in images of ``side`` pixels, as ``AttackSpec.at_side`` has it."""
        return self.spec.at_side(side)

    @property
    def attacks(self) -> tuple[AttackSpec, ...]:
        return (self.spec,)

    def images(self, clean: Images, digests: Sequence[str], seed: int) -> Images:
        """``clean`` itself: the attack needs a model."""
        return clean

    def against(self, picture: Picture, seed: int, classifier: Classifier) -> Images:
        """The image (S, S, 3) after the attack on ``classifier``, in 8 bits.

        Without a target it leads away from the image's label, or from the model's prediction if
        the label is unknown.
        """
        label = picture.label
        if label is None:
            label = int(classifier(picture.image[None]).probabilities[0].argmax())
        spec = self.spec.seeded(seed)
        return adversarial(classifier, picture.image, label, spec, picture.stream)


class StoredTable(StrictTable):
    """A stored condition as ``as_dict`` has it."""

    corruption: Annotated[str, Field(pattern=r"^\w{1,100}$")]
    severity: Annotated[int, Field(ge=1, le=5)]


@dataclass(frozen=True)
class StoredCondition(_OfOneKind):
    """A corruption of a published tree at a severity of 1 to 5; its images are files."""

    corruption: str
    severity: int

    in_files: ClassVar[bool] = True

    @staticmethod
    def of_table(table: StoredTable) -> StoredCondition:
        """The condition that ``table`` describes."""
        steps = ((STORED + table.corruption, table.severity / 5),)
        return StoredCondition(steps, table.corruption, table.severity)

    @property
    def id(self) -> str:
        return f"stored(corruption={self.corruption},severity={self.severity})"

    def as_dict(self) -> dict[str, Any]:
        """Corruption and severity, as in the spec of a run."""
        return {"corruption": self.corruption, "severity": self.severity}

    @property
    def label(self) -> str:
        return perturbation_label(self.name)

    @property
    def named(self) -> str:
        return f"{self.corruption} {self.severity}"

    @property
    def setting(self) -> str:
        return f"severity {self.severity}"

    @property
    def series(self) -> str:
        return self.label

    @property
    def parameter(self) -> float | None:
        return float(self.severity)

    def images(self, clean: Images, digests: Sequence[str], seed: int) -> Images:
        """Raise ``ParameterError``: the images are read from their dataset."""
        raise ParameterError(
            f"{self.label} is stored in a published tree: expected that as TREE::ORIGINALS."
        )


@lru_cache(maxsize=1024)
def readable(text: str) -> Condition | None:
    """The condition with the id ``text``; None if it is unknown in this version."""
    try:
        return Condition.parse(text)
    except RobustnessError:
        return None


@lru_cache(maxsize=1024)
def unspecified(perturbation: str, strength: float | None) -> str:
    """An id made of name and strength, for rows that have no id."""
    return perturbation if strength is None else f"{perturbation}={float(strength)!r}"


def perturbation_label(name: str) -> str:
    """The label of a perturbation or an attack, or of several joined by "+"."""
    labels = {record.name: record.label for record in (*REGISTRY, *ATTACKS)}
    if name.startswith(STORED):
        plain = name.removeprefix(STORED)
        return f"{labels.get(plain, plain.replace('_', ' ').capitalize())} (stored)"
    return " + ".join(labels.get(part, part) for part in name.split("+"))


def perturbation_name(text: str) -> str:
    """The name of the perturbation or attack that ``text`` names or labels, else ``text``."""
    record = REGISTRY.find(text) or ATTACKS.find(text)
    return record.name if record else text


# What an id says. An id of another version, which cannot be read, is told by its text alone.


def setting(text: str) -> str:
    """``Condition.setting`` of the condition with the id ``text``."""
    condition = readable(text)
    if condition is None:
        _, _, value = text.partition("=")
        return value
    return condition.setting


def named(text: str) -> str:
    """``Condition.named`` of the condition with the id ``text``."""
    condition = readable(text)
    return text.replace("=", " ") if condition is None else condition.named


def short(text: str) -> str:
    """``Condition.short`` of the condition with the id ``text``."""
    condition = readable(text)
    if condition is None:
        return f"{_label(text)} {setting(text)}".strip()
    return condition.short


def physical(text: str) -> str:
    """The condition with the id ``text`` for an audience, such as "Random noise, noise 18%".

    A single perturbation has its physical value; all else has what ``short`` returns.
    """
    condition = readable(text)
    if condition is None or len(condition.perturbations) != 1:
        return short(text)
    ((name, strength),) = condition.steps
    record = REGISTRY[name]
    if not record.graded:
        return record.label
    return f"{record.label}, {record.value_text(strength)}"


def series(text: str) -> str:
    """``Condition.series`` of the condition with the id ``text``."""
    condition = readable(text)
    return _label(text) if condition is None else condition.series


def effect(text: str) -> str:
    """``Condition.effect`` of the condition with the id ``text``."""
    condition = readable(text)
    return text if condition is None else condition.effect


def degree(text: str) -> tuple[str, float] | None:
    """``Condition.degree`` of the condition with the id ``text``."""
    condition = readable(text)
    return None if condition is None else condition.degree


def _label(text: str) -> str:
    name, _, _ = text.partition("=")
    return perturbation_label(name)
