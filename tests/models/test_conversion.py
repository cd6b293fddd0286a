"""Converted models on disk: read instead of converted, and never believed when they are damaged."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from robustness.base.files import files_below
from robustness.models import conversion
from robustness.models.conversion import Conversion
from robustness.models.engine import ForwardPass
from robustness.models.graph import StudyModel
from robustness.models.passes import OpenVinoPass
from robustness.models.record import Labels, ModelRecord
from tests.support.small_graph import RECORD, SIDE, images, small_graph


class Asked:
    """Writes the small study model, and counts how often it was asked to."""

    def __init__(self, graph: StudyModel, side: int = SIDE) -> None:
        self.graph = graph
        self.side = side
        self.times = 0

    def __call__(self, target: Path) -> Conversion:
        self.times += 1
        try:
            openvino.save_model(self.graph.model, target, compress_to_fp16=False)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        return Conversion(self.graph.stages)

    def forward(self, record: ModelRecord = RECORD, weights: str = "w") -> OpenVinoPass:
        found = conversion.graph_pass(record, weights, self.side, "f32", self)
        assert isinstance(found, OpenVinoPass)
        return found


@pytest.fixture(scope="module")
def graph() -> StudyModel:
    return small_graph()


def answered(graph: StudyModel, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    return OpenVinoPass(graph.model, graph.stages)(pictures)[0]


@pytest.fixture(scope="module")
def expected(graph: StudyModel) -> NDArray[np.float32]:
    """Probabilities of the model that was never written."""
    return answered(graph, images(5))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache; in the end it holds conversions and nothing else."""
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path))
    yield tmp_path
    for path in tmp_path.rglob("*"):
        kept_as = str(path.relative_to(tmp_path))
        assert re.fullmatch(r"(openvino(/small.*\.(xml|bin))?)|digests(/small.*\.json)?", kept_as)


@pytest.fixture
def asked(graph: StudyModel) -> Asked:
    return Asked(graph)


def parts(record: Path) -> tuple[Path, Path, Path]:
    """The files of a conversion: its record, the network and the weights."""
    network = conversion.network_of(record)
    return record, network, network.with_suffix(".bin")


@pytest.fixture(scope="module")
def whole(graph: StudyModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The small network, cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTNESS_CACHE", str(tmp_path_factory.mktemp("whole")))
        Asked(graph).forward()
        return parts(conversion.place(RECORD, "w", SIDE))


def copy(whole: tuple[Path, ...], record: Path) -> tuple[Path, Path, Path]:
    """Copies a conversion to where ``record`` is looked for."""
    for source, target in zip(whole, parts(record), strict=True):
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)
    return parts(record)


def assert_right(forward: ForwardPass, expected: NDArray[np.float32]) -> None:
    assert isinstance(forward, OpenVinoPass)
    assert forward.stages == ("map", "tokens", "vector")
    assert np.abs(forward(images(5))[0] - expected).max() <= 1e-6


def test_a_kept_model_answers_bitwise_as_the_one_that_was_just_converted(
    folder: Path, asked: Asked, expected: NDArray[np.float32]
) -> None:
    fresh = OpenVinoPass(asked.graph.model, asked.graph.stages)
    converted = asked.forward()
    read = asked.forward()
    assert asked.times == 1, "read, without the network"
    assert_right(read, expected)
    for other in (fresh, converted):
        np.testing.assert_array_equal(read(images(5))[0], other(images(5))[0])
        for stage, features in other(images(5))[1].items():
            np.testing.assert_array_equal(read(images(5))[1][stage], features)
    files = {path for path in folder.rglob("*") if path.is_file()}
    assert files == set(parts(conversion.place(RECORD, "w", SIDE)))


# --- files that are not what they were ------------------------------------------------------------


def flipped(data: bytes, at: int) -> bytes:
    """``data`` with one bit of the byte ``at`` changed."""
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit in the middle": lambda data: flipped(data, len(data) // 2),
}
PARTS = ("record", "network", "weights")


def assert_made_again(asked: Asked, expected: NDArray[np.float32]) -> None:
    assert_right(asked.forward(), expected)
    assert asked.times == 1
    assert_right(asked.forward(), expected)
    assert asked.times == 1, "whole again"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_made_again(
    whole: tuple[Path, ...],
    asked: Asked,
    expected: NDArray[np.float32],
    damage: Callable[[bytes], bytes],
    part: str,
) -> None:
    file = copy(whole, conversion.place(RECORD, "w", SIDE))[PARTS.index(part)]
    data = file.read_bytes()
    file.write_bytes(damage(data))
    assert file.read_bytes() != data
    assert_made_again(asked, expected)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_is_made_again(
    whole: tuple[Path, ...], asked: Asked, expected: NDArray[np.float32], part: str
) -> None:
    copy(whole, conversion.place(RECORD, "w", SIDE))[PARTS.index(part)].unlink()
    assert_made_again(asked, expected)


def changed(values: dict[str, Any]) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), **values})


DIGITS = Labels("digits", tuple("0123456789"))
OTHERS: dict[str, Callable[[pytest.MonkeyPatch], tuple[ModelRecord, str]]] = {
    "version": lambda patch: patch.setattr(conversion, "_maker", lambda: "others") or (RECORD, "w"),
    "weights": lambda patch: (RECORD, "others"),
    "labels": lambda patch: (replace(RECORD, labels=lambda: DIGITS), "w"),
    "normalisation": lambda patch: (
        replace(RECORD, normalisation=replace(RECORD.normalisation, order="RGB")),
        "w",
    ),
    "size": lambda patch: (replace(RECORD, input_size=13), "w"),
    "stages": lambda patch: (replace(RECORD, stages=RECORD.stages[1:]), "w"),
    "model": lambda patch: (replace(RECORD, name="smaller"), "w"),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_what_is_kept_of_another_is_not_used(
    folder: Path,
    whole: tuple[Path, ...],
    asked: Asked,
    expected: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pytest.MonkeyPatch], tuple[ModelRecord, str]],
) -> None:
    copy(whole, conversion.place(RECORD, "w", SIDE))
    asked.forward()
    assert asked.times == 0, "it would be used"
    with monkeypatch.context() as patch:
        record, weights = change(patch)
        assert_right(asked.forward(record, weights), expected)
        asked.forward(record, weights)
        assert asked.times == 1, "the other one is kept as well"
    asked.forward()
    assert asked.times == 1, "beside the first one"


# --- where nothing can be kept, and where others keep at once -------------------------------------


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that cannot be written, by whoever tries: its folder is a file."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path / "file" / "cache"))
    return tmp_path


def test_a_cache_that_cannot_be_written_costs_a_conversion(
    closed: Path, asked: Asked, expected: NDArray[np.float32]
) -> None:
    for times in (1, 2):
        assert_right(asked.forward(), expected)
        assert asked.times == times
    assert [path.name for path in closed.iterdir()] == ["file"]
    assert conversion.conversion(RECORD, "w", SIDE) is None


def test_threads_that_need_it_at_once_convert_it_once(
    folder: Path, asked: Asked, expected: NDArray[np.float32]
) -> None:
    barrier = threading.Barrier(4)

    def together(_: int) -> ForwardPass:
        barrier.wait()
        return asked.forward()

    with ThreadPoolExecutor(4) as pool:
        for forward in pool.map(together, range(4)):
            assert_right(forward, expected)
    assert asked.times == 1


def test_only_the_newest_conversions_stay(folder: Path, asked: Asked) -> None:
    larger = Asked(small_graph(side=24), side=24)
    others = [replace(RECORD, name=name) for name in ("small-16", "small-16-16", "smaller")]
    for other in others:
        asked.forward(other)
    larger.forward()
    apart = files_below(folder)
    assert len(apart) == 3 * 4
    for number in range(6):
        asked.forward(weights=f"w{number}")
    newest = range(6 - conversion._CONVERSIONS_A_MODEL, 6)
    made = {part for n in newest for part in parts(conversion.place(RECORD, f"w{n}", SIDE))}
    assert set(files_below(folder)) == {*apart, *made}


# --- what OpenVINO refuses ------------------------------------------------------------------------


def test_what_a_killed_process_left_goes_when_it_is_old(folder: Path, asked: Asked) -> None:
    record = conversion.place(RECORD, "another", SIDE)
    network = conversion.network_of(record)
    left = [network.parent / ".writing.tmp", network, network.with_suffix(".model")]
    left += [record.parent / ".small.abc.tmp"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    left[0].unlink()
    left[0].mkdir()
    asked.forward()
    assert all(path.exists() for path in left), "somebody may be writing them"
    for path in left:
        os.utime(path, (0, 0))
    asked.forward(weights="others")
    assert not any(path.exists() for path in left)


def test_a_refusal_is_kept_as_well(folder: Path) -> None:
    tried = []

    def refuse(target: Path) -> Conversion:
        tried.append(target)
        return Conversion((), refusal="no rule for it")

    for _ in range(3):
        assert conversion.graph_pass(RECORD, "w", SIDE, "f32", refuse) == "no rule for it"
    assert len(tried) == 1
    converted = conversion.conversion(RECORD, "w", SIDE)
    assert converted is not None
    assert converted.refusal == "no rule for it"
    assert conversion.conversion(RECORD, "others", SIDE) is None
