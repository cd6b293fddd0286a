"""The outcome of a limit: kept, broken or not shown, by the interval of the figure."""

from __future__ import annotations

KEPT = "kept"
BROKEN = "broken"
NOT_SHOWN = "not shown"
UNTESTED = "untested"

ROUNDING = 1e-9
"""The error of sums, since 0.6 - 0.4 is not quite 0.2."""


def outcome(limit: str, bound: float, low: float | None, high: float | None) -> str:
    """Return the outcome of a limit for a figure with an interval from ``low`` to ``high``.

    A ``limit`` whose name begins with "max" is kept where the whole interval is at most ``bound``,
    another where it is at least that. Without an interval nothing is shown.
    """
    if low is None or high is None:
        return NOT_SHOWN
    if limit.startswith("max"):
        kept = high <= bound + ROUNDING
        broken = low > bound + ROUNDING
    else:
        kept = low >= bound - ROUNDING
        broken = high < bound - ROUNDING
    if kept:
        return KEPT
    return BROKEN if broken else NOT_SHOWN
