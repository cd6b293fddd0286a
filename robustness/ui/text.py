"""Text from outside, made harmless before it meets Markdown or HTML."""

from __future__ import annotations

import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:$^=&])")


def plain(text: str) -> str:
    """``text`` such that Streamlit's Markdown shows it as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
