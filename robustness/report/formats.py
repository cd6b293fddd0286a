"""The formats of a report: HTML, PDF, CSV, Parquet, JSON and Markdown.

The HTML file opens offline: charts, images and Plotly itself are in it. Plotly is packed, which
saves a third of a usual report, and images are lossless WebP. A content security policy names the
scripts by their hashes and forbids all requests: nothing that came from outside can run, or call
home, even if it were not escaped. A PDF is the HTML report, printed by an installed browser in its
sandbox. CSV has its columns explained in a second file. The Markdown is a section of a model card;
the command line prints the same tables.
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
from robustness.base.text import csv_cell, visible
from robustness.base.workers import small_environment
from robustness.measure.rows import dictionary, schema
from robustness.report import maps
from robustness.report.blocks import (
    Chart,
    Map,
    Printed,
    Report,
    Section,
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
    """The whole report; the images are read and written one at a time.

    Packed, Plotly begins after the page is loaded, and so too late for a browser that only prints.
    """
    plotly = _plotly()
    script = _own_file("report.js")
    template = _environment().get_template("report.html.j2")
    pieces = template.generate(
        report=report,
        when=when,
        sections=[*report.sections, Section("Methods", report.methods)],
        figures=_Figures(),
        version=__version__,
        style=_own_file("report.css") + maps.style(),
        # The policy allows a script by its hash before it is packed, as it runs unpacked.
        hashes=[_hash(plotly), _hash(script)],
        packed=packs_plotly,
        plotly=_packed(plotly) if packs_plotly else plotly,
        script=script,
    )
    for piece in pieces:
        file.write(piece.encode("utf-8", "backslashreplace"))


@cache
def _environment() -> Environment:
    """The template environment: texts are put on one line, made visible, and escaped."""
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
    # "block is titled", and so on.
    environment.tests |= {
        kind.__name__.lower(): partial(_is_of, kind) for kind in get_args(Printed)
    }
    environment.filters |= {
        "code_parts": code_parts,
        "data_uri": _data_uri,
        "folded": folded,
        "sides": _sides,
    }
    return environment


def _made_visible(value: Any) -> Any:
    """A text with its invisible characters shown; safe HTML, which has its own type, stays."""
    is_text = isinstance(value, str) and not hasattr(value, "__html__")
    return visible_part(value) if is_text else value


def escaped(text: str) -> str:
    """``text`` as the page shows it."""
    return _environment().from_string("{{ text }}").render(text=text)


class _Figures(dict[str, Any]):
    """The figures that the page draws, by the names of their places."""

    def add(self, block: Chart) -> str:
        """Take the figure of ``block``, and give the name of its place."""
        name = f"c{len(self)}"
        figure = json.loads(block.figure.to_json())
        figure["layout"].pop("template", None)  # the page has one for day and one for night
        self[name] = figure
        return name


def _data_uri(png: bytes) -> str:
    """The same pixels as lossless WebP, a sixth smaller; all browsers since 2020 read it."""
    webp = io.BytesIO()
    Image.open(io.BytesIO(png)).save(webp, "WEBP", lossless=True, quality=0, method=2)
    return f"data:image/webp;base64,{base64.b64encode(webp.getvalue()).decode()}"


def _sides(png: bytes) -> tuple[int, int]:
    """The width and height of a PNG, so that nothing moves while images are decoded."""
    # The head of a PNG has them as four bytes each.
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


@cache
def _own_file(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def _packed(script: str) -> str:
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def _is_of(kind: type[Printed], block: Printed) -> bool:
    return isinstance(block, kind)


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


FORMAT = "robustness report"
VERSION = 1
_AT_ONCE = 4096  # rows in memory as Python objects


def csv_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """The rows, RFC 4180 in UTF-8; lists are JSON, what is not known is an empty cell.

    Nothing but the head and the rows, so that every reader takes it; ``columns_file`` explains it.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, schema(report.data.own).names)
    writer.writerow({name: csv_cell(name) for name in writer.fieldnames})
    for row in _rows(report):
        writer.writerow({name: _csv_value(value) for name, value in row.items()})
    text.detach()


def _csv_value(value: Any) -> Any:
    if isinstance(value, str):
        return csv_cell(value)
    if isinstance(value, bool | list):
        return json.dumps(value, allow_nan=False)
    return value


def csv_text(text: str) -> str:
    """``text`` as ``csv_file`` writes it into a cell."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([csv_cell(text)])
    return line.getvalue()


def columns_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """The data dictionary as CSV."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    columns = dictionary(report.data.own)
    writer = csv.writer(text)
    writer.writerow(columns[0])
    writer.writerows(map(csv_cell, column.values()) for column in columns)
    text.detach()


def parquet_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """The rows; each column's meaning is in its metadata, the manifest in that of the schema."""
    plain = schema(report.data.own)
    columns = dictionary(report.data.own)
    fields = [field.with_metadata(about) for field, about in zip(plain, columns, strict=True)]
    document = {
        "format": FORMAT,
        "version": VERSION,
        "title": visible(report.title),
        "manifest": report.manifest,
        "data_dictionary": columns,
    }
    explained = pa.schema(fields, {"robustness_report": json.dumps(document, allow_nan=False)})
    with pq.ParquetWriter(file, explained, compression="zstd") as writer:
        for table in report.data.read():
            writer.write_table(table.cast(plain).replace_schema_metadata(None).cast(explained))


def json_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """One document: what the report says, its tables, the data dictionary, and the rows."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "created": when.isoformat(timespec="seconds"),
        "title": visible(report.title),
        "question": report.question,
        "answer": report.answer,
        "cautions": report.cautions,
        "limits": report.limits,
        "manifest": report.manifest,
        "data_dictionary": dictionary(report.data.own),
        **report.data.tables,
    }
    # ASCII alone, as everywhere that the program prints JSON.
    head = json.dumps(document, indent=1, allow_nan=False)
    file.write(head.removesuffix("\n}").encode() + b',\n "rows": [')
    for number, row in enumerate(_rows(report)):
        file.write(b",\n  " if number else b"\n  ")
        file.write(json.dumps(row, allow_nan=False).encode())
    file.write(b"\n ]\n}\n")


def json_text(text: str) -> str:
    """``text`` as ``json_file`` writes it: in quotes, in ASCII."""
    return json.dumps(text)


def _rows(report: Report) -> Iterator[dict[str, Any]]:
    for table in report.data.read():
        for batch in table.to_batches(max_chunksize=_AT_ONCE):
            yield from batch.to_pylist()


_SIGNS = re.compile(r"([\\`*_\[\]<>#|~&]|(?<=:)/(?=/)|(?<=www)\.)")
"""Signs with a meaning within a line of Markdown, and those that make a link of a word."""

Say = Callable[[str], str]
"""Makes a text safe to show."""


def markdown_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """A section headed "Robustness": answers, tables, limits, and the manifest."""
    for line in _lines(report, when):
        file.write(line.encode("utf-8", "backslashreplace") + b"\n")


def printed(report: Report) -> str:
    """Answers, cautions and tables for a terminal: aligned, nothing escaped."""
    answers = "\n".join(f"- {visible(sentence)}" for sentence in report.answer)
    notes = [Text(text) for text in (report.note, *report.cautions) if text]
    return f"{answers}\n{printed_blocks([*notes, *report.brief])}".strip()


def printed_blocks(blocks: Iterable[Text | Titled | Map]) -> str:
    """Paragraphs and tables for a terminal: aligned, nothing escaped."""
    return "\n".join(_blocks(blocks, visible))


def _blocks(blocks: Iterable[Text | Titled | Map], say: Say) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Text):
            yield f"\n{say(block.text)}"
        elif isinstance(block, Map):
            yield from _table(block.title, block.drawing.table, say)
        else:
            yield from _table(block.caption, block.table, say)


def _lines(report: Report, when: datetime) -> Iterator[str]:
    yield "## Robustness"
    yield f"\n**{escaped_markdown(report.title)}**"
    yield ""
    for question, sentence in report.answers:
        yield f"- **{escaped_markdown(question)}** {escaped_markdown(sentence)}"
    if report.note:
        yield f"\n{escaped_markdown(report.note)}"
    for caution in report.cautions:
        yield f"\n> {escaped_markdown(caution)}"
    yield from _blocks(report.brief, escaped_markdown)
    yield "\n### Limits\n"
    for limit in report.limits:
        yield f"- {escaped_markdown(limit)}"
    yield "\n### How it was measured\n"
    for name, value in report.facts_at(when):
        yield f"- {escaped_markdown(name)}: {escaped_markdown(value)}"
    replay = ""
    for part, is_code in code_parts(report.replay):
        replay += f"`{part}`" if is_code else _without_signs(visible_part(part))
    yield f"\n{replay}"
    yield "\n<details><summary>Manifest</summary>\n"
    manifest = folded(report.manifest).replace("`", "\\u0060")  # none can end the block
    yield f"```json\n{manifest}\n```"
    yield "\n</details>"


def _table(caption: str, table: Table, say: Say) -> Iterator[str]:
    """A Markdown table with its caption, in columns of equal width."""
    head, *rows = [[_table_cell(text, say) for text in row] for row in (table.head, *table.rows)]
    columns = zip(head, *rows, strict=True)
    widths = [max(3, *map(len, column)) for column in columns]
    rule = ["-" * width for width in widths]
    yield f"\n### {say(caption)}\n"
    for row in (head, rule, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield f"| {' | '.join(cells)} |"


def _table_cell(text: str, say: Say) -> str:
    cell = say(text)
    # Markdown has the bar escaped already.
    return cell.replace("|", "\\|") if say is visible else cell


def _without_signs(text: str) -> str:
    return _SIGNS.sub(r"\\\1", text)


def escaped_markdown(text: str) -> str:
    """``text`` on one line, without a sign that has a meaning in Markdown."""
    return _without_signs(visible(text))


_COMMANDS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
_ON_A_MAC = tuple(  # which leaves browsers off the PATH
    f"/Applications/{name}.app/Contents/MacOS/{name}"
    for name in ("Google Chrome", "Chromium", "Microsoft Edge")
)
_SECONDS = 120
_HINT = "Write a .html report and print it from any browser."


def pdf_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """Print the HTML report to ``file``.

    Raises ``ParameterError`` without a browser, or if it does not print in two minutes.
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
        # Whatever went wrong, there is then no file.
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=_SECONDS, **_account(folder))
        if not printed.is_file():
            raise ParameterError(f"{browser} did not print the report.", hint=_HINT)
        with printed.open("rb") as result:
            shutil.copyfileobj(result, file)


def _installed_browser() -> str | None:
    """The path of the first browser that is there."""
    for command in (*_COMMANDS, *_ON_A_MAC):
        path = shutil.which(command)
        if path is not None:
            return path
    return None


def _account(folder: Path) -> Mapping[str, Any]:
    """The account that prints, and its environment, without settings and keys.

    Root gives way to ``nobody``, as browsers deny root a sandbox.
    """
    variables = small_environment()
    if os.geteuid() != 0:
        return {"env": variables}
    import pwd

    nobody = pwd.getpwnam("nobody")
    for path in (folder, folder / "report.html"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
    return account | {"env": variables | {"HOME": str(folder), "TMPDIR": str(folder)}}


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
