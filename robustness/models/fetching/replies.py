"""What a host's answer means for a download: its status, its headers, or its failure."""

from __future__ import annotations

import base64
import binascii
import email.utils
import re
import time
from dataclasses import dataclass

import requests
from requests import exceptions

BROKE_OFF = "the connection broke off"

_AGAIN = {408, 425, 429, *range(500, 600)}
"""Statuses that may be others the next time; any other failure stays."""

_LONGEST_WAIT_SECONDS = 30.0
"""Of what a host asks for in ``Retry-After``."""


@dataclass(eq=False)
class SourceError(Exception):
    """A source failed; ``reason`` is part of a sentence, and what the error says.

    ``again`` says whether another try may succeed, after ``wait_seconds`` where the host asks for
    that. ``status`` is its answer.
    """

    reason: str
    again: bool = False
    wait_seconds: float = 0
    status: int | None = None

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Reply:
    """The head of an answer whose body is of use.

    The body begins at byte ``start`` of ``total``, None where that is not announced. ``digest`` is
    the host's own hash of the whole file. ``framed`` says whether a cut body is noticed.
    """

    start: int
    total: int | None
    digest: str | None
    framed: bool


def read_head(response: requests.Response, start: int) -> Reply | None:
    """What ``response`` says to a request for the bytes from ``start`` on; None if it has none.

    Raises ``SourceError`` for a status that is none of the file's.
    """
    status, headers = response.status_code, response.headers
    if status != 200 and not (start and status in (206, 416)):
        raise SourceError(
            f"the server answered {status} {response.reason or ''}".rstrip(),
            again=status in _AGAIN,
            wait_seconds=_retry_after(headers.get("Retry-After", "")),
            status=status,
        )
    plain = headers.get("Content-Encoding", "identity") == "identity"
    length = headers.get("Content-Length", "")
    begin, total = 0, int(length) if plain and length.isdecimal() else None
    if status != 200:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        if span is None or int(span[1]) != start or not plain:
            return None
        begin, total = start, None if span[2] == "*" else int(span[2])
    framed = "Content-Length" in headers or "Transfer-Encoding" in headers
    return Reply(begin, total, _host_digest(response), framed)


def _retry_after(text: str) -> float:
    """The wait in seconds that a header asks for, in either of its forms."""
    if text.strip().isdecimal():
        seconds = float(text)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(_LONGEST_WAIT_SECONDS, max(0.0, seconds))


def _host_digest(response: requests.Response) -> str | None:
    """The host's hash of the whole file: Google Storage's, or that of Hugging Face's redirect."""
    for answer in (response, *response.history):
        stored = answer.headers.get("x-goog-stored-content-encoding", "identity")
        for entry in answer.headers.get("x-goog-hash", "").split(","):
            algorithm, _, value = entry.strip().partition("=")
            if algorithm == "md5" and stored == "identity":  # else it is of the compressed file
                try:
                    return f"md5:{base64.b64decode(value, validate=True).hex()}"
                except binascii.Error:
                    continue
        linked = answer.headers.get("X-Linked-ETag", "").strip('"').lower()
        if re.fullmatch(r"[0-9a-f]{64}", linked):
            return f"sha256:{linked}"
    return None


_TROUBLE: tuple[tuple[type[Exception], str, bool], ...] = (
    (exceptions.SSLError, "its certificate was not accepted", False),
    (exceptions.ProxyError, "the proxy cannot be reached or refused", True),
    (exceptions.ConnectionError, "the host cannot be reached", True),
    (ValueError, "it is not a usable URL", False),  # or its host's name cannot be encoded
    (Exception, "the request failed", True),
)
"""What an exception means, and whether another try may succeed; the first that fits counts."""


def trouble(error: Exception, timeout: float, *, answered: bool) -> SourceError:
    """What a failed request means; ``answered`` says whether the body had begun."""
    text = str(error)
    if isinstance(error, exceptions.ReadTimeout) or "Read timed out" in text:
        return SourceError(f"no bytes for {timeout:g} seconds", again=True)
    if answered or "Connection aborted" in text:
        return SourceError(BROKE_OFF, again=True)
    if isinstance(error, ValueError) and re.search("proxy|SOCKS", text, re.IGNORECASE):
        return SourceError("the proxy variables name no usable http:// or https:// proxy")
    reason, again = next((r, again) for kind, r, again in _TROUBLE if isinstance(error, kind))
    return SourceError(reason, again=again)
