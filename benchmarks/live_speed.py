"""Times a Live update on the server: a slider moves, and the whole page script answers.

The script runs as it does under the server, without a browser. What is not forward pass covers
perturbing, comparing, encoding the pictures, the tables, the charts, and Streamlit itself.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from streamlit.testing.v1 import AppTest

from benchmarks.study_networks import NAMES, standing_in
from robustness.models import Classifier, Outputs

APP = Path(__file__).resolve().parent.parent / "app.py"


def measure(repeats: int = 10) -> dict[str, Any]:
    """Median milliseconds of an update, of its forward passes, and the share of the rest."""
    forward: list[float] = []
    plain = Classifier.__call__

    def timed(self: Classifier, images: Any) -> Outputs:
        start = time.perf_counter()
        outputs = plain(self, images)
        forward.append(time.perf_counter() - start)
        return outputs

    totals, passes = [], []
    with standing_in(), patch.object(Classifier, "__call__", timed):
        app = AppTest.from_file(str(APP), default_timeout=300).run()
        if app.exception:
            raise RuntimeError(app.exception[0].message)
        if set(app.multiselect(key="models").value) != set(NAMES):
            raise RuntimeError(f"expected the study's models, got {app.multiselect[0].value}")
        for step in range(repeats + 2):
            slider = app.slider(key="brightness").set_value(round(0.3 + 0.01 * step, 2))
            forward.clear()
            start = time.perf_counter()
            app = slider.run()
            totals.append(1000 * (time.perf_counter() - start))
            passes.append(1000 * sum(forward))
    total, forward_ms = statistics.median(totals[2:]), statistics.median(passes[2:])
    return {"total_ms": total, "forward_ms": forward_ms, "rest": 1 - forward_ms / total}


def main() -> None:
    """Prints the shares."""
    row = measure()
    print(
        f"update {row['total_ms']:.0f} ms, forward passes {row['forward_ms']:.0f} ms, "
        f"everything else {row['rest']:.0%}"
    )


if __name__ == "__main__":
    main()
