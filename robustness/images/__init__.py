"""From untrusted bytes to the study image, and the bundled samples."""

from __future__ import annotations
