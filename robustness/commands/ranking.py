"""The ranking of models that ``study`` and ``evaluate`` print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robustness.commands.console import print_table

_COLUMNS = {
    "rank": ">4",
    "  model": "<20",
    "consistency": ">13",
    "  95 % interval": "<16",
    "cosine": ">8",
    "Euclidean": ">11",
}
_WITH_LABELS = {"accuracy: clean": ">17", "perturbed": ">11"}


def print_ranking(summary: Sequence[Mapping[str, Any]], decimals: int = 0) -> None:
    """Prints ``summary``, consistency with ``decimals`` of a percent and accuracy where known.

    Models that tell other classes apart form a ranking of their own.
    """
    from robustness.statistics import scorecard

    def rows() -> Iterator[Sequence[str] | str]:
        rankings = scorecard.rankings(summary)
        for ranking in rankings:
            if len(rankings) > 1:
                yield f"models of {ranking[0]['label_set']}:"
            for rank, entry in enumerate(ranking, start=1):
                yield _cells(rank, entry, decimals)

    with_labels = any(entry.get("clean_accuracy") is not None for entry in summary)
    print_table(_COLUMNS | (_WITH_LABELS if with_labels else {}), rows())


def _cells(rank: int, entry: Mapping[str, Any], decimals: int) -> list[str]:
    cells = [
        str(rank),
        f"  {entry['model']}",
        f"{entry['consistency']:.{decimals}%}",
        f"  {entry['consistency_low']:.0%} to {entry['consistency_high']:.0%}",
        f"{entry['cosine']:.3f}",
        f"{entry['euclidean']:.3f}",
    ]
    if entry.get("clean_accuracy") is not None:
        cells += [f"{entry[name]:.1%}" for name in ("clean_accuracy", "perturbed_accuracy")]
    return cells
