"""Fetches a published weight file into the Keras cache, whole and verified or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

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
    url = source_url(file)
    try:
        path = pooch.retrieve(
            url,
            file.digest,
            fname=file.filename,
            path=keras_cache(),
            downloader=HTTPDownloader(
                progressbar=_Meter(file.size, progress),
                chunk_size=1 << 16,
                timeout=TIMEOUT_SECONDS,
            ),
        )
    except DownloadError:
        raise
    except ValueError as error:  # pooch: the hash differs
        raise DownloadError(
            f"What {url} sent is not the published weight file of {record.name} (its hash "
            "differs), so it was thrown away: try again, or another mirror."
        ) from error
    except OSError as error:  # connection and file system alike; requests' errors among them
        raise DownloadError(
            f"The weights of {record.name} ({megabytes(file.size)}) could not be fetched from "
            f"{url}: {_reason(error)}. Nothing was kept; try again when it can be reached, or "
            f"put the file into {keras_cache()}."
        ) from error
    return Path(path)


def source_url(file: PublishedFile) -> str:
    """Where ``file`` is fetched from: the mirror if one is set, else its official URL."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    return f"{mirror.rstrip('/')}/{file.filename}" if mirror else file.url


class _Meter:
    """What pooch calls a progress bar: counts the bytes and hands them to ``progress``."""

    def __init__(self, expected: int, progress: Progress | None) -> None:
        self.total = expected
        self._expected = expected
        self._progress = progress
        self._arrived = 0

    def update(self, count: int) -> None:
        self._arrived += count
        if self._arrived > self._expected:
            raise DownloadError(
                f"The server sent more than the expected {self._expected} bytes, so the file was "
                "thrown away: try another mirror."
            )
        if self._progress is not None:
            self._progress(self._arrived, self._expected)

    def reset(self) -> None:
        """Called by pooch before its last update, which repeats the total."""
        self._arrived = 0

    def close(self) -> None:
        """Nothing to close."""


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
