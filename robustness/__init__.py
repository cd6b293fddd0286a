"""Measures how robust image classifiers are to real-world perturbations."""

__version__ = "0.8.0"
