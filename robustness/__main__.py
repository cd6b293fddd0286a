"""``python -m robustness``."""

import sys

from robustness.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
