"""The pages of a PDF, filled from top to bottom: words, boxes, tables, charts, cases."""

from __future__ import annotations

import io
import itertools
from datetime import datetime
from typing import Any

from robustness import __version__
from robustness.base.text import visible
from robustness.report.content import Case, Cases, Chart, Film, Printed, Text, Titled
from robustness.report.formats import pdf_charts, pdf_fonts

_FONT, _JAPANESE = "DejaVu", "IPAex"
_MARGIN, _LEADING = 18.0, 5.0  # mm
_BODY, _SMALL = 9.5, 8.0  # points
_INK, MUTED, _LINE, RAISED = (27, 39, 51), (81, 96, 109), (217, 225, 231), (243, 246, 248)
ACCENT, _GOOD, _BAD, WARN = (11, 110, 153), (17, 112, 60), (178, 60, 6), (255, 246, 227)
_IN_A_ROW = 3
_CASE_TEXT = 30.0
"""Millimetres that the words of a case take at most: so much must fit below its images."""


def _pages() -> Any:
    """An empty document that numbers its pages."""
    from fpdf import FPDF

    class Pages(FPDF):
        def footer(self) -> None:
            self.set_y(-12)
            self.set_font(_FONT, "", 7)
            self.set_text_color(*MUTED)
            self.cell(0, 4, f"Robustness {__version__}")
            self.set_x(_MARGIN)
            self.cell(0, 4, f"{self.page_no()} / {{nb}}", align="R")

    return Pages(format="A4")


class Paper:
    """Pages that are filled from top to bottom; lengths are millimetres, sizes points."""

    def __init__(self, title: str, when: datetime) -> None:
        self._pdf = _pages()
        self._pdf.set_title(visible(title))
        self._pdf.set_creator(f"Robustness {__version__}")
        self._pdf.set_producer("fpdf2")
        self._pdf.set_lang("en")
        self._pdf.set_creation_date(when)
        self._pdf.set_margins(_MARGIN, 16, _MARGIN)
        self._pdf.set_auto_page_break(True, 18)
        self._pdf.c_margin = 0.0
        for style, name in (("", pdf_fonts.REGULAR), ("B", pdf_fonts.BOLD)):
            self._pdf.add_font(_FONT, style, pdf_fonts.font_file(name))
        self._known = set.intersection(*(set(font.cmap) for font in self._pdf.fonts.values()))
        self._fallback: set[int] | None = None
        self._pdf.add_page()

    def bytes(self) -> bytes:
        """The finished document."""
        data = bytes(self._pdf.output())
        for font in self._pdf.fonts.values():
            font.ttfont.close()
        return data

    def heading(self, text: str, below: float = 15) -> None:
        """The heading of a section, also in the outline; ``below`` of it fit on the same page."""
        self._room(20 + below)
        self._pdf.ln(5)
        self._pdf.set_draw_color(*_LINE)
        self._pdf.line(_MARGIN, self._pdf.get_y(), _MARGIN + self._pdf.epw, self._pdf.get_y())
        self._pdf.ln(3)
        self._pdf.set_font(_FONT, "B", 13.5)
        self._pdf.set_text_color(*_INK)
        self._pdf.start_section(self._clean(text))
        self._pdf.ln(3)
        self.words(text, bold=True, size=13.5, leading=6.5, gap=2)

    def words(
        self,
        text: str,
        *,
        bold: bool = False,
        size: float = _BODY,
        leading: float = _LEADING,
        colour: tuple[int, int, int] = _INK,
        gap: float = 2.5,
        lines: bool = False,
    ) -> None:
        """A paragraph; with ``lines`` its line breaks are kept."""
        shown = "\n".join(
            "\u00a0" * (len(line) - len(line.lstrip())) + self._clean(line)  # keeps the indentation
            for line in (text.splitlines() if lines else [text.strip()])
        )
        self._write(shown, leading, bold=bold, size=size, colour=colour)
        self._pdf.ln(gap)

    def _write(
        self,
        shown: str,
        leading: float,
        *,
        bold: bool = False,
        size: float = _BODY,
        colour: tuple[int, int, int] = _INK,
        width: float = 0,
        **more: Any,
    ) -> None:
        """Lines from here on, ``width`` wide; the next ones begin at the margin below."""
        self._pdf.set_font(_FONT, "B" if bold else "", size)
        self._pdf.set_text_color(*colour)
        below = {"align": "L", "new_x": "LMARGIN", "new_y": "NEXT", **more}
        self._pdf.multi_cell(width, leading, shown, **below)

    def boxed(self, lines: list[tuple[str, bool]], fill: tuple[int, int, int]) -> None:
        """(text, whether bold) on a tinted ground."""
        self._pdf.set_fill_color(*fill)
        for text, bold in lines:
            self._write(self._clean(text), _LEADING, bold=bold, fill=True, padding=(1.2, 3))
        self._pdf.ln(3)

    def fact(self, name: str, value: str) -> None:
        """A name and its value on a line."""
        self._pdf.set_font(_FONT, "", _SMALL)
        self._pdf.set_text_color(*MUTED)
        self._pdf.cell(30, 4.4, self._clean(name))
        self._write(self._clean(value), 4.4, size=_SMALL)

    def table(self, block: Titled) -> None:
        """A table whose head stands on every page that it takes."""
        from fpdf.enums import TableBordersLayout
        from fpdf.fonts import FontFace

        self._room(self.height(block))
        self.words(block.caption, bold=True, gap=0.5)
        head, rows = block.table
        cells = [[self._clean(cell) for cell in row] for row in (head, *rows)]
        size = _SMALL if len(head) <= 7 else 6.0
        self._pdf.set_font(_FONT, "", size)
        self._pdf.set_draw_color(*_LINE)
        self._pdf.set_fill_color(255, 255, 255)
        self._pdf.set_text_color(*_INK)
        with self._pdf.table(
            cells,
            headings_style=FontFace(emphasis="BOLD", color=MUTED),
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            col_widths=self._widths(cells),
            line_height=size * 0.47,
            text_align="LEFT",
            padding=(0.7, 1.2, 0.7, 0),
        ):
            pass
        self._pdf.ln(4)

    def _widths(self, cells: list[list[str]]) -> tuple[float, ...]:
        """Shares of the page by what the columns hold, long words never broken if it can be."""
        wide, least = [], []
        self._pdf.set_font(style="B")
        for column in zip(*cells, strict=True):
            longest = [self._pdf.get_string_width(text) for text in column[:200]]
            words = [
                self._pdf.get_string_width(word)
                for text in column[:200]
                for word in text.split()
                if len(word) < 24
            ]
            wide.append(min(max(longest) + 4.5, 60.0))
            least.append(max([*words, 4.0]) + 4.5)
        self._pdf.set_font(style="")
        wide = [max(a, b) for a, b in zip(least, wide, strict=True)]
        spare, asked = self._pdf.epw - sum(least), sum(wide) - sum(least)
        if asked <= 0 or spare >= asked:
            return tuple(wide)
        return tuple(
            a + max(0.0, spare) * (b - a) / asked for a, b in zip(least, wide, strict=True)
        )

    def height(self, block: Printed) -> float:
        """Millimetres that must fit on one page for ``block`` to begin there."""
        if isinstance(block, Chart):
            inches = block.figure.layout.height / pdf_charts.PIXELS_AN_INCH
            return float(inches * self._pdf.epw / pdf_charts.WIDTH_INCHES) + 14
        return {Text: 15.0, Titled: 30.0, Cases: 75.0, Film: 75.0}[type(block)]

    def chart(self, block: Chart) -> None:
        """A figure with its title above and its note below, never torn apart."""
        png = pdf_charts.to_png(block.figure)
        self._room(self.height(block))
        self.words(block.title, bold=True, gap=0.5)
        self._pdf.image(io.BytesIO(png), w=self._pdf.epw, alt_text=self._clean(block.alt))
        self._pdf.ln(1)
        if block.note:
            self.words(block.note, size=_SMALL, colour=MUTED, leading=4)
        self._pdf.ln(2)

    def cases(self, block: Cases) -> None:
        """Cases in rows of three, each with its images above its words."""
        if block.caption:
            self._room(self.height(block))
            self.words(block.caption, bold=True)
        for wide, cases in itertools.groupby(block.read(), lambda case: len(case.shots) > 2):
            columns = 1 if wide else _IN_A_ROW
            while row := list(itertools.islice(cases, columns)):
                self._row(row, columns)

    def _row(self, cases: list[Case], columns: int) -> None:
        gap = 5.0
        width = (self._pdf.epw - gap * (columns - 1)) / columns
        side = max(_side(case, width) for case in cases)
        self._room(side + _CASE_TEXT)
        top, page, lowest = self._pdf.get_y(), self._pdf.page, 0.0
        for place, case in enumerate(cases):
            left = _MARGIN + place * (width + gap)
            self._case(case, left, top, width, side)
            lowest = max(lowest, self._pdf.get_y())
        self._pdf.page = page
        self._pdf.set_y(lowest + 4)

    def _case(self, case: Case, left: float, top: float, width: float, side: float) -> None:
        for at, shot in enumerate(case.shots):
            x = left + at * (_side(case, width) + 1.5)
            self._pdf.image(
                io.BytesIO(shot.png), x, top, _side(case, width), alt_text=self._clean(shot.alt)
            )
        self._pdf.set_xy(left, top + (side if case.shots else 0) + 1)
        lines = [(case.title, True, _INK)]
        if case.verdict is not None:
            lines.append((case.verdict.said, True, _GOOD if case.verdict.good else _BAD))
        lines += [(line, False, _INK) for line in case.lines]
        for text, bold, colour in lines:
            shown = _short(self._clean(text))
            self._write(shown, 3.4, bold=bold, size=7, colour=colour, width=width, new_x="LEFT")

    def _room(self, height: float) -> None:
        """Turn the page unless ``height`` fits on what is left of it."""
        if self._pdf.will_page_break(height) and self._pdf.get_y() > 30:
            self._pdf.add_page()

    def _clean(self, text: str) -> str:
        """``text`` on one line, with the number of every sign that no font can draw."""
        line = visible(text)
        if self._known.issuperset(map(ord, line)):
            return line
        known = self._known | self._japanese()
        return "".join(sign if ord(sign) in known else f"U+{ord(sign):04X}" for sign in line)

    def _japanese(self) -> set[int]:
        """The signs of the second font, which is loaded when the first lacks one."""
        if self._fallback is None:
            self._pdf.add_font(_JAPANESE, "", pdf_fonts.font_file(pdf_fonts.JAPANESE))
            self._pdf.set_fallback_fonts([_JAPANESE], exact_match=False)
            self._fallback = set(self._pdf.fonts[_JAPANESE.lower()].cmap)
        return self._fallback


def _side(case: Case, width: float) -> float:
    """Millimetres along each image of a case that is ``width`` wide."""
    count = max(2, len(case.shots))
    return (width - 1.5 * (count - 1)) / count if case.shots else 0.0


def _short(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:158]} …"
