"""Fetches a published weight file into the Keras cache, whole and verified or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pooch
from pooch import HTTPDownloader

from robustness.errors import DownloadError
from robustness.models.record import PublishedFile
from robustness.models.weights import keras_cache, megabytes, published

Progress = Callable[[int, int], None]
"""Called with the bytes that have arrived and the bytes expected; may raise to stop."""

TIMEOUT_SECONDS = 30
"""Longest wait for the next bytes, not for the whole file."""

MIRROR_VARIABLE = "ROBUSTNESS_WEIGHTS_MIRROR"


def download(name: str, progress: Progress | None = None) -> Path:
    """Fetches the weights of the model ``name`` unless they are there already; returns the path.

    The bytes stream into a temporary file and get their final name once the published hash
    matches. ``$ROBUSTNESS_WEIGHTS_MIRROR``, a URL under which the files lie by name, replaces the
    official host. Raises ``UnknownNameError`` for a model without a downloadable file,
    ``DownloadCancelledError`` when ``progress`` raised it, ``DownloadError`` for anything else.
    """
    record, file = published(name)
    pooch.get_logger().setLevel("WARNING")  # progress is the caller's to show
    url = source_url(file)
    try:
        path = pooch.retrieve(
            url,
            file.digest,
            fname=file.filename,
            path=keras_cache(),
            downloader=partial(_fetch, expected=file.size, progress=progress),
        )
    except DownloadError:
        raise
    except OSError as error:  # connection and file system alike; requests' errors among them
        raise DownloadError(
            f"The weights of {record.name} ({megabytes(file.size)}) could not be fetched from "
            f"{url}: {_reason(error)}. Nothing was kept; try again when it can be reached, or "
            f"put the file into {keras_cache()}."
        ) from error
    except ValueError as error:  # pooch: the hash differs; after requests' errors for a bad URL
        raise DownloadError(
            f"What {url} sent is not the published weight file of {record.name} (its hash "
            "differs), so it was thrown away: try again, or another mirror."
        ) from error
    return Path(path)


def source_url(file: PublishedFile) -> str:
    """Where ``file`` is fetched from: the mirror if one is set, else its official URL."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    return f"{mirror.rstrip('/')}/{file.filename}" if mirror else file.url


def _fetch(url: str, path: str, pooch: Any, *, expected: int, progress: Progress | None) -> None:
    get = HTTPDownloader(chunk_size=1 << 16, timeout=TIMEOUT_SECONDS)
    with open(path, "wb") as stream:
        get(url, _Meter(stream, expected, progress), pooch)


class _Meter:
    """A file that counts what is written to it, stops at too much, and tells ``progress``.

    pooch's own progress bars are told the size of a chunk, not how much of it arrived.
    """

    def __init__(self, stream: BinaryIO, expected: int, progress: Progress | None) -> None:
        self._stream = stream
        self._expected = expected
        self._progress = progress
        self._arrived = 0

    def write(self, data: bytes) -> None:
        self._arrived += len(data)
        if self._arrived > self._expected:
            raise DownloadError(
                f"The server sent more than the expected {self._expected} bytes, so the file was "
                "thrown away: try another mirror."
            )
        self._stream.write(data)
        if self._progress is not None:
            self._progress(self._arrived, self._expected)

    def flush(self) -> None:
        self._stream.flush()


def _reason(error: OSError) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    kinds = {
        "ConnectTimeout": "no answer",
        "ReadTimeout": f"no more bytes for {TIMEOUT_SECONDS} seconds",
        "ConnectionError": "the host cannot be reached",
        "ProxyError": "the proxy refused",
        "ChunkedEncodingError": "the connection broke off",
    }
    return kinds.get(type(error).__name__, error.strerror or type(error).__name__)
