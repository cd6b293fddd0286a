"""What every room stands on: errors, registries, settings, files, text, pace."""

from __future__ import annotations
