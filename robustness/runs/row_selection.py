"""A selection of a run's measurements, and its text: what links, exports and commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qsl, quote, unquote

from robustness import models
from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.text import some
from robustness.evaluation.perturbation_and_attack_conditions import perturbation_name
from robustness.evaluation.request import Request
from robustness.models.model_and_weights_record import model_name
from robustness.runs.manifest import MAX_PICTURES

_KEYS = "model, perturbation, condition, class, slice, became, against, image"
_READABLE = " :,.=+>()/"
_POSITION = re.compile("[0-9]{1,10}")
_MAX_NAMES = 12

_NAMES = {"model": model_name, "against": model_name, "perturbation": perturbation_name}
"""What finds the names of records by their labels, by key."""

CASE_COLUMNS = (
    "image",
    "label",
    "model",
    "condition",
    "perturbation",
    "strength",
    "clean_top1",
    "clean_probability",
    "top1",
    "probability",
    "retained_probability",
    "consistent",
    "ssim",
)
"""The columns of a case."""

WORST, SURVIVORS = "worst", "survivors"
"""Kinds of cases. ``WORST``: predictions that are incorrect or, without a label, changed. Those
that were correct before come first, by the fall of the confidence in the original class.
``SURVIVORS``: all others, by how visible the change is (lowest SSIM first). Rows of attacks without
a prediction to break are neither."""


@dataclass(frozen=True)
class RowSelection:
    """Which rows: those of a ``model``, a ``perturbation``, some ``conditions``; () or "" is all.

    ``classes`` are (model, class): rows whose label, else the prediction on the original, is one.
    ``slices`` are (column, value) of the properties of the images, as in ``image_slices``; in
    ``text``, a colon within a column is ``%253A``.
    The name of a profile stands for all of its compositions.
    ``became`` is a change (original class, new class). ``against`` is another model, which went
    well where these rows did not. ``positions`` are those of images in the dataset.
    """

    model: str = ""
    perturbation: str = ""
    conditions: tuple[str, ...] = ()
    classes: tuple[tuple[str, int], ...] = ()
    slices: tuple[tuple[str, str], ...] = ()
    became: tuple[int, int] | None = None
    against: str = ""
    positions: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The selection as ``parse`` reads it, such as ``model=VGG16&slice=brightness:..0.2``."""
        names = (models.class_name(model, index) for model, index in self.classes)
        pairs = [
            ("model", self.model),
            ("perturbation", self.perturbation),
            *(("condition", condition) for condition in self.conditions),
            *(("class", name) for name in dict.fromkeys(names)),
            *(
                # without a colon, as ``unquote`` reads it back
                ("slice", f"{column.replace('%', '%25').replace(':', '%3A')}:{value}")
                for column, value in self.slices
            ),
            ("became", ">".join(map(str, self.became or ()))),
            ("against", self.against),
            ("image", ",".join(map(str, self.positions))),
        ]
        return "&".join(f"{key}={quote(value, safe=_READABLE)}" for key, value in pairs if value)

    @classmethod
    def parse(cls, text: str, spec: Request) -> RowSelection:
        """The selection that ``text`` means in a run of ``spec``.

        Classes are names, synsets or indices. Raises ``ParameterError`` for another text.
        """
        values: dict[str, list[str]] = {}
        for key, value in parse_qsl(text.replace("+", "%2B"), keep_blank_values=True):
            values.setdefault(key, []).append(value)
        if text.strip() and (not values or not set(values) <= set(_KEYS.split(", "))):
            _refuse(text)

        def one(key: str) -> str:
            return ["", *values.get(key, ())][-1]

        choices = {
            "model": spec.model_names,
            "against": spec.model_names,
            "perturbation": (*dict.fromkeys(c.name for c in spec.conditions), *spec.profiles),
            "condition": (*(condition.id for condition in spec.conditions), *spec.profiles),
        }
        for key, names in choices.items():
            find = _NAMES.get(key, str)
            texts = values.get(key, ())
            values[key] = [text if text in names else find(text) for text in texts]
            for name in filter(None, values[key]):
                if name not in names:
                    raise ParameterError(
                        f"Expected {key} to be one of {some(names, _MAX_NAMES)}; got {name!r}."
                    )
        labels = models.by_labels([one("model")] if one("model") else spec.model_names)
        slices = [value.partition(":") for value in values.get("slice", ())]
        became = one("became").split(">") if one("became") else []
        if not all(colon for _, colon, _ in slices) or len(became) not in (0, 2):
            _refuse(text)
        try:
            before = [labels[0][0].index(name) for name in became]
        except UnknownNameError as error:
            raise ParameterError(f"The selection {text!r} cannot be read: {error}") from error
        return cls(
            one("model"),
            one("perturbation"),
            tuple(filter(None, values.get("condition", ()))),
            tuple(pair for name in values.get("class", ()) for pair in _meant(name, labels)),
            tuple((unquote(column), value) for column, _, value in slices),
            (before[0], before[1]) if before else None,
            one("against"),
            _positions(",".join(values.get("image", ()))),
        )


def _positions(text: str) -> tuple[int, ...]:
    """The positions of images in ``text``, separated by commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(_POSITION.fullmatch(part) and int(part) < MAX_PICTURES for part in parts):
        raise ParameterError(
            f"Expected image to be positions from 0 to {MAX_PICTURES - 1}, such as 3,40; "
            f"got {text[:80]!r}."
        )
    return tuple(map(int, parts))


def _meant(
    name: str, labels: Sequence[tuple[models.Labels, Sequence[str]]]
) -> list[tuple[str, int]]:
    """(model, class) of each model that knows the class ``name``."""
    indices = [
        (model, label_set.index(name))
        for label_set, names in labels
        if len(label_set.meant(name)) == 1
        for model in names
    ]
    if not indices:
        raise ParameterError(f"Expected a class that a model of the run knows, got {name!r}.")
    return indices


def _refuse(text: str) -> NoReturn:
    raise ParameterError(
        f"Expected a selection such as model=NAME&slice=brightness:..0.2, got {text!r}.",
        hint=f"Its keys are {_KEYS}.",
    )
