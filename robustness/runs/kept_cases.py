"""The first cases of each condition, and counts of images, read once from the rows of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from heapq import merge
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.runs.kept_figures import keep, kept
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.queries import ROW, Rows
from robustness.runs.selection import SURVIVORS, WORST

FILE = "cases.json.gz"

EACH = 24
"""So many cases of each model and condition are kept."""

_MOST_NAMES = 64  # perturbations, a bit each

_LAST = "CASE WHEN isfinite({0}) THEN {0} ELSE 2 END"  # 2 is above any fall and similarity
_ASKED = {
    WORST: "label IS NOT NULL AND clean_top1 <> label, "
    + _LAST.format("(retained_probability - clean_probability)"),
    SURVIVORS: "false, " + _LAST.format("ssim"),
}

Entry = list[Any]
"""What orders a case of a kind, then its row: smaller ones come first."""


@dataclass(frozen=True)
class KeptCases:
    """JSON-ready: ``first`` has [model, perturbation, condition, entries] by kind.

    ``tallies`` has [model, perturbation, *counts of a ``Tally``], with "" for all.
    """

    tallies: Sequence[Sequence[Any]]
    first: Mapping[str, Sequence[Sequence[Any]]]

    def tally(self, model: str, perturbation: str) -> Sequence[int] | None:
        """The counts of images, if they are kept."""
        chosen = (each[2:] for each in self.tallies if each[:2] == [model, perturbation])
        return next(chosen, None)

    def rows(
        self, kind: str, model: str, perturbation: str, conditions: Collection[str], most: int
    ) -> list[int]:
        """The first ``most`` rows of different images, which are at most ``EACH``."""
        chosen = [
            entries
            for of, name, condition, entries in self.first[kind]
            if model in ("", of)
            and perturbation in ("", name)
            and (not conditions or condition in conditions)
        ]
        found: dict[int, int] = {}
        for *_, row in merge(*chosen):
            found.setdefault(row >> 32, row)
            if len(found) == most:
                break
        return list(found.values())


def of(folder: Path, manifest: Manifest, read: Callable[[], KeptCases]) -> KeptCases | None:
    """The cases of the run in ``folder``: the kept ones, else ``read`` and kept.

    None for a run that is not finished, whose rows change.
    """
    if manifest.status != FINISHED or not manifest.images:
        return None
    document = kept(folder / FILE, manifest)
    if document is not None and set(document) == set(KeptCases.__dataclass_fields__):
        return KeptCases(**document)
    found = read()
    keep(folder / FILE, manifest, asdict(found))
    return found


def read(rows: Rows, good: str, counts: str, values: Mapping[str, Any]) -> KeptCases:
    """The cases of all ``rows``; ``good`` and ``counts`` are SQL that names ``values``."""
    kinds = {WORST: f"{counts} AND NOT ({good})", SURVIVORS: f"{counts} AND ({good})"}
    packed = ", ".join(
        f"min(row({_ASKED[kind]}, {ROW}), {EACH}) FILTER ({chosen})"
        for kind, chosen in kinds.items()
    )
    found = rows.ask(
        f"SELECT model, any_value(perturbation), condition, {packed} FROM rows "
        f"GROUP BY model, condition ORDER BY min({ROW})",
        **values,
    )
    first = {
        kind: [[*key[:3], [list(entry) for entry in key[3 + at] or ()]] for key in found]
        for at, kind in enumerate(kinds)
    }
    return KeptCases(_tallies(rows, kinds, counts, values), first)


def _tallies(
    rows: Rows, kinds: Mapping[str, str], counts: str, values: Mapping[str, Any]
) -> list[list[Any]]:
    names = list(dict.fromkeys(name for _, name, _ in rows.axes.conditions))
    if len(names) > _MOST_NAMES:
        return []
    bits = ", ".join(
        f"coalesce(bit_or(bit) FILTER ({chosen}), 0)::UBIGINT AS mask_{at}"
        for at, chosen in enumerate(("true", counts, *kinds.values()))
    )
    asked = rows.ask_columns(
        f"SELECT model, position, bool_or(label IS NOT NULL), {bits} FROM (SELECT *, 1::UBIGINT << "
        "(list_position($names, perturbation) - 1) AS bit FROM rows) GROUP BY model, position",
        names=names,
        **values,
    )
    models, positions, labelled, *masks = asked
    place = np.searchsorted(rows.axes.positions, positions)
    chosen_bits = {"": 2**64 - 1} | {name: 1 << at for at, name in enumerate(names)}

    def images_of(model: str, masks: NDArray[np.uint64]) -> list[list[Any]]:
        return [
            [model, name, *np.count_nonzero(masks & np.uint64(wanted), axis=1).tolist()]
            for name, wanted in chosen_bits.items()
        ]

    every = np.zeros((10, len(rows.axes.positions)), np.uint64)
    tallies = []
    for model in rows.axes.models:
        mine = models == model
        own = np.zeros_like(every)
        own[:4, place[mine]] = [mask[mine] for mask in masks]
        own[4:7, place[mine]] = [np.where(labelled, mask, 0)[mine] for mask in masks[1:]]
        own[7:, place[mine]] = [np.where(labelled, 0, mask)[mine] for mask in masks[1:]]
        every |= own
        tallies += images_of(model, own)
    return images_of("", every) + tallies
