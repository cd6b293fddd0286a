"""The fonts of the PDF, data files of optional packages, and whether all that it needs is there.

DejaVu Sans (Latin, Greek, Cyrillic and more) comes with Matplotlib, IPAex Gothic (Japanese) with
matplotlib-fontja, whose code is never run. A sign that neither has is written as its number.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from robustness.base.errors import ParameterError

REGULAR, BOLD = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"
JAPANESE = "ipaexg.ttf"

HOW_TO_GET_THEM = "pip install -r requirements-pdf.txt"


def missing() -> str:
    """A sentence that says what a PDF needs here; nothing where all of it is installed."""
    found = [find_spec("fpdf"), find_spec("matplotlib"), find_spec("matplotlib_fontja")]
    if all(found):
        return ""
    return (
        f"A PDF needs packages that are not installed: run `{HOW_TO_GET_THEM}`, or choose another "
        "format."
    )


def require() -> None:
    """Raises ``ParameterError`` with the sentence of ``missing`` if there is one."""
    sentence = missing()
    if sentence:
        raise ParameterError(sentence)


def font_file(name: str) -> Path:
    """Where the font ``name`` lies; raises ``ParameterError`` if its package is not installed."""
    require()
    japanese = name == JAPANESE
    spec = find_spec("matplotlib_fontja") if japanese else find_spec("matplotlib")
    folder = Path(spec.submodule_search_locations[0]) if spec is not None else Path()  # type: ignore[index]
    return folder / ("fonts" if japanese else "mpl-data/fonts/ttf") / name
