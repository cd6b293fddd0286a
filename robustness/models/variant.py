"""Variants: models behind remedies, each a classifier like any other.

A variant has the predictions of its own in every table, and its gain is the difference from its
base on the same images. It is no rival of other models: what tests models against each other leaves
variants out unless it is asked for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from robustness.base.errors import ParameterError
from robustness.base.validation import CONFIG, parsed_by
from robustness.models.classifier import Classifier
from robustness.models.loaded import load
from robustness.models.record import by_labels, label
from robustness.remedies import Chain, parse


@dataclass(frozen=True)
class Variant:
    """One of the ``models`` behind the remedies of ``chain``, or several that it combines.

    Its ``name``, such as ``SqueezeNet+median``, stands for it wherever models have names.
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
