"""The study model: the graph of a file, extended to take study images and to give probabilities.

Images are resized and normalised before the file's own graph, and its output becomes probabilities
behind it. The first half of this module does the same in NumPy, for runtimes other than OpenVINO.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.images.framing import MAX_SIDE
from robustness.models.engine import first_line
from robustness.models.formats import Quantisation, UnusableError
from robustness.models.operations import axis_sizes
from robustness.models.record import Normalisation
from robustness.models.stages import FeatureStage, find_stages

Array = NDArray[Any]
Floats = NDArray[np.float32]

Shape = tuple[int, int]
"""Height and width of a network's input."""


@dataclass(frozen=True)
class Use:
    """How to use the model in a file, by its description and by the file itself.

    ``side`` is that of the study images, ``shape`` the height and width of the file's input.
    ``logits`` is whether its output is logits, not probabilities, of so many ``classes``. With
    ``background`` it may have one more class, before all others, which is left out. ``features``
    name the layers to compare. ``input`` and ``output`` are set where those are integers. The
    probabilities of a ``quantised`` file are rounded, also those in floating point, so they need
    not sum to 1.
    """

    side: int
    shape: tuple[int, int]
    normalisation: Normalisation
    logits: bool
    classes: int
    background: bool
    features: tuple[str, ...] = ()
    input: Quantisation | None = None
    output: Quantisation | None = None
    quantised: bool = False

    @property
    def widths(self) -> set[int]:
        """The numbers of values that the output for one image may have."""
        if self.background:
            return {self.classes, self.classes + 1}
        return {self.classes}


# --- images --------------------------------------------------------------------------------------

_CUBIC_PARAMETER = -0.5
"""The parameter a of the cubic kernel: Keys, IEEE Trans. ASSP 1981."""

_TABLE_STEPS = np.float32(1024)
"""For enlarging, TensorFlow reads the kernel from a table with this many entries a pixel."""


def bicubic(side: int, size: int) -> NDArray[np.float32]:
    """The matrix (``size``, ``side``) that resizes a column of ``side`` pixels to ``size`` pixels.

    The resizing is bicubic, and antialiased when it shrinks, as that of TensorFlow.
    """
    ratio = np.float32(side / size)
    half = np.float32(0.5)
    centres = (np.arange(size, dtype=np.float32) + half) * ratio - half
    if side <= size:
        whole = np.floor(centres)
        centres = whole + np.rint((centres - whole) * _TABLE_STEPS) / _TABLE_STEPS
    # When shrinking, the kernel is stretched over all pixels that become one.
    kernel_scale = max(1.0, side / size)
    d = np.abs(centres[:, None] - np.arange(side)) / kernel_scale
    a = _CUBIC_PARAMETER
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    weights = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def resizing(
    side: int, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """The matrices that resize the rows and the columns of square images to ``shape``.

    ``side`` is that of the images, ``shape`` is (height, width). Returns None if the images have
    that shape already.
    """
    height, width = shape
    if height == width == side:
        return None
    return bicubic(side, height), bicubic(side, width)


def factors(normalisation: Normalisation) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The factors and the offsets that normalise pixels in [0, 1], a channel each.

    Channels are in the order that the model reads them in.
    """
    mean = np.array(normalisation.mean)
    std = np.array(normalisation.std)
    scale = normalisation.scale / std
    offset = -mean / std
    return scale.astype(np.float32), offset.astype(np.float32)


def prepared(images: Floats, use: Use, channels_second: bool, dtype: np.dtype[Any]) -> Array:
    """Study images as the input of the file takes them; the study model computes the same.

    ``images`` are (N, S, S, 3). The result is (N, 3, height, width) with ``channels_second``, else
    (N, height, width, 3), in ``dtype``.
    """
    pixels = images.transpose(0, 3, 1, 2)
    matrices = resizing(use.side, use.shape)
    if matrices is not None:
        rows, columns = matrices
        pixels = (rows @ pixels @ columns.T).clip(0, 1)  # bicubic overshoots at edges
    if use.normalisation.order == "BGR":
        pixels = pixels[:, ::-1]
    scale, offset = factors(use.normalisation)
    pixels = pixels * scale.reshape(3, 1, 1) + offset.reshape(3, 1, 1)
    if dtype.kind in "iu":
        if use.input is not None:
            pixels = pixels * np.float32(1 / use.input.scale) + np.float32(use.input.zero_point)
        limits = np.iinfo(dtype)
        pixels = np.rint(pixels).clip(limits.min, limits.max)
    if not channels_second:
        pixels = pixels.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels, dtype)


def trial_images(side: int) -> Floats:
    """Two study images (2, ``side``, ``side``, 3): one of noise, and one of a single colour."""
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)) / np.float32(255)
    images[1] = images[1, :1, :1]
    return images.astype(np.float32)


# --- answers -------------------------------------------------------------------------------------

TINY = 1e-12
"""Added to probabilities before they are divided by their sum, which may be 0."""


def probabilities_of(answers: Array, use: Use) -> Floats:
    """The probabilities of the classes, (N, classes), from the outputs ``answers`` of the file.

    ``answers`` are (N, classes), or (N, classes + 1) with a background, which is left out.
    """
    values = np.asarray(answers, np.float32)
    has_background = values.shape[1] == use.classes + 1
    if has_background:
        values = values[:, 1:]
    if use.logits:
        values = np.exp(values - values.max(axis=1, keepdims=True))
    elif use.quantised or not has_background:
        # Rounded probabilities need not sum to 1, and stay as the file gives them.
        return values
    values = values + np.float32(TINY)
    return np.asarray(values / values.sum(axis=1, keepdims=True), np.float32)


SIMPLEX_TOLERANCE = 1e-3
"""Accepted distance of an image's probabilities from a sum of 1; half precision rounds."""

NOT_FINITE = (
    "its output for an image is not finite (NaN or infinity), as with damaged weights; train or "
    "save it again"
)

OTHER_OUTPUTS = (
    'if these are logits, write output = "logits"; if they come from a sigmoid, export the model '
    "without it"
)

SIGMOID = (
    "Its outputs all lie between 0 and 1, as after a sigmoid: taken as logits they give nearly "
    "equal probabilities. Export the model without the sigmoid."
)


def is_distribution(answers: Any, slack: float = 0.0) -> bool:
    """Whether each row of ``answers`` holds probabilities.

    They are finite, not negative, and sum to 1 within ``SIMPLEX_TOLERANCE`` and ``slack``.
    """
    rows = np.asarray(answers, np.float64)
    if not np.isfinite(rows).all() or (rows < -SIMPLEX_TOLERANCE).any():
        return False
    errors = np.abs(rows.sum(axis=1) - 1)
    return bool(errors.max() <= SIMPLEX_TOLERANCE + slack)


def are_logits(answers: Any, distribution: bool) -> bool | None:
    """Whether ``answers`` are logits; None if that is unknown, as after a sigmoid.

    ``distribution`` says whether each row holds probabilities that sum to 1.
    """
    if distribution:
        return False
    if np.min(answers) >= 0 and np.max(answers) <= 1:
        return None
    return True


def other_classes(count: int, named: int) -> str:
    """The clause that a network has ``count`` outputs, and its labels name another number."""
    if count == 1:
        return (
            "its output is one number for an image, as of one sigmoid; export it with one output "
            "for each class"
        )
    return f"it has {count} outputs; its labels name {named} classes"


# --- the study model ------------------------------------------------------------------------------

MOST_NODES = 20_000
"""The most operations of a graph; the largest published classifiers have a few thousand."""

LOOPS = ("Loop", "If", "TensorIterator")
"""Operations with graphs of their own, whose duration cannot be predicted."""

ANY_BATCH = -1
ONE_IMAGE = 1


class OpenVinoError(UnusableError):
    """OpenVINO cannot read or compute the file; another runtime may."""


@dataclass(frozen=True)
class StudyModel:
    """A model in OpenVINO that takes study images.

    The outputs of ``model`` are probabilities and the activations of ``stages``. Those of ``raw``
    are the same, with the file's own output (N, classes) in place of the probabilities.
    """

    model: Any
    raw: Any
    stages: tuple[str, ...]


Make = Callable[[int], StudyModel]
"""Makes the study model for ``ANY_BATCH`` or ``ONE_IMAGE``."""


def study_models(file_model: Any, use: Use, *, tapped: bool = False) -> Make:
    """A function that makes the study model of ``file_model`` for a given batch.

    ``file_model`` is the OpenVINO model that was read from a file. A ``tapped`` one comes from
    Keras: its last outputs are the features that ``use`` names, with channels last, and it may
    have loops, which recurrent layers are. Raises ``UnusableError`` for a model that is not an
    image classifier as ``use`` describes it.
    """
    _check_graph(file_model)
    channels_second, one_image_model = _for_one_image(file_model, use.shape, loops=tapped)
    outputs = list(one_image_model.outputs)
    taps = []
    if tapped and use.features:
        taps = outputs[-len(use.features) :]
        outputs = outputs[: -len(use.features)]
    answer_index, answer_width = _find_answer(outputs, use)
    stages: tuple[FeatureStage, ...]
    if taps:
        stages = _tapped_stages(use.features, taps)
    else:
        import openvino
        from openvino import opset15 as operations

        answer = operations.result(outputs[answer_index].get_node().input_value(0))
        answer_model = openvino.Model([answer], one_image_model.get_parameters())
        stages = find_stages(answer_model, use.features)

    def make(batch: int) -> StudyModel:
        if batch == ONE_IMAGE:
            model = one_image_model
        else:
            model = _reshaped(file_model, use.shape, channels_second, batch, loops=tapped)
        return _built(model, answer_index, answer_width, stages, use, batch)

    return make


def _tapped_stages(names: Sequence[str], taps: Sequence[Any]) -> tuple[FeatureStage, ...]:
    """The stages ``names``, whose features are the outputs ``taps``."""
    stages = []
    for name, tap in zip(names, taps, strict=True):
        operation = tap.get_node().input_value(0).get_node()
        stages.append(FeatureStage(name, operation.get_friendly_name(), channels_second=False))
    return tuple(stages)


@dataclass(frozen=True)
class FileFacts:
    """Facts from the graph of a file; None if unknown.

    ``shape`` is the height and width of its input, and ``classes`` the number of its classes.
    ``whole`` is whether its input takes integers, and ``logits`` whether its output is logits;
    False means probabilities.
    """

    shape: Shape | None = None
    classes: int | None = None
    whole: bool = False
    logits: bool | None = None


def facts(file_model: Any, shape_if_free: Shape | None, *, loops: bool = False) -> FileFacts:
    """The facts of ``file_model``, the OpenVINO model that was read from a file.

    ``shape_if_free`` is the shape to take where the model's input has none. ``loops`` is whether
    the graph may have loops. Raises ``UnusableError`` for a model that takes no images.
    """
    _check_graph(file_model)
    (image_input,) = file_model.inputs
    sizes = axis_sizes(image_input.partial_shape) or ()
    takes_integers = not image_input.get_element_type().is_real()
    shape = input_shape(sizes, shape_if_free)
    if shape is None and None in sizes:
        return FileFacts(None, None, takes_integers)
    _, model = _for_one_image(file_model, shape or (0, 0), loops=loops)
    class_count = only_count(_class_count(output) for output in model.outputs)
    return FileFacts(shape, class_count, takes_integers)


def input_shape(sizes: Sequence[int | None], default: Shape | None) -> Shape | None:
    """The height and width of the image that an input of ``sizes`` takes.

    ``sizes`` are those of all axes, None for a free one. Where they do not tell the height and
    width, these are ``default``. Raises ``UnusableError`` for an image that is too large.
    """
    sides = [size for size in sizes[1:] if size not in (None, 1, 3)]
    if len(set(sides)) == 1:
        # Where only one side is known, the image is taken to be square.
        height = width = sides[0]
    elif len(sides) == 2:
        height, width = sides
    elif default is not None:
        height, width = default
    else:
        return None
    if not height or not width:
        return None
    if max(height, width) > MAX_SIDE:
        raise UnusableError(
            f"expected an input of at most {MAX_SIDE} x {MAX_SIDE} pixels, got {height} x {width}"
        )
    return height, width


def only_count(counts: Iterable[int]) -> int | None:
    """The number of classes, from the numbers that all outputs of a model have.

    It is that of the only output with several classes; None if there is not exactly one.
    """
    several = [count for count in counts if count > 1]
    if len(several) != 1:
        return None
    return several[0]


def _check_graph(file_model: Any) -> None:
    """Raise ``UnusableError`` for a graph that is too large or does not have one input."""
    _make_names_unique(file_model)
    check_count(len(file_model.get_ops()))
    inputs = file_model.inputs
    if not inputs:
        raise UnusableError("expected one input, the image, got none")
    if len(inputs) > 1:
        raise UnusableError(
            f"expected one input, the image, got {len(inputs)}: {_ports_text(inputs)}"
        )


def _make_names_unique(model: Any) -> None:
    """Give every operation of ``model`` a friendly name of its own."""
    names: set[str] = set()
    for index, operation in enumerate(model.get_ordered_ops()):
        name = operation.get_friendly_name()
        if name in names:
            operation.set_friendly_name(f"{name}#{index}")
        names.add(operation.get_friendly_name())


def check_count(count: int) -> None:
    """Raise ``UnusableError`` for more than ``MOST_NODES`` operations."""
    if count > MOST_NODES:
        raise UnusableError(
            f"expected at most {MOST_NODES:,} operations, got {count:,}; simplify the graph"
        )


def _for_one_image(file_model: Any, shape: Shape, *, loops: bool) -> tuple[bool, Any]:
    """Whether the channels of the image come second (NCHW), and the model for one such image."""
    partial_shape = file_model.inputs[0].partial_shape
    sizes = axis_sizes(partial_shape) or ()
    first_error: UnusableError | None = None
    for channels_second in (True, False):
        if not _takes_images(sizes, shape, channels_second):
            continue
        try:
            model = _reshaped(file_model, shape, channels_second, ONE_IMAGE, loops)
        except UnusableError as error:
            # Where all sizes are free, the graph may still take the other order.
            if first_error is None:
                first_error = error
        else:
            return channels_second, model
    if first_error is not None:
        raise first_error
    height: int | str = "height"
    width: int | str = "width"
    if any(shape):
        height, width = shape
    raise UnusableError(
        f"expected an input of RGB images, (N, 3, {height}, {width}) or (N, {height}, {width}, 3), "
        f"got {_shape_text(partial_shape)}; correct input_size, or export the model for such images"
    )


def _takes_images(sizes: Sequence[int | None], shape: Shape, channels_second: bool) -> bool:
    """Whether an input of ``sizes``, None for a free one, takes RGB images of ``shape``."""
    if len(sizes) != 4:
        return False
    if channels_second:
        _, channels, height, width = sizes
    else:
        _, height, width, channels = sizes
    expected_height, expected_width = shape
    return (
        channels in (None, 3)
        and height in (None, expected_height)
        and width in (None, expected_width)
    )


def _shape_text(shape: Any) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def _ports_text(ports: Sequence[Any]) -> str:
    """The names and shapes of inputs or outputs, in words."""
    texts = []
    for port in ports:
        name = min(port.get_names(), default=port.get_node().get_friendly_name())
        texts.append(f"{name} {_shape_text(port.partial_shape)}")
    return ", ".join(texts)


def _reshaped(file_model: Any, size: Shape, channels_second: bool, batch: int, loops: bool) -> Any:
    """A copy of ``file_model`` for images of ``size`` (height, width), with constants folded.

    Raises ``UnusableError`` if the graph does not take such images, or if loops are left in it
    although ``loops`` is False.
    """
    from openvino.passes import ConstantFolding, Manager

    model = file_model.clone()
    if channels_second:
        shape = [batch, 3, *size]
    else:
        shape = [batch, *size, 3]
    try:
        model.reshape(shape)
        _unpack_weights(model)
        passes = Manager()
        passes.register_pass(ConstantFolding())
        passes.run_passes(model)
    except RuntimeError as error:
        raise UnusableError(
            f"its graph does not take images of the shape {tuple(shape)} ({first_line(error)}); "
            "export it with a free batch or a batch of 1"
        ) from error
    if not loops:
        types = {operation.get_type_name() for operation in model.get_ops()}
        check_loops(types & set(LOOPS))
    _make_names_unique(model)
    return model


def check_loops(names: Collection[str]) -> None:
    """Raise ``UnusableError`` if ``names``, the types of loops in a graph, has any."""
    if names:
        raise UnusableError(
            f"its graph holds {', '.join(sorted(names))}, whose work has no limit; export the "
            "model without control flow"
        )


def _unpack_weights(model: Any) -> None:
    """Turn integer weights into floating point where nothing else is quantised.

    OpenVINO 2026.4 unpacks such weights of 1 x 1 convolutions during inference. That is no faster,
    and wrong for several images at once: probabilities differed by up to 1.
    """
    from openvino import opset15 as operations

    nodes = model.get_ops()
    if any(node.get_type_name() == "FakeQuantize" for node in nodes):
        return
    for node in nodes:
        if node.get_type_name() != "Convert" or not node.get_element_type().is_real():
            continue
        packed = node.input_value(0).get_node()
        if packed.get_type_name() != "Constant" or packed.get_element_type().is_real():
            continue
        values = packed.get_data().astype(node.get_element_type().to_dtype())
        weights = operations.constant(values)
        for reader in node.output(0).get_target_inputs():
            reader.replace_source_output(weights.output(0))


def _find_answer(outputs: Sequence[Any], use: Use) -> tuple[int, int]:
    """The index of the output with the classes, and its number of values, background included."""
    counts = [_class_count(output) for output in outputs]
    fitting = [index for index, count in enumerate(counts) if count in use.widths]
    if len(fitting) == 1:
        index = fitting[0]
        return index, counts[index]
    if len(counts) == 1 and counts[0]:
        raise UnusableError(other_classes(counts[0], use.classes))
    raise UnusableError(
        f"expected one output of {use.classes} classes, got {_ports_text(outputs)}; export the "
        "model with that one alone"
    )


def _class_count(output: Any) -> int:
    """The number of classes of ``output``, for one image; 0 if it holds no values of classes."""
    shape = output.partial_shape
    if shape.is_dynamic or len(shape) < 2:
        return 0
    batch, *sizes = shape.to_shape()
    largest = max(sizes)
    # All values lie on one axis, as in (1, classes, 1, 1).
    if batch != 1 or np.prod(sizes) != largest:
        return 0
    return largest


def _built(
    model: Any,
    answer_index: int,
    answer_width: int,
    stages: Sequence[FeatureStage],
    use: Use,
    batch: int,
) -> StudyModel:
    """The study model around ``model``, which becomes a part of it."""
    import openvino
    from openvino import opset15 as operations

    by_name = {operation.get_friendly_name(): operation for operation in model.get_ops()}
    answer = model.outputs[answer_index].get_node().input_value(0)
    features = []
    for stage in stages:  # (N, ..., channels)
        values = operations.convert(by_name[stage.operation].output(0), np.float32)
        if stage.channels_second:
            values = operations.transpose(values, np.array([0, 2, 3, 1]))
        features.append(values)
    (file_input,) = model.get_parameters()
    readers = file_input.output(0).get_target_inputs()
    images = operations.parameter([batch, use.side, use.side, 3], np.float32, "images")
    pixels = _add_preparation(images, use, file_input)
    for reader in readers:
        reader.replace_source_output(pixels.output(0))
    raw = operations.convert(answer, np.float32)
    if use.output is not None:
        raw = operations.subtract(raw, operations.constant(np.float32(use.output.zero_point)))
        raw = operations.multiply(raw, operations.constant(np.float32(use.output.scale)))
    raw = operations.reshape(raw, np.array([-1, answer_width]), False)
    probabilities = _add_probabilities(raw, use, answer_width)
    stage_names = tuple(stage.name for stage in stages)
    if not stage_names:
        stage_names = ("answer",)
        features = [probabilities]

    def with_first_output(first: Any) -> Any:
        results = [operations.result(node) for node in (first, *features)]
        return openvino.Model(results, [images], "study model")

    return StudyModel(with_first_output(probabilities), with_first_output(raw), stage_names)


def _add_preparation(images: Any, use: Use, file_input: Any) -> Any:
    """Extend the graph by what turns study ``images`` (N, S, S, 3) into what ``file_input`` takes.

    Returns the node whose output is prepared.
    """
    import openvino
    from openvino import opset15 as operations

    element_type = file_input.get_element_type()
    pixels = images
    matrices = resizing(use.side, use.shape)
    if matrices is not None:
        pixels = operations.transpose(pixels, np.array([0, 3, 1, 2]))
        row_matrix, column_matrix = matrices
        rows = operations.constant(row_matrix[None, None])
        columns = operations.constant(column_matrix[None, None])
        pixels = operations.matmul(rows, pixels, False, False)
        pixels = operations.matmul(pixels, columns, False, True)
        pixels = operations.clamp(pixels, 0.0, 1.0)  # bicubic overshoots at edges
        # With channels second, OpenVINO 2026.4 compiles no factors behind this for any batch.
        pixels = operations.transpose(pixels, np.array([0, 2, 3, 1]))
    if use.normalisation.order == "BGR":
        pixels = operations.gather(pixels, np.array([2, 1, 0]), np.array(3))
    scale, offset = factors(use.normalisation)
    pixels = operations.multiply(pixels, operations.constant(scale))
    pixels = operations.add(pixels, operations.constant(offset))
    if str(file_input.partial_shape[3]) != "3":
        pixels = operations.transpose(pixels, np.array([0, 3, 1, 2]))
    if element_type == openvino.Type.f32:
        return pixels
    if element_type.is_real():
        return operations.convert(pixels, element_type)
    if use.input is not None:
        inverse_scale = operations.constant(np.float32(1 / use.input.scale))
        zero_point = operations.constant(np.float32(use.input.zero_point))
        pixels = operations.multiply(pixels, inverse_scale)
        pixels = operations.add(pixels, zero_point)
    limits = np.iinfo(element_type.to_dtype())
    pixels = operations.round(pixels, "half_to_even")
    pixels = operations.clamp(pixels, float(limits.min), float(limits.max))
    return operations.convert(pixels, element_type)


def _add_probabilities(raw: Any, use: Use, width: int) -> Any:
    """Extend the graph by what turns the output ``raw`` (N, ``width``) into probabilities.

    Returns the node whose output is the probabilities; ``probabilities_of`` computes the same.
    """
    from openvino import opset15 as operations

    has_background = width == use.classes + 1
    values = raw
    if has_background:
        values = operations.slice(
            values,
            start=np.array([1]),
            stop=np.array([width]),
            step=np.array([1]),
            axes=np.array([1]),
        )
    if use.logits:
        return operations.softmax(values, 1)
    if use.quantised or not has_background:
        # Rounded probabilities need not sum to 1, and stay as the file gives them.
        return values
    # Without the background, the rest has to be scaled to sum to 1 again.
    values = operations.add(values, operations.constant(np.float32(TINY)))
    total = operations.reduce_sum(values, np.array([1]), True)
    return operations.divide(values, total)
