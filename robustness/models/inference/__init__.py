"""Engines for forward passes: OpenVINO or TensorFlow."""

import sys
from typing import Any

# OpenVINO reports every import to Google Analytics unless this module is missing.
_modules: dict[str, Any] = sys.modules
_modules.setdefault("openvino_telemetry", None)
