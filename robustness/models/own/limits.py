"""Limits of the user's models: what each cannot do, and why."""

from __future__ import annotations

from collections.abc import Iterator

from robustness.models.file_formats.formats import BY_OPENVINO, format_of, is_quantised
from robustness.models.file_formats.model_format import Runtime
from robustness.models.graph.cache import Conversion, conversion
from robustness.models.labels import imagenet
from robustness.models.model_record import ModelRecord
from robustness.models.weights.weight_files import digest, state
from robustness.pictures.fitting import STUDY_FRAMING, STUDY_SIDE


def limits(record: ModelRecord) -> Iterator[str]:
    """Yield the limits of ``record``, each a sentence or two; none of a built-in model."""
    record = record.base or record
    file = record.weights.own
    if file is None:
        return
    if record.input_shape:
        yield (
            f"Input of {record.input_text}: square images are stretched to it. A quarter turn "
            "rotates the square image before it is stretched."
        )
    if record.framing == STUDY_FRAMING and record.labels is not imagenet:
        yield (
            f"Images are cropped to {STUDY_SIDE} px by default. For whole images at its own "
            'size, add fit = "squash" to its description.'
        )
    if file.runtime == BY_OPENVINO and is_quantised(file.path):
        yield (
            'Not measured as deployed: its description says runtime = "openvino", which rounds '
            "differently."
        )
    if file.call:
        yield (
            "Called as a function: no feature similarities and no heat maps, and Square is the "
            "only attack. Keras and torch networks have no such limits if they can be exported."
        )
    elif state(record).ready:
        converted = conversion(record, digest(record), STUDY_SIDE, record.input_size)
        runtime = format_of(file.path).runtime
        yield from _of_graph(converted, runtime)


def _of_graph(converted: Conversion | None, runtime: Runtime | None) -> Iterator[str]:
    if converted is None:
        yield "Gradient support is checked when the model is first used."
    elif converted.refusal and runtime:
        yield (
            f"Predictions only, by {runtime.label}: {converted.refusal}. There are no feature "
            "similarities and no heat maps, and Square is the only attack."
        )
    elif converted.missing:
        yield (
            f"No gradients: {', '.join(converted.missing)} cannot be differentiated here. Square "
            "is the only attack, and there are no heat maps."
        )
