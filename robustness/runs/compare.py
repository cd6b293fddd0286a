"""Two runs against each other: what they share, what differs, and which predictions flip."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.text import counted, some
from robustness.evaluation.perturbation_and_attack_conditions import effect, named
from robustness.evaluation.provenance import ENGINE
from robustness.runs.manifest import Manifest
from robustness.runs.row_differences import RowComparison, compare_rows
from robustness.runs.run import Run
from robustness.statistics.measurement_grid import Grid, effects, part_of
from robustness.statistics.run_differences import changes

Texts = Sequence[str] | NDArray[np.object_]


def shared_grids(several: Sequence[Sequence[Grid]], digests: Sequence[Texts]) -> list[list[Grid]]:
    """The grids of ``several`` runs on the images and conditions that all have.

    ``digests`` identify the images of each run; conditions are shared that have equal effects.
    Both are in the order of the first run, while each run has its own ids of the conditions.
    """
    if not all(several):
        return [[] for _ in several]
    images = [_places(each) for each in digests]
    conditions = [_places(effects(grids[0].conditions)) for grids in several]
    names, same = (
        [key for key in places[0] if all(key in other for other in places)]
        for places in (images, conditions)
    )
    shared = []
    for grids, row_of, column_of in zip(several, images, conditions, strict=True):
        rows = np.array([row_of[name] for name in names], np.intp)
        columns = np.array([column_of[key] for key in same], np.intp)
        shared.append([replace(part_of(grid, rows, columns), own=()) for grid in grids])
    return shared


def _places(keys: Texts) -> dict[str, int]:
    return {key: at for at, key in enumerate(keys)}


def paired_grids(
    grids: tuple[Sequence[Grid], Sequence[Grid]], digests: tuple[Texts, Texts]
) -> list[Grid]:
    """One of ``shared_grids`` for each model of both runs, with columns of both.

    A column ``x`` is ``x_a`` of the first and ``x_b`` of the second run, whose ids of the
    conditions it has.
    """
    first, second = shared_grids(grids, digests)

    def read(sides: Mapping[str, Grid], column: str) -> Any:
        name, _, side = column.rpartition("_")
        return sides[side].read(name)

    return [
        replace(b, there=a.there & b.there, read=partial(read, {"a": a, "b": b}))
        for a in first
        for b in second
        if a.model == b.model
    ]


class Flip(NamedTuple):
    """An image, as the second run calls it, and the classes predicted before and after.

    ``condition`` is the id of what was done to it, "" for an original.
    """

    image: str
    before: int
    after: int
    condition: str


def flips(
    baseline: Run, other: Run, model: str, condition: str, quantity: str
) -> tuple[list[Flip], list[Flip]]:
    """The images that got worse in ``other``, and those that got better, under ``condition``.

    Worse is changed where it was unchanged if ``quantity`` is "consistency", else incorrect where
    it was correct. ``condition`` is an id of ``other``, or "" for the originals; under a profile,
    an image got worse if it did under more of its compositions than it got better, and has the
    classes of the first such. Images are matched as ``compare`` matches them.
    """
    parts = other.manifest.spec.profiles.get(condition, (condition,))
    gained: dict[str, int] = {}
    first_flips: dict[tuple[str, bool], Flip] = {}
    for part in parts:
        same = [c.id for c in baseline.conditions if c.effect == effect(part)] if part else [""]
        if not same:
            return [], []
        first, second = (
            _verdicts(run, model, name, quantity)
            for run, name in ((baseline, same[0]), (other, part))
        )
        before = {digest: (top1, good) for digest, _, top1, good in first if good is not None}
        for digest, image, top1, good in second:
            if good is not None and digest in before and before[digest][1] != good:
                gained[digest] = gained.get(digest, 0) + (1 if good else -1)
                flip = Flip(str(image), before[digest][0], top1, part)
                first_flips.setdefault((digest, bool(good)), flip)
    worse, better = (
        [
            first_flips[digest, good]
            for digest, gain in gained.items()
            if gain and (gain > 0) == good
        ]
        for good in (False, True)
    )
    return worse, better


def _verdicts(run: Run, model: str, condition: str, quantity: str) -> Iterator[tuple[Any, ...]]:
    """(digest, image, class, whether it is good), None for what does not count."""
    if condition:
        good = "consistent" if quantity == "consistency" else "correct"
        counts = "counted" if quantity == "consistency" else "true"
        columns = f"position, top1, CASE WHEN {counts} THEN {good} END"
        where, values = "condition = $condition", {"condition": condition}
    else:
        columns, where, values = "position, clean_top1, clean_top1 = label", "true", {}
    rows = run.rows.ask(
        f"SELECT DISTINCT {columns} FROM rows WHERE model = $model AND {where} ORDER BY position",
        model=model,
        **values,
    )
    digests, names = run.rows.digests, run.rows.names
    return ((digests[at], names[at], top1, good) for at, top1, good in rows)


_MAX_NAMES = 3


@dataclass(frozen=True)
class Comparison:
    """Changes from ``baseline`` to ``other``.

    ``differences`` are those of ``statistics.run_differences.changes``, [] where nothing is shared;
    ``images`` counts the shared images. ``notes`` are sentences on what is not shared or not alike.
    """

    baseline: Run
    other: Run
    images: int
    differences: list[dict[str, Any]]
    notes: tuple[str, ...]

    @cached_property
    def rows(self) -> RowComparison | None:
        """Whether the rows are equal, if both runs are of one request; else None."""
        return compare_rows(self.baseline, self.other)


def compare(baseline: Run, other: Run, *, said: Callable[[str], str] = named) -> Comparison:
    """``other`` against ``baseline``; raises ``RunError`` for a run without rows.

    Images are matched by their pixels before any framing.

    ``said`` gives the words for the ``id`` of a condition: those of a command, unless others.
    """
    digests = baseline.rows.axes.digests, other.rows.axes.digests
    first, second = map(set, digests)
    differences = changes(paired_grids((baseline.rows.grids(), other.rows.grids()), digests))
    nothing = "Nothing to compare: no model has a condition in both runs."
    return Comparison(
        baseline=baseline,
        other=other,
        images=len(first & second),
        differences=differences,
        notes=(
            *([nothing] if first & second and not differences else []),
            *_images(first, second),
            *_settings(baseline.manifest, other.manifest, said),
        ),
    )


def differences_in_setup(before: Manifest, after: Manifest) -> str:
    """How the request of the run ``after`` differs, in a few words; "" if not at all."""
    one, two = before.spec, after.spec
    pairs = [
        ("seed", one.seed, two.seed),
        ("preprocessing", one.framing_text, two.framing_text),
    ] + [
        (name, before.versions.get(name, "none"), after.versions.get(name, "none"))
        for name in sorted({*before.versions, *after.versions})
    ]
    texts = [f"{name} {first} → {second}" for name, first, second in pairs if first != second]
    if before.dataset.digest != after.dataset.digest:
        texts.insert(0, "other images")
    for what, mine, others in (
        ("other models", one.model_names, two.model_names),
        ("other conditions", one.conditions, two.conditions),
    ):
        if mine != others:
            texts.append(what)
        elif what == "other models" and one.models != two.models:
            texts.append("other versions of models")
    return ", ".join(texts)


def _images(first: set[str], second: set[str]) -> list[str]:
    if not first & second:
        return ["These runs share no images (compared by pixels)."]
    counts = (len(first - second), "the baseline"), (len(second - first), "the other run")
    return [
        f"{counted(count, 'image')} only in {whose}, not counted."
        for count, whose in counts
        if count
    ]


def _settings(first: Manifest, second: Manifest, said: Callable[[str], str]) -> list[str]:
    a, b = first.spec, second.spec
    notes = [
        *_only("Models", *([models.label(name) for name in spec.model_names] for spec in (a, b))),
        *_only("Remedies", *([chain.label for chain in spec.remedies] for spec in (a, b))),
        *_only(
            "Conditions", *([said(c.effect) for c in spec.pooled_conditions] for spec in (a, b))
        ),
    ]
    after, weights, described = dict(b.models), list[str](), list[str]()
    for name, digest in a.models:
        versions = [text.removeprefix("sha256:")[:8] for text in (digest, after.get(name, digest))]
        if versions[0] != versions[1]:
            weights.append(f"{models.label(name)} ({' → '.join(versions)})")
        elif after.get(name, digest) != digest:
            described.append(models.label(name))
    for what, named_models in (("weights differ", weights), ("description differs", described)):
        if named_models:
            notes.append(f"The {what}: {some(named_models, _MAX_NAMES)}.")
    if a.seed != b.seed:
        notes.append(f"The seed differs: {a.seed} and {b.seed}.")
    before, framed = dict(a.framings), dict[tuple[str, str], list[str]]()
    for name, own in b.framings:
        if before.get(name, own) != own:
            framed.setdefault((before[name].text, own.text), []).append(models.label(name))
    notes += [
        f"The preprocessing differs: {one} in the baseline, {two} in the other run "
        f"({some(names, _MAX_NAMES)})."
        for (one, two), names in framed.items()
    ]
    versions_a, versions_b = (
        {**each.versions, **{f"the plugin {n}": text[:12] for n, text in each.plugins.items()}}
        for each in (first, second)
    )
    for name in sorted({*versions_a, *versions_b}, key=lambda name: (name == ENGINE, name)):
        one, two = versions_a.get(name, "none"), versions_b.get(name, "none")
        if one != two and name == ENGINE:
            notes.append(f"Another inference engine: {one} and {two}; they round differently.")
        elif one != two:
            notes.append(f"Another version of {name}: {one} and {two}.")
    return notes


def _only(what: str, first: Collection[str], second: Collection[str]) -> list[str]:
    return [
        f"{what} only in the {whose}: {some(only, _MAX_NAMES)}."
        for mine, others, whose in ((first, second, "baseline"), (second, first, "other run"))
        if (only := [name for name in mine if name not in others])
    ]
