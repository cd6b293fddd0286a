"""The formats of a report: how each is written, and what it is called."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO

from robustness.base.errors import ParameterError
from robustness.base.files_and_locks import put_whole, writing
from robustness.report.blocks import Report
from robustness.report.formats import data_files, html_report, markdown_and_terminal, pdf_by_browser

Write = Callable[[Report, IO[bytes], datetime], None]


@dataclass(frozen=True)
class Format:
    """One kind of file; ``companion`` writes a second that explains it, under ``companion_suffix``.

    ``escaped`` is how a text from outside, such as the name of an image, stands in the file, so
    that no sign of it has a meaning there; None for files that are no text. ``icon`` is that of its
    button. One that ``needs_browser`` is written where the report is asked for, never by the
    server, and has none. Files that hold ``rows_only`` tell neither answers nor cautions.
    """

    suffix: str
    label: str
    mime: str
    icon: str
    write: Write
    escaped: Callable[[str], str] | None
    companion: Write | None = None
    companion_suffix: str = ""
    needs_browser: bool = False
    rows_only: bool = False


FORMATS: Mapping[str, Format] = {
    format.suffix: format
    for format in (
        Format(
            ".html",
            "HTML",
            "text/html",
            "description",
            html_report.html_file,
            html_report.escaped,
        ),
        Format(
            ".pdf",
            "PDF",
            "application/pdf",
            "",
            pdf_by_browser.pdf_file,
            escaped=None,
            needs_browser=True,
        ),
        Format(
            ".csv",
            "CSV",
            "text/csv",
            "csv",
            data_files.csv_file,
            data_files.csv_text,
            companion=data_files.columns_file,
            companion_suffix=".columns.csv",
            rows_only=True,
        ),
        Format(
            ".parquet",
            "Parquet",
            "application/vnd.apache.parquet",
            "table",
            data_files.parquet_file,
            escaped=None,
            rows_only=True,
        ),
        Format(
            ".json",
            "JSON",
            "application/json",
            "data_object",
            data_files.json_file,
            data_files.json_text,
        ),
        Format(
            ".md",
            "Markdown",
            "text/markdown",
            "markdown",
            markdown_and_terminal.markdown_file,
            markdown_and_terminal.escaped,
        ),
    )
}
"""By the suffix of the file."""


def rendered(report: Report, write: Write, when: datetime) -> bytes:
    """The bytes that ``write`` would put into a file."""
    buffer = io.BytesIO()
    write(report, buffer, when)
    return buffer.getvalue()


def format_of(path: Path) -> Format:
    """The format that the suffix of ``path`` asks for; ``ParameterError`` for another suffix."""
    file_format = FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise ParameterError(
            f"Expected the name of a report to end in {', '.join(FORMATS)}, got {str(path)!r}.",
            hint="That is --to.",
        )
    return file_format


def write(report: Report, path: Path, when: datetime | None = None) -> list[Path]:
    """Write ``report`` to ``path``, whole or not at all; returns the files written.

    ``when`` is the time that the report bears, by default now. A CSV has its columns explained in
    a second file beside it. Raises ``ParameterError`` for an unknown suffix, and where the file
    cannot be written.
    """
    file_format, moment = format_of(path), when or datetime.now(UTC)
    writers = {path: file_format.write}
    if file_format.companion is not None:
        writers[path.with_suffix(file_format.companion_suffix)] = file_format.companion

    def fill(write: Write, temporary: Path) -> None:
        with temporary.open("wb") as file:
            write(report, file, moment)

    for place, writer in writers.items():
        with writing(place):
            put_whole(place, partial(fill, writer))
    return [*writers]
