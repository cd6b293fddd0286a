"""Text from outside, made harmless before it meets Markdown or HTML."""

from robustness.base.text import plain

__all__ = ["plain"]
