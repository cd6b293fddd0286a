"""The frame that every page draws in."""
