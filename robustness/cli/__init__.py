"""The command line: one file a command or family, its options and its action.

Heavy modules are imported by the action that needs them, so that ``--help`` answers at once.
"""

from __future__ import annotations
