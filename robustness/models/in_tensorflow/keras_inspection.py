"""Builds a ``.keras`` file and runs it on images, in a process with limits on memory and time.

``user_network`` starts it.
"""

from __future__ import annotations

import json
from pathlib import Path

from robustness.base.errors import WeightsError
from robustness.base.limited_worker import serve
from robustness.models.in_tensorflow.runtime import keras
from robustness.models.in_tensorflow.user_network import inspected


def answer(head: bytes, _data: bytes) -> bytes:
    """The facts of the file as JSON, or its ``refusal``.

    ``head`` is JSON with the ``path`` of the file and the ``shape`` of its images, if known.
    """
    request = json.loads(head)
    shape = tuple(request["shape"]) if request["shape"] else None
    try:
        return json.dumps(inspected(Path(request["path"]), shape)).encode()
    except WeightsError as error:
        return json.dumps({"refusal": str(error)}).encode()


if __name__ == "__main__":
    keras()  # TensorFlow itself is not under a file's limit
    serve(answer)
