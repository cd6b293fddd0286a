"""What a process does that decodes images for another: ``python -m robustness.pictures.decoder``.

It is asked by ``pictures.untrusted``.
"""

from __future__ import annotations

import json

from PIL import AvifImagePlugin, Image

from robustness.base.errors import ImageError
from robustness.base.limited_worker import serve
from robustness.pictures.cost import CostError
from robustness.pictures.decoding import decode
from robustness.pictures.fitting import fitted

PIXELS, SENTENCE, NEEDS = b"P", b"S", b"N"
"""What an answer begins with: 8-bit RGB follows, or a sentence, or the bytes of memory to allow."""


def answer(head: bytes, data: bytes) -> bytes:
    """The study image of the image in ``data``, or why there is none.

    ``head`` is JSON: the ``name``, ``fit`` and ``side``, how much memory is ``allowed``, and how
    many ``pixels``.
    """
    asked = json.loads(head)
    fit, side = asked.pop("fit"), asked.pop("side")
    try:
        return PIXELS + fitted(decode(data, **asked), fit, side).tobytes()
    except CostError as error:
        return NEEDS + str(error.needed).encode()
    except ImageError as error:
        return SENTENCE + str(error).encode("utf-8", "replace")


if __name__ == "__main__":
    Image.init()  # all formats now, rather than under an image's limit
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each takes memory
    serve(answer)
