"""The formats of a report: HTML, PDF, CSV, Parquet, JSON and Markdown.

- The HTML file opens offline: it contains the charts, the images and Plotly itself. Plotly is
  compressed, which saves a third of a usual report, and images are lossless WebP. A content
  security policy names the scripts by their hashes and forbids all requests: even if a text from
  outside were not escaped, it could neither run nor call home.
- A PDF is the HTML report, printed by an installed browser in its sandbox.
- A CSV file has the rows; a second file explains the columns.
- A Parquet file has the rows, and explains them in its metadata.
- The Markdown is a section of a model card. The command line prints the same tables.
"""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from robustness import __version__
from robustness.base.errors import ParameterError
from robustness.base.files import put_whole, writing
from robustness.base.processes import small_environment
from robustness.base.text import counted, csv_cell, visible
from robustness.measure.rows import dictionary, schema
from robustness.report import maps
from robustness.report.blocks import (
    Chart,
    Map,
    Printed,
    Report,
    Section,
    Summary,
    Text,
    Titled,
    code_parts,
    folded,
    visible_part,
)
from robustness.report.tables import Table

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


def html_file(
    report: Report, file: IO[bytes], when: datetime, *, packs_plotly: bool = True
) -> None:
    """Write the whole report; images are read and written one at a time.

    ``packs_plotly`` compresses Plotly. It then starts only after the page is loaded, which is too
    late for a browser that prints.
    """
    plotly = _plotly()
    script = _template_text("report.js")
    template = _environment().get_template("report.html.j2")
    pieces = template.generate(
        report=report,
        when=when,
        sections=[*report.sections, Section("Methods", report.methods)],
        figures=_Figures(),
        version=__version__,
        style=_template_text("report.css") + maps.style(),
        # The browser checks the hash of what it runs, which is the script after decompression.
        hashes=[_policy_hash(plotly), _policy_hash(script)],
        packed=packs_plotly,
        plotly=_compressed(plotly) if packs_plotly else plotly,
        script=script,
    )
    for piece in pieces:
        file.write(piece.encode("utf-8", "backslashreplace"))


@cache
def _environment() -> Environment:
    """Return the template environment, which puts texts on one line and escapes them."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_made_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    # Tests such as "block is titled".
    environment.tests |= {
        block_type.__name__.lower(): partial(_has_type, block_type)
        for block_type in get_args(Printed)
    }
    environment.tests["unbroken"] = _is_unbroken
    environment.filters |= {
        "code_parts": code_parts,
        "counted": counted,
        "data_uri": _data_uri,
        "folded": folded,
        "sides": _sides,
    }
    return environment


def _made_visible(value: Any) -> Any:
    """Return a text with its invisible characters shown, and any other value as it is."""
    # HTML that is safe already has a type of its own, which is a subclass of str.
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return visible_part(value)
    return value


def _has_type(block_type: type[Printed], block: Printed) -> bool:
    return isinstance(block, block_type)


_LONG_WORD = 40
"""Letters from which a word may be parted, so that its column does not push others off a page."""


def _is_unbroken(text: str) -> bool:
    """Return whether ``text`` has a word as long as a digest."""
    return any(len(word) >= _LONG_WORD for word in text.split())


def escaped(text: str) -> str:
    """Return ``text`` as it stands in the HTML file."""
    return _environment().from_string("{{ text }}").render(text=text)


class _Figures(dict[str, Any]):
    """The Plotly figures of a page as JSON values, by the id of the element to draw them in."""

    def add(self, block: Chart) -> str:
        """Add the figure of ``block`` and return its id."""
        element_id = f"c{len(self)}"
        figure = json.loads(block.figure.to_json())
        # The page has a template of its own for light and one for dark.
        figure["layout"].pop("template", None)
        self[element_id] = figure
        return element_id


def _data_uri(png: bytes) -> str:
    """Return the image as a URI of lossless WebP, which is a sixth smaller than the PNG.

    All browsers since 2020 read it.
    """
    webp = io.BytesIO()
    Image.open(io.BytesIO(png)).save(webp, "WEBP", lossless=True, quality=0, method=2)
    return f"data:image/webp;base64,{base64.b64encode(webp.getvalue()).decode()}"


def _sides(png: bytes) -> tuple[int, int]:
    """Return the width and height of a PNG, with which a page leaves room before it decodes it."""
    # Both have four bytes in the header.
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


@cache
def _template_text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def _compressed(script: str) -> str:
    # Without a time, so that the same report has the same bytes.
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def _policy_hash(script: str) -> str:
    """Return the hash of ``script`` as a content security policy has it."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


FORMAT = "robustness report"
VERSION = 1

_BATCH_SIZE = 4096
"""Rows that are in memory as Python objects at once."""


def csv_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """Write the rows as CSV: RFC 4180 in UTF-8.

    Lists and truth values are JSON, and unknown values are empty cells. The file contains nothing
    but a header and the rows, so that every reader accepts it; ``columns_file`` explains it.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, schema(report.data.own_scores).names)
    writer.writerow({name: csv_cell(name) for name in writer.fieldnames})
    for row in _rows(report):
        writer.writerow({name: _csv_value(value) for name, value in row.items()})
    # Else the wrapper would close the file of the caller.
    text.detach()


def _csv_value(value: Any) -> Any:
    if isinstance(value, str):
        return csv_cell(value)
    if isinstance(value, bool | list):
        return json.dumps(value, allow_nan=False)
    return value


def csv_text(text: str) -> str:
    """Return ``text`` as ``csv_file`` writes it into a cell."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([csv_cell(text)])
    return line.getvalue()


def columns_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """Write the data dictionary as CSV, with a row for each column of the rows."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    columns = dictionary(report.data.own_scores)
    writer = csv.writer(text)
    writer.writerow(columns[0])
    for column in columns:
        writer.writerow([csv_cell(value) for value in column.values()])
    # Else the wrapper would close the file of the caller.
    text.detach()


def parquet_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """Write the rows as Parquet.

    The metadata of each column explain it, and those of the schema contain the manifest.
    """
    plain_schema = schema(report.data.own_scores)
    columns = dictionary(report.data.own_scores)
    fields = []
    for field, description in zip(plain_schema, columns, strict=True):
        fields.append(field.with_metadata(description))
    document = {
        "format": FORMAT,
        "version": VERSION,
        "title": visible(report.title),
        "manifest": report.manifest,
        "data_dictionary": columns,
    }
    metadata = {"robustness_report": json.dumps(document, allow_nan=False)}
    full_schema = pa.schema(fields, metadata)
    with pq.ParquetWriter(file, full_schema, compression="zstd") as writer:
        for table in _row_tables(report):
            plain_table = table.cast(plain_schema).replace_schema_metadata(None)
            writer.write_table(plain_table.cast(full_schema))


def json_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """Write one JSON document with the report, its tables, the data dictionary and the rows."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "created": when.isoformat(timespec="seconds"),
        "title": visible(report.title),
        "question": report.question,
        "answer": report.answer,
        "cautions": report.cautions,
        "limits": report.limits,
        "manifest": report.manifest,
    }
    if report.data.read is not None:
        document["data_dictionary"] = dictionary(report.data.own_scores)
    document |= report.data.tables
    # ASCII alone, as everywhere that the program prints JSON.
    head = json.dumps(document, indent=1, allow_nan=False)
    if report.data.read is None:
        file.write(head.encode() + b"\n")
        return
    # The rows are the last member. They are written one by one, as they may not fit into memory.
    file.write(head.removesuffix("\n}").encode())
    file.write(b',\n "rows": [')
    separator = b"\n  "
    for row in _rows(report):
        file.write(separator)
        file.write(json.dumps(row, allow_nan=False).encode())
        separator = b",\n  "
    file.write(b"\n ]\n}\n")


def json_text(text: str) -> str:
    """Return ``text`` as ``json_file`` writes it: in quotes, in ASCII."""
    return json.dumps(text)


def _row_tables(report: Report) -> Iterator[pa.Table]:
    """Yield the rows; raise ``ParameterError`` for a report without rows."""
    if report.data.read is None:
        raise ParameterError("This report has no rows: expected another format.")
    yield from report.data.read()


def _rows(report: Report) -> Iterator[dict[str, Any]]:
    for table in _row_tables(report):
        for batch in table.to_batches(max_chunksize=_BATCH_SIZE):
            yield from batch.to_pylist()


_SIGNS = re.compile(r"([\\`*_\[\]<>#|~&$]|(?<=:)/(?=/)|(?<=www)\.)")
"""Signs with a meaning within a line of Markdown, where GitHub takes $ for a formula, and those
that make a link of a word."""

Escape = Callable[[str], str]
"""A function that makes a text from outside safe to show."""


def markdown_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """Write a section headed "Robustness" with answers, tables, limits and the manifest."""
    for line in _markdown_lines(report, when):
        file.write(line.encode("utf-8", "backslashreplace") + b"\n")


def printed(summary: Summary) -> str:
    """Return a summary, or that of a report, for a terminal."""
    answers = "\n".join(f"- {visible(sentence)}" for sentence in summary.answer)
    notes = [Text(text) for text in (summary.note, *summary.cautions) if text]
    return f"{answers}\n{printed_blocks([*notes, *summary.brief])}".strip()


def printed_blocks(blocks: Iterable[Text | Titled | Map]) -> str:
    """Return paragraphs and tables for a terminal, with columns of equal width."""
    return "\n".join(_block_lines(blocks, visible))


def _block_lines(blocks: Iterable[Text | Titled | Map], escape: Escape) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Text):
            yield f"\n{escape(block.text)}"
        elif isinstance(block, Map):
            yield from _table_lines(block.title, block.drawing.table, escape)
        else:
            yield from _table_lines(block.caption, block.table, escape)


def _markdown_lines(report: Report, when: datetime) -> Iterator[str]:
    yield "## Robustness"
    yield f"\n**{escaped_markdown(report.title)}**"
    yield ""
    for question, sentence in report.answers:
        yield f"- **{escaped_markdown(question)}** {escaped_markdown(sentence)}"
    if report.note:
        yield f"\n{escaped_markdown(report.note)}"
    for caution in report.cautions:
        yield f"\n> {escaped_markdown(caution)}"
    yield from _block_lines(report.brief, escaped_markdown)
    yield "\n### Limits\n"
    for limit in report.limits:
        yield f"- {escaped_markdown(limit)}"
    yield "\n### How it was measured\n"
    for name, value in report.facts_at(when):
        yield f"- {escaped_markdown(name)}: {escaped_markdown(value)}"
    replay = ""
    for part, is_code in code_parts(report.replay):
        if is_code:
            replay += f"`{part}`"
        else:
            replay += _escaped_signs(visible_part(part))
    yield f"\n{replay}"
    yield "\n<details><summary>Manifest</summary>\n"
    # No text of the manifest can end the code block, as it has no backtick.
    manifest = folded(report.manifest).replace("`", "\\u0060")
    yield f"```json\n{manifest}\n```"
    yield "\n</details>"


def _table_lines(caption: str, table: Table, escape: Escape) -> Iterator[str]:
    """Yield the lines of a Markdown table with its caption, in columns of equal width."""
    head = [_table_cell(text, escape) for text in table.head]
    rows = [[_table_cell(text, escape) for text in row] for row in table.rows]
    columns = zip(head, *rows, strict=True)
    widths = [max(3, *map(len, column)) for column in columns]
    rule = ["-" * width for width in widths]
    yield f"\n### {escape(caption)}\n"
    for row in (head, rule, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield f"| {' | '.join(cells)} |"


def _table_cell(text: str, escape: Escape) -> str:
    cell = escape(text)
    # A bar would end the cell. The function for Markdown escapes it, but not that for a terminal.
    if escape is visible:
        return cell.replace("|", "\\|")
    return cell


def _escaped_signs(text: str) -> str:
    return _SIGNS.sub(r"\\\1", text)


def escaped_markdown(text: str) -> str:
    """Return ``text`` on one line, with the signs escaped that have a meaning in Markdown."""
    return _escaped_signs(visible(text))


_COMMANDS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
"""Names of the browsers that can print, on the PATH."""

_MAC_PATHS = tuple(
    f"/Applications/{name}.app/Contents/MacOS/{name}"
    for name in ("Google Chrome", "Chromium", "Microsoft Edge")
)
"""Where macOS has browsers, which are not on the PATH there."""

_SECONDS_TO_PRINT = 120
_HINT = "Write a .html report and print it from any browser."


def pdf_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """Print the HTML report to ``file`` by an installed browser.

    Raises ``ParameterError`` if there is no browser, or if it does not print in two minutes.
    """
    browser = _installed_browser()
    if browser is None:
        raise ParameterError("A PDF needs Chromium, Chrome or Edge; none is installed.", hint=_HINT)
    with TemporaryDirectory(prefix="report-") as name:
        folder = Path(name)
        page = folder / "report.html"
        printed = folder / "report.pdf"
        with page.open("wb") as source:
            html_file(report, source, when, packs_plotly=False)
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--no-first-run",
            "--no-pdf-header-footer",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}",
            f"--print-to-pdf={printed}",
            page.as_uri(),
        ]
        # Any failure shows below, as there is then no file.
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                command,
                capture_output=True,
                timeout=_SECONDS_TO_PRINT,
                **_account_to_print(folder),
            )
        if not printed.is_file():
            raise ParameterError(f"{browser} did not print the report.", hint=_HINT)
        with printed.open("rb") as result:
            shutil.copyfileobj(result, file)


def _installed_browser() -> str | None:
    """Return the path of the first browser that is installed, None if none is."""
    for command in (*_COMMANDS, *_MAC_PATHS):
        path = shutil.which(command)
        if path is not None:
            return path
    return None


def _account_to_print(folder: Path) -> Mapping[str, Any]:
    """Return the arguments of ``subprocess.run`` for the account that prints in ``folder``.

    The environment has neither settings nor keys of this process. Root prints as the account
    "nobody", since browsers have no sandbox for root.
    """
    variables = small_environment()
    if os.geteuid() != 0:
        return {"env": variables}
    import pwd

    nobody = pwd.getpwnam("nobody")
    for path in (folder, folder / "report.html"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return {
        "user": nobody.pw_uid,
        "group": nobody.pw_gid,
        "extra_groups": (),
        "env": variables | {"HOME": str(folder), "TMPDIR": str(folder)},
    }


Write = Callable[[Report, IO[bytes], datetime], None]
"""Writes a report to a file. The time is that at which the report is made."""


@dataclass(frozen=True)
class Format:
    """A format of report files.

    ``companion`` writes a second file that explains the first, with ``companion_suffix`` in place
    of its suffix. ``escaped`` returns a text from outside, such as the name of an image, as it
    stands in the file; None for binary files.

    A format that ``needs_browser`` is written by the command line and in Python only, never by the
    server; the others have a button with an ``icon``. Files with ``rows_only`` contain neither
    answers nor cautions.
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
            html_file,
            escaped,
        ),
        Format(
            ".pdf",
            "PDF",
            "application/pdf",
            "",
            pdf_file,
            escaped=None,
            needs_browser=True,
        ),
        Format(
            ".csv",
            "CSV",
            "text/csv",
            "csv",
            csv_file,
            csv_text,
            companion=columns_file,
            companion_suffix=".columns.csv",
            rows_only=True,
        ),
        Format(
            ".parquet",
            "Parquet",
            "application/vnd.apache.parquet",
            "table",
            parquet_file,
            escaped=None,
            rows_only=True,
        ),
        Format(
            ".json",
            "JSON",
            "application/json",
            "data_object",
            json_file,
            json_text,
        ),
        Format(
            ".md",
            "Markdown",
            "text/markdown",
            "markdown",
            markdown_file,
            escaped_markdown,
        ),
    )
}
"""The formats by the suffix of their files."""


def rendered(report: Report, write: Write, when: datetime) -> bytes:
    """Return the bytes that ``write`` puts into a file."""
    buffer = io.BytesIO()
    write(report, buffer, when)
    return buffer.getvalue()


def format_of(path: Path) -> Format:
    """Return the format of the suffix of ``path``; raise ``ParameterError`` if there is none."""
    file_format = FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise ParameterError(
            f"Expected the name of a report to end in {', '.join(FORMATS)}, got {str(path)!r}.",
            hint="That is --to.",
        )
    return file_format


def write(report: Report, path: Path, when: datetime | None = None) -> list[Path]:
    """Write ``report`` to ``path`` in the format of its suffix, and return the files written.

    Each file is written whole or not at all. CSV has a second file, which explains the columns.
    ``when`` is the time that the report bears, by default now. Raises ``ParameterError`` for an
    unknown suffix, and if a file cannot be written.
    """
    file_format = format_of(path)
    moment = when or datetime.now(UTC)
    writers = {path: file_format.write}
    if file_format.companion is not None:
        writers[path.with_suffix(file_format.companion_suffix)] = file_format.companion

    def fill(writer: Write, temporary: Path) -> None:
        with temporary.open("wb") as file:
            writer(report, file, moment)

    for target, writer in writers.items():
        with writing(target):
            put_whole(target, partial(fill, writer))
    return list(writers)
