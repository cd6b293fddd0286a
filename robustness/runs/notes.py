"""What is known of a run beside what it wrote itself: a title, and where it came from and when.

These lie in files of their own in the run's folder, so that they change nothing of the run.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from robustness.base import settings
from robustness.base.disk import require_regular, write_whole
from robustness.base.errors import ParameterError, RunError
from robustness.base.text import visible
from robustness.datasets import SAMPLES

TITLE_FILE = "title.txt"
MAX_TITLE = 120

UPLOADS = ".uploads"
"""The folder beside the runs in which the dashboard keeps uploaded images."""

_IMPORTED_FILE, _RESTORED_FILE = "imported", "restored"
"""Their times say when the run came here, or was brought back from the bin."""


def title(folder: Path) -> str:
    """The title that somebody gave the run in ``folder``; "" where nobody did."""
    try:
        require_regular(folder / TITLE_FILE)
        with (folder / TITLE_FILE).open("rb") as file:
            text = file.read(4 * MAX_TITLE).decode(errors="replace")
    except OSError:
        return ""
    return visible(text)[:MAX_TITLE]


def rename(folder: Path, text: str) -> None:
    """Gives the run in ``folder`` the title ``text``; "" takes it away.

    Raises ``ParameterError`` for a text of more than ``MAX_TITLE`` characters, ``RunError`` where
    it cannot be written.
    """
    text = " ".join(text.split())
    if len(text) > MAX_TITLE:
        raise ParameterError(
            f"Expected a title of at most {MAX_TITLE} characters, got {len(text)}: shorten it."
        )
    try:
        if text:
            write_whole(folder / TITLE_FILE, text.encode(errors="replace"))
        else:
            (folder / TITLE_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"The title of the run {folder.name} cannot be kept: {error.strerror}.",
            hint=f"Its folder is {folder}.",
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
    """Raises ``RunError`` unless anybody may see the images of ``source`` here.

    That is so for the bundled samples, for what lies in the folder of the setting ``datasets``,
    and for what was uploaded beside the ``runs``.
    """
    if source == SAMPLES and not Path(SAMPLES).exists():
        return
    allowed = [runs / UPLOADS, settings.value(settings.DATASETS)]
    try:
        path = Path(source).resolve()
        inside = any(folder and path.is_relative_to(folder.resolve()) for folder in allowed)
    except (OSError, ValueError, RuntimeError):
        inside = False
    if "://" in source or not inside:
        raise RunError(
            "This run came from another machine, and its images are not here: they are shown "
            "only where they lie in the folder of the setting 'datasets'."
        )
