"""Models added from Python, which last as long as this process."""

from __future__ import annotations

from collections.abc import Iterable

from robustness.base.errors import ParameterError
from robustness.models.model_record import ModelRecord

ADDED: dict[str, ModelRecord] = {}
"""The models by their names."""


def require_described(names: Iterable[str], who: str) -> None:
    """Raise ``ParameterError`` if one of ``names`` is known to this process only.

    ``who`` runs the models in another process.
    """
    for name in names:
        if name in ADDED:
            raise ParameterError(
                f"{name} was added from Python and lives in this process only, so {who} cannot "
                'load it: describe it in models.toml by its file, or as function = "module:name".'
            )
