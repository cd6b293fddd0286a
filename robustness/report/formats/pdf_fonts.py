"""The fonts of the PDF, which are data files of other packages.

DejaVu Sans (Latin, Greek, Cyrillic and more) comes with Matplotlib, IPAex Gothic (Japanese) with
matplotlib-fontja, whose code is never run. A sign that neither has is written as its number.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

REGULAR, BOLD = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"
JAPANESE = "ipaexg.ttf"


def font_file(name: str) -> Path:
    """Where the font ``name`` lies; its package is located and not imported."""
    if name == JAPANESE:
        spec, folder = find_spec("matplotlib_fontja"), "fonts"
    else:
        spec, folder = find_spec("matplotlib"), "mpl-data/fonts/ttf"
    return Path(spec.origin).parent / folder / name  # type: ignore[union-attr, arg-type]
