"""The Evaluations page: new evaluations, the table of runs, an answer or a comparison."""

from __future__ import annotations
