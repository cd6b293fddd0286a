"""What runs a model, and what a model of the user's cannot do, for people."""

from __future__ import annotations

from collections.abc import Iterator

from robustness.models.class_labels import imagenet
from robustness.models.file_formats.formats import BY_OPENVINO, is_quantised
from robustness.models.graph.conversion_record_and_cache import conversion
from robustness.models.model_and_weights_record import ModelRecord
from robustness.models.run.openvino_and_engine_choice import F32, TENSORFLOW, chosen
from robustness.models.weights.weights_state_and_digest import digest, state
from robustness.pictures.framing_and_study_image import STUDY_FRAMING, STUDY_SIDE


def engine_text(record: ModelRecord) -> str:
    """The engine of ``record`` in words, and why it is not OpenVINO."""
    record = record.base or record
    choice, file = chosen(), record.weights.own
    if file and file.call:
        return f"Python, {file.kind}"
    sides = STUDY_SIDE, record.input_size
    converted = conversion(record, digest(record), *sides) if state(record).ready else None
    refusal = converted.refusal if converted else ""
    kind, runtime = record.weights.format, record.weights.native_runtime
    if refusal:
        runtime = kind.runtime
    if runtime:
        return runtime.label if kind.is_graph or not refusal else f"{runtime.label}: {refusal}"
    if choice.engine == TENSORFLOW and not (converted and converted.missing):
        return "TensorFlow"
    return "OpenVINO" if choice.precision == F32 else f"OpenVINO, {choice.precision}"


def limitations(record: ModelRecord) -> Iterator[str]:
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
        runtime = record.weights.format.runtime
        if converted is None:
            yield "Gradient support is checked when the model is first used."
        elif converted.refusal and runtime:
            yield (
                f"Predictions only, by {runtime.label}: {converted.refusal}. There are no feature "
                "similarities and no heat maps, and Square is the only attack."
            )
        elif converted.missing:
            yield (
                f"No gradients: {', '.join(converted.missing)} cannot be differentiated here. "
                "Square is the only attack, and there are no heat maps."
            )
