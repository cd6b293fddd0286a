"""The report as one HTML file that opens offline: charts, images and Plotly itself are in it.

Plotly is packed, which saves a third of a usual report, and images are lossless WebP. A content
security policy names the scripts by their hashes and forbids all requests: nothing that came from
outside can run, or call home, even if it were not escaped.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args

from PIL import Image

from robustness import __version__
from robustness.charts import band_and_map_drawing
from robustness.report.blocks import Chart, Printed, Report, Section
from robustness.report.names_and_sentences import code_parts, folded, visible_part

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


def html_file(
    report: Report, file: IO[bytes], when: datetime, *, packs_plotly: bool = True
) -> None:
    """The whole report; the images are read and written one at a time.

    Packed, Plotly begins after the page is loaded, and so too late for a browser that only prints.
    """
    scripts = {"plotly": _plotly(), "script": _own_file("report.js")}
    hashes = [_hash(script) for script in scripts.values()]
    if packs_plotly:
        scripts["plotly"] = _packed(scripts["plotly"])
    pieces = (
        _environment()
        .get_template("report.html.j2")
        .generate(
            report=report,
            when=when,
            sections=[*report.sections, Section("Methods", report.methods)],
            figures=_Figures(),
            version=__version__,
            style=_own_file("report.css") + band_and_map_drawing.style(),
            hashes=hashes,
            packed=packs_plotly,
            **scripts,
        )
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
        # What is safe has its own type.
        finalize=lambda value: (
            visible_part(value)
            if isinstance(value, str) and not hasattr(value, "__html__")
            else value
        ),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
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
    """The sides that the head of a PNG names, so that nothing moves while images are decoded."""
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
    return width, height


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
