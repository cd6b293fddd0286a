"""``python -m robustness``."""

from __future__ import annotations

import sys

from robustness.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
