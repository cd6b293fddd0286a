"""The choice of engine and precision, from the settings or this machine."""

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
    """An engine by name, and its precision."""

    engine: str
    precision: Precision

    def __str__(self) -> str:
        """The engine with version and precision, as in manifests; imports nothing."""
        return f"{self.engine} {version(self.engine)}, {self.precision}"


def chosen() -> Choice:
    """The choice that the settings ``engine`` and ``precision`` make.

    By default OpenVINO in float32, or TensorFlow if it sees a GPU. Raises ``ParameterError`` for
    an unknown engine or precision, or one that the engine or processor lacks.
    """
    engine = settings.value(settings.ENGINE)
    precision = settings.value(settings.PRECISION) or F32
    if engine is None:
        engine = TENSORFLOW if has_gpu() else OPENVINO
    if engine == TENSORFLOW and precision != F32:
        raise ParameterError(
            f"Expected no setting 'precision', or 'f32', with the engine 'tensorflow', got "
            f"{precision!r}. Set 'engine' to 'openvino', or leave 'precision' out."
        )
    if precision == BF16 and not _has_bf16():
        raise ParameterError(
            "Expected a processor with bfloat16 for the setting 'precision' = 'bf16', got one "
            "without it. Leave the setting out for float32."
        )
    return Choice(engine, precision)


@cache
def _has_bf16() -> bool:
    """Whether OpenVINO finds bfloat16 in this processor; on others it may fail."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
