"""Suites of conditions: the study, ImageNet-C, and perturbations at several strengths.

ImageNet-C's files were saved as JPEG of quality 85 after the corruption, which changes consistency
by several points in either direction. ``imagenet-c`` leaves that step out, ``imagenet-c-jpeg`` has
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.text import some
from robustness.base.untrusted_toml import read_toml
from robustness.datasets import ImageNetCTree
from robustness.evaluation.perturbation_and_attack_conditions import (
    Condition,
    StoredCondition,
    StoredTable,
)
from robustness.evaluation.request import Request, read_conditions
from robustness.perturbations import REGISTRY, SAVED_AS_JPEG, Perturbation
from robustness.pictures.framing_and_study_image import STUDY_SIDE


def study_conditions(
    names: Iterable[str] | None = None, strength: float | None = None
) -> tuple[Condition, ...]:
    """One condition per perturbation, at its study setting or at ``strength``.

    The default is the study's perturbations.
    """
    chosen = names or suite_names(STUDY_SUITE)
    return graded_conditions(chosen, strengths=None if strength is None else [strength])


STUDY_SUITE, IMAGENET_C_SUITE = "study", "imagenet-c"
IMAGENET_C_JPEG_SUITE = "imagenet-c-jpeg"

SUITES = (STUDY_SUITE, IMAGENET_C_SUITE, IMAGENET_C_JPEG_SUITE)

SEVERITIES = (1, 2, 3, 4, 5)


def suite_names(suite: str) -> tuple[str, ...]:
    """The perturbations of a suite: the study's ten, or ImageNet-C's 19 corruptions.

    Raises ``UnknownNameError`` for another suite.
    """
    if suite not in SUITES:
        raise UnknownNameError(f"There is no suite {suite!r}. Known: {', '.join(SUITES)}.")
    if suite == STUDY_SUITE:
        return tuple(record.name for record in REGISTRY if record.in_study)
    return tuple(record.name for record in REGISTRY if record.imagenet_c == record.name)


def suite_conditions(
    suite: str,
    *,
    strengths: Iterable[float] | None = None,
    severities: Iterable[int] | None = None,
) -> tuple[Condition, ...]:
    """The perturbations of a suite, as by ``graded_conditions``.

    A path that ends in .toml is a request file or a profile; its conditions are fixed. Those of
    ``imagenet-c-jpeg`` end with JPEG compression, as the published images did. Raises what
    ``suite_names`` and ``graded_conditions`` raise.
    """
    if suite.endswith(".toml"):
        if strengths is not None or severities is not None:
            raise ParameterError(
                f"{suite} has fixed conditions: expected no strengths or severities, got some."
            )
        return read_conditions(suite)
    conditions = graded_conditions(suite_names(suite), strengths=strengths, severities=severities)
    if suite != IMAGENET_C_JPEG_SUITE:
        return conditions
    return tuple(
        Condition.of({**condition.as_dict(), SAVED_AS_JPEG: 1.0}) for condition in conditions
    )


def profile_note(name: str, spec: Request, table: Mapping[str, Any] | None = None) -> str:
    """A sentence if the profile ``name`` is of another side than a model of ``spec`` sees.

    ``table`` is that of its file, which is read without it. "" if ``name`` is no profile.
    """
    if table is None:
        table = read_toml(Path(name)) if name.endswith(".toml") else {}
    match = table.get("match")
    if not isinstance(match, Mapping):
        return ""
    matched = match.get("side", table.get("side", STUDY_SIDE))
    others = [f"{model} ({own.side} px)" for model, own in spec.framings if own.side != matched]
    if not others:
        return ""
    return (
        f"{name} was matched at {matched} px, which {some(others, 3)} "
        f"{'does' if len(others) == 1 else 'do'} not see: strengths in pixels scale with the side, "
        "and grain and blur may look otherwise there. Match at that side to be sure."
    )


def graded_conditions(
    names: Iterable[str],
    *,
    strengths: Iterable[float] | None = None,
    severities: Iterable[int] | None = None,
) -> tuple[Condition, ...]:
    """Each perturbation at each of the ``strengths``, or of ImageNet-C's ``severities``.

    With neither, each at its study setting, or at 0.6 (severity 3) without one. A switch comes
    once. Raises ``UnknownNameError`` or ``ParameterError`` for what does not exist.
    """
    conditions = []
    for name in dict.fromkeys(names):
        record = REGISTRY[name]
        if strengths is not None:
            values = list(strengths)
        elif severities is not None:
            values = [_at_severity(record, level) for level in severities]
        else:
            values = [0.6 if record.study_strength is None else record.study_strength]
        if not values:
            raise ParameterError("Expected at least one strength or severity, got none.")
        if not record.graded:
            values = [max(values)]
        conditions += [Condition.of({name: value}) for value in dict.fromkeys(values)]
    return tuple(conditions)


def stored_conditions(
    dataset: ImageNetCTree,
    names: Iterable[str] | None = None,
    severities: Iterable[int] | None = None,
) -> tuple[Condition, ...]:
    """The conditions that a published dataset has, or those of ``names`` and ``severities``.

    Raises ``ParameterError`` if it has none of them.
    """
    corruptions = sorted({corruption for corruption, _ in dataset.stored})
    chosen = corruptions if names is None else list(names)
    if strangers := [name for name in chosen if name not in corruptions]:
        raise ParameterError(
            f"{dataset.title} has no {strangers[0]!r}. Known: {', '.join(corruptions)}."
        )
    levels = SEVERITIES if severities is None else tuple(severities)
    conditions = [
        StoredCondition.of_table(StoredTable(corruption=name, severity=level))
        for name, level in dataset.stored
        if name in chosen and level in levels
    ]
    if not conditions:
        raise ParameterError(f"{dataset.title} has none of the severities {levels}.")
    return tuple(conditions)


def _at_severity(record: Perturbation, level: int) -> float:
    if level not in SEVERITIES:
        raise ParameterError(f"Expected a severity from 1 to 5, got {level}.")
    if not record.severity_strengths:
        raise ParameterError(
            f"{record.name} has no ImageNet-C severities: give a strength from 0 to 1 instead."
        )
    return record.severity_strengths[level - 1]
