"""Variants: models behind remedies, each a classifier like any other.

A variant has the predictions of its own in every table, and its gain is the difference from its
base on the same images. It is no rival of other models: what tests models against each other leaves
variants out unless it is asked for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from robustness.base.errors import ParameterError
from robustness.base.validation import CONFIG, parsed_by
from robustness.images.framing import STUDY_SIDE
from robustness.models.classifier import Classifier
from robustness.models.loaded import load
from robustness.models.record import REGISTRY, by_labels, label
from robustness.remedies import REGISTRY as REMEDIES
from robustness.remedies import Chain, parse


@dataclass(frozen=True)
class Variant:
    """One of the ``models`` behind the remedies of ``chain``, or several that it combines.

    Its ``name``, such as ``SqueezeNet+median``, stands for it wherever models have names;
    ``parse_variant`` reads it back.
    """

    __pydantic_config__ = CONFIG

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    chain: Annotated[Chain, parsed_by(parse), Field(alias="remedies")]

    @property
    def name(self) -> str:
        return "+".join([*self.models, self.chain.id])

    @property
    def base(self) -> str:
        """The model that it changes; the first of several."""
        return self.models[0]

    @property
    def label(self) -> str:
        """What people read: the model and the remedies, or what combines several models."""
        if self.chain.several_models:
            return self.chain.label
        return f"{label(self.base)} + {self.chain.label}"

    @property
    def passes(self) -> int:
        """Forward passes an image, of all its models together."""
        return self.chain.passes * len(self.models)

    def as_dict(self) -> dict[str, Any]:
        """The variant as a request has it in JSON."""
        return {"models": list(self.models), "remedies": self.chain.id}


def parse_variant(text: str) -> Variant:
    """The variant called ``text``: models, then remedies, such as ``SqueezeNet+median+tta``.

    Raises ``UnknownNameError`` for an unknown model or remedy, ``ParameterError`` for a text
    without remedies and for models that the remedies do not combine.
    """
    first, *others = text.split("+")
    names = [REGISTRY[first.strip()].name]
    for other in others:
        record = None if _names_remedy(other) else REGISTRY.find(other.strip())
        if record is None:
            break
        names.append(record.name)
    remedies = others[len(names) - 1 :]
    if not remedies:
        raise ParameterError(
            f"Expected a remedy at the end, as in {names[0]}+median, got {text!r}. The command "
            "remedies lists them."
        )
    variant = Variant(tuple(names), parse(remedies))
    if variant.chain.several_models:
        if len(names) < 2 or len(by_labels(names)) > 1:
            raise ParameterError(
                f"{variant.chain.id} combines models: expected two or more with the same classes, "
                f"as in SqueezeNet+EfficientNetLite0+{variant.chain.id}, got {text!r}."
            )
    elif len(names) > 1:
        raise ParameterError(
            f"{variant.chain.id} changes one model: expected {names[0]}+{variant.chain.id}, got "
            f"{text!r}. Only average and vote combine models."
        )
    return variant


def _names_remedy(text: str) -> bool:
    return REMEDIES.find(text.partition("=")[0].strip()) is not None


def models_and_variants(texts: Iterable[str]) -> tuple[list[str], list[Variant]]:
    """The models and the variants that ``texts`` name, in order; raises as ``parse_variant``.

    The models of a variant are among the models: its gain is the difference from its base.
    """
    names: list[str] = []
    variants = []
    for text in texts:
        if is_variant(text):
            variant = parse_variant(text)
            variants.append(variant)
            names += variant.models
        else:
            names.append(text)
    return names, variants


def is_variant(text: str) -> bool:
    """Whether ``text`` names a variant rather than a model, whose label may have a plus, too."""
    return "+" in text and REGISTRY.find(text) is None


def load_named(text: str, *, side: int = STUDY_SIDE) -> Classifier:
    """The classifier of the model or variant called ``text``; raises as it and ``load`` do."""
    if not is_variant(text):
        return load(text, side=side)
    variant = parse_variant(text)
    first, *others = (load(name, side=side) for name in variant.models)
    return first.with_remedies(variant.chain, others)


def variants_of(names: Sequence[str], chain: Chain) -> list[Variant]:
    """Each of the models ``names`` behind ``chain``.

    A chain that combines models makes one variant of all with the same classes; a model that is
    alone in having its classes has none.
    """
    if not chain.several_models:
        return [Variant((name,), chain) for name in names]
    groups = [alike for _, alike in by_labels(names)]
    return [Variant(alike, chain) for alike in groups if len(alike) > 1]


def loader(chain: Chain, names: Sequence[str]) -> Callable[..., Classifier]:
    """A replacement for ``load`` that puts ``chain`` before each of the models ``names``.

    Raises ``ParameterError`` if ``chain`` combines models and one has none to combine with.
    """
    others_of: dict[str, list[str]] = {}
    for variant in variants_of(names, chain):
        for name in variant.models:
            others_of[name] = [other for other in variant.models if other != name]
    for name in names:
        if name not in others_of:
            raise ParameterError(
                f"{chain.id} combines models: expected another one with the classes and image "
                f"size of {name}, got none. Add one, or leave the remedy out."
            )

    def load_variant(name: str, *, side: int) -> Classifier:
        others = [load(other, side=side) for other in others_of[name]]
        return load(name, side=side).with_remedies(chain, others)

    return load_variant
