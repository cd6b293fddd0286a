"""What runs the forward passes: OpenVINO on the processor, or TensorFlow."""

import sys
from typing import Any

# OpenVINO tells Google Analytics of every import of it, unless it cannot import this.
_modules: dict[str, Any] = sys.modules
_modules.setdefault("openvino_telemetry", None)
