"""Slow imports where they are used: every process collects all tests, and runs a third of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any


class Later:
    """A module that is imported once something of it is asked for, and not by pytest's look."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith(("__", "_mock", "_pytest", "pytest")):
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)


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
