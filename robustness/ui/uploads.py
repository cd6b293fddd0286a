"""Limits on uploads, which are held in the server's memory: who may send them, and how much.

Uploads that outlast a reload of their page, for the browser that sent them.

A reload begins another session; the one before ends two minutes later. The link names the upload by
a token that works with that browser's cookie alone. The upload is in the memory of the sessions
that show it, and goes with the last of them.

Sharing of uploads by link: copies beside the runs, deleted when they expire.

A copy is untrusted like any upload: each viewer's request decodes it again, within limits. Viewers
see its pixels; nobody receives the file itself.

Uploaded images, stored beside the runs under their digest while they are needed.

A session of this server or the manifest of a run, in the bin or not, may need them. The setting
``uploads`` limits their total size.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import secrets
import shutil
import threading
import time
import weakref
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from weakref import WeakValueDictionary

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from robustness.base import settings
from robustness.base.errors import AccessError, ParameterError, RobustnessError
from robustness.base.files import read_regular, stored_bytes, write_whole
from robustness.base.roles import Action, policy
from robustness.base.text import counted, plain
from robustness.datasets import distinct
from robustness.runs import BIN, MANIFEST_FILE, UPLOADS, jobs
from robustness.runs.manifest import MAX_BYTES as MAX_MANIFEST
from robustness.ui import session
from robustness.ui import session as ui_session
from robustness.ui.jobs import AFTERWARDS
from robustness.ui.patches import UploadedFile, uploaded_files
from robustness.ui.session import UPLOAD, runs_folder, sentence

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
    st.session_state[KEY] = _UPLOADS[link] = _Upload(tuple(files), browser, session.me())
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
    is_mine = upload and (upload.browser, upload.owner) == (_browser(), session.me())
    if upload is None or not is_mine or session.refusal(Action.UPLOAD):
        return ()
    st.session_state[KEY] = upload
    return upload.files


def is_own(link: str) -> bool:
    """Whether ``link`` is for an upload that is not shared."""
    return link == OWN or _LINK.fullmatch(link) is not None


def is_mine(link: str) -> bool:
    """Whether ``link`` was made in this browser."""
    match = _LINK.fullmatch(link)
    browser = _browser()
    return match is not None and bool(browser) and match[2] == _mark(match[1], browser)


def contents() -> list[bytes]:
    """The contents of all files that are kept."""
    return [data for upload in list(_UPLOADS.values()) for _, data in upload.files]


def _browser() -> str:
    connection = session.connection()
    return connection.cookies.get(session.COOKIE, "") if connection else ""


def _mark(token: str, browser: str) -> str:
    """What shows that the browser with this cookie made the link, and nothing else about it."""
    return hashlib.sha256(f"{token} {browser}".encode()).hexdigest()[:16]


DEFAULT_ROOM = 2 * 10**9
"""Bytes of the setting ``uploads``."""

SHARE_OF_A_SESSION = 0.5
"""One session's share of it."""

_PATH = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+/?$")
_LENGTH = re.compile(r"[0-9]{1,15}")


def room() -> int:
    """Bytes for all uploads together: in memory, and as much again on disk.

    Raises ``ParameterError`` if the setting is not a size.
    """
    return settings.value(settings.UPLOADS) or DEFAULT_ROOM


class UploadLimit:
    """Refuses, unread, a file from a session that may not upload, or one that does not fit.

    Files still in transfer count in full.
    """

    def __init__(self, app: ASGIApp) -> None:
        """``app`` handles every request that is not refused."""
        self._app = app
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        match = _PATH.search(scope["path"]) if scope["type"] == "http" else None
        if match is None or scope["method"] != "PUT":
            await self._app(scope, receive, send)
            return
        session = match[1]
        if refused := await run_in_threadpool(_refusal, session, HTTPConnection(scope).cookies):
            await PlainTextResponse(refused, 403)(scope, receive, send)
            return
        largest = int(st.get_option("server.maxUploadSize")) * 2**20
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        # With a transfer encoding, a content length means nothing (RFC 9112, section 6.3).
        has_length = "transfer-encoding" not in headers and _LENGTH.fullmatch(length)
        size = int(length) if has_length else largest  # until it is read
        if not self._has_room(session, size, largest):
            refusal = PlainTextResponse(
                "No room for more uploads now. Try again later, or send a smaller file.", 413
            )
            await refusal(scope, receive, send)
            return
        self._under_way[session] += size
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[session] -= size
            self._under_way += Counter()  # drops the zeros

    def _has_room(self, session: str, size: int, largest: int) -> bool:
        """Whether ``size`` more bytes, of a file of at most ``largest``, fit both limits."""
        uploads = uploaded_files()
        total = DEFAULT_ROOM
        with suppress(ParameterError):  # every page shows the error
            total = room()
        held = [data for files in uploads.values() for data in files]
        # What is kept after a reload is in memory once, here or there.
        sizes = {id(data): len(data) for data in (*held, *contents())}
        own = sum(map(len, uploads.get(session, []))) + self._under_way[session] + size
        everybody = sum(sizes.values()) + self._under_way.total() + size
        return everybody <= total and own <= max(largest, int(SHARE_OF_A_SESSION * total))


def _refusal(session: str, cookies: Mapping[str, str]) -> str:
    """Why the browser with these ``cookies`` may not upload to ``session``; "" if it may."""
    who = ui_session.who_of(session, cookies)
    if who is None:
        return "This session has ended, or is another browser's: reload the page."
    try:
        ui_session.require(Action.UPLOAD, by=who)
    except (AccessError, ParameterError) as error:
        return sentence(error)
    return ""


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
    session.require(Action.SHARE, thing=name)
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
        secrets.token_urlsafe(16), name[:100], session.who().name, time.time() + days * _DAY
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
    mine = [one for one in _all() if not session.refusal(Action.UNSHARE, one.owner)]
    if not mine and len(files) != 1:
        return
    with st.popover("Share", icon=":material/share:"):
        linked = st.query_params.get(UPLOAD, "")
        if len(files) == 1 and is_own(linked):
            st.caption(
                "Includes the image in the link. Everyone with the link who may use this dashboard "
                f"sees it for {counted(days, 'day')}."
            )
            may = session.allowed(Action.SHARE, key="share", thing=files[0][0])
            if st.button("Share this image", icon=":material/share:", **may):
                st.query_params[UPLOAD] = share(*files[0])
                st.rerun()
        for one in sorted(mine, key=lambda one: -one.until):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(plain(f"{one.name}: shared until {one.expiry}"), width="stretch")
                if st.button("Delete", key=f"unshare {one.id}", icon=":material/delete:"):
                    _delete(one)
                    if linked == one.id:
                        st.query_params[UPLOAD] = keep(files)
                    st.rerun()


def _delete(one: Shared) -> None:
    session.require(Action.UNSHARE, one.owner, one.name)
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


YOUNG = 3600.0
"""Seconds that an upload of another server stays without a run: its session may hold it.

While one does, its server touches the folder.
"""

SECONDS_BETWEEN = 600.0
"""Seconds between two checks of the uploads, which also touch those of this server's sessions."""


@dataclass(eq=False)
class UploadedArchive:
    """An upload of a session: the archive at ``path``, made of the files ``ids``."""

    path: Path
    ids: tuple[str, ...]


_HOLDERS: weakref.WeakSet[UploadedArchive] = weakref.WeakSet()
"""The uploads of this server's sessions; those of ended ones disappear."""

_OWN: set[Path] = set()
"""Folders that this server has made."""

_CHANGING = threading.Lock()
"""Guards ``_HOLDERS``, and an upload from the check whether it is needed until it is removed."""


def upload(files: Sequence[UploadedFile], key: str) -> Path | None:
    """The path of the archive of ``files``, packed and hashed once; None without files.

    ``files`` are one zip archive or several images. The session's earlier upload of ``key`` is
    removed unless needed elsewhere. Raises ``ParameterError`` if there is no room, or writing
    fails.
    """
    state = f"archive of {key}"
    archive: UploadedArchive | None = st.session_state.get(state)
    ids = tuple(file.file_id for file in files)
    if archive is not None and archive.ids == ids and archive.path.exists():
        return archive.path
    if archive is not None:
        del st.session_state[state]
        with _CHANGING:
            _HOLDERS.discard(archive)
        collect()
    if not files:
        return None
    more = sum(file.size for file in files)
    most = room()
    taken = stored_bytes(runs_folder() / UPLOADS)
    if taken + more > most:
        raise ParameterError(
            f"No room for this upload of {more / 1e6:,.0f} MB: expected uploads to take "
            f"at most {most / 1e6:,.0f} MB, and others take {taken / 1e6:,.0f}. Delete runs of "
            "uploaded images, or ask the operator to raise the setting 'uploads'."
        )
    if files[0].name.lower().endswith(".zip"):
        name = files[0].name
        packed = files[0].getvalue()
    else:
        name = "uploaded pictures.zip"
        packed = _packed([(file.name, file.getvalue()) for file in files])
    with _CHANGING:
        path = _keep(name, packed)
        st.session_state[state] = UploadedArchive(path, ids)
        _HOLDERS.add(st.session_state[state])
    return path


def collect() -> None:
    """Remove unneeded uploads of this server, and old ones of others."""
    try:
        there = list((runs_folder() / UPLOADS).iterdir())
    except (OSError, RobustnessError):  # missing, or it cannot be listed
        return
    with _CHANGING:
        _remove_unneeded([path for path in there if path in _OWN or _age(path) > YOUNG])


AFTERWARDS.append(collect)


def tend() -> None:
    """Check the uploads now and regularly, without end."""
    while True:
        with _CHANGING:
            # Only paths: this loop never ends, and a list of uploads would keep them.
            folders = [archive.path.parent for archive in _HOLDERS]
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.touch()
        collect()
        forget_expired()
        time.sleep(SECONDS_BETWEEN)


def _age(folder: Path) -> float:
    """Seconds since ``folder`` was last written to or touched."""
    try:
        return time.time() - max(p.stat().st_mtime for p in (folder, *folder.glob("*")))
    except OSError:  # removed meanwhile
        return 0.0


def _remove_unneeded(folders: Sequence[Path]) -> None:
    """Remove those of ``folders`` that no session of this server and no manifest needs."""
    needed = {archive.path.parent for archive in _HOLDERS}
    if not (unneeded := [folder for folder in folders if folder not in needed]):
        return
    root = runs_folder()
    here = f"*/{MANIFEST_FILE}"
    deleted = f"{BIN}/*/{MANIFEST_FILE}"
    # A run may come back between the first two looks.
    places = (here, deleted, here, f"*/{jobs.HARDENING}")
    manifests = [path for where in places for path in root.glob(where)]
    try:
        texts = [
            read_regular(path, MAX_MANIFEST)
            for path in manifests
            if path.is_file() and path.stat().st_size <= MAX_MANIFEST  # others are of no run
        ]
    except OSError:  # it may be needed
        return
    for folder in unneeded:
        if not any(folder.name.encode() in text for text in texts):
            shutil.rmtree(folder, ignore_errors=True)
            _OWN.discard(folder)


def _packed(files: Sequence[tuple[str, bytes]]) -> bytes:
    """A zip archive of ``files``: the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        names = distinct([Path(name).name for name, _ in files])
        for name, (_, data) in zip(names, files, strict=True):
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _keep(name: str, data: bytes) -> Path:
    """Write the archive ``data`` beside the runs, under its digest; return its path."""
    folder = runs_folder() / UPLOADS / hashlib.sha256(data).hexdigest()[:32]
    path = folder / f"{Path(name).stem[:60] or 'upload'}.zip"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()  # in case an earlier session left it
        _OWN.add(folder)
        if not path.exists():
            write_whole(path, data)
    except OSError as error:
        raise ParameterError(
            f"The upload cannot be kept in {runs_folder()}: {error.strerror}; the operator can "
            "name another folder in the setting 'runs'."
        ) from error
    return path
