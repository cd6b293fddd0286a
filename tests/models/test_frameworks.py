"""Nothing that a kept model can answer imports TensorFlow, whose import takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.support.image_folders import flat_folder
from benchmarks.support.repository import ROOT
from robustness import models

# All in one process, and each looked at when it has ended: the first that imports it is named.
SCRIPT = """
import contextlib, io, json, sys, threading

import numpy as np
import pytest

from robustness import models
from robustness.cli import main
from tests.support import pages

folder, picture, out = sys.argv[1:]
seen = {}


def note(what, ended):
    seen[what] = [ended, sorted({"tensorflow", "keras"} & sys.modules.keys())]


classifier = models.load("SqueezeNet")
images = np.random.default_rng(0).random((3, 224, 224, 3), np.float32)
note("a pass", len(classifier(images)))

asked = ["--models", "SqueezeNet"]
for command in (
    ["models"],
    ["predict", picture, *asked],
    ["evaluate", folder, *asked, "--perturbations", "fog", "--out", out],
):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ended = main.main(command)
    note(command[0], ended)

pages.quicken(pytest.MonkeyPatch())
live = pages.run(models="SqueezeNet", fog="0.2")
watched = [name for name in sys.modules if name.startswith("robustness.models.heat_map")]
note("where it looks", watched)
pages.perturb(live, fog=0.2, gaussian_blur=0.9)
note("Live", [len(live.exception), "Fog effect and 1 more" in pages.headline(live)])
print(json.dumps(seen))
"""


def test_a_kept_model_answers_without_it(tmp_path: Path) -> None:
    """Nor is anything of heat maps imported or begun on the Live page before they are asked for."""
    models.load("SqueezeNet")  # converted here, unless another test has done it
    folder = flat_folder(tmp_path / "pictures", 3)
    arguments = [folder, folder / "00000.jpg", tmp_path / "run"]
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout.splitlines()[-1])
    assert seen == {
        "a pass": [3, []],
        **{command: [0, []] for command in ("models", "predict", "evaluate")},
        "where it looks": [[], []],
        "Live": [[0, True], []],
    }
