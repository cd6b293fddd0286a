"""Peak memory of the command ``evaluate`` over few and over many images.

The whole command in a process of its own, summary included: one offline model under the study's
ten perturbations. Memory is the process's high-water mark as Linux keeps it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.support.image_folders import flat_folder

MODEL = "SqueezeNet"
_SCRIPT = """
import re, sys
from robustness.cli.main import main
status = main(sys.argv[1:])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print("peak", int(peak[1]) * 1024)
sys.exit(status)
"""


def peak_bytes(source: Path, out: Path, images: int) -> int:
    """The high-water mark of evaluating the first ``images`` images of ``source``."""
    options = ["--models", MODEL, "--limit", str(images), "--out", str(out)]
    return peak_of("evaluate", str(source), *options)


def peak_of(*arguments: str) -> int:
    """The high-water mark of the command line with ``arguments``, in a process of its own."""
    command = [sys.executable, "-c", _SCRIPT, *arguments]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return int(done.stdout.rsplit("peak ", 1)[1])


def measure(few: int = 200, many: int = 2000) -> tuple[int, int]:
    """Peak bytes with ``few`` and with ``many`` images."""
    with tempfile.TemporaryDirectory() as folder:
        source = flat_folder(Path(folder) / "pictures", many)
        out = Path(folder) / "runs"
        return peak_bytes(source, out, few), peak_bytes(source, out, many)


def main() -> None:
    """Prints the line."""
    few, many = measure()
    print(
        f"{MODEL}, peak of the process: {few / 1e6:.0f} MB at 200 images, {many / 1e6:.0f} MB at "
        f"2,000: {many / few:.2f} times"
    )


if __name__ == "__main__":
    main()
