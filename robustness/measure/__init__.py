"""Requests, conditions, and the loop that measures models on perturbed images."""

from __future__ import annotations

STEPS = 21
"""Strengths of a perturbation along a whole band or sweep: every 0.05."""
