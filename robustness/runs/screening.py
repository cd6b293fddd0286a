"""Checks of an imported run before it is opened.

A file of rows may claim any number of rows and repeat a long text at no cost; both could exhaust
memory. So its bytes are checked first, then its metadata, and last the rows, in batches.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow as pa

from robustness.base.errors import RobustnessError, RunError
from robustness.base.parquet import DICTIONARIES, PLAIN, Claims, ClaimsError, claims
from robustness.evaluation.condition import readable
from robustness.pictures.fitting import check_fit
from robustness.runs.manifest import MAX_TEXT, Manifest
from robustness.runs.saved import Run
from robustness.runs.screened_rows import ScreenedRows

ROWS_FREE = 500_000
MIN_ROW_BYTES = 32
"""On disk, of the figures of a row, beyond ``ROWS_FREE``; real runs have more than 100."""

MAX_UNREADABLE = 100_000
MAX_CONDITIONS, MAX_MODELS = 10_000, 200
_MAX_NOTES = 64 * 1024**2  # bytes of all that is not rows
_MAX_COMMAS = 2_000_000  # of what the files of rows say of themselves
_UNPACKED_FREE, _MAX_RATIO = 64 * 1024**2, 100
_MAX_VALUES = 64  # of one row in one column: stages, or classes of the top 5


def check_manifest(manifest: Manifest) -> None:
    """Raise ``RunError`` unless ``manifest`` can be evaluated."""
    spec = manifest.spec
    try:
        check_fit(spec.fit)
    except RobustnessError as error:
        raise RunError(f"The run {manifest.id} is refused: {error}") from error
    several = 1 <= len(spec.models) <= MAX_MODELS and 1 <= len(spec.conditions) <= MAX_CONDITIONS
    _expect(manifest, several, "it asks for nothing, or for far more than there is")
    known = all(readable(condition.id) for condition in spec.conditions)
    _expect(manifest, known, "one of its conditions is none")
    _expect(manifest, _is_time(manifest.created), "it was made at no date and time (ISO 8601)")
    named = all(len(name) <= MAX_TEXT for name in spec.model_names)
    _expect(manifest, named, "the name of a model is too long")


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def check_files(folder: Path) -> None:
    """Raises ``RunError`` unless the files of rows in ``folder`` claim no more than they can hold.

    Reads no row, and makes nothing of what they claim.
    """
    size = rows = unpacked = notes = commas = 0
    for path in sorted(folder.glob("part-*.parquet")):
        try:
            found = claims(path)
        except ClaimsError as error:
            raise RunError(f"{path.name} is damaged or of another kind: {error}.") from error
        size += path.stat().st_size
        rows += found.rows
        unpacked += found.unpacked
        notes += found.footer
        commas += sum(text.count(b",") for text in found.notes.values())
        fine = (
            _plain(found)
            and notes <= _MAX_NOTES
            and commas <= _MAX_COMMAS
            and rows <= max(ROWS_FREE, size // MIN_ROW_BYTES)
            and unpacked <= max(_UNPACKED_FREE, _MAX_RATIO * size)
        )
        if not fine:
            raise RunError(
                f"{path.name} is refused: its {path.stat().st_size:,} bytes claim to hold "
                f"{found.rows:,} rows and {found.footer:,} bytes about them, as no measurements do."
            )


def _plain(found: Claims) -> bool:
    kinds = PLAIN | DICTIONARIES
    plain = all(encodings <= kinds for encodings in found.encodings.values())
    return plain and found.most_values <= _MAX_VALUES


def check_rows(run: Run) -> None:
    """Raises ``RunError`` unless the rows of ``run`` can be those of its manifest.

    Its files have been through ``check_files``.
    """
    _check_counts(run)
    try:
        rows = ScreenedRows(run.manifest.spec, run.manifest.dataset.pictures, told=run.told)
        for part in run.parts:
            rows.read(part)
        digest = rows.digest(run.images, whole=run.manifest.race is None)
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
    ) as error:
        raise RunError(f"The run {run.id} is refused: its rows cannot be read.") from error
    except RunError as error:
        raise RunError(f"The run {run.id} is refused: {error}") from error
    _expect(run.manifest, digest == run.manifest.content, "its rows are of other images")


def _check_counts(run: Run) -> None:
    """Whether files and manifest agree on how much there is, before a row is read."""
    manifest, unreadable = run.manifest, run.unreadable
    each = len(manifest.spec.models) * len(manifest.spec.conditions)
    counts = {"images": run.images, "unreadable": len(unreadable)}
    said = {"images": manifest.images, "unreadable": manifest.unreadable}
    texts = [text for pair in unreadable for text in pair]
    numbers = [number for part in run.parts for number in part.chunks]
    raced, rows = manifest.race is not None, sum(part.rows for part in run.parts)
    for fine, otherwise in (
        (run.images + len(unreadable) == manifest.dataset.pictures
         or (raced and run.images + len(unreadable) < manifest.dataset.pictures),
         "images are missing in it"),
        (counts == said, "its files hold other numbers of images than it says"),
        (len(unreadable) <= MAX_UNREADABLE, "it lists too many images that were not read"),
        (all(len(text) <= MAX_TEXT for text in texts), "its texts are too long"),
        (all(0 <= number < manifest.dataset.pictures for number in numbers),
         "its files are of parts of the work that there are not"),
        (rows == run.images * each or (raced and run.images <= rows <= run.images * each),
         "it has rows too few or too many"),
    ):  # fmt: skip
        _expect(manifest, fine, otherwise)


def _expect(manifest: Manifest, fine: bool, otherwise: str) -> None:
    if not fine:
        raise RunError(f"The run {manifest.id} is refused: {otherwise}.")
