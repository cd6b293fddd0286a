"""The page One image: its views, and what they share."""

from __future__ import annotations
