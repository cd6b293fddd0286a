"""The study model: a graph with all that study images need before and after it.

How a model is used: what it takes of study images, and what its answers say, in NumPy.

``graph`` does the same in a graph.
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
from robustness.models.stages import FeatureStage, find_stages, make_names_unique

Array = NDArray[Any]
Floats = NDArray[np.float32]

Shape = tuple[int, int]
"""Height and width of a network's input."""


@dataclass(frozen=True)
class Use:
    """How to use a file, by its description and its own bytes.

    ``side`` is that of the study images, ``shape`` the height and width of the file's input. With
    ``background`` the file may have one class more than ``classes``, ahead of all: it is left out.
    The probabilities of a ``quantised`` file are rounded, even where they are floating point: they
    need not sum to 1.
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
        """The numbers of values that an answer may have."""
        return {self.classes, self.classes + 1} if self.background else {self.classes}


# --- images --------------------------------------------------------------------------------------

_KEYS = -0.5
"""Parameter of the cubic kernel: Keys, IEEE Trans. ASSP 1981."""

_TABLE = np.float32(1024)
"""For enlarging, TensorFlow reads the kernel from a table with this many entries a pixel."""


def bicubic(side: int, size: int) -> NDArray[np.float32]:
    """The matrix (``size``, ``side``) that resizes a column of ``side`` pixels as TensorFlow does.

    Bicubic; antialiased when shrinking.
    """
    ratio = np.float32(side / size)
    half = np.float32(0.5)
    centres = (np.arange(size, dtype=np.float32) + half) * ratio - half
    if side <= size:
        below = np.floor(centres)
        centres = below + np.rint((centres - below) * _TABLE) / _TABLE
    d = np.abs(centres[:, None] - np.arange(side)) / max(1.0, side / size)
    a = _KEYS
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    weights = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def resizing(
    side: int, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Matrices that resize rows and columns of square images to ``shape`` (height, width).

    None if the images have that shape already.
    """
    height, width = shape
    return None if height == width == side else (bicubic(side, height), bicubic(side, width))


def factors(normalisation: Normalisation) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factor and offset of each channel, in the model's order, for pixels in [0, 1]."""
    mean = np.array(normalisation.mean)
    std = np.array(normalisation.std)
    return (normalisation.scale / std).astype(np.float32), (-mean / std).astype(np.float32)


def prepared(images: Floats, use: Use, second: bool, kind: np.dtype[Any]) -> Array:
    """Study images (N, S, S, 3) as the file takes them, as the study model prepares them."""
    pixels = images.transpose(0, 3, 1, 2)
    if (resize := resizing(use.side, use.shape)) is not None:
        pixels = (resize[0] @ pixels @ resize[1].T).clip(0, 1)
    if use.normalisation.order == "BGR":
        pixels = pixels[:, ::-1]
    scale, offset = (factor.reshape(3, 1, 1) for factor in factors(use.normalisation))
    pixels = pixels * scale + offset
    if kind.kind in "iu":
        if use.input is not None:
            pixels = pixels * np.float32(1 / use.input.scale) + np.float32(use.input.zero_point)
        limits = np.iinfo(kind)
        pixels = np.rint(pixels).clip(limits.min, limits.max)
    if not second:
        pixels = pixels.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels, kind)


def trial_images(side: int) -> Floats:
    """Noise, and an image of one colour: two study images, (2, ``side``, ``side``, 3)."""
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)) / np.float32(255)
    images[1] = images[1, :1, :1]
    return images.astype(np.float32)


# --- answers -------------------------------------------------------------------------------------

TINY = 1e-12
"""Added to probabilities before they are divided by their sum, which may be 0."""


def probabilities_of(answers: Array, use: Use) -> Floats:
    """Answers (N, classes) of the file as probabilities of the classes, without the background."""
    probabilities = np.asarray(answers, np.float32)
    background = probabilities.shape[1] == use.classes + 1
    probabilities = probabilities[:, 1:] if background else probabilities
    if use.logits:
        probabilities = np.exp(probabilities - probabilities.max(axis=1, keepdims=True))
    elif use.quantised or not background:  # rounded probabilities are the file's own
        return probabilities
    probabilities = probabilities + np.float32(TINY)
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True), np.float32)


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
    """Whether each row is finite, not negative, and sums to 1, give or take ``slack`` more."""
    rows = np.asarray(answers, np.float64)
    return bool(
        np.isfinite(rows).all()
        and (rows >= -SIMPLEX_TOLERANCE).all()
        and np.abs(rows.sum(axis=1) - 1).max() <= SIMPLEX_TOLERANCE + slack
    )


def are_logits(answers: Any, distribution: bool) -> bool | None:
    """Whether answers are logits; None if that is unknown, as after a sigmoid.

    ``distribution`` says whether their rows are probabilities that sum to 1.
    """
    if distribution:
        return False
    return None if np.min(answers) >= 0 and np.max(answers) <= 1 else True


def other_classes(count: int, named: int) -> str:
    """A clause for a network whose number of classes is not that of its labels."""
    if count == 1:
        return (
            "its output is one number for an image, as of one sigmoid; export it with one output "
            "for each class"
        )
    return f"it has {count} outputs; its labels name {named} classes"


MOST_NODES = 20_000
"""Operations of a graph; the largest published classifiers have a few thousand."""

LOOPS = ("Loop", "If", "TensorIterator")
"""Operations with graphs of their own, whose duration cannot be predicted."""

ANY_BATCH = -1
ONE_IMAGE = 1


class OpenVinoError(UnusableError):
    """OpenVINO cannot read or compute the file; another runtime may."""


@dataclass(frozen=True)
class StudyModel:
    """``model`` maps study images to probabilities and to the activations of ``stages``.

    ``raw`` is the same with the file's own answer, (N, classes), in place of the probabilities.
    """

    model: Any
    raw: Any
    stages: tuple[str, ...]


Make = Callable[[int], StudyModel]
"""Makes the study model for ``ANY_BATCH`` or ``ONE_IMAGE``."""


def study_models(read: Any, use: Use, *, tapped: bool = False) -> Make:
    """A function that makes study models of the model ``read`` from a file, by batch.

    In a ``tapped`` model, one of Keras, the last outputs are the features that ``use`` names, with
    channels last, and recurrent layers may be loops. Raises ``UnusableError`` for one that is not
    an image classifier as described.
    """
    _check_graph(read)
    channels_second, single = _for_one_image(read, use.shape, loops=tapped)
    taps = len(use.features) if tapped else 0
    outputs = single.outputs[: len(single.outputs) - taps]
    place, classes = _answer(outputs, use)
    if taps:
        nodes = (output.get_node().input_value(0).get_node() for output in single.outputs[-taps:])
        stages = tuple(
            FeatureStage(name, node.get_friendly_name(), channels_second=False)
            for name, node in zip(use.features, nodes, strict=True)
        )
    else:
        import openvino
        from openvino import opset15 as operations

        result = operations.result(single.outputs[place].get_node().input_value(0))
        stages = find_stages(openvino.Model([result], single.get_parameters()), use.features)

    def make(batch: int) -> StudyModel:
        one = batch == ONE_IMAGE
        model = single if one else _reshaped(read, use.shape, channels_second, batch, tapped)
        return _built(model, place, classes, stages, use, batch)

    return make


@dataclass(frozen=True)
class FileFacts:
    """Facts from the graph of a file; None if unknown.

    ``shape`` is the height and width of its input, which takes ``whole`` numbers or not, and
    ``classes`` their number. ``logits`` is what it outputs; False means probabilities.
    """

    shape: Shape | None = None
    classes: int | None = None
    whole: bool = False
    logits: bool | None = None


def facts(read: Any, shape_if_free: Shape | None, *, loops: bool = False) -> FileFacts:
    """Facts of the model ``read`` from a file; ``shape_if_free`` is its input's shape then.

    ``loops`` is whether it may have some. Raises ``UnusableError`` for one that takes no images.
    """
    _check_graph(read)
    sizes = axis_sizes(read.inputs[0].partial_shape) or ()
    whole = not read.inputs[0].get_element_type().is_real()
    shape = input_shape(sizes, shape_if_free)
    if shape is None and None in sizes:
        return FileFacts(None, None, whole)
    _, single = _for_one_image(read, shape or (0, 0), loops=loops)
    return FileFacts(shape, only_count(map(_classes, single.outputs)), whole)


def input_shape(sizes: Sequence[int | None], default: Shape | None) -> Shape | None:
    """Height and width of the image that an input of ``sizes`` takes, else ``default``.

    Raises ``UnusableError`` for an image that is too large.
    """
    sides = [size for size in sizes[1:] if size not in (None, 1, 3)]
    if len(set(sides)) == 1:  # the other side may be free
        sides = [sides[0]] * 2
    height, width = sides if len(sides) == 2 else default or (0, 0)
    if not height or not width:
        return None
    if max(height, width) > MAX_SIDE:
        raise UnusableError(
            f"expected an input of at most {MAX_SIDE} x {MAX_SIDE} pixels, got {height} x {width}"
        )
    return height, width


def only_count(counts: Iterable[int]) -> int | None:
    """The classes of the one output that has several; None for none or more such outputs."""
    several = [count for count in counts if count > 1]
    return several[0] if len(several) == 1 else None


def _check_graph(read: Any) -> None:
    """Raises ``UnusableError`` for a graph that is too large or has not one input."""
    make_names_unique(read)
    check_count(len(read.get_ops()))
    if len(read.inputs) != 1:
        got = f"{len(read.inputs)}: {_names(read.inputs)}" if read.inputs else "none"
        raise UnusableError(f"expected one input, the image, got {got}")


def check_count(count: int) -> None:
    """Raises ``UnusableError`` for more than ``MOST_NODES`` operations."""
    if count > MOST_NODES:
        raise UnusableError(
            f"expected at most {MOST_NODES:,} operations, got {count:,}; simplify the graph"
        )


def _for_one_image(read: Any, shape: Shape, *, loops: bool) -> tuple[bool, Any]:
    """Whether the channels of the image come second (NCHW), and the model for one such image."""
    sizes = axis_sizes(read.inputs[0].partial_shape) or ()
    first_error: UnusableError | None = None
    for second, axes in ((True, (1, 2, 3)), (False, (3, 1, 2))) if len(sizes) == 4 else ():
        channels, *sides = (sizes[axis] for axis in axes)
        if channels in (None, 3) and all(
            side in (None, size) for side, size in zip(sides, shape, strict=True)
        ):
            try:
                return second, _reshaped(read, shape, second, ONE_IMAGE, loops)
            except UnusableError as error:  # where all sizes are free, the other order may do
                first_error = first_error or error
    height, width = shape if any(shape) else ("height", "width")
    raise first_error or UnusableError(
        f"expected an input of RGB images, (N, 3, {height}, {width}) or (N, {height}, {width}, 3), "
        f"got {_text(read.inputs[0].partial_shape)}; correct input_size, or export the model for "
        "such images"
    )


def _text(shape: Any) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def _names(ports: Sequence[Any]) -> str:
    names = [min(port.get_names(), default=port.get_node().get_friendly_name()) for port in ports]
    return ", ".join(
        f"{name} {_text(port.partial_shape)}" for name, port in zip(names, ports, strict=True)
    )


def _reshaped(read: Any, size: Shape, channels_second: bool, batch: int, loops: bool) -> Any:
    """A copy of ``read`` for images of ``size`` (height, width) with all constants computed.

    Raises ``UnusableError`` where it does not take these, or has ``loops`` left that it may not.
    """
    from openvino.passes import ConstantFolding, Manager

    model = read.clone()
    shape = [batch, 3, *size] if channels_second else [batch, *size, 3]
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
        check_loops({operation.get_type_name() for operation in model.get_ops()} & set(LOOPS))
    make_names_unique(model)
    return model


def check_loops(names: Collection[str]) -> None:
    """Raises ``UnusableError`` for operations of these ``names``, if any."""
    if names:
        raise UnusableError(
            f"its graph holds {', '.join(sorted(names))}, whose work has no limit; export the "
            "model without control flow"
        )


def _unpack_weights(model: Any) -> None:
    """Turns weights of integers into float32 where nothing else is quantised.

    OpenVINO 2026.4 unpacks such weights of 1 x 1 convolutions as it goes: no faster, and wrongly
    when several images are asked about at once (probabilities differed by up to 1).
    """
    from openvino import opset15 as operations

    nodes = model.get_ops()
    if any(operation.get_type_name() == "FakeQuantize" for operation in nodes):
        return
    for operation in nodes:
        if operation.get_type_name() != "Convert" or not operation.get_element_type().is_real():
            continue
        packed = operation.input_value(0).get_node()
        if packed.get_type_name() == "Constant" and not packed.get_element_type().is_real():
            values = packed.get_data().astype(operation.get_element_type().to_dtype())
            weights = operations.constant(values)
            for reader in operation.output(0).get_target_inputs():
                reader.replace_source_output(weights.output(0))


def _answer(outputs: Sequence[Any], use: Use) -> tuple[int, int]:
    """The place of the output with the classes, and how many there are, background included."""
    counts = [_classes(output) for output in outputs]
    fitting = [place for place, count in enumerate(counts) if count in use.widths]
    if len(fitting) == 1:
        return fitting[0], counts[fitting[0]]
    if len(counts) == 1 and counts[0]:
        raise UnusableError(other_classes(counts[0], use.classes))
    raise UnusableError(
        f"expected one output of {use.classes} classes, got {_names(outputs)}; export the "
        "model with that one alone"
    )


def _classes(output: Any) -> int:
    """How many classes the answer ``output`` about one image has; 0 if it is none."""
    shape = output.partial_shape
    if shape.is_dynamic or len(shape) < 2:
        return 0
    sizes = list(shape.to_shape())
    return max(sizes[1:]) if sizes[0] == 1 and np.prod(sizes) == max(sizes[1:]) else 0


def _built(
    model: Any,
    place: int,
    classes: int,
    stages: Sequence[FeatureStage],
    use: Use,
    batch: int,
) -> StudyModel:
    """The study model around ``model``, which becomes a part of it."""
    import openvino
    from openvino import opset15 as operations

    by_name = {operation.get_friendly_name(): operation for operation in model.get_ops()}
    source = model.outputs[place].get_node().input_value(0)
    features = []
    for stage in stages:  # (N, ..., channels)
        values = operations.convert(by_name[stage.operation].output(0), np.float32)
        if stage.channels_second:
            values = operations.transpose(values, np.array([0, 2, 3, 1]))
        features.append(values)
    (replaced,) = model.get_parameters()
    readers = replaced.output(0).get_target_inputs()
    images = operations.parameter([batch, use.side, use.side, 3], np.float32, "images")
    prepared = _prepared(images, use, replaced)
    for reader in readers:
        reader.replace_source_output(prepared.output(0))
    raw = operations.convert(source, np.float32)
    if use.output is not None:
        raw = operations.subtract(raw, operations.constant(np.float32(use.output.zero_point)))
        raw = operations.multiply(raw, operations.constant(np.float32(use.output.scale)))
    raw = operations.reshape(raw, np.array([-1, classes]), False)
    probabilities = _probabilities(raw, use, classes)
    names = tuple(stage.name for stage in stages)
    if not names:
        names = ("answer",)
        features = [probabilities]

    def of(first: Any) -> Any:
        results = [operations.result(node) for node in (first, *features)]
        return openvino.Model(results, [images], "study model")

    return StudyModel(of(probabilities), of(raw), names)


def _prepared(images: Any, use: Use, parameter: Any) -> Any:
    """In the graph: study images (N, S, S, 3) as what the file's ``parameter`` takes."""
    import openvino
    from openvino import opset15 as operations

    kind = parameter.get_element_type()
    pixels = images
    if (resize := resizing(use.side, use.shape)) is not None:
        pixels = operations.transpose(pixels, np.array([0, 3, 1, 2]))
        rows, columns = (operations.constant(matrix[None, None]) for matrix in resize)
        pixels = operations.matmul(
            operations.matmul(rows, pixels, False, False), columns, False, True
        )
        pixels = operations.clamp(pixels, 0.0, 1.0)  # bicubic overshoots at edges
        # With channels second, OpenVINO 2026.4 compiles no factors behind this for any batch.
        pixels = operations.transpose(pixels, np.array([0, 2, 3, 1]))
    if use.normalisation.order == "BGR":
        pixels = operations.gather(pixels, np.array([2, 1, 0]), np.array(3))
    scale, offset = factors(use.normalisation)
    pixels = operations.multiply(pixels, operations.constant(scale))
    pixels = operations.add(pixels, operations.constant(offset))
    if str(parameter.partial_shape[3]) != "3":
        pixels = operations.transpose(pixels, np.array([0, 3, 1, 2]))
    if kind == openvino.Type.f32:
        return pixels
    if kind.is_real():
        return operations.convert(pixels, kind)
    if use.input is not None:
        whole = operations.constant(np.float32(1 / use.input.scale))
        pixels = operations.multiply(pixels, whole)
        pixels = operations.add(pixels, operations.constant(np.float32(use.input.zero_point)))
    limits = np.iinfo(kind.to_dtype())
    pixels = operations.round(pixels, "half_to_even")
    pixels = operations.clamp(pixels, float(limits.min), float(limits.max))
    return operations.convert(pixels, kind)


def _probabilities(raw: Any, use: Use, classes: int) -> Any:
    from openvino import opset15 as operations

    background = classes == use.classes + 1
    probabilities = raw
    if background:
        probabilities = operations.slice(
            probabilities, *(np.array([end]) for end in (1, classes, 1, 1))
        )
    if use.logits:
        return operations.softmax(probabilities, 1)
    if use.quantised or not background:  # rounded probabilities are the file's own
        return probabilities
    # What is left of a distribution without the background is one again.
    probabilities = operations.add(probabilities, operations.constant(np.float32(TINY)))
    return operations.divide(
        probabilities, operations.reduce_sum(probabilities, np.array([1]), True)
    )
