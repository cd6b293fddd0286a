"""Calls of the public functions: what they need is loaded, their arguments are checked."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from robustness import plugins
from robustness.base.argument_and_result_checks import checked_arguments
from robustness.models.own import registration_and_schema

Function = TypeVar("Function", bound=Callable[..., Any])


def checked_call(function: Function) -> Function:
    """``checked_arguments`` with the plugins and the models of ``models.toml`` loaded before."""
    checked = checked_arguments(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        plugins.load()
        registration_and_schema.refresh()
        return checked(*args, **kwargs)

    return call  # type: ignore[return-value]
