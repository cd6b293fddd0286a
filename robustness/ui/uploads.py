"""Uploaded images: who may send them and how much, how long they stay, and how they are shared.

Uploads on the page outlast a reload, for the browser that sent them. A reload begins another
session; the one before ends two minutes later. The link names the upload by a token that works with
that browser's cookie alone. The upload is in the memory of the sessions that show it, and goes with
the last of them.

An upload is shared by a link to a copy beside the runs, which is deleted when it expires. A copy is
untrusted like any upload: each viewer's request decodes it again, within limits. Viewers see its
pixels; nobody receives the file itself.

Uploads for an evaluation are stored beside the runs, under their digest, while a session of this
server or the manifest of a run, in the bin or not, needs them. The setting ``uploads`` limits their
total size.
"""

from __future__ import annotations

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
from robustness.base.files import file_errors, read_regular, stored_bytes, write_whole
from robustness.base.roles import Action, policy
from robustness.base.text import counted, plain
from robustness.datasets import distinct
from robustness.runs import BIN, MANIFEST_FILE, UPLOADS
from robustness.runs.manifest import MAX_BYTES as MAX_MANIFEST
from robustness.ui import session
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


# --- links to uploads of the page -----------------------------------------------------------------


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
    """Let go of the files of this session; they are freed unless another session shows them."""
    st.session_state.pop(KEY, None)


def uploads(link: str) -> Files:
    """The files that ``link`` names, which this session keeps from now on, too.

    There are none if every session that showed them has ended, for another browser or user, and for
    one that may not upload.
    """
    upload = _UPLOADS.get(link)
    if upload is None:
        return ()
    if upload.browser != _browser() or upload.owner != session.me():
        return ()
    if session.refusal(Action.UPLOAD):
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
    if match is None or not browser:
        return False
    token, mark = match.groups()
    return mark == _mark(token, browser)


def contents() -> list[bytes]:
    """The contents of all files that are kept."""
    kept: list[bytes] = []
    for upload in list(_UPLOADS.values()):  # as a list: other threads add and drop uploads
        kept.extend(data for _, data in upload.files)
    return kept


def _browser() -> str:
    """The cookie of this session's browser; "" if it has none, or has left."""
    connection = session.connection()
    if connection is None:
        return ""
    return connection.cookies.get(session.COOKIE, "")


def _mark(token: str, browser: str) -> str:
    """A digest by which only the browser with this cookie recognises its link."""
    return hashlib.sha256(f"{token} {browser}".encode()).hexdigest()[:16]


# --- limits on what arrives -----------------------------------------------------------------------


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
        session_id = _uploading_session(scope)
        if session_id is None:
            await self._app(scope, receive, send)
            return
        cookies = HTTPConnection(scope).cookies
        reason = await run_in_threadpool(_refusal, session_id, cookies)
        if reason:
            await PlainTextResponse(reason, status_code=403)(scope, receive, send)
            return
        largest = int(st.get_option("server.maxUploadSize")) * 2**20
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        # With a transfer encoding, a content length means nothing (RFC 9112, section 6.3).
        has_length = "transfer-encoding" not in headers and _LENGTH.fullmatch(length)
        if has_length:
            size = int(length)
        else:
            size = largest  # an unknown size counts as the largest until the file is read
        if not self._has_room(session_id, size, largest):
            text = "No room for more uploads now. Try again later, or send a smaller file."
            await PlainTextResponse(text, status_code=413)(scope, receive, send)
            return
        self._under_way[session_id] += size
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[session_id] -= size
            self._under_way += Counter()  # drops the zeros

    def _has_room(self, session_id: str, size: int, largest: int) -> bool:
        """Whether ``size`` more bytes fit both limits: of all uploads, and of this session's.

        A session may always send one file of the ``largest`` size, in bytes.
        """
        uploads = uploaded_files()
        total = DEFAULT_ROOM
        with suppress(ParameterError):  # every page shows the error
            total = room()
        all_contents = contents()
        for files in uploads.values():
            all_contents.extend(files)
        # A file that is kept after a reload may be in both lists, but is in memory once.
        bytes_by_identity = {id(data): len(data) for data in all_contents}
        size_of_all = sum(bytes_by_identity.values()) + self._under_way.total() + size
        session_files = uploads.get(session_id, [])
        size_of_session = sum(len(data) for data in session_files)
        size_of_session += self._under_way[session_id] + size
        most_of_session = max(largest, int(SHARE_OF_A_SESSION * total))
        return size_of_all <= total and size_of_session <= most_of_session


def _uploading_session(scope: Scope) -> str | None:
    """The id of the session that a request uploads a file to; None for any other request."""
    if scope["type"] != "http" or scope["method"] != "PUT":
        return None
    match = _PATH.search(scope["path"])
    if match is None:
        return None
    return match[1]


def _refusal(session_id: str, cookies: Mapping[str, str]) -> str:
    """Why the browser with these ``cookies`` may not upload to the session; "" if it may."""
    who = session.who_of(session_id, cookies)
    if who is None:
        return "This session has ended, or is another browser's: reload the page."
    try:
        session.require(Action.UPLOAD, by=who)
    except (AccessError, ParameterError) as error:
        return sentence(error)
    return ""


# --- copies that are shared by link ---------------------------------------------------------------


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
        stored = read_regular(_copies_folder() / id_, MOST_BYTES + _MOST_HEAD)
        head, _, data = stored.partition(b"\n")
        copy = _parse_head(id_, head)
        if copy is not None and copy.until > time.time():
            return copy, data
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
    folder = _copies_folder()
    most_bytes = min(MOST_BYTES, room() - stored_bytes(folder))
    if len(data) > most_bytes:
        raise ParameterError(
            f"Expected an image of at most {most_bytes / 1e6:,.1f} MB to share, got "
            f"{len(data) / 1e6:,.1f} MB. Upload a smaller copy, or delete shared images."
        )
    copy = Shared(
        id=secrets.token_urlsafe(16),
        name=name[:100],
        owner=session.who().name,
        until=time.time() + days * _DAY,
    )
    head = json.dumps({"name": copy.name, "owner": copy.owner, "until": copy.until})
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / copy.id, head.encode() + b"\n" + data)
    return copy.id


def forget_expired() -> None:
    """Delete expired copies, and files that are not copies."""
    with suppress(OSError, RobustnessError):
        for path in _copies_folder().iterdir():
            copy = _read_head(path)
            if copy is None or copy.until <= time.time():
                path.unlink(missing_ok=True)


def button(files: Sequence[tuple[str, bytes]]) -> None:
    """Draw the menu that shares the only one of ``files``, name and bytes, and deletes copies.

    Draws nothing where sharing is off.
    """
    days = _days()
    if days is None:
        return
    deletable = [copy for copy in _copies() if not session.refusal(Action.UNSHARE, copy.owner)]
    if not deletable and len(files) != 1:
        return
    deletable.sort(key=lambda copy: -copy.until)
    with st.popover("Share", icon=":material/share:"):
        linked = st.query_params.get(UPLOAD, "")
        if len(files) == 1 and is_own(linked):
            st.caption(
                "Includes the image in the link. Everyone with the link who may use this dashboard "
                f"sees it for {counted(days, 'day')}."
            )
            name, data = files[0]
            arguments = session.allowed(Action.SHARE, key="share", thing=name)
            if st.button("Share this image", icon=":material/share:", **arguments):
                st.query_params[UPLOAD] = share(name, data)
                st.rerun()
        for copy in deletable:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(plain(f"{copy.name}: shared until {copy.expiry}"), width="stretch")
                if st.button("Delete", key=f"unshare {copy.id}", icon=":material/delete:"):
                    _delete(copy)
                    if linked == copy.id:
                        st.query_params[UPLOAD] = keep(files)
                    st.rerun()


def _delete(copy: Shared) -> None:
    session.require(Action.UNSHARE, copy.owner, copy.name)
    (_copies_folder() / copy.id).unlink(missing_ok=True)


def _copies() -> Iterator[Shared]:
    """Yield the records of all copies that have not expired."""
    forget_expired()
    with suppress(OSError):
        for path in _copies_folder().iterdir():
            copy = _read_head(path)
            if copy is not None:
                yield copy


def _read_head(path: Path) -> Shared | None:
    """The record of the copy at ``path``, without its image; None if it is not a copy."""
    with suppress(OSError), path.open("rb") as file:
        return _parse_head(path.name, file.readline(_MOST_HEAD))
    return None


def _parse_head(id_: str, head: bytes) -> Shared | None:
    """The record in a copy's first line; None if it is not a copy."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        record = json.loads(head)
        return Shared(
            id=id_,
            name=str(record["name"]),
            owner=str(record["owner"]),
            until=float(record["until"]),
        )
    return None


def _days() -> int | None:
    """For how many days copies are shared; None if sharing is off."""
    return settings.value(settings.SHARED_DAYS)


def _copies_folder() -> Path:
    return runs_folder() / FOLDER


# --- archives for evaluations ---------------------------------------------------------------------


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
    _check_room_for(files)
    if files[0].name.lower().endswith(".zip"):
        name = files[0].name
        packed = files[0].getvalue()
    else:
        name = "uploaded pictures.zip"
        packed = _packed([(file.name, file.getvalue()) for file in files])
    with _CHANGING:
        path = _keep(name, packed)
        archive = UploadedArchive(path, ids)
        st.session_state[state] = archive
        _HOLDERS.add(archive)
    return path


def _check_room_for(files: Sequence[UploadedFile]) -> None:
    """Raise ``ParameterError`` if stored uploads and ``files`` exceed the setting ``uploads``."""
    new_bytes = sum(file.size for file in files)
    most_bytes = room()
    stored = stored_bytes(runs_folder() / UPLOADS)
    if stored + new_bytes > most_bytes:
        raise ParameterError(
            f"No room for this upload of {new_bytes / 1e6:,.0f} MB: expected uploads to take at "
            f"most {most_bytes / 1e6:,.0f} MB, and others take {stored / 1e6:,.0f}. Delete runs of "
            "uploaded images, or ask the operator to raise the setting 'uploads'."
        )


def collect() -> None:
    """Remove unneeded uploads of this server, and old ones of others."""
    try:
        folders = list((runs_folder() / UPLOADS).iterdir())
    except (OSError, RobustnessError):  # missing, or it cannot be listed
        return
    with _CHANGING:
        removable = [folder for folder in folders if folder in _OWN or _age(folder) > YOUNG]
        _remove_unneeded(removable)


AFTERWARDS.append(collect)


def tend() -> None:
    """Check the uploads now and regularly, without end."""
    while True:
        with _CHANGING:
            # Only paths: this loop never ends, and a list of uploads would keep them.
            folders = [archive.path.parent for archive in _HOLDERS]
        for folder in folders:
            with suppress(OSError):
                folder.touch()
        collect()
        forget_expired()
        time.sleep(SECONDS_BETWEEN)


def _age(folder: Path) -> float:
    """Seconds since ``folder`` was last written to or touched."""
    try:
        last_change = max(path.stat().st_mtime for path in (folder, *folder.glob("*")))
        return time.time() - last_change
    except OSError:  # removed meanwhile
        return 0.0


def _remove_unneeded(folders: Sequence[Path]) -> None:
    """Remove those of ``folders`` that no session of this server and no manifest needs."""
    in_sessions = {archive.path.parent for archive in _HOLDERS}
    candidates = [folder for folder in folders if folder not in in_sessions]
    if not candidates:
        return
    root = runs_folder()
    saved = f"*/{MANIFEST_FILE}"
    deleted = f"{BIN}/*/{MANIFEST_FILE}"
    # Saved runs twice, as one may come back from the bin between the first two looks.
    patterns = (saved, deleted, saved)
    paths: list[Path] = []
    for pattern in patterns:
        paths.extend(root.glob(pattern))
    manifests: list[bytes] = []
    try:
        for path in paths:
            # A larger file is not the manifest of any run.
            if path.is_file() and path.stat().st_size <= MAX_MANIFEST:
                manifests.append(read_regular(path, MAX_MANIFEST))
    except OSError:  # a manifest that cannot be read may need any of them
        return
    for folder in candidates:
        digest = folder.name.encode()
        if not any(digest in manifest for manifest in manifests):
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
    with file_errors(
        f"The upload cannot be kept in {runs_folder()}",
        "The operator can name another folder in the setting 'runs'.",
    ):
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()  # in case an earlier session left it
        _OWN.add(folder)
        if not path.exists():
            write_whole(path, data)
    return path
