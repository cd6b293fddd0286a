"""What it costs that images are decoded apart, and how much memory five bombs take at once.

A photograph as a camera sends it, decoded in this process and apart, in turns; then five WebPs of
8,062 x 8,062 pixels in about 40 bytes each, sent together, as five browsers may. They take some ten
seconds, one after the other.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.processes import held_by
from benchmarks.support.image_files import photo, saved, webp_bomb
from robustness.images import framing, sandbox

BOMBS = 5


def measure(frames: int = 100, bombs: int = BOMBS, side: int = 8062) -> dict[str, Any]:
    """Milliseconds for a frame of 640 x 480, the median, and megabytes at the peak of all bombs."""
    frame = saved(photo(640, 480), "JPEG", quality=85)
    bomb = webp_bomb(side)
    decoders = (framing.study_image, sandbox.untrusted_image)
    times = [[_milliseconds(decoder, frame) for decoder in decoders] for _ in range(frames)]
    here, apart = map(statistics.median, zip(*times, strict=True))

    sizes: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            sizes.append(held_by(os.getpid()))

    before = held_by(os.getpid())
    watching = threading.Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(bombs) as pool:
        list(pool.map(sandbox.untrusted_image, [bomb] * bombs))
    done.set()
    watching.join()
    return {"here_ms": here, "apart_ms": apart, "bombs_mb": (max(sizes) - before) / 1e6}


def _milliseconds(decoder: Callable[[bytes], object], data: bytes) -> float:
    start = time.perf_counter()
    decoder(data)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Prints the figures."""
    row = measure()
    print(
        f"a frame of 640 x 480: {row['here_ms']:.1f} ms in this process, {row['apart_ms']:.1f} ms "
        f"apart\n{BOMBS} bombs at once: {row['bombs_mb']:,.0f} MB more at the peak"
    )


if __name__ == "__main__":
    main()
