"""What becomes of output that cannot be written, and of files that cannot be read."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.repository import ROOT
from robustness.base.errors import ParameterError
from robustness.base.files import write_file
from robustness.cli.main import EXIT_BAD_INPUT, main
from robustness.images.decoding import sample_path
from robustness.measure import loop
from tests.support.console import check_sentence

COFFEE = str(sample_path("coffee"))
FULL = Path("/dev/full")

needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


# --- stdout and stderr ----------------------------------------------------------------------------


def start(*arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """A process of its own, whose streams go where ``streams`` says."""
    command = [sys.executable, "-m", "robustness", *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, check=False, **streams)


@needs_full
def test_a_full_disk_under_stdout_is_said_of_the_output() -> None:
    with FULL.open("wb") as full:
        done = start("perturbations", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == EXIT_BAD_INPUT
    assert done.stderr == "robustness: the output cannot be written: No space left on device.\n"


# --- files ----------------------------------------------------------------------------------------

LONG = "a" * 300  # no system takes a name of that length


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", LONG],
        ["evaluate", "--request", LONG],
        ["report", LONG, "--to", "a.md"],
        ["runs", "compare", LONG, LONG],
        ["runs", "resume", LONG],
    ],
    ids=lambda arguments: " ".join(arguments).replace(LONG, "LONG"),
)
def test_a_path_that_the_system_refuses_is_named_with_its_reason(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    check_sentence(err)
    assert f"{LONG}: File name too long; " in err or f"{LONG}/manifest.json: File name" in err
    assert "the output" not in err


PLACE = "shared/weights\x1b[31m.bin"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", PLACE),
            "shared/weightsU+001B[31m.bin: Permission denied; ",
        ),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "a.part", None, "b.bin"),
            "a.part -> b.bin: Invalid cross-device link; ",
        ),
        (OSError(errno.EIO, "Input/output error"), "Input/output error; "),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe; "),
    ],
    ids=["file", "two files", "no file", "a pipe of ours"],
)
def test_a_failure_to_read_is_not_said_of_the_output(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    words: str,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(loop, "evaluate", fails)
    assert main(["predict", COFFEE, "--models", "SqueezeNet"]) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    sentence = err.removeprefix("loading SqueezeNet ...\n")
    check_sentence(sentence)
    assert words in sentence


def test_a_full_disk_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there.png"
    there.write_bytes(b"a good image")
    written = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        written(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    asked = ["perturb", COFFEE, "--perturbation", "fog", "--strength", "0.5", "--to", str(there)]
    assert main(asked) == EXIT_BAD_INPUT
    assert f"{there} cannot be written: No space left on device." in capsys.readouterr().err
    assert there.read_bytes() == b"a good image"
    assert os.listdir(tmp_path) == [there.name]


def test_a_file_is_written_through_a_link_and_into_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "real" / "one.png")
    write_file(link, b"an image")
    assert link.is_symlink()
    assert (tmp_path / "real" / "one.png").read_bytes() == b"an image"
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(tmp_path / "pipe", b"anything")
        assert os.read(reading, 100) == b"anything"
        assert (tmp_path / "pipe").is_fifo()
    finally:
        os.close(reading)
    with pytest.raises(ParameterError, match="cannot be written: Is a directory"):
        write_file(tmp_path, b"anything")
