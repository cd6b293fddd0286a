"""The colours of bands and maps: every cell can be read, in the light and in the dark."""

from __future__ import annotations

import re
import tomllib

import numpy as np
import pytest

from benchmarks.support.repository import ROOT
from robustness.report import maps

THEMES = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))["theme"]
SCHEMES = ("light", "dark")


def colour(code: str) -> np.ndarray:
    """The sRGB values of ``#rrggbb``, 0 to 1."""
    return np.array([int(code[at : at + 2], 16) for at in (1, 3, 5)]) / 255


def scale(name: str, scheme: str) -> np.ndarray:
    """The style sheet's colour ``name`` in ``scheme``."""
    pattern = rf"--rb-{name}: light-dark\((#\w{{6}}), (#\w{{6}})\)"
    found = re.search(pattern, maps.style())
    assert found, f"no colour {name} for both schemes"
    return colour(found[1 + SCHEMES.index(scheme)])


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """By WCAG 2.1, from 1 to 21."""

    def luminance(srgb: np.ndarray) -> float:
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_cell_can_be_read_and_stands_out_from_the_page(scheme: str) -> None:
    page, text = (colour(THEMES[scheme][name]) for name in ("backgroundColor", "textColor"))
    neither = scale("neither", scheme)
    for name in ("right", "wrong"):
        strong = scale(name, scheme)
        for tone in np.linspace(0, 1, 101):
            cell = tone * strong + (1 - tone) * neither
            assert contrast(cell, text) >= 4.5, (name, tone)
            assert contrast(cell, page) >= 1.2, (name, tone)
