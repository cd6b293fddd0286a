"""Plugins: perturbations, metrics, attacks and remedies that a user adds, in Python or as data."""

from robustness.plugins.adding import attack, metric, perturbation, remedy_plugin
from robustness.plugins.loading import load
from robustness.plugins.origins import INTERFACE, VARIABLE, Plugin, plugin_of, plugins

__all__ = [
    "INTERFACE",
    "VARIABLE",
    "Plugin",
    "attack",
    "load",
    "metric",
    "perturbation",
    "plugin_of",
    "plugins",
    "remedy_plugin",
]
