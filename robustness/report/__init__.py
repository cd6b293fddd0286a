"""Reports to share: one content, built from a result, rendered in several formats.

Nothing here runs a model. A new kind of result needs a function that returns a ``Report``; every
format, page button and command then has it.
"""

from __future__ import annotations

from robustness.report.blocks import Report, Text, Titled
from robustness.report.comparison import of_comparison
from robustness.report.formats import (
    FORMATS,
    Format,
    format_of,
    printed,
    printed_blocks,
    rendered,
    write,
)
from robustness.report.image import of_attack, of_live
from robustness.report.run import of_run, summary_of_run
from robustness.report.search import of_breaks
from robustness.report.strength import of_map
from robustness.report.study import of_study

__all__ = [
    "FORMATS",
    "Format",
    "Report",
    "Text",
    "Titled",
    "format_of",
    "of_attack",
    "of_breaks",
    "of_comparison",
    "of_live",
    "of_map",
    "of_run",
    "of_study",
    "printed",
    "printed_blocks",
    "rendered",
    "summary_of_run",
    "write",
]
