"""The process that perturbs reference images and takes their statistics."""

from __future__ import annotations

import json

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from robustness.base.workers import serve
from robustness.images.framing import Framing
from robustness.images.pixels import from_uint8
from robustness.matching.saving import SaveStep, perturbed_and_saved
from robustness.matching.statistics import image_statistics
from robustness.perturbations import REGISTRY, compose


def answer(head: bytes, data: bytes) -> bytes:
    """Return the statistics (N, D) in float32 of the 8-bit images (N, S, S, 3) in ``data``.

    ``head`` is JSON: the ``side`` and ``seed``, and for each image the ``strengths`` of its
    composition and the ``digests`` of its random streams. With a ``framing`` each is also saved by
    its one of ``steps``. Nothing is returned if this process does not know a perturbation, such as
    one of a plugin.
    """
    request = json.loads(head)
    side = request["side"]
    known = set(REGISTRY.names)
    images = np.frombuffer(data, np.uint8).reshape(-1, side, side, 3)
    seed = request["seed"]
    framing = Framing.of(request["framing"]) if "framing" in request else None
    vectors = []
    for index, pixels in enumerate(images):
        strengths = request["strengths"][index]
        digest = request["digests"][index]
        if not set(strengths) <= known:
            return b""
        if framing is None:
            original = from_uint8(pixels)[None]
            perturbed = compose(original, strengths, seed=seed, digests=[digest])[0]
        else:
            step = SaveStep(*request["steps"][index])
            saved = perturbed_and_saved(pixels, strengths, seed, digest, step, framing)
            perturbed = from_uint8(saved)
        vectors.append(image_statistics(perturbed))
    return np.stack(vectors).tobytes()


if __name__ == "__main__":
    cv2.setNumThreads(1)
    with threadpool_limits(limits=1, user_api="blas"):
        serve(answer)
