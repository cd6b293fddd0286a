"""Plugins: perturbations, metrics, attacks and remedies that a user adds.

The decorators are in ``decorators``, which imports everything that can be added: this package does
not, as every command asks it which plugins are named.
"""

from robustness.plugins.loaded_plugins import Plugin, load, plugin_of, plugins

__all__ = [
    "Plugin",
    "load",
    "plugin_of",
    "plugins",
]
