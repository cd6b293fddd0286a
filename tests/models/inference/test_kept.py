"""Converted models on disk: read instead of converted, and never believed when they are damaged."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness.models.inference import conversion, kept
from robustness.models.inference.choice import OPENVINO, Choice
from robustness.models.inference.conversion import RefusalError
from robustness.models.inference.forward_pass import ForwardPass
from robustness.models.inference.openvino_pass import OpenVinoPass
from robustness.models.inference.tensorflow_pass import TensorFlowPass
from robustness.models.labels import Labels
from robustness.models.model_record import ModelRecord
from robustness.models.study_graph import StudyGraph
from tests.support.small_graph import RECORD, SIDE, images, small_graph

CHOICE = Choice(OPENVINO, "f32")


class Asked:
    """Gives the small network, and counts how often it was asked for."""

    def __init__(self, graph: StudyGraph) -> None:
        self.graph = graph
        self.times = 0

    def __call__(self) -> StudyGraph:
        self.times += 1
        return self.graph

    def forward(self, record: ModelRecord = RECORD, weights: str = "w") -> ForwardPass:
        return kept.forward_pass(record, weights, self.graph.side, CHOICE, self)


@pytest.fixture(scope="module")
def graph() -> StudyGraph:
    return small_graph()


@pytest.fixture(scope="module")
def expected(graph: StudyGraph) -> NDArray[np.float32]:
    """Probabilities by TensorFlow."""
    return TensorFlowPass(graph)(images(5))[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where they are kept, empty; there is never anything else in it in the end."""
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path))
    yield tmp_path / "openvino"
    left = {path.name for path in tmp_path.rglob("*")}
    assert {name for name in left if not re.fullmatch(r"small.*\.model", name)} == {"openvino"}


@pytest.fixture
def asked(graph: StudyGraph) -> Asked:
    return Asked(graph)


@pytest.fixture(scope="module")
def whole(graph: StudyGraph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network, kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTNESS_CACHE", str(tmp_path_factory.mktemp("whole")))
        Asked(graph).forward()
        return kept.place(RECORD, "w", SIDE)


@pytest.fixture
def converted_once(
    graph: StudyGraph, converted: tuple[Any, OpenVinoPass], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Has the small network's conversion be at hand, where what becomes of it is the point."""

    def convert(asked: StudyGraph) -> tuple[Any, OpenVinoPass]:
        return converted if asked is graph else conversion.convert(asked)

    monkeypatch.setattr(kept, "convert", convert)


@pytest.fixture(scope="module")
def converted(graph: StudyGraph) -> tuple[Any, OpenVinoPass]:
    return conversion.convert(graph)


def assert_right(forward: ForwardPass, expected: NDArray[np.float32]) -> None:
    assert isinstance(forward, OpenVinoPass)
    assert forward.stages == ("map", "tokens", "vector")
    assert np.abs(forward(images(5))[0] - expected).max() <= 1e-6


def test_a_kept_model_answers_bitwise_as_the_one_that_was_just_converted(
    folder: Path, asked: Asked, expected: NDArray[np.float32]
) -> None:
    fresh, converted = kept.pass_of(asked.graph), asked.forward()
    read = asked.forward()
    assert asked.times == 1, "read, without the network"
    assert_right(read, expected)
    for other in (fresh, converted):
        np.testing.assert_array_equal(read(images(5))[0], other(images(5))[0])
        for stage, features in other(images(5))[1].items():
            np.testing.assert_array_equal(read(images(5))[1][stage], features)
        for stage, products in other.products(images(5)).items():
            np.testing.assert_array_equal(read.products(images(5))[stage], products)
    assert [path.name for path in folder.iterdir()] == [kept.place(RECORD, "w", SIDE).name]


# --- files that are not what they were ------------------------------------------------------------


def flipped(where: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
    """One bit of the byte at ``where``."""

    def damage(data: bytes) -> bytes:
        at = where(data)
        return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]

    return damage


HEADER = len(kept._MAGIC) + kept._DIGEST_BYTES
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "half of it": lambda data: data[: len(data) // 2],
    "all but the last byte": lambda data: data[:-1],
    "one byte more": lambda data: data + b"\0",
    "no more than a part of the header": lambda data: data[: HEADER - 3],
    "no more than the header": lambda data: data[:HEADER],
    "nothing": lambda data: b"",
    "something else": lambda data: np.random.default_rng(0).bytes(len(data)),
    "another format": lambda data: data.replace(b"openvino model", b"openvino MODEL", 1),
    "a bit of the format": flipped(lambda data: 3),
    "a bit of the digest": flipped(lambda data: HEADER - 1),
    "a bit of a length": flipped(lambda data: HEADER),
    "a bit of the description": flipped(lambda data: data.index(b"stages")),
    "a bit of the network": flipped(lambda data: data.index(b"<layer")),
    "a bit of the first weight": flipped(lambda data: kept._aligned(data.index(b"</net>"))),
    "a bit of the last weight": flipped(lambda data: len(data) - 1),
}


@pytest.mark.usefixtures("converted_once")
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_made_again(
    folder: Path,
    whole: Path,
    asked: Asked,
    expected: NDArray[np.float32],
    damage: Callable[[bytes], bytes],
) -> None:
    file, data = kept.place(RECORD, "w", SIDE), whole.read_bytes()
    folder.mkdir()
    file.write_bytes(damage(data))
    assert file.read_bytes() != data
    assert_right(asked.forward(), expected)
    assert asked.times == 1
    assert_right(asked.forward(), expected)
    assert asked.times == 1, "whole again"


DIGITS = Labels("digits", tuple("0123456789"))
OTHERS: dict[str, Callable[[pytest.MonkeyPatch], tuple[ModelRecord, str]]] = {
    "version": lambda patch: patch.setattr(kept, "_maker", lambda: "others") or (RECORD, "w"),
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


@pytest.mark.usefixtures("converted_once")
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_what_is_kept_of_another_is_not_used(
    folder: Path,
    whole: Path,
    asked: Asked,
    expected: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    other: Callable[[pytest.MonkeyPatch], tuple[ModelRecord, str]],
) -> None:
    folder.mkdir()
    shutil.copy(whole, kept.place(RECORD, "w", SIDE))
    asked.forward()
    assert asked.times == 0, "it would be used"
    with monkeypatch.context() as patch:
        record, weights = other(patch)
        assert_right(asked.forward(record, weights), expected)
        asked.forward(record, weights)
        assert asked.times == 1, "the other one is kept as well"
    asked.forward()
    assert asked.times == 1, "beside the first one"


@pytest.mark.usefixtures("converted_once")
def test_each_side_has_its_own(folder: Path, asked: Asked) -> None:
    larger = Asked(small_graph(side=24))
    for own in (asked, larger, asked, larger):
        pictures = images(2, side=own.graph.side)
        expected = TensorFlowPass(own.graph)(pictures)[0]
        assert np.abs(own.forward()(pictures)[0] - expected).max() <= 1e-6
    assert (asked.times, larger.times) == (1, 1)


def other_version(package: str, name: str) -> str:
    return "another" if name == package else version(name)


def test_its_makers_are_the_packages_and_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = kept._maker.__wrapped__
    assert maker() == kept._maker()
    seen = {maker()}
    for package in ("tensorflow", "keras", "openvino"):
        with monkeypatch.context() as patch:
            patch.setattr(kept, "version", partial(other_version, package))
            seen.add(maker())
    code = tmp_path / "models"
    shutil.copytree(
        Path(kept.__file__).parent.parent, code, ignore=lambda _, names: {"__pycache__"}
    )
    monkeypatch.setattr(kept, "__file__", str(code / "inference" / "kept.py"))
    assert maker() in seen, "the same code at another place"
    with (code / "folding.py").open("a") as file:
        file.write("# changed\n")
    seen.add(maker())
    assert len(seen) == 5


# --- where nothing can be kept, and where others keep at once -------------------------------------


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that cannot be written, by whoever tries: its folder is a file."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path / "file" / "cache"))
    return tmp_path


@pytest.mark.usefixtures("converted_once")
def test_a_cache_that_cannot_be_written_costs_a_conversion(
    closed: Path, asked: Asked, expected: NDArray[np.float32]
) -> None:
    for times in (1, 2):
        assert_right(asked.forward(), expected)
        assert asked.times == times
    assert [path.name for path in closed.iterdir()] == ["file"]
    assert kept.refusal(RECORD, "w", SIDE) == ""


@pytest.mark.usefixtures("converted_once")
def test_a_place_that_is_taken_costs_a_conversion(
    folder: Path, asked: Asked, expected: NDArray[np.float32]
) -> None:
    kept.place(RECORD, "w", SIDE).mkdir(parents=True)
    assert_right(asked.forward(), expected)
    assert_right(asked.forward(), expected)
    assert asked.times == 2


@pytest.mark.usefixtures("converted_once")
def test_what_is_read_is_not_written(folder: Path, asked: Asked) -> None:
    asked.forward()
    file = kept.place(RECORD, "w", SIDE)
    file.chmod(0o444)
    before = file.read_bytes(), file.stat().st_mtime_ns
    forward = asked.forward()
    forward(images(5))
    forward.products(images(5))
    assert asked.times == 1
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


@pytest.mark.usefixtures("converted_once")
def test_a_pass_lives_on_when_its_file_is_gone(
    folder: Path, asked: Asked, expected: NDArray[np.float32]
) -> None:
    asked.forward()
    forward = asked.forward()
    kept.place(RECORD, "w", SIDE).unlink()
    assert_right(forward, expected)
    assert set(forward.products(images(2))) == {"map", "tokens", "vector"}


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


@pytest.mark.usefixtures("converted_once")
def test_only_the_newest_conversions_stay(folder: Path, asked: Asked) -> None:
    larger = Asked(small_graph(side=24))
    others = [replace(RECORD, name=name) for name in ("small-16", "small-16-16", "smaller")]
    for other in others:
        asked.forward(other)
    larger.forward()
    apart = set(folder.iterdir())
    assert len(apart) == 4
    made = []
    for number in range(6):
        asked.forward(weights=f"w{number}")
        made.append(kept.place(RECORD, f"w{number}", SIDE))
    assert set(folder.iterdir()) == apart | set(made[-kept._KEPT_A_MODEL :])


# --- what OpenVINO refuses ------------------------------------------------------------------------


@pytest.mark.usefixtures("converted_once")
def test_what_a_killed_process_left_goes_when_it_is_old(folder: Path, asked: Asked) -> None:
    folder.mkdir()
    left = [folder / ".small.abc.tmp", folder / ".writing.tmp"]
    left[0].write_text("half")
    left[1].mkdir()
    asked.forward()
    assert all(path.exists() for path in left), "somebody may be writing them"
    for path in left:
        os.utime(path, (0, 0))
    asked.forward(weights="others")
    assert not any(path.exists() for path in left)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[StudyGraph]:
    """Has every conversion be refused; the networks it was tried with."""
    tried: list[StudyGraph] = []

    def convert(graph: StudyGraph) -> Any:
        tried.append(graph)
        raise RefusalError("no rule for it")

    monkeypatch.setattr(kept, "convert", convert)
    return tried


def test_a_refusal_is_kept_as_well(
    folder: Path, asked: Asked, refused: list[StudyGraph], expected: NDArray[np.float32]
) -> None:
    for _ in range(3):
        forward = asked.forward()
        assert isinstance(forward, TensorFlowPass)
        np.testing.assert_array_equal(forward(images(5))[0], expected)
    assert len(refused) == 1, "tried once"
    assert kept.refusal(RECORD, "w", SIDE) == "no rule for it"
    assert kept.refusal(RECORD, "others", SIDE) == ""


def test_a_refusal_that_cannot_be_kept_is_found_anew(
    closed: Path, asked: Asked, refused: list[StudyGraph]
) -> None:
    for _ in range(2):
        assert isinstance(asked.forward(), TensorFlowPass)
    assert len(refused) == 2
