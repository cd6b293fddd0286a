"""Charts of PDFs are drawn coarsely: at the dots of print they take most of a report's time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from robustness.report.formats import pdf_charts

COARSE = 40
"""Dots an inch."""


@pytest.fixture(scope="package", autouse=True)
def coarse_charts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pdf_charts, "DPI", COARSE)
        yield
