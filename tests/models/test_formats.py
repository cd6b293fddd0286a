"""Model files of every format answer as the Keras network that they were made of, or as the
interpreter that they were made for."""

from __future__ import annotations

import contextlib
import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
from numpy.typing import NDArray
from openvino import opset13 as o

from robustness import metrics, models
from robustness.attacks import AttackSpec, Outcome, craft
from robustness.base.errors import GradientError, WeightsError
from robustness.cli import main
from robustness.images.framing import Picture
from robustness.models import Classifier, own
from robustness.models.engine import core
from robustness.models.frameworks import keras, tensorflow
from robustness.models.graph import Use, study_models
from robustness.models.record import Normalisation
from robustness.models.stages import find_stages
from tests.support import onnx_files as onnx
from tests.support.user_models import DIGITS, describe, small_network

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Floats = NDArray[Any]

IMAGES: Floats = np.random.default_rng(7).random((5, 8, 8, 3), np.float32).round(2)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path / "cache"))


@cache
def network() -> Any:
    """The oracle: a small Keras network from pixels to logits."""
    keras().utils.set_random_seed(0)
    return small_network(activation=None)


def logits(pixels: Floats) -> Floats:
    return np.asarray(network()(pixels, training=False))


def softmax(values: Floats) -> Floats:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def loaded(folder: Path, name: str, content: bytes | None = None, **described: Any) -> Classifier:
    if content is not None:
        (folder / name).write_bytes(content)
    side = described.pop("side", 8)
    describe(folder, path=name, **{"output": "logits", **described})
    own.refresh()
    return models.load("digits", side=side)


def turned(nodes: list[int], source: str, target: str) -> bytes:
    return onnx.node("Transpose", [source], [target], perm=nodes)


def nhwc(*shape: int | str) -> bytes:
    return onnx.small_model(
        onnx.weights_of(network()),
        image=onnx.value("image", shape or ("n", 8, 8, 3)),
        before=[turned([0, 3, 1, 2], "image", "second")],
        first="second",
    )


def cast(kind: int) -> bytes:
    """A network of float32 behind an input of another kind."""
    return onnx.small_model(
        onnx.weights_of(network()),
        image=onnx.value("image", ["n", 3, 8, 8], kind),
        before=[onnx.node("Cast", ["image"], ["real"], to=onnx.FLOAT)],
        first="real",
    )


def of_shape(*shape: int | str) -> bytes:
    return onnx.small_model(onnx.weights_of(network()), image=onnx.value("image", shape))


FILES = {
    "a free batch": onnx.IMAGE,
    "a free side": onnx.value("image", ["n", 3, "h", "w"]),
    "a batch of four": onnx.value("image", [4, 3, 8, 8]),
}


@pytest.mark.parametrize("kind", FILES)
def test_an_onnx_file_answers_as_its_network(models_folder: Path, kind: str) -> None:
    content = onnx.small_model(onnx.weights_of(network()), image=FILES[kind])
    classifier = loaded(models_folder, "model.onnx", content)
    outputs = classifier(IMAGES)
    np.testing.assert_allclose(outputs.probabilities, softmax(logits(IMAGES)), atol=1e-6)
    alone = [classifier(image[None]).probabilities[0] for image in IMAGES]
    np.testing.assert_allclose(outputs.probabilities, alone, atol=1e-6)


def test_channels_last_and_other_numbers_are_found(models_folder: Path) -> None:
    expected = softmax(logits(IMAGES))
    last = loaded(models_folder, "nhwc.onnx", nhwc())
    np.testing.assert_allclose(last(IMAGES).probabilities, expected, atol=1e-6)
    free = loaded(models_folder, "free.onnx", nhwc("n", "h", "w", "c"))
    np.testing.assert_allclose(free(IMAGES).probabilities, expected, atol=1e-6)
    half = loaded(models_folder, "half.onnx", cast(onnx.FLOAT16))
    np.testing.assert_allclose(half(IMAGES).probabilities, expected, atol=1e-3)
    whole = loaded(models_folder, "whole.onnx", cast(onnx.UINT8), normalisation="0..255")
    expected = softmax(logits((IMAGES * 255).astype(np.float32)))
    np.testing.assert_allclose(whole(IMAGES).probabilities, expected, atol=1e-4)


def test_an_image_is_stretched_to_an_input_that_is_not_square(
    models_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide, file = small_network(shape=(8, 24), activation=None), models_folder / "wide.onnx"
    wide_image = onnx.value("image", ["n", 3, 8, 24])
    file.write_bytes(onnx.small_model(onnx.weights_of(wide), image=wide_image))
    (models_folder / "ten.txt").write_text("\n".join(DIGITS))
    labels = str(models_folder / "ten.txt")
    told = ["--labels", labels, "--normalisation", "caffe", "--name", "wide"]
    assert main.main(["models", "add", str(file), *told]) == 0
    record = models.REGISTRY["wide"]
    assert record.shape == (8, 24)
    assert record.input_size == 24
    resized = tensorflow().image.resize(IMAGES, (8, 24), "bicubic", antialias=True)
    pixels = np.clip(np.asarray(resized), 0, 1)[..., ::-1] * 255 - np.array(
        [103.939, 116.779, 123.68], np.float32
    )
    expected = softmax(np.asarray(wide(pixels.astype(np.float32), training=False)))
    found = models.load("wide", side=8)(IMAGES).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-4)
    capsys.readouterr()
    assert main.main(["models"]) == 0
    assert "quarter turn" in capsys.readouterr().out


def test_openvino_s_own_format_and_weights_beside_a_file_are_read(models_folder: Path) -> None:
    import openvino

    expected = softmax(logits(IMAGES))
    (models_folder / "model.onnx").write_bytes(onnx.small_model(onnx.weights_of(network())))
    openvino.save_model(core().read_model(models_folder / "model.onnx"), models_folder / "ir.xml")
    ours = loaded(models_folder, "ir.xml")
    np.testing.assert_allclose(ours(IMAGES).probabilities, expected, atol=2e-3)  # kept as float16

    weights = onnx.weights_of(network())
    (models_folder / "parts").mkdir()
    (models_folder / "parts" / "head.data").write_bytes(weights["w3"].tobytes())
    head = onnx.outside("w3", weights.pop("w3").shape, "parts/head.data")
    tensors = [head, *(onnx.tensor(name, array) for name, array in weights.items())]
    content = onnx.model(
        onnx.small_nodes(), [onnx.IMAGE], [onnx.value("answer", ["n", 10])], tensors
    )
    outside = loaded(models_folder, "outside.onnx", content)
    np.testing.assert_allclose(outside(IMAGES).probabilities, expected, atol=1e-6)
    record = models.REGISTRY["digits"]
    before = models.digest(record)
    (models_folder / "parts" / "head.data").write_bytes(bytes(4 * 320))
    assert models.digest(record) != before, "its weights are a part of it"
    changed = models.load("digits", side=8)(IMAGES).probabilities
    assert np.abs(changed - expected).max() > 1e-3


def test_the_background_class_is_left_out(models_folder: Path) -> None:
    weights = onnx.small_weights(1001)
    for last, output in (("answer", "logits"), ("last", "probabilities")):
        content = onnx.small_model(
            weights, after=[onnx.node("Softmax", ["answer"], ["last"], axis=1)], last=last
        )
        classifier = loaded(
            models_folder, f"{output}.onnx", content, labels="imagenet", output=output
        )
        found = classifier(IMAGES).probabilities
        assert found.shape == (5, 1000)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    model = core().read_model(models_folder / "logits.onnx")
    whole = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = softmax(whole(IMAGES.transpose(0, 3, 1, 2))[0][:, 1:])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_features_are_what_the_head_reads_and_the_last_at_each_resolution(
    models_folder: Path,
) -> None:
    inner = keras().Model(
        network().inputs, [network().get_layer(name).output for name in ("pool1", "conv2", "pool2")]
    )
    pool1, conv2, pool2 = (np.asarray(each) for each in inner(IMAGES, training=False))
    for name, content in (("nhwc.onnx", nhwc()), ("model.onnx", of_shape("n", 3, 8, 8))):
        outputs = loaded(models_folder, name, content)(IMAGES)
        assert list(outputs.features) == ["8 x 8", "4 x 4", "embedding"]
        np.testing.assert_allclose(outputs.features["embedding"], pool2, atol=1e-5)
        np.testing.assert_allclose(outputs.features["4 x 4"], conv2.mean(axis=(1, 2)), atol=1e-5)
        assert outputs.features["8 x 8"].shape == (5, 16)
    named = loaded(models_folder, "model.onnx", features=["p1", "node_c2"])
    np.testing.assert_allclose(named(IMAGES).features["p1"], pool1.mean(axis=(1, 2)), atol=1e-5)


def test_stages_are_in_the_order_of_the_graph() -> None:
    """As in an hourglass: down to 4 x 4, up to 8 x 8 again, and from there to the head."""
    weights = onnx.small_weights()
    nodes = [
        *onnx.small_nodes()[:5],
        onnx.node("Resize", ["r2", "", "twice"], ["up"], mode="nearest"),
        onnx.node("Relu", ["up"], ["r3"]),
        onnx.node("GlobalMaxPool", ["r3"], ["p2"]),
        *onnx.small_nodes()[-2:],
    ]
    tensors = [onnx.tensor(name, array) for name, array in weights.items()]
    tensors.append(onnx.tensor("twice", np.array([1, 1, 2, 2], np.float32)))
    content = onnx.model(nodes, [onnx.IMAGE], [onnx.value("answer", ["n", 10])], tensors)
    plain = Normalisation("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    made = study_models(core().read_model(content), Use(8, (8, 8), plain, True, 10, False))(1)
    assert made.stages == ("4 x 4", "8 x 8", "embedding")


def test_what_a_head_of_convolutions_reads_is_the_one_stage_of_its_size() -> None:
    """As in SqueezeNet, whose classes are an average over places."""
    images = maps = o.parameter([1, 3, 8, 8], np.float32)
    for kernel, step in (
        ((4, 3, 1, 1), 1),
        ((4, 4, 1, 1), 2),
        ((4, 4, 1, 1), 1),
        ((5, 4, 1, 1), 1),
    ):
        weights = o.constant(np.ones(kernel, np.float32))
        maps = o.relu(o.convolution(maps, weights, [step, step], [0, 0], [0, 0], [1, 1]))
    answer = o.softmax(o.reduce_mean(maps, np.array([2, 3]), False), 1)
    stages = find_stages(openvino.Model([answer], [images]), ())
    assert [stage.name for stage in stages] == ["8 x 8", "embedding"]


def test_a_transformer_s_stages_are_the_sums_of_its_blocks() -> None:
    """Patches of 4 x 4, two blocks of a dense layer each, and a head on the mean of all tokens."""
    rng = np.random.default_rng(0)
    arrays = {
        "patch": rng.normal(0, 0.2, (16, 3, 4, 4)),
        "dense1": rng.normal(0, 0.2, (16, 16)),
        "dense2": rng.normal(0, 0.2, (16, 16)),
        "head": rng.normal(0, 0.2, (16, 10)),
    }
    nodes = [
        onnx.node("Conv", ["image", "patch"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
        onnx.node("Reshape", ["p", "flat"], ["r"]),
        turned([0, 2, 1], "r", "t0"),
        onnx.node("MatMul", ["t0", "dense1"], ["d1"]),
        onnx.node("Add", ["t0", "d1"], ["t1"]),
        onnx.node("MatMul", ["t1", "dense2"], ["d2"]),
        onnx.node("Add", ["d2", "t1"], ["t2"]),
        onnx.node("ReduceMean", ["t2"], ["m"], axes=[1], keepdims=0),
        onnx.node("MatMul", ["m", "head"], ["answer"]),
    ]
    tensors = [onnx.tensor(name, each.astype(np.float32)) for name, each in arrays.items()]
    tensors.append(onnx.tensor("flat", np.array([0, 16, 4], np.int64)))
    content = onnx.model(nodes, [onnx.IMAGE], [onnx.value("answer", ["n", 10])], tensors)
    plain = Normalisation("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    made = study_models(core().read_model(content), Use(8, (8, 8), plain, True, 10, False))(1)
    assert made.stages == ("block 1", "block 2", "embedding")
    shapes = [tuple(output.partial_shape.to_shape()) for output in made.model.outputs]
    assert shapes == [(1, 10), (1, 4, 16), (1, 4, 16), (1, 16)]


# --- TensorFlow Lite ------------------------------------------------------------------------------


@cache
def tflite(kind: str) -> bytes:
    """``network`` with a softmax as a file of TensorFlow Lite: float or uint8."""
    tf, k = tensorflow(), keras()
    inputs = k.layers.Input((8, 8, 3))
    whole = k.Model(inputs, k.layers.Softmax()(network()(inputs)))
    converter = tf.lite.TFLiteConverter.from_keras_model(whole)
    if kind == "uint8":
        images = np.random.default_rng(1).random((50, 1, 8, 8, 3), np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def interpreted(content: bytes, images: Floats) -> Floats:
    """The predictions of TensorFlow's interpreter for each of ``images``."""
    with warnings.catch_warnings(action="ignore"):
        interpreter = tensorflow().lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (first,), (last,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for image in images:
        scale, zero = first["quantization"]
        value = np.rint(image / scale + zero).clip(0, 255) if scale else image
        interpreter.set_tensor(first["index"], value[None].astype(first["dtype"]))
        interpreter.invoke()
        scale, zero = last["quantization"]
        row = interpreter.get_tensor(last["index"])[0].astype(np.float32)
        found.append((row - zero) * scale if scale else row)
    return np.array(found)


@pytest.mark.parametrize(
    ("kind", "runtime", "tolerance"),
    [
        ("float", None, 1e-5),
        ("uint8", None, 1e-6),
        ("uint8", "openvino", 0.02),
    ],
)
def test_a_tensorflow_lite_file_answers_as_its_interpreter(
    models_folder: Path, kind: str, runtime: str | None, tolerance: float
) -> None:
    content = tflite(kind)
    classifier = loaded(
        models_folder, "model.tflite", content, output="probabilities", runtime=runtime
    )
    native = kind == "uint8" and runtime is None
    assert classifier.engine.startswith("tensorflow" if native else "openvino")
    outputs = classifier(IMAGES)
    expected = interpreted(content, IMAGES)
    np.testing.assert_allclose(outputs.probabilities, expected, atol=tolerance)
    assert outputs.features["embedding"].shape == (5, 32)


def test_adding_a_quantised_file_compares_the_runtimes(
    models_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (models_folder / "model.tflite").write_bytes(tflite("uint8"))
    (models_folder / "digits.txt").write_text("\n".join(DIGITS))
    labels = str(models_folder / "digits.txt")
    asked = ["models", "add", str(models_folder / "model.tflite"), "--labels", labels, "--json"]
    capsys.readouterr()  # Keras prints when it exports
    assert main.main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["told_by"]["normalisation"] == "the quantisation of its input"
    assert found["entry"]["output"] == "probabilities"
    assert found["native"]["runtime"].startswith("tensorflow")
    assert 0.5 < found["native"]["agreement"] <= 1
    assert 0 <= found["native"]["largest"] < 0.05


def test_a_damaged_tensorflow_lite_file_is_used_or_refused(models_folder: Path) -> None:
    rng = np.random.default_rng(1)
    content = bytearray(tflite("uint8"))
    for place in rng.integers(0, len(content), 6):
        content[place] = rng.integers(256)
    del content[rng.integers(100, len(content)) :]
    with contextlib.suppress(WeightsError):
        loaded(models_folder, "model.tflite", bytes(content), output="probabilities")


# --- onnxruntime ----------------------------------------------------------------------------------


def by_onnxruntime(content: bytes, images: Floats) -> Floats:
    """onnxruntime's predictions for each of ``images``, one by one."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    pixels = images.transpose(0, 3, 1, 2).astype(np.float32)
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in pixels])


def test_a_quantised_onnx_file_answers_as_deployed(models_folder: Path) -> None:
    """Its probabilities are its own, whatever they sum to; the rest comes from its graph."""
    content = onnx.quantised_model()
    classifier = loaded(models_folder, "model.onnx", content, output="probabilities")
    expected = by_onnxruntime(content, IMAGES)
    assert np.abs(expected.sum(axis=1) - 1).max() > 0.003
    outputs = classifier(IMAGES)
    np.testing.assert_allclose(outputs.probabilities, expected, atol=1e-6)
    assert outputs.features["embedding"].shape == (5, 32)
    slope = classifier.gradients(IMAGES, expected.argmax(axis=1).astype(np.int32)).gradient
    assert np.abs(slope).max() > 0
    assert (metrics.REGISTRY["divergence"].function(expected[:1], expected[:1]) == 0).all()


def test_an_operator_that_openvino_lacks_runs_in_onnxruntime(
    models_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = onnx.quantised_model(onnx.ONLY_ONNXRUNTIME, batch=4)
    (models_folder / "model.onnx").write_bytes(content)
    (models_folder / "ten.txt").write_text("\n".join(DIGITS))
    told = ["--labels", str(models_folder / "ten.txt"), "--normalisation", "0..1"]
    assert main.main(["models", "add", str(models_folder / "model.onnx"), *told]) == 0
    classifier = models.load("model", side=8)
    expected = by_onnxruntime(onnx.quantised_model(onnx.ONLY_ONNXRUNTIME), IMAGES)
    outputs = classifier(IMAGES)
    np.testing.assert_allclose(outputs.probabilities, expected, atol=1e-6)
    assert outputs.features.keys() == {"answer"}
    with pytest.raises(GradientError, match="QLinearGlobalAveragePool"):
        _ = classifier.gradients
    picture = Picture.of("image", IMAGES[0])
    *_, outcome = craft(picture, classifier, AttackSpec.of("square", steps=5))
    assert isinstance(outcome, Outcome)
    capsys.readouterr()
    assert main.main(["models", "--json"]) == 0
    row = next(r for r in json.loads(capsys.readouterr().out) if r["name"] == "model")
    assert row["engine"] == "onnxruntime"
    assert any("QLinearGlobalAveragePool" in limit for limit in row["limits"])
    with pytest.raises(WeightsError, match="QLinearGlobalAveragePool"):
        loaded(models_folder, "model.onnx", output="probabilities", runtime="openvino")
