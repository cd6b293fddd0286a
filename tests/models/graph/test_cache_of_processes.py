"""Processes that share a cache: one converts, and a full disk stops nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.repository import ROOT

# Without TensorFlow, whose import would take most of the time: a graph made by hand stands for what
# is converted. The disk is full in the cache alone.
CONVERT = """
import json, sys, time

import numpy as np

from robustness import models
from robustness.models.graph import cache

import openvino
from openvino import opset15 as operations

written = []


def save(target):
    written.append(target)
    time.sleep(float(sys.argv[1]))
    images = operations.parameter([-1, 16, 16, 3], np.float32)
    weights = np.random.default_rng(0).random((768, 1000), np.float32)
    flat = operations.reshape(images, np.array([-1, 768]), False)
    answer = operations.softmax(operations.matmul(flat, weights, False, False), 1)
    results = [operations.result(answer), operations.result(answer)]
    try:
        openvino.save_model(openvino.Model(results, [images]), target, compress_to_fp16=False)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    return cache.Conversion(("answer",))


limit = int(sys.argv[2]) if len(sys.argv) > 2 else None
print("ready", flush=True)
sys.stdin.readline()
if limit:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    real = cache._write

    def write(*arguments):
        try:
            real(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    cache._write = write
forward = cache.graph_pass(models.REGISTRY["SqueezeNet"], "w", 16, "f32", save)
pictures = np.random.default_rng(1).random((3, 16, 16, 3), np.float32)
answers = forward(pictures)[0].tolist()
print(json.dumps({"converted": len(written), "answers": answers}))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path))
    return tmp_path


def start(*arguments: str) -> subprocess.Popen[str]:
    """A process that has imported what it needs, and waits."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", CONVERT, *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, **pipes)  # type: ignore[call-overload]


def found(*processes: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """The output of each process, after all continue at once."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = []
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0
        said.append(json.loads(output))
    return said


def test_one_of_two_that_need_a_model_at_once_converts_it(cache: Path) -> None:
    both = found(start("1"), start("1"))
    assert sorted(one["converted"] for one in both) == [0, 1]
    assert both[0]["answers"] == both[1]["answers"]
    kept = {path.suffix for path in cache.rglob("*") if path.is_file()}
    assert kept == {".json", ".xml", ".bin"}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of a file's size")
def test_a_full_disk_keeps_nothing_and_stops_nothing(cache: Path) -> None:
    weights = 4 * 768 * 1000
    limits = [str(limit) for limit in (1000, weights - 1)]
    for one in found(*(start("0", limit) for limit in limits)):
        assert one["converted"] == 2
        assert all(abs(sum(row) - 1) < 1e-5 for row in one["answers"])
    assert not [path for path in cache.rglob("*") if path.is_file()]
