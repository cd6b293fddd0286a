"""Covering arrays: few rows of levels in which every two levels of any two factors occur together.

The first factors are columns of an affine plane: of a prime p, its p * p lines and points hold each
pair of p values exactly once in any two of p + 1 columns, which no array can do in fewer rows
(Bush, 1952, "Orthogonal arrays of index unity"). Further factors are added one at a time, each to
the rows there are and then in new rows for the pairs that are left, as in IPO (Lei and Tai, 1998,
"In-parameter-order: a test generation strategy for pairwise testing").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from math import prod

_Pair = tuple[int, int, int]
"""An earlier factor, its level, and the level of the factor that is being added."""


def covering_array(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return rows of levels, such that any two levels of any two factors share a row.

    ``sizes`` are the numbers of levels by factor, at least 1 each; a row has a level from 0 to
    size - 1 for each factor. The rows are different, and always the same for the same sizes.
    """
    if not sizes:
        return []
    prime = _prime_from(max(sizes))
    in_plane = sizes[: prime + 1]
    rows: list[list[int]] = []
    for point in range(prime):
        for slope in range(prime):
            # Fewer levels than values: each stands for several values, and keeps their pairs.
            row = [
                _plane_value(column, point, slope, prime) * size // prime
                for column, size in enumerate(in_plane)
            ]
            rows.append(row)
    for factor in range(len(in_plane), len(sizes)):
        _add_factor(rows, factor, sizes)
    return list(dict.fromkeys(map(tuple, rows)))


def together(rows: Iterable[Sequence[float]], sizes: Sequence[int], count: int) -> tuple[int, int]:
    """Return how many combinations of levels of ``count`` factors share a row, and how many exist.

    ``sizes`` are the numbers of levels by factor; a row has a level, by any number, for each.
    """
    columns = list(zip(*rows, strict=True))
    found = 0
    total = 0
    for factors in combinations(range(len(sizes)), count):
        if columns:
            found += len(set(zip(*(columns[factor] for factor in factors), strict=True)))
        total += prod(sizes[factor] for factor in factors)
    return found, total


def _prime_from(least: int) -> int:
    """The smallest prime of at least ``least``."""
    number = max(least, 2)
    while any(number % divisor == 0 for divisor in range(2, number)):
        number += 1
    return number


def _plane_value(column: int, point: int, slope: int, prime: int) -> int:
    """The value in a column of the row of ``point`` and ``slope``, from 0 to ``prime`` - 1."""
    if column == prime:
        return slope
    return (point + column * slope) % prime


def _add_factor(rows: list[list[int]], factor: int, sizes: Sequence[int]) -> None:
    """Add the levels of ``factor`` to ``rows``, whose earlier factors are covered, and new rows."""
    size = sizes[factor]
    missing: set[_Pair] = set()
    for earlier in range(factor):
        for level in range(sizes[earlier]):
            missing |= {(earlier, level, added) for added in range(size)}
    for number, row in enumerate(rows):
        levels = [(number + shift) % size for shift in range(size)]  # ties go to each in turn
        best = max(levels, key=lambda added: len(missing & _pairs(row, added)))
        missing -= _pairs(row, best)
        row.append(best)
    new_rows: list[dict[int, int]] = []
    for earlier, level, added in sorted(missing):
        for new_row in new_rows:
            if new_row[factor] == added and earlier not in new_row:
                new_row[earlier] = level
                break
        else:
            new_rows.append({factor: added, earlier: level})
    for new_row in new_rows:
        number = len(rows)
        rows.append([new_row.get(index, number % sizes[index]) for index in range(factor + 1)])


def _pairs(row: Sequence[int], added: int) -> set[_Pair]:
    """The pairs of the level ``added`` with each level of ``row``."""
    return {(earlier, level, added) for earlier, level in enumerate(row)}
