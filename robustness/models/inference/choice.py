"""Which engine runs the forward passes, in which precision: as set, else as this machine has it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from robustness.base import settings
from robustness.base.errors import ParameterError
from robustness.models.in_tensorflow.runtime import has_gpu
from robustness.models.inference.forward_pass import BF16, F32, Precision
from robustness.models.inference.openvino_core import core

OPENVINO, TENSORFLOW = "openvino", "tensorflow"


@dataclass(frozen=True)
class Choice:
    """An engine by name, and the precision it computes in."""

    engine: str
    precision: Precision

    def __str__(self) -> str:
        """The engine with its version and precision, as manifests name it; nothing is imported."""
        return f"{self.engine} {version(self.engine)}, {self.precision}"


def chosen() -> Choice:
    """What the settings ``engine`` and ``precision`` ask for.

    Without them OpenVINO in float32, or TensorFlow where that sees a GPU. Raises
    ``ParameterError`` for another engine or precision, or for one that the engine or this processor
    does not have.
    """
    engine = settings.value(settings.ENGINE)
    precision = settings.value(settings.PRECISION) or F32
    if engine is None:
        engine = TENSORFLOW if has_gpu() else OPENVINO
    if engine == TENSORFLOW and precision != F32:
        raise ParameterError(
            f"The setting 'precision' may be {precision!r} with the engine 'openvino' alone; "
            "TensorFlow computes in float32."
        )
    if precision == BF16 and not _has_bf16():
        raise ParameterError(
            "The setting 'precision' may not be 'bf16' here: this machine's processor does not "
            "compute in bfloat16. Leave it out for float32."
        )
    return Choice(engine, precision)


@cache
def _has_bf16() -> bool:
    """Whether OpenVINO finds that this processor does; on others it may fail when asked to."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
