"""Held files: in every Python started with this folder on its path, opening ``x`` waits for as
long as there is an ``x.held``. The test that puts that there says how long a run takes."""

from __future__ import annotations

import os
import sys
import time
from typing import Any


def _wait(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        while os.path.exists(f"{arguments[0]}.held"):
            time.sleep(0.02)


sys.addaudithook(_wait)
