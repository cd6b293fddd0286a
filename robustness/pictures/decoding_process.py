"""The process that decodes images for ``pictures.untrusted``."""

from __future__ import annotations

import json

from PIL import AvifImagePlugin, Image

from robustness.base.errors import ImageError
from robustness.base.limited_worker import serve
from robustness.pictures.decoding import CostError, as_subject, decode
from robustness.pictures.fitting import Framing, fitted
from robustness.pictures.properties import measured

PIXELS, SENTENCE, NEEDS = b"P", b"S", b"N"
"""First byte of a reply: 8-bit RGB, a sentence, or the bytes of memory needed follow."""


def answer(head: bytes, data: bytes) -> bytes:
    """The study image of the image in ``data``, or the reason why there is none.

    ``head`` is JSON: ``name``, ``fit``, ``side``, the ``allowed`` bytes, ``pixels``, and whether
    the ``properties`` of the image follow its pixels, as JSON.
    """
    request = json.loads(head)
    fit, side, tells = request.pop("fit"), request.pop("side"), request.pop("properties")
    try:
        image = decode(data, **request)
        size = image.size
        try:
            image = fitted(image, Framing(fit, side))
        except MemoryError:
            raise ImageError(
                f"{as_subject(request['name'])} takes too much memory to resize: expected a "
                "smaller image; save a copy of fewer pixels."
            ) from None
        properties = json.dumps(measured(data, size, image, fit)).encode() if tells else b""
        return PIXELS + image.tobytes() + properties
    except CostError as error:
        return NEEDS + str(error.needed).encode()
    except ImageError as error:
        return SENTENCE + str(error).encode("utf-8", "replace")


if __name__ == "__main__":
    Image.init()  # load all formats outside the memory limit
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread takes memory
    serve(answer)
