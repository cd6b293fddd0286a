"""What the pages share; the only package that imports Streamlit."""

from __future__ import annotations
