"""Files from outside: each is used as described, or refused with a sentence, within its limits."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from robustness import models
from robustness.base.errors import WeightsError
from robustness.base.workers import WorkerLateError
from robustness.models import conversion, own
from tests.support import onnx_files as onnx
from tests.support.large_files import TERABYTE, terabyte, within
from tests.support.user_models import describe


def examined(folder: Path, name: str = "model.onnx", **described: Any) -> tuple[str, ...]:
    """The stages of the file ``name`` in ``folder``; raises what examining it does."""
    describe(folder, path=name, **{"output": "logits", **described})
    own.refresh()
    record = models.REGISTRY["digits"]
    assert record.weights.own
    return conversion.inspect_and_convert(record, 8, folder / "study.xml").stages


def refusal(folder: Path, name: str = "model.onnx", **described: Any) -> str:
    """The sentence about a file that cannot be used."""
    with pytest.raises(WeightsError) as caught:
        examined(folder, name, **described)
    text = str(caught.value)
    assert text.startswith(f"digits: {name} cannot be used: ")
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 500
    record = models.REGISTRY["digits"]
    assert not models.state(record).ready, "the Models page says it, too"
    return text


def _nested_if(depth: int) -> onnx.Graph:
    name = f"inner{depth}"
    body = onnx.node("Identity", ["image"], [name])
    if depth:
        branches = {"then_branch": _nested_if(depth - 1), "else_branch": _nested_if(0)}
        body = onnx.node("If", ["flag"], [name], **branches)
    return onnx.graph([body], [], [onnx.value(name, None)])


FLAG = [
    onnx.node("ReduceMax", ["image"], ["largest"], keepdims=0),
    onnx.node("Cast", ["largest"], ["flag"], to=onnx.BOOL),
]
"""A truth that depends on the image."""


def with_if() -> bytes:
    same = onnx.graph(
        [onnx.node("Identity", ["image"], ["x"])], [], [onnx.value("x", ["n", 3, 8, 8])]
    )
    other = onnx.graph([onnx.node("Neg", ["image"], ["y"])], [], [onnx.value("y", ["n", 3, 8, 8])])
    branch = onnx.node("If", ["flag"], ["chosen"], then_branch=same, else_branch=other)
    return onnx.small_model(before=[*FLAG, branch], first="chosen")


def with_loop() -> bytes:
    """A loop that never ends, as its condition stays true."""
    body = onnx.graph(
        [
            onnx.node("Identity", ["going"], ["go"]),
            onnx.node("Identity", ["value"], ["out"]),
        ],
        [
            onnx.value("turn", [], onnx.INT64),
            onnx.value("going", [], onnx.BOOL),
            onnx.value("value", ["n", 3, 8, 8]),
        ],
        [onnx.value("go", [], onnx.BOOL), onnx.value("out", ["n", 3, 8, 8])],
    )
    turns = onnx.tensor("turns", np.array(2**62, np.int64))
    true = onnx.tensor("true", np.array(True))
    loop = onnx.node("Loop", ["turns", "true", "image"], ["looped"], body=body)
    return onnx.small_model(before=[loop], first="looped", extra=[turns, true])


def deep_ifs() -> bytes:
    first = onnx.node(
        "If", ["flag"], ["chosen"], then_branch=_nested_if(30), else_branch=_nested_if(0)
    )
    return onnx.small_model(before=[*FLAG, first], first="chosen")


def chain(length: int) -> bytes:
    names = ["image", *(f"step{place}" for place in range(length))]
    steps = [onnx.node("Neg", [before], [after]) for before, after in pairwise(names)]
    return onnx.small_model(before=steps, first=names[-1])


def expanded() -> bytes:
    """A graph of a kilobyte that asks for 40 GB."""
    shape = onnx.tensor("shape", np.array([10**5, 10**5, 1, 1], np.int64))
    steps = [
        onnx.node("ReduceMean", ["image"], ["mean"]),
        onnx.node("Expand", ["mean", "shape"], ["large"]),
        onnx.node("ReduceMean", ["large"], ["small"]),
        onnx.node("Add", ["image", "small"], ["sum"]),
    ]
    return onnx.small_model(before=steps, first="sum", extra=[shape])


def external(location: str, values: int = 32 * 10) -> bytes:
    weights = onnx.small_weights()
    del weights["w3"]
    tensors = [onnx.tensor(name, array) for name, array in weights.items()]
    lying = onnx.outside("w3", (32, values // 32), location)
    return onnx.model(
        onnx.small_nodes(), [onnx.IMAGE], [onnx.value("answer", ["n", 10])], [*tensors, lying]
    )


def functions_in_functions() -> bytes:
    """Functions that call the one before them twice: 2 ** 40 operations once written out."""
    last = onnx.message(
        (1, "f0"), (4, "x"), (5, "y"), (7, onnx.node("Neg", ["x"], ["y"])), (10, "com.example")
    )
    functions = [last]
    for place in range(1, 41):
        twice = [
            onnx.node(f"f{place - 1}", ["x"], ["z"], domain="com.example"),
            onnx.node(f"f{place - 1}", ["z"], ["y"], domain="com.example"),
        ]
        functions.append(
            onnx.message(
                (1, f"f{place}"),
                (4, "x"),
                (5, "y"),
                *((7, call) for call in twice),
                (10, "com.example"),
                (9, onnx.message((1, ""), (2, 17))),
            )
        )
    call = onnx.node("f40", ["image"], ["called"], domain="com.example")
    whole = onnx.small_model(before=[call], first="called")
    return whole + onnx.message(*((25, function) for function in functions))


def two_images() -> bytes:
    add = onnx.node("Add", ["image", "mask"], ["both"])
    tensors = [onnx.tensor(name, array) for name, array in onnx.small_weights().items()]
    inputs = [onnx.IMAGE, onnx.value("mask", ["n", 3, 8, 8])]
    nodes = [add, *onnx.small_nodes("both")]
    return onnx.model(nodes, inputs, [onnx.value("answer", ["n", 10])], tensors)


def of_channels(channels: int) -> bytes:
    return onnx.small_model(
        onnx.small_weights(channels=channels), image=onnx.value("image", ["n", channels, 8, 8])
    )


def after(*nodes: bytes, last: str = "last", extra: Any = ()) -> bytes:
    return onnx.small_model(after=nodes, last=last, extra=extra)


def lying_dims() -> bytes:
    """A tensor that says it has 10 ** 11 elements, and holds four."""
    lie = onnx.message((1, 10**11), (2, onnx.FLOAT), (8, "lie"), (9, b"\0" * 16))
    add = onnx.node("Add", ["image", "lie"], ["sum"])
    return onnx.small_model(before=[add], first="sum", extra=[lie])


def with_a_cycle() -> bytes:
    steps = [onnx.node("Add", ["image", "b"], ["a"]), onnx.node("Neg", ["a"], ["b"])]
    return onnx.small_model(before=steps, first="b")


def odd_location() -> bytes:
    """Weights that lie in another file, whose entry no writer would serialise so."""
    weights = onnx.small_weights()
    shape = weights.pop("w3").shape
    entry = onnx.message((2, "short.data"), (1, "location"))
    dims = [(1, size) for size in shape]
    odd = onnx.message(*dims, (2, onnx.FLOAT), (8, "w3"), (13, entry), (14, 1))
    tensors = [onnx.tensor(name, array) for name, array in weights.items()]
    answer = onnx.value("answer", ["n", 10])
    return onnx.model(onnx.small_nodes(), [onnx.IMAGE], [answer], [*tensors, odd])


def only_onnxruntime(*after: bytes) -> bytes:
    """A quantised network that OpenVINO cannot read, with nodes from "answer" to "shares"."""
    return onnx.quantised_model(onnx.ONLY_ONNXRUNTIME, after)


def endless_in_onnxruntime() -> bytes:
    body = onnx.graph(
        [onnx.node("Identity", ["going"], ["go"]), onnx.node("Identity", ["value"], ["out"])],
        [
            onnx.value("turn", [], onnx.INT64),
            onnx.value("going", [], onnx.BOOL),
            onnx.value("value", ["n", 10]),
        ],
        [onnx.value("go", [], onnx.BOOL), onnx.value("out", ["n", 10])],
    )
    steps = [
        onnx.node("Constant", [], ["turns"], value=np.array(2**62, np.int64)),
        onnx.node("Constant", [], ["true"], value=np.array(True)),
        onnx.node("Loop", ["turns", "true", "answer"], ["shares"], body=body),
    ]
    return only_onnxruntime(*steps)


def large_in_onnxruntime() -> bytes:
    """40 GB for an image."""
    steps = [
        onnx.node("Constant", [], ["shape"], value=np.array([10**9, 10], np.int64)),
        onnx.node("Expand", ["answer", "shape"], ["large"]),
        onnx.node("ReduceMean", ["large"], ["shares"], axes=[0], keepdims=1),
    ]
    return only_onnxruntime(*steps)


SOUND = onnx.small_model()

BYTES: dict[str, tuple[bytes, str]] = {
    # what it is: its bytes, and what the sentence has to say
    "nothing": (b"", "not a model in the ONNX format"),
    "an unknown operator": (
        after(onnx.node("Evil", ["answer"], ["last"], domain="com.evil")),
        "com.evil.Evil",
    ),
    "an If": (with_if(), "holds If"),
    "an endless Loop": (with_loop(), "Loop"),
    "a cycle": (with_a_cycle(), "isn't found for node"),
    "20,001 operations": (chain(20_001), "at most 20,000 operations"),
    "two inputs": (two_images(), "expected one input, the image, got 2: image"),
    "grey images": (of_channels(1), "expected an input of RGB images"),
    "no image": (
        onnx.small_model(
            image=onnx.value("image", ["n", 192]),
            before=[onnx.node("Reshape", ["image", "sides"], ["whole"])],
            first="whole",
            extra=[onnx.tensor("sides", np.array([-1, 3, 8, 8], np.int64))],
        ),
        "expected an input of RGB images",
    ),
    "eleven classes": (
        onnx.small_model(onnx.small_weights(11)),
        "has 11 outputs; its labels name 10 classes",
    ),
    "random numbers": (
        after(
            onnx.node("RandomUniformLike", ["answer"], ["noise"]),
            onnx.node("Add", ["answer", "noise"], ["last"]),
        ),
        "as if it used random numbers",
    ),
    "probabilities": (
        after(onnx.node("Softmax", ["answer"], ["last"], axis=1)),
        'write output = "probabilities"',
    ),
    "40 GB of an image": (expanded(), "memory"),
    "a tensor that lies": (lying_dims(), "cannot"),
    "weights that are missing": (external("weights.data"), "weights.data is missing"),
    "weights above its folder": (external("../weights.data"), "outside its folder"),
    "weights behind a link": (external("link.data"), "outside its folder"),
    "too few weights": (external("short.data"), "does not match the byte size"),
    "too few weights in an odd entry": (odd_location(), "does not match the byte size"),
    "an endless Loop in onnxruntime": (endless_in_onnxruntime(), "holds Loop"),
    "40 GB in onnxruntime": (large_in_onnxruntime(), "onnxruntime cannot compute it"),
}


@pytest.mark.parametrize("what", BYTES)
def test_a_file_that_cannot_be_used_is_refused_with_a_sentence(
    models_folder: Path, what: str
) -> None:
    content, expected = BYTES[what]
    (models_folder.parent / "weights.data").write_bytes(bytes(4 * 320))
    (models_folder / "link.data").symlink_to(models_folder.parent / "weights.data")
    (models_folder / "short.data").write_bytes(bytes(64))
    (models_folder / "model.onnx").write_bytes(content)
    begun = time.monotonic()
    assert expected in refusal(models_folder)
    assert time.monotonic() - begun < 30


TERABYTES = {
    "ONNX": ("model.onnx", ["model.onnx"]),
    "TensorFlow Lite": ("model.tflite", ["model.tflite"]),
    "OpenVINO": ("model.xml", ["model.bin"]),
    "Keras": ("model.keras", ["model.keras"]),
    "SavedModel in parts": ("model", [f"model/variables/part{number}" for number in range(2000)]),
}
"""The path of a model, and which of its files are larger than any model together."""


@pytest.mark.parametrize("what", TERABYTES)
def test_a_model_of_a_terabyte_is_refused_in_seconds(models_folder: Path, what: str) -> None:
    name, parts = TERABYTES[what]
    if name == "model":
        (models_folder / "model" / "variables").mkdir(parents=True)
        (models_folder / "model" / "saved_model.pb").write_bytes(b"x")
    else:
        (models_folder / name).write_bytes(external("huge.data"))
    for part in parts:
        terabyte(models_folder / part, size=TERABYTE // len(parts))
    describe(models_folder, path=name)
    own.refresh()
    record = models.REGISTRY["digits"]
    with within(10):
        state = models.state(record)
        with pytest.raises(WeightsError, match=SIZES):
            models.require(record)
        with pytest.raises(WeightsError, match=SIZES):
            conversion.inspect_and_convert(record, 8, models_folder / "study.xml")
        with pytest.raises(WeightsError, match=SIZES):
            conversion.describe_file(models_folder / name, (8, 8))
    assert not state.ready
    assert re.search(SIZES, state.reason)


SIZES = r"1,099,5\d\d,\d{3},\d{3} bytes are more than the [28],|at most 8,.* got 1,099,5"
"""The bytes that came and those that are expected."""


def test_a_digest_takes_time_in_proportion_to_the_file(models_folder: Path) -> None:
    """Ten megabytes of fields take as long as ten megabytes of weights."""
    (models_folder / "model.onnx").write_bytes(b"\x08\x01" * 5 * 10**6)
    describe(models_folder, path="model.onnx")
    own.refresh()
    record = models.REGISTRY["digits"]
    begun = time.process_time()
    models.digest(record)
    assert models.state(record).ready, "nobody has examined it"
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("what", [deep_ifs, functions_in_functions])
def test_a_graph_without_end_is_given_up(
    models_folder: Path, monkeypatch: pytest.MonkeyPatch, what: Callable[[], bytes]
) -> None:
    monkeypatch.setattr(conversion, "SECONDS", 2)
    (models_folder / "model.onnx").write_bytes(what())
    refusal(models_folder)


def test_a_file_that_ended_its_process_is_not_tried_until_it_changes(
    models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, times = models_folder / "times", []
    odd = SimpleNamespace(dumps=lambda _: f"note and die {mark}")
    monkeypatch.setattr(conversion, "json", odd)
    monkeypatch.setattr(conversion, "_EXAMINER", "tests.support.odd_worker")
    for classes in (12, 13):
        content = onnx.small_model(onnx.small_weights(classes))
        (models_folder / "model.onnx").write_bytes(content)
        for _ in range(2):
            assert "the process that read it died" in refusal(models_folder)
            with pytest.raises(WeightsError, match="the process that read it died"):
                conversion.describe_file(models_folder / "model.onnx", (8, 8))
            times.append(len(mark.read_text().split()))
    assert times == [2, 2, 4, 4], "once for each question about each content"


def test_a_busy_machine_says_nothing_of_the_file(
    models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (models_folder / "model.onnx").write_bytes(SOUND)

    class LateWorker(conversion.Worker):
        def ask(self, *_args: Any, **_limits: Any) -> bytes:
            raise WorkerLateError

    with monkeypatch.context() as patched:
        patched.setattr(conversion, "Worker", LateWorker)
        with pytest.raises(WeightsError, match="the machine is busy"):
            examined(models_folder)
    assert models.state(models.REGISTRY["digits"]).ready
    assert examined(models_folder)


def test_what_is_no_file_is_refused(models_folder: Path) -> None:
    name = "model.onnx"
    (models_folder / name).mkdir()
    refusal(models_folder, name)
    (models_folder / name).rmdir()
    os.mkfifo(models_folder / name)
    refusal(models_folder, name)
    (models_folder / name).unlink()
    (models_folder / name).symlink_to("/dev/zero")
    refusal(models_folder, name)


OPENVINO_FILES = {
    "nothing": b"",
    "another document": b"<html><body/></html>",
    "a billion laughs": b'<!DOCTYPE net [<!ENTITY a "ha">'
    + b"".join(
        b'<!ENTITY %c "%s">' % (98 + place, b"&%c;" % (97 + place) * 10) for place in range(12)
    )
    + b']><net name="&m;" version="11"><layers/><edges/></net>',
    "another file's text": b'<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b'<net name="&x;" version="11"><layers/><edges/></net>',
}


@pytest.mark.parametrize("what", OPENVINO_FILES)
def test_a_document_that_is_no_network_is_refused(models_folder: Path, what: str) -> None:
    (models_folder / "model.xml").write_bytes(OPENVINO_FILES[what])
    assert "model.bin is missing" in refusal(models_folder, "model.xml")
    (models_folder / "model.bin").write_bytes(bytes(100))
    assert "root:" not in refusal(models_folder, "model.xml")


def test_a_network_without_all_of_its_weights_is_refused(models_folder: Path) -> None:
    import openvino

    from robustness.models.engine import core

    openvino.save_model(core().read_model(SOUND), models_folder / "model.xml")
    weights = models_folder / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-200])
    refusal(models_folder, "model.xml")


@pytest.mark.parametrize(
    "content",
    [b"text" * 100, b"\xff\xff\xff\x7fTFL3"],
)
def test_bytes_that_are_no_tensorflow_lite_model_are_refused(
    models_folder: Path, content: bytes
) -> None:
    (models_folder / "model.tflite").write_bytes(content)
    assert "TensorFlow Lite model" in refusal(models_folder, "model.tflite")


def used_or_refused(folder: Path, name: str = "model.onnx") -> None:
    with contextlib.suppress(WeightsError):
        assert examined(folder, name)


@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_file_is_used_or_refused(models_folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(SOUND)
    for place in rng.integers(0, len(content), 1 + seed):
        content[place] = rng.integers(256)
    if seed % 3 == 0:
        start = rng.integers(len(content) - 50)
        del content[start : start + rng.integers(1, 50)]
    (models_folder / "model.onnx").write_bytes(content)
    used_or_refused(models_folder)
