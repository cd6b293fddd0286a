"""Rate and memory of a run as it grows, and how long a run that was stopped at 90% takes to go on.

Images are made on the fly. ``loop`` is the whole evaluation, with a model that answers at once and
one condition. ``rows`` measures what writes the run: 95 rows of a real run arrive for every image,
so files are written as in an evaluation under ImageNet-C.

``python -m benchmarks.dataset_length --images 100000`` chooses the length, ``--only rows`` a part.
"""

from __future__ import annotations

import argparse
import itertools
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from benchmarks.support.stand_in_models import StandIn
from benchmarks.support.synthetic_runs import measurement
from robustness import runs
from robustness.datasets import NO_LABELS, Dataset
from robustness.datasets.dataset import Entry
from robustness.images.framing import Framing
from robustness.measure.condition import Condition
from robustness.measure.options import IMAGENET_C_SUITE
from robustness.measure.request import SEVERITIES, Request, suite_conditions
from robustness.measure.rows import to_stored
from robustness.runs import engines
from robustness.runs.engines import Chunk, Engine, ImageRecord, Workload, chunks

IMAGES = {"loop": 10_000, "rows": 100_000}
MODEL = "SqueezeNet"
SIDE = 32
_STOPPED_AT = 0.9
_CONDITIONS = {
    "loop": (Condition.of({"brightness": 0.5}),),
    "rows": suite_conditions(IMAGENET_C_SUITE, severities=SEVERITIES),
}


class MadeUp(Dataset):
    """Images of noise, each other than all before, of which none is on a disk."""

    def __init__(self, count: int) -> None:
        entries = [Entry(f"{number:08d}.png", str(number), 1) for number in range(count)]
        super().__init__(f"made-up-{count}", "made up", entries)

    def read(self, entry: Entry) -> bytes:
        """A PNG of the entry's number."""
        random = np.random.default_rng(int(entry.location))
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        return cv2.imencode(".png", pixels)[1].tobytes()


class _Forgetful(StandIn):
    def __call__(self, images: Any) -> Any:
        found = super().__call__(images)
        self.batches.clear()
        return found


def _loop(job: Workload, numbers: Sequence[int], _address: str | None) -> Iterator[Chunk | None]:
    model: Any = _Forgetful(MODEL, SIDE)
    return chunks(job, numbers, load=lambda _name, **_options: model)


def _rows(job: Workload, numbers: Sequence[int], _address: str | None) -> Iterator[Chunk | None]:
    made = [measurement("x", "x", MODEL, condition, True) for condition in job.spec.conditions]
    table = to_stored(made, [0] * len(made))
    yield None
    for number in numbers:
        positions = pa.array([number] * len(made), pa.int32())
        image = ImageRecord(number, job.dataset.entries[number].name, f"{number:064x}")
        yield Chunk(number, table.set_column(0, "position", positions), (image,))


_ENGINES = {"loop": _loop, "rows": _rows}


def measure(part: str, images: int) -> Iterator[dict[str, Any]]:
    """For each tenth power of images up to ``images``: what one took since the last, and memory.

    Processor time says more than the clock on a machine that others use.
    """
    name = f"benchmark-{part}"
    engines.REGISTRY.add(Engine(name, name, _ENGINES[part]))
    framings = ((MODEL, Framing(side=SIDE)),)
    spec = Request(((MODEL, "sha256:made-up"),), _CONDITIONS[part], framings)
    plan = runs.plan(MadeUp(images), spec, labelling=NO_LABELS, batch=1 if part == "rows" else None)
    stops = [10**power for power in range(3, 9) if 10**power < images]
    stops = sorted({*stops, round(_STOPPED_AT * images)})
    with tempfile.TemporaryDirectory() as scratch:
        with runs.start(plan, Path(scratch), engine=name) as writer:
            since = (0.0, 0.0)
            before = 0
            for state in writer.perform(name):
                if not state.done or state.loading:
                    since = _clocks()
                while stops and state.done >= stops[0]:
                    spent = [now - then for now, then in zip(_clocks(), since, strict=True)]
                    yield {
                        "part": part,
                        "images": state.done,
                        "images_per_second": (state.done - before) / spent[0],
                        "processor_ms_an_image": 1000 * spent[1] / (state.done - before),
                        "memory_mb": _memory() / 1e6,
                        "files": len(list(writer.folder.glob("part-*"))),
                    }
                    since = _clocks()
                    before = state.done
                    stops.pop(0)
                if not stops:
                    break
        start = _clocks()
        with runs.start(plan, Path(scratch), engine=name, resume=True) as writer:
            for _ in itertools.islice(writer.perform(name), 3):  # to the first new image
                pass
            yield {
                "part": part,
                "images": writer.resumed,
                "resumed_in_s": _clocks()[0] - start[0],
                "resumed_in_processor_s": _clocks()[1] - start[1],
                "memory_mb": _memory() / 1e6,
            }


def _clocks() -> tuple[float, float]:
    """Seconds by the clock, and of processor time."""
    return time.perf_counter(), time.process_time()


def _memory() -> int:
    """Bytes that this process holds now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


def main() -> None:
    """Prints a line for each measurement."""
    for part, images in IMAGES.items():
        _print(measure(part, images))


def _print(rows: Iterator[dict[str, Any]]) -> None:
    for row in rows:
        if "resumed_in_s" in row:
            seconds = row["resumed_in_s"]
            of_processor = row["resumed_in_processor_s"]
            told = f"goes on after {seconds:.1f} s ({of_processor:.1f} s of processor time)"
        else:
            told = (
                f"{row['images_per_second']:.1f} images/s, {row['processor_ms_an_image']:.2f} ms "
                f"of processor time an image, {row['files']} files"
            )
        print(f"{row['part']} {row['images']:>8,} images: {row['memory_mb']:.0f} MB, {told}")


def _command_line() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset_length")
    parser.add_argument("--images", type=int)
    parser.add_argument("--only", choices=IMAGES)
    options = parser.parse_args()
    for part in [options.only] if options.only else IMAGES:
        _print(measure(part, options.images or IMAGES[part]))


if __name__ == "__main__":
    _command_line()
