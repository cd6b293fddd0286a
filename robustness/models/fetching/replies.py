"""What a host's answer means for a download: its status, its headers, or its failure."""

from __future__ import annotations

import base64
import binascii
import email.utils
import re
import time
from dataclasses import dataclass

import requests

WITH_BODY = (200, 206)

_AGAIN = {408, 425, 429, *range(500, 600)}
"""Statuses that may be others the next time; any other failure stays."""

_LONGEST_WAIT_SECONDS = 30.0
"""Of what a host asks for in ``Retry-After``."""


class SourceError(Exception):
    """A source failed; the text is the reason, part of a sentence.

    ``again`` says whether another try may succeed, after ``wait_seconds`` where the host asks for
    that. ``status`` is its answer.
    """

    def __init__(
        self,
        reason: str,
        *,
        again: bool = False,
        wait_seconds: float = 0,
        status: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.again = again
        self.wait_seconds = wait_seconds
        self.status = status


@dataclass(frozen=True)
class Reply:
    """The head of an answer whose body is of use, or which says that a part is not.

    The body begins at byte ``start`` of ``total``, None where that is not announced. ``digest`` is
    the host's own hash of the whole file. ``framed`` says whether a cut body is noticed.
    """

    status: int
    start: int
    total: int | None
    digest: str | None
    framed: bool
    restart: bool = False


def read_head(response: requests.Response, start: int) -> Reply:
    """What ``response`` says to a request for the bytes from ``start`` on.

    Raises ``SourceError`` for a status that is none of the file's.
    """
    status = response.status_code
    headers = response.headers
    if start and status == 416:
        return Reply(status, 0, None, None, True, restart=True)
    if status not in WITH_BODY or (status == 206 and not start):
        raise SourceError(
            f"the server answered {status} {response.reason or ''}".rstrip(),
            again=status in _AGAIN,
            wait_seconds=_retry_after(headers.get("Retry-After", "")),
            status=status,
        )
    plain = headers.get("Content-Encoding", "identity") == "identity"
    framed = "Content-Length" in headers or "Transfer-Encoding" in headers
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start or not plain:
            return Reply(status, 0, None, None, framed, restart=True)
        total = int(match[2]) if match[2] != "*" else None
        return Reply(status, start, total, _host_digest(response), framed)
    length = headers.get("Content-Length", "")
    total = int(length) if plain and length.isdecimal() else None
    return Reply(status, 0, total, _host_digest(response), framed)


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


def trouble(error: Exception, timeout: float, *, answered: bool) -> SourceError:
    """What a failed request means; ``answered`` says whether the body had begun."""
    failures = requests.exceptions
    late = f"no bytes for {timeout:g} seconds"
    if isinstance(error, failures.InvalidURL | failures.MissingSchema | failures.InvalidSchema):
        if re.search("proxy|SOCKS", str(error), re.IGNORECASE):
            return SourceError("the proxy variables name no usable http:// or https:// proxy")
        return SourceError("it is not a usable URL")
    if isinstance(error, failures.TooManyRedirects):
        return SourceError("it redirects in circles")
    if isinstance(error, failures.SSLError):
        return SourceError("its certificate was not accepted")
    if isinstance(error, failures.ProxyError):
        return SourceError("the proxy cannot be reached or refused", again=True)
    if isinstance(error, failures.ConnectTimeout):
        return SourceError("no answer", again=True)
    if isinstance(error, failures.ReadTimeout) or "Read timed out" in str(error):
        return SourceError(late, again=True)
    if isinstance(error, failures.ChunkedEncodingError | failures.ContentDecodingError) or answered:
        return SourceError("the connection broke off", again=True)
    if isinstance(error, failures.ConnectionError):
        broken = "reset" in str(error) or "without response" in str(error)
        reason = "the connection broke off" if broken else "the host cannot be reached"
        return SourceError(reason, again=True)
    if isinstance(error, ValueError):  # a host name that cannot be encoded, among others
        return SourceError("it is not a usable URL")
    return SourceError(f"the request failed ({type(error).__name__})", again=True)
