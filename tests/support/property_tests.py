"""Tests of properties by Hypothesis, which only the processes that run them import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def property_test(
    strategies: Callable[[Any], Sequence[Any]], *first: Any, examples: int = 100
) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Have Hypothesis call the test with values of ``strategies(hypothesis.strategies)``.

    The ``first`` values of a test with one argument come before those that it draws.
    """

    def decorated(check: Callable[..., None]) -> Callable[[], None]:
        def test() -> None:
            import hypothesis

            decorate: Any = hypothesis.given(*strategies(hypothesis.strategies))
            drawn = decorate(check)
            for value in first:
                drawn = hypothesis.example(value)(drawn)
            drawn = hypothesis.settings(
                max_examples=examples,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(hypothesis.HealthCheck),
            )(drawn)
            drawn()

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorated
