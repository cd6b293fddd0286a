"""Models of a run behind its remedies, as further grids beside those of its models."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustness.remedies import Chain
from robustness.runs.remedied import by_condition, counted_rows, is_attack, together, trial_classes
from robustness.runs.run import Run
from robustness.statistics.attacked import breakable, targets
from robustness.statistics.grid import UNKNOWN, Cells, Grid

Flags = NDArray[np.int8]

FLAGS = ("clean_correct", "correct", "consistent")


@dataclass(frozen=True)
class Behind:
    """A model behind a remedy, or all ``names`` together for ``average`` and ``vote``.

    ``grid`` has the id, such as ``SqueezeNet+median``, in place of a model's name. It has flags
    alone; numbers such as confidences are unknown.
    """

    grid: Grid
    names: tuple[str, ...]
    chain: Chain

    @property
    def id(self) -> str:
        return self.grid.model


def weighable(run: Run) -> tuple[Chain, ...]:
    """The remedies of ``run`` that stand before models: all but abstaining."""
    return tuple(chain for chain in run.manifest.spec.remedies if not chain.abstains)


def named(run: Run) -> dict[str, tuple[tuple[str, ...], Chain]]:
    """The models and the remedy by the id of both, remedy by remedy."""
    found: dict[str, tuple[tuple[str, ...], Chain]] = {}
    for chain in weighable(run):
        for name in run.manifest.spec.model_names:
            names = together(run, name) if chain.several_models else (name,)
            if not chain.several_models or len(names) > 1:  # else the model itself
                found["+".join([*names, chain.id])] = names, chain
    return found


def models_behind(
    run: Run, grids: Sequence[Grid], columns: Collection[str] = FLAGS
) -> list[Behind]:
    """Every model of ``run``, with its ``grids``, behind each remedy that it can take.

    ``columns`` are the flags to read. Under an attack an image is correct if it is so before and
    after the attacks on the model and through the remedy; for ``average`` and ``vote``, under those
    on each model. Without labels a prediction is unchanged if it is that of the original without
    the remedy; that of several models together, if it is their own of the original.
    """
    known, of = named(run), {grid.model: grid for grid in grids}
    ids = {(names, chain.id): text for text, (names, chain) in known.items()}
    cells: dict[str, dict[str, Flags]] = {}
    for grid in grids if known else ():
        for chain, place, flags in _trials(run, grid):
            names = together(run, grid.model) if chain.several_models else (grid.model,)
            if (text := ids.get((names, chain.id))) is None:
                continue  # the model itself
            own = cells.setdefault(text, {})
            for column in columns:
                found = own.setdefault(column, np.ones(grid.there.shape, np.int8))
                found[:, place] = np.minimum(found[:, place], flags[column])
    return [
        Behind(_grid(of[names[0]], text, cells[text]), names, chain)
        for text, (names, chain) in known.items()
        if text in cells
    ]


def _grid(grid: Grid, text: str, cells: Mapping[str, Flags]) -> Grid:
    def read(column: str) -> Cells:
        return cells[column] if column in cells else np.full(grid.there.shape, np.nan)

    return replace(grid, model=text, read=read, own=())


def _trials(run: Run, grid: Grid) -> Iterator[tuple[Chain, int, dict[str, Flags]]]:
    """Each remedy under each condition, by its place in ``grid``, with the flags of all images."""
    axes, chains = run.rows.axes, {chain.id: chain for chain in weighable(run)}
    places = {key.id: place for place, key in enumerate(grid.conditions)}
    aims = targets([key.id for key in grid.conditions])
    known = grid.flags("clean_correct") != UNKNOWN
    for condition, found in by_condition(counted_rows(run, grid.model)):
        images = axes.image_of[np.searchsorted(axes.positions, found["position"])]
        place, plain = places[condition], not is_attack(condition)
        labelled, right = known[images, place], found["right"]
        for chain_id, clean, top in trial_classes(grid.model, condition, found, [*chains]):
            chain, before = chains[chain_id], clean == right
            own = clean if chain.several_models else found["clean_top1"]
            if not plain:
                own = np.where(labelled, right, own)
            told = {
                "clean_correct": (before, labelled),
                "correct": ((top == right) & (before | plain), labelled),
                "consistent": (
                    (top == own) & ((clean == own) | plain),
                    breakable(before | ~labelled, clean, aims[place]) | plain,
                ),
            }
            flags = {name: np.full(len(grid.images), UNKNOWN, np.int8) for name in told}
            for name, (good, counted) in told.items():
                flags[name][images] = np.where(counted, good, UNKNOWN)
            yield chain, place, flags
