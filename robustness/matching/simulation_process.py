"""The process that perturbs reference images and takes their statistics."""

from __future__ import annotations

import json

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from robustness.base.workers import serve
from robustness.images.pixels import from_uint8
from robustness.matching.statistics import image_statistics
from robustness.perturbations import REGISTRY, compose


def answer(head: bytes, data: bytes) -> bytes:
    """The statistics (N, D) in single precision of the 8-bit images (N, S, S, 3) in ``data``.

    ``head`` is JSON: the ``side`` and ``seed``, and for each image the ``strengths`` of its
    composition and the ``digests`` of its random streams. Nothing is returned if this process does
    not know a perturbation, such as one of a plugin.
    """
    request = json.loads(head)
    vectors = []
    for pixels, strengths, digest in zip(
        np.frombuffer(data, np.uint8).reshape(-1, request["side"], request["side"], 3),
        request["strengths"],
        request["digests"],
        strict=True,
    ):
        if not set(strengths) <= {*REGISTRY.names}:
            return b""
        plain = from_uint8(pixels)[None]
        images = compose(plain, strengths, seed=request["seed"], digests=[digest])
        vectors.append(image_statistics(images[0]))
    return np.stack(vectors).tobytes()


if __name__ == "__main__":
    cv2.setNumThreads(1)
    with threadpool_limits(limits=1, user_api="blas"):
        serve(answer)
