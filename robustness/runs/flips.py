"""The images of which a model's verdict flipped from one run to another, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from robustness.evaluation.condition import effect
from robustness.runs import images
from robustness.runs.compare import identified
from robustness.runs.run import Run
from robustness.statistics.attacked import counted_in_sql


class Flip(NamedTuple):
    """An image, as the second run calls it, and the classes predicted before and after."""

    image: str
    before: int
    after: int


def flips(
    baseline: Run, other: Run, model: str, condition: str, quantity: str
) -> tuple[list[Flip], list[Flip]]:
    """The images that got worse in ``other``, and those that got better, under ``condition``.

    Worse is changed where it was unchanged if ``quantity`` is "consistency", else incorrect where
    it was correct. ``condition`` is an id of ``other``. Images are matched as ``compare`` matches
    them.
    """
    same = [c.id for c in baseline.conditions if c.effect == effect(condition)]
    if not same:
        return [], []
    first, second = (
        _verdicts(run, model, name, quantity)
        for run, name in ((baseline, same[0]), (other, condition))
    )
    keys, keys_of_other = (
        {run.rows.axes.digests[place]: key for key, place in places.items()}
        for run, places in zip((baseline, other), identified(baseline, other), strict=True)
    )
    before = {
        keys[digest]: (top1, good)
        for digest, _, top1, good in first
        if good is not None and digest in keys
    }
    found: dict[bool, dict[str, Flip]] = {False: {}, True: {}}
    for digest, image, top1, good in second:
        key = keys_of_other.get(digest, "")
        if good is not None and key in before and before[key][1] != good:
            found[bool(good)].setdefault(key, Flip(str(image), before[key][0], top1))
    return list(found[False].values()), list(found[True].values())


def _verdicts(run: Run, model: str, condition: str, quantity: str) -> Iterator[tuple[Any, ...]]:
    """(digest, image, class, whether it is good), None for what does not count."""
    counts, values = counted_in_sql([condition] if quantity == "consistency" else [])
    good = "consistent" if quantity == "consistency" else "top1 = label"
    rows = run.rows.ask(
        f"SELECT position, top1, CASE WHEN {counts} THEN {good} END FROM rows "
        "WHERE model = $model AND condition = $condition ORDER BY position",
        model=model,
        condition=condition,
        **values,
    )
    digests, names = images.digests(run.image_table), run.rows.names
    return ((digests[at], names[at], top1, good) for at, top1, good in rows)
