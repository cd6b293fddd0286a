"""The Live page with the study's networks standing in; started by ``live_speed``."""

from __future__ import annotations

import runpy
from pathlib import Path

from benchmarks.study_networks import stand_in

stand_in()
runpy.run_path(str(Path(__file__).resolve().parent.parent / "app.py"), run_name="__main__")
