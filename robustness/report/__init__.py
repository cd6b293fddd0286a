"""Reports to share: one content, built from a result, rendered in several formats.

Nothing here runs a model. A new kind of result needs a function that returns a ``Report``; every
format, page button and command then has it.
"""

from robustness.report.blocks import Report, Text, Titled
from robustness.report.breaking_strength_report import of_map
from robustness.report.comparison_report import of_comparison
from robustness.report.formats import FORMATS, Format, format_of, rendered, write
from robustness.report.formats.markdown_and_terminal import printed, printed_blocks
from robustness.report.one_image_attack_report import of_attack
from robustness.report.one_image_report import of_live
from robustness.report.run_report_and_answers import of_run

__all__ = [
    "FORMATS",
    "Format",
    "Report",
    "Text",
    "Titled",
    "format_of",
    "of_attack",
    "of_comparison",
    "of_live",
    "of_map",
    "of_run",
    "printed",
    "printed_blocks",
    "rendered",
    "write",
]
