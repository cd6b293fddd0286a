"""What users say of a run: title, tags, a note, the pinned baseline; and where it came from.

Each is a file of its own beside the run's rows, so that the run itself stays as it is.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from robustness.base import settings
from robustness.base.disk import require_regular, write_whole
from robustness.base.errors import ParameterError, RunError
from robustness.base.text import visible
from robustness.datasets import SAMPLES

TITLE_FILE, TAGS_FILE, NOTE_FILE = "title.txt", "tags.txt", "note.txt"
MAX_TITLE, MAX_TAGS, MAX_NOTE = 120, 200, 2000

UPLOADS = ".uploads"
"""The folder beside the runs in which the dashboard keeps uploaded images."""

_BASELINE_FILE = ".baseline"
_IMPORTED_FILE, _RESTORED_FILE = "imported", "restored"
"""Their times say when the run came here, or was brought back from the bin."""


def title(folder: Path) -> str:
    """The title that a user gave the run in ``folder``; "" for none."""
    return _read(folder / TITLE_FILE, MAX_TITLE)


def rename(folder: Path, text: str) -> None:
    """Gives the run in ``folder`` the title ``text``; "" removes it.

    Raises ``ParameterError`` for more than ``MAX_TITLE`` characters, ``RunError`` if it cannot be
    written.
    """
    _write(folder / TITLE_FILE, "title", " ".join(text.split()), MAX_TITLE)


def tags(folder: Path) -> tuple[str, ...]:
    """The tags of the run in ``folder``."""
    found = (part.strip() for part in _read(folder / TAGS_FILE, MAX_TAGS).split(","))
    return tuple(dict.fromkeys(filter(None, found)))


def tag(folder: Path, text: str) -> None:
    """Gives the run in ``folder`` the tags in ``text``, separated by commas; see ``rename``."""
    _write(folder / TAGS_FILE, "list of tags", " ".join(text.split()), MAX_TAGS)


def note(folder: Path) -> str:
    """What a user noted about the run in ``folder``."""
    return _read(folder / NOTE_FILE, MAX_NOTE)


def annotate(folder: Path, text: str) -> None:
    """Gives the run in ``folder`` the note ``text``; see ``rename``."""
    _write(folder / NOTE_FILE, "note", text.strip(), MAX_NOTE)


def pinned(runs: Path) -> str:
    """The id of the run that is the baseline of all comparisons in the folder ``runs``, or ""."""
    return _read(runs / _BASELINE_FILE, 255)


def pin(runs: Path, run_id: str) -> None:
    """Makes the run ``run_id`` the baseline of comparisons; "" for none. See ``rename``."""
    _write(runs / _BASELINE_FILE, "baseline", run_id, 255)


def _read(file: Path, most: int) -> str:
    try:
        require_regular(file)
        with file.open("rb") as opened:
            text = opened.read(4 * most).decode(errors="replace")
    except OSError:
        return ""
    return visible(text)[:most]


def _write(file: Path, what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise ParameterError(
            f"Expected a {what} of at most {most} characters, got {len(text)}: shorten it."
        )
    data = text.encode(errors="replace")
    try:
        if not text:
            file.unlink(missing_ok=True)
            return
        try:
            write_whole(file, data)
        except FileNotFoundError:  # a starting session removed the temporary file
            write_whole(file, data)
    except OSError as error:
        raise RunError(
            f"The {what} of {file.parent.name} cannot be saved: {error.strerror}.",
            hint=f"Its folder is {file.parent}.",
        ) from error


def is_imported(folder: Path) -> bool:
    """Whether the run in ``folder`` came from another machine."""
    return (folder / _IMPORTED_FILE).exists()


def mark_imported(folder: Path, by: str = "") -> None:
    """Notes that the run in ``folder`` came from another machine, and under whose name."""
    write_whole(folder / _IMPORTED_FILE, by.encode(errors="replace"))


def mark_restored(folder: Path) -> None:
    """Notes that the run in ``folder`` is brought back from the bin now."""
    (folder / _RESTORED_FILE).touch()


def arrived(folder: Path) -> float:
    """When the run in ``folder`` was last imported or brought back, in seconds since 1970.

    0 for one that has been here since it was begun.
    """
    when = 0.0
    for name in (_IMPORTED_FILE, _RESTORED_FILE):
        with suppress(OSError):
            when = max(when, (folder / name).stat().st_mtime)
    return when


def owner(folder: Path, creator: str) -> str:
    """Whose the run in ``folder`` is: its ``creator``'s, or who brought it here; "" is nobody's.

    What an imported run says of its creator gives nobody a right.
    """
    try:
        return (folder / _IMPORTED_FILE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return creator
    except OSError:
        return ""


def check_source(source: str, runs: Path) -> None:
    """Raises ``RunError`` unless pages may show the images of ``source``, which is untrusted.

    They may show the bundled samples, and a folder or zip archive that lies in the folder of the
    setting ``datasets`` or was uploaded beside the ``runs``. A table or a published tree may name
    files elsewhere, and what is hidden is not for pages.
    """
    if source == SAMPLES and not Path(SAMPLES).exists():
        return
    offered = False
    try:
        path = Path(source).resolve(strict=True)
        for folder in (runs / UPLOADS, settings.value(settings.DATASETS)):
            if folder and path.is_relative_to(root := folder.resolve()):
                hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
                offered |= not hidden and (path.is_dir() or path.suffix.lower() == ".zip")
    except (OSError, ValueError, RuntimeError):
        offered = False
    if "://" in source or not offered:
        raise RunError(
            "This run came from another machine, and its images are not here: they are shown "
            "only from a folder or zip archive in the folder of the setting 'datasets'."
        )
