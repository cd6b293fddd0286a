"""Limits of the user's models: what each cannot do, and why."""

from __future__ import annotations

from collections.abc import Iterator

from robustness.models.file_formats.kinds import is_graph_file, stands_in
from robustness.models.inference.kept import missing_gradients
from robustness.models.model_record import ModelRecord, UserFile
from robustness.models.python_models.record import PythonModel
from robustness.models.weights.ready import digest, state
from robustness.pictures.fitting import STUDY_SIDE


def limits(record: ModelRecord) -> Iterator[str]:
    """Yield the limits of ``record``, each a sentence or two; none of a built-in model."""
    file = record.weights
    if not isinstance(file, UserFile):
        return
    if record.input_shape:
        yield (
            f"Input of {record.input_text}: square images are stretched to it. For whole images "
            "of this shape, choose the fit 'squash'. A quarter turn rotates the square image "
            "before it is stretched."
        )
    if stands_in(file.path, file.runtime):
        yield (
            "Not measured as deployed: onnxruntime is not installed, and OpenVINO rounds "
            "differently."
        )
    if isinstance(file, PythonModel):
        yield (
            "Called as a function: no feature similarities and no heat maps, and Square is the "
            "only attack. Keras and torch networks have no such limits if they can be exported."
        )
    elif not state(record).ready:
        return
    elif file.path.is_dir():
        yield "No feature similarities: a SavedModel only gives predictions."
    elif is_graph_file(file.path):
        weights = digest(record)
        known = (missing_gradients(record, weights, s) for s in (STUDY_SIDE, record.input_size))
        yield from _gradients(next((each for each in known if each is not None), None))


def _gradients(missing: tuple[str, ...] | None) -> Iterator[str]:
    if missing is None:
        yield "Gradient support is checked when the model is first used."
    elif missing:
        yield (
            f"No gradients: {', '.join(missing)} cannot be differentiated here. Square is the only "
            "attack, and there are no heat maps."
        )
