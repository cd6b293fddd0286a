"""Sharing of uploads by link: copies beside the runs, deleted when they expire.

A copy is untrusted like any upload: each viewer's request decodes it again, within limits. Viewers
see its pixels; nobody receives the file itself.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from robustness.base import settings
from robustness.base.errors import AccessError, ParameterError, RobustnessError
from robustness.base.files_and_locks import read_regular, stored_bytes, write_whole
from robustness.base.permission_policy_and_check import Action, policy
from robustness.base.text import counted, plain
from robustness.ui.session import access, uploads_after_reload
from robustness.ui.session.runs_folder_and_links import UPLOAD, runs_folder
from robustness.ui.session.upload_limit import room

FOLDER = ".shared"
"""Folder of the copies, among the runs."""

MOST_BYTES = 20 * 10**6
_MOST_HEAD = 2000
_DAY = 24 * 3600.0
_ID = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True)
class Shared:
    """A shared copy: unguessable id, the image's name, owner, and expiry."""

    id: str
    name: str
    owner: str
    until: float

    @property
    def expiry(self) -> str:
        """The day when it is deleted."""
        day = datetime.fromtimestamp(self.until, UTC)
        return f"{day.day} {day:%B %Y}"


def shared(id_: str) -> tuple[Shared, bytes] | None:
    """The copy ``id_`` and its bytes; None if there is none or sharing is off."""
    if not _ID.fullmatch(id_) or _days() is None:
        return None
    with suppress(OSError):
        head, _, data = read_regular(_place() / id_, MOST_BYTES + _MOST_HEAD).partition(b"\n")
        copy = _said(id_, head)
        return (copy, data) if copy and copy.until > time.time() else None
    return None


def share(name: str, data: bytes) -> str:
    """Make this session's copy of ``data``, an image called ``name``, and return its id.

    Raises ``AccessError`` if the session may not share, ``ParameterError`` if the image is too
    large or there is no room.
    """
    access.require(Action.SHARE, thing=name)
    days = _days()
    if days is None:
        raise AccessError(f"Sharing is off: ask {policy().contact} to set 'shared_days'.")
    taken = stored_bytes(_place())
    if len(data) > MOST_BYTES or taken + len(data) > room():
        raise ParameterError(
            f"Expected an image of at most {min(MOST_BYTES, room() - taken) / 1e6:,.1f} MB to "
            f"share, got {len(data) / 1e6:,.1f} MB. Upload a smaller copy, or delete shared images."
        )
    copy = Shared(
        secrets.token_urlsafe(16), name[:100], access.who().name, time.time() + days * _DAY
    )
    head = json.dumps({"name": copy.name, "owner": copy.owner, "until": copy.until})
    _place().mkdir(parents=True, exist_ok=True)
    write_whole(_place() / copy.id, head.encode() + b"\n" + data)
    return copy.id


def forget_expired() -> None:
    """Delete expired copies, and files that are not copies."""
    with suppress(OSError, RobustnessError):
        for path in _place().iterdir():
            copy = _head(path)
            if copy is None or copy.until <= time.time():
                path.unlink(missing_ok=True)


def button(files: Sequence[tuple[str, bytes]]) -> None:
    """Draw the menu that shares the only one of ``files``, name and bytes, and deletes copies.

    Draws nothing where sharing is off.
    """
    if (days := _days()) is None:
        return
    mine = [one for one in _all() if not access.refusal(Action.UNSHARE, one.owner)]
    if not mine and len(files) != 1:
        return
    with st.popover("Share", icon=":material/share:"):
        linked = st.query_params.get(UPLOAD, "")
        if len(files) == 1 and uploads_after_reload.is_own(linked):
            st.caption(
                "Includes the image in the link. Everyone with the link who may use this dashboard "
                f"sees it for {counted(days, 'day')}."
            )
            may = access.allowed(Action.SHARE, key="share", thing=files[0][0])
            if st.button("Share this image", icon=":material/share:", **may):
                st.query_params[UPLOAD] = share(*files[0])
                st.rerun()
        for one in sorted(mine, key=lambda one: -one.until):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(plain(f"{one.name}: shared until {one.expiry}"), width="stretch")
                if st.button("Delete", key=f"unshare {one.id}", icon=":material/delete:"):
                    _delete(one)
                    if linked == one.id:
                        st.query_params[UPLOAD] = uploads_after_reload.keep(files)
                    st.rerun()


def _delete(one: Shared) -> None:
    access.require(Action.UNSHARE, one.owner, one.name)
    (_place() / one.id).unlink(missing_ok=True)


def _all() -> Iterator[Shared]:
    forget_expired()
    with suppress(OSError):
        for path in _place().iterdir():
            if copy := _head(path):
                yield copy


def _head(path: Path) -> Shared | None:
    with suppress(OSError), path.open("rb") as file:
        return _said(path.name, file.readline(_MOST_HEAD))
    return None


def _said(id_: str, head: bytes) -> Shared | None:
    """The record in a copy's first line; None if it is not a copy."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        said = json.loads(head)
        return Shared(id_, str(said["name"]), str(said["owner"]), float(said["until"]))
    return None


def _days() -> int | None:
    return settings.value(settings.SHARED_DAYS)


def _place() -> Path:
    return runs_folder() / FOLDER
