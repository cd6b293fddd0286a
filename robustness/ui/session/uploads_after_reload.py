"""Uploads that outlast a reload of their page, for the browser that sent them.

A reload begins another session; the one before ends two minutes later. The link names the upload by
a token that works with that browser's cookie alone. The upload is in the memory of the sessions
that show it, and goes with the last of them.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import streamlit as st

from robustness.base.permission_policy_and_check import Action
from robustness.ui.session import access

OWN = "own"
"""Value of the link parameter ``UPLOAD``, or its beginning, for an image that is not shared."""

Files = Sequence[tuple[str, bytes]]
"""Names and contents of files."""

KEY = "upload in the link"
"""Session key: what the link names."""

_LINK = re.compile(rf"{OWN}-([A-Za-z0-9_-]{{22}})-([0-9a-f]{{16}})")


@dataclass(frozen=True, eq=False)
class _Upload:
    """What a link names, for the ``browser`` with this cookie while it is ``owner``'s."""

    files: Files
    browser: str
    owner: str


_UPLOADS: WeakValueDictionary[str, _Upload] = WeakValueDictionary()


def keep(files: Files) -> str:
    """Keep ``files`` in place of this session's last; return the link's value for ``UPLOAD``."""
    forget()
    browser = _browser()
    if not files or not browser:
        return OWN
    token = secrets.token_urlsafe(16)
    link = f"{OWN}-{token}-{_mark(token, browser)}"
    st.session_state[KEY] = _UPLOADS[link] = _Upload(tuple(files), browser, access.me())
    return link


def forget() -> None:
    """Let go of the files of this session."""
    st.session_state.pop(KEY, None)


def uploads(link: str) -> Files:
    """The files that ``link`` names, which this session keeps from now on, too.

    There are none if every session that showed them has ended, for another browser or user, and for
    one that may not upload.
    """
    upload = _UPLOADS.get(link)
    is_mine = upload and (upload.browser, upload.owner) == (_browser(), access.me())
    if upload is None or not is_mine or access.refusal(Action.UPLOAD):
        return ()
    st.session_state[KEY] = upload
    return upload.files


def is_own(link: str) -> bool:
    """Whether ``link`` is for an upload that is not shared."""
    return link == OWN or _LINK.fullmatch(link) is not None


def is_mine(link: str) -> bool:
    """Whether ``link`` was made in this browser."""
    match, browser = _LINK.fullmatch(link), _browser()
    return match is not None and bool(browser) and match[2] == _mark(match[1], browser)


def contents() -> list[bytes]:
    """The contents of all files that are kept."""
    return [data for upload in list(_UPLOADS.values()) for _, data in upload.files]


def _browser() -> str:
    connection = access.connection()
    return connection.cookies.get(access.COOKIE, "") if connection else ""


def _mark(token: str, browser: str) -> str:
    """What shows that the browser with this cookie made the link, and nothing else about it."""
    return hashlib.sha256(f"{token} {browser}".encode()).hexdigest()[:16]
