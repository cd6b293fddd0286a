"""Text from outside, made harmless before it meets Markdown or HTML."""

from robustness.text import plain

__all__ = ["plain"]
