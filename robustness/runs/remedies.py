"""What the remedies of a run gain, and its models with each remedy as further grids.

A row with a remedy has the predictions for the original and under the condition, and no more.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import RunError
from robustness.remedies import Chain
from robustness.runs.rows import Cells
from robustness.runs.run import Run
from robustness.statistics.grid import (
    UNKNOWN,
    ConditionKey,
    Grid,
    breakable,
    profile_groups,
    targets,
)
from robustness.statistics.pairs import Gain, PairedTruths, Truths, gains

Classes = NDArray[np.int32]
Flags = NDArray[np.int8]

FLAGS = ("clean_correct", "correct", "consistent")


@dataclass(frozen=True)
class RemedyFigures:
    """The gains of the remedies of a run."""

    gains: tuple[Gain, ...]
    milliseconds: dict[tuple[str, str], float]
    """By remedy and model, what the remedy adds for one image; what is unknown is left out."""
    labelled: bool | None = True
    """Whether the images have a true class; None if some do. Without one, a prediction counts as
    good if it is that of the original."""

    def as_rows(self) -> list[dict[str, Any]]:
        """The gains, JSON-ready, each with ``milliseconds`` (None if unknown)."""
        return [
            {**vars(gain), "milliseconds": self.milliseconds.get((gain.remedy, gain.model))}
            for gain in self.gains
        ]


_CACHE: WeakKeyDictionary[Run, RemedyFigures] = WeakKeyDictionary()
"""Cache of open runs: the rows of a large one take seconds to read."""


def remedy_figures(run: Run) -> RemedyFigures:
    """The figures of the remedies of ``run``, worked out once; empty without remedies or images."""
    if run in _CACHE:
        return _CACHE[run]
    spec = run.manifest.spec
    trials: list[PairedTruths] = []
    labelled: set[bool] = set()
    if spec.remedies and run.row_count:
        predictions = _Predictions(run)
        for model in spec.model_names:
            labelled |= set(np.unique(predictions.labelled(model)).tolist())
            trials += predictions.truths(model)
    any_labels = None if len(labelled) > 1 else labelled != {False}
    _CACHE[run] = RemedyFigures(tuple(gains(trials)), milliseconds(run), any_labels)
    return _CACHE[run]


class _Predictions:
    """The predictions of a run, with its remedies and without: arrays (images, conditions)."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.chains = run.manifest.spec.remedies
        self.cells: Cells
        self.keys: tuple[ConditionKey, ...]
        self.cells, self.keys = run.rows.cells([chain.id for chain in self.chains])
        self.attacks = np.array([key.is_attack for key in self.keys])

    def top1(self, model: str, remedy: str = "") -> tuple[Classes, Classes]:
        """(for the originals, under the conditions)."""
        clean, top1 = (self.cells.read(model, name, remedy) for name in ("clean_top1", "top1"))
        return clean, top1

    def labelled(self, model: str) -> NDArray[np.bool_]:
        return np.asarray(self.cells.read(model, "label") != UNKNOWN)

    def true_classes(self, model: str) -> Classes:
        """The labels or, without one, the predictions for the originals."""
        clean, _ = self.top1(model)
        return np.where(self.labelled(model), self.cells.read(model, "label"), clean)

    def of_chains(self, model: str) -> Iterator[tuple[Chain, Classes, Classes]]:
        """Each remedy with the ``top1`` of ``model``.

        Raises ``RunError`` for rows without the others.
        """
        expected = self.cells.there(model)
        for chain in self.chains:
            there = self.cells.there(model, chain.id)
            if not np.array_equal(there, expected):
                raise RunError(
                    f"The rows of {model} lack some predictions with {chain.id}: the run was "
                    "damaged or changed. Evaluate it again."
                )
            yield chain, *self.top1(model, chain.id)

    def truths(self, model: str) -> Iterator[PairedTruths]:
        """An attack only fails if the original is correct, too."""
        right = self.true_classes(model)
        clean, top1 = self.top1(model)
        clean_before = clean == right
        before = (top1 == right) & (clean_before | ~self.attacks)
        tried = []
        for chain, clean, top1 in self.of_chains(model):
            clean_after = clean == right
            tried.append((chain.id, (top1 == right) & (clean_after | ~self.attacks), clean_after))
        row_of = {text: at for at, (text, *_) in enumerate(self.run.rows.axes.conditions)}
        groups = profile_groups(self.keys).items()
        in_order = sorted(groups, key=lambda of: min(row_of[self.keys[at].id] for at in of[1]))
        for condition, places in in_order:
            for name, after, clean_after in tried:
                sides = (before, after, clean_before, clean_after)
                means = (_mean(side, places) for side in sides)
                yield PairedTruths(name, model, condition.id, *means)

    def flags(self, model: str) -> Iterator[tuple[Chain, dict[str, Flags]]]:
        """Each remedy with ``FLAGS``, as ``remedied_models`` defines them."""
        right = self.true_classes(model)
        labelled = self.labelled(model)
        plain = ~self.attacks
        aims = targets([key.id for key in self.keys])
        before, _ = self.top1(model)
        for chain, clean, top1 in self.of_chains(model):
            good = clean == right
            own = clean if chain.several_models else before
            own = np.where(labelled & self.attacks, right, own)
            flags = {
                "clean_correct": (good, labelled),
                "correct": ((top1 == right) & (good | plain), labelled),
                "consistent": (
                    (top1 == own) & ((clean == own) | plain),
                    breakable(good | ~labelled, clean, aims) | plain,
                ),
            }
            yield (
                chain,
                {
                    name: np.where(counted, truth, UNKNOWN).astype(np.int8)
                    for name, (truth, counted) in flags.items()
                },
            )


def _mean(truths: NDArray[np.bool_], places: Sequence[int]) -> Truths:
    """(images,): the truth values of a condition, of a profile their means over its parts."""
    return truths[:, places[0]] if len(places) == 1 else truths[:, places].mean(axis=1)


@dataclass(frozen=True)
class RemediedModel:
    """A model with a remedy, or all ``names`` in one for ``average`` and ``vote``.

    ``grid`` has the id, such as ``SqueezeNet+median``, in place of a model's name. It has flags
    alone; numbers such as confidences are unknown.
    """

    grid: Grid
    names: tuple[str, ...]
    chain: Chain

    @property
    def id(self) -> str:
        return self.grid.model


def remedied_names(run: Run) -> dict[str, tuple[tuple[str, ...], Chain]]:
    """The models and the remedy by the id of both, remedy by remedy."""
    by_id: dict[str, tuple[tuple[str, ...], Chain]] = {}
    for chain in run.manifest.spec.remedies:
        for name in run.manifest.spec.model_names:
            names = same_classes(run, name) if chain.several_models else (name,)
            if not chain.several_models or len(names) > 1:  # else the model itself
                by_id["+".join([*names, chain.id])] = names, chain
    return by_id


def remedied_models(
    run: Run, grids: Sequence[Grid], columns: Collection[str] = FLAGS
) -> list[RemediedModel]:
    """Every model of ``run``, with its ``grids``, with each remedy.

    ``columns`` are the flags to read. Under an attack an image is correct if it is so before and
    after the attacks on the model and through the remedy; for ``average`` and ``vote``, under those
    on each model. Without labels a prediction is unchanged if it is that of the original without
    the remedy; that of several models, if it is their own of the original.
    """
    by_id = remedied_names(run)
    grid_of = {grid.model: grid for grid in grids}
    ids = {(names, chain.id): text for text, (names, chain) in by_id.items()}
    flags_of: dict[str, dict[str, Flags]] = {}
    predictions = _Predictions(run) if by_id and run.row_count else None
    for model in grid_of if predictions else ():
        for chain, flags in predictions.flags(model):  # type: ignore[union-attr]
            names = same_classes(run, model) if chain.several_models else (model,)
            if (text := ids.get((names, chain.id))) is None:
                continue  # the model itself
            own = flags_of.setdefault(text, {})
            for name in columns:
                own[name] = np.minimum(own[name], flags[name]) if name in own else flags[name]

    def grid(text: str, model: str) -> Grid:
        flags = flags_of[text]
        plain = grid_of[model]

        def read(column: str) -> NDArray[Any]:
            return flags[column] if column in flags else np.full(plain.has_row.shape, np.nan)

        return replace(plain, model=text, read=read, plugin_columns=())

    return [
        RemediedModel(grid(text, names[0]), names, chain)
        for text, (names, chain) in by_id.items()
        if text in flags_of
    ]


def same_classes(run: Run, model: str) -> tuple[str, ...]:
    """The models of ``run`` with the classes of ``model``, which ``average`` and ``vote`` ask."""
    groups = models.by_labels(run.manifest.spec.model_names)
    return next(names for _, names in groups if model in names)


def added_turns(run: Run) -> dict[tuple[str, str], tuple[float, ...]]:
    """By remedy and model the milliseconds that the remedy adds to one image, in each turn."""
    added: dict[tuple[str, str], tuple[float, ...]] = {}
    for record in run.manifest.latencies:
        for chain in run.manifest.spec.remedies:
            for model in record.models:
                passes = [model] * (chain.passes - 1)
                if chain.several_models:
                    passes = [name for name in same_classes(run, model) if name != model]
                if chain.id not in record.remedies or not record.models.keys() >= {*passes}:
                    continue
                more = [record.models[name] for name in passes]
                times = zip(record.remedies[chain.id], *more, strict=False)
                added[chain.id, model] = tuple(map(sum, times))
    return added


def milliseconds(run: Run) -> dict[tuple[str, str], float]:
    """As ``RemedyFigures.milliseconds``."""
    return {key: statistics.median(turns) for key, turns in added_turns(run).items()}
