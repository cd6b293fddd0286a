"""The process that decodes images for ``sandbox``."""

from __future__ import annotations

import json

import cv2
from PIL import AvifImagePlugin, Image

from robustness.base.errors import ImageError
from robustness.base.workers import serve
from robustness.images.decoding import CostError, as_subject, decode
from robustness.images.framing import Framing, frame
from robustness.images.properties import PropertyValues, measured

PIXELS = b"P"
SENTENCE = b"S"
NEEDS = b"N"
"""First byte of a reply: a line of JSON and 8-bit RGB pixels, a sentence, or the bytes of memory
needed follow."""


def answer(head: bytes, data: bytes) -> bytes:
    """The image in ``data`` in each framing, or the reason why there is none.

    ``head`` is JSON: ``name``, the ``framings``, the one whose digest seeds random ``streams``, the
    ``allowed`` bytes, ``pixels``, and whether the ``properties`` of the image are measured. A reply
    with pixels has a line of JSON with ``source``, ``stream`` and ``properties``, then the pixels
    in each framing.
    """
    request = json.loads(head)
    framings = [Framing.of(mapping) for mapping in request["framings"]]
    study = Framing.of(request["study"])
    try:
        image = decode(
            data, name=request["name"], allowed=request["allowed"], pixels=request["pixels"]
        )
        try:
            framed, study_pixels = frame(image, framings, study=study)
        except MemoryError:
            raise ImageError(
                f"{as_subject(request['name'])} takes too much memory to resize: expected a "
                "smaller image; save a copy of fewer pixels."
            ) from None
        properties: PropertyValues = {}
        if request["properties"]:
            properties = measured(data, image.size, study_pixels)
    except CostError as error:
        return NEEDS + str(error.needed).encode()
    except ImageError as error:
        return SENTENCE + str(error).encode("utf-8", "replace")
    about = {"source": framed.source, "stream": framed.stream, "properties": properties}
    pixels = b"".join(array.tobytes() for array in framed.pixels)
    return PIXELS + json.dumps(about).encode() + b"\n" + pixels


if __name__ == "__main__":
    Image.init()  # load all formats outside the memory limit
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread takes memory
    cv2.setNumThreads(1)
    serve(answer)
