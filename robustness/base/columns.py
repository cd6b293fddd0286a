"""Check for the columns a table of measurements must have."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustness.base.errors import ParameterError


def require(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise ``ParameterError`` naming the ``columns`` that ``frame`` lacks."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ParameterError(
            f"Expected measurements with the columns {', '.join(columns)}; "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
        )
