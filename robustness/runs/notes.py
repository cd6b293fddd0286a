"""What people and the server say of a run: title, tags and note; its limits; why it stopped.

One file beside the run's rows, changed under a lock, so that the run itself stays as it is. The
folder of runs has such a file, too: it names the baseline.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from robustness.base.errors import ParameterError, RunError
from robustness.base.files import file_errors, file_lock, write_whole
from robustness.base.text import visible
from robustness.base.validation import StrictRecord, read_json

FILE = "notes.json"
MAX_TITLE = 120
MAX_TAGS = 200
MAX_NOTE = 2000

LimitName = Literal["max_loss", "min_consistency", "min_score"]

_MAX_REASON = 4096
_MAX_BYTES = 2**20
_LIMITS = {"title": MAX_TITLE, "tags": MAX_TAGS, "note": MAX_NOTE}


def _line(max_length: int, text: str) -> str:
    # Cut again, as each invisible character becomes several: its number.
    return visible(text[:max_length])[:max_length]


def _tags(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The tags in ``texts``, in each of which commas may separate several; each tag once."""
    joined = ",".join(texts)[: 2 * MAX_TAGS]
    tags = [tag.strip() for tag in visible(joined).split(",")]
    return tuple(dict.fromkeys(tag for tag in tags if tag))


class Notes(StrictRecord):
    """The notes on a run, as their file has them. Times are in seconds since 1970, 0 for never.

    ``stopped`` is why an unfinished run stopped. ``deleted_by`` names a person, "" where that
    is unknown. ``limits`` are those of a release, in percent or points, and ``baseline`` is the id
    of the run that they compare with. In the folder of runs, it is that from which comparisons
    start.
    """

    title: Annotated[str, AfterValidator(partial(_line, MAX_TITLE))] = ""
    tags: Annotated[tuple[str, ...], AfterValidator(_tags)] = ()
    note: Annotated[str, AfterValidator(partial(_line, MAX_NOTE))] = ""
    stopped: Annotated[str, AfterValidator(lambda text: text[:_MAX_REASON])] = ""
    restored: FiniteFloat = 0.0
    deleted: FiniteFloat = 0.0
    deleted_by: str = ""
    baseline: str = ""
    limits: dict[LimitName, Annotated[float, Field(ge=0, le=100)]] = Field(default_factory=dict)


def read(folder: Path) -> Notes:
    """The notes in ``folder``; empty ones without a file, or with a damaged one."""
    return read_json(Notes, folder / FILE, _MAX_BYTES) or Notes()


def update(folder: Path, **changes: Any) -> None:
    """Change what is said of the run in ``folder``; ``tags`` are separated by commas.

    Raises ``ParameterError`` for a text that is too long, ``RunError`` if it cannot be written.
    """
    for name, max_length in _LIMITS.items():
        text = changes.get(name, "")
        if len(text) > max_length:
            noun = "list of tags" if name == "tags" else name
            raise ParameterError(
                f"Expected a {noun} of at most {max_length} characters, got {len(text)}: shorten "
                "it."
            )
    if "tags" in changes:
        changes["tags"] = (changes["tags"],)
    _update(folder, folder, changes)


def baseline(runs: Path) -> str:
    """The id of the run that comparisons in the folder ``runs`` start from, or ""."""
    return read(runs).baseline


def set_baseline(runs: Path, run_id: str) -> None:
    """Make the run ``run_id`` the baseline of comparisons; "" for none. See ``update``."""
    _update(runs, runs / FILE, {"baseline": run_id})


def _update(folder: Path, lock: Path, changes: dict[str, Any]) -> None:
    """Change the notes in ``folder`` while ``lock`` is held.

    The lock does not lie in the folder of a run: its file would bring back a run that was deleted.
    """
    with (
        file_errors(
            f"The notes on {folder.name} cannot be saved",
            kind=RunError,
            hint=f"Its folder is {folder}.",
        ),
        file_lock(lock),
    ):
        present = read(folder).model_dump()
        updated = Notes(**{**present, **changes})
        values = updated.model_dump(exclude_defaults=True)
        text = json.dumps(values, ensure_ascii=False) if values else ""
        write_whole(folder / FILE, text.encode(errors="replace"))
