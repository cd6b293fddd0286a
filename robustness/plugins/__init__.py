"""Plugins: perturbations, metrics, attacks, remedies and datasets that a user adds.

The decorators are in ``decorators``, which imports everything that can be added: this package does
not, as every command asks it which plugins are named.
"""

from __future__ import annotations

from robustness.plugins.loading import Plugin, load, plugin_of, plugins

__all__ = [
    "Plugin",
    "load",
    "plugin_of",
    "plugins",
]
