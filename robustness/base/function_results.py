"""What the functions of registries return, checked where they are called.

Such a function may be a plugin's: its result may have any shape or type, and hold no numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import PluginError


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view of ``array`` that refuses to be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def checked_array(
    what: str, result: Any, shape: tuple[int, ...], expected: str, *kinds: str
) -> NDArray[Any]:
    """``result`` of ``what`` as an array of ``shape`` and one of the ``kinds`` of numbers.

    A kind is as NumPy writes it, such as "f" or "u1"; ``expected`` are the kinds in words. Raises
    ``PluginError`` for anything else.
    """
    try:
        array = np.asarray(result)
    except Exception:  # of a ragged list, or of an object of another library
        array = np.asarray(None)
    if array.shape != shape or not array.dtype.str[1:].startswith(kinds):
        returned = (
            f"{array.dtype} of shape {array.shape}" if array.dtype != object else repr(result)
        )
        raise PluginError(
            f"The {what} returned {returned[:100]}: expected {expected} of shape {shape}."
        )
    return array


def check_finite(what: str, array: NDArray[Any]) -> None:
    """Raise ``PluginError`` unless all values that ``what`` returned are finite numbers."""
    if not np.isfinite(array).all():
        raise PluginError(f"The {what} returned values that are not finite numbers.")
