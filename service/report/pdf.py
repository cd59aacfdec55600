"""The report as a PDF for print: the text of the report in Markdown, laid out on pages, its pictures as vectors."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from fpdf import FPDF
from fpdf.enums import MethodReturnValue, TableBordersLayout
from fpdf.fonts import FontFace

from service.report.growth import growth_figure
from service.report.markdown import markdown_page
from service.report.palette import rendered
from service.report.picture import front_figure
from service.study_run import StudyRun

_MARGIN_MM = 18
_LINE_MM = 5
_PADDING_MM, _PALE = 2.6, 190
_TEXT_PT, _CELL_PT, _CODE_PT = 9.5, 6.5, 7.5
# matplotlib's own fonts: they know every sign that a study may hold, which the fonts of PDF itself do not.
_FONTS = {("text", ""): "DejaVuSans.ttf", ("text", "B"): "DejaVuSans-Bold.ttf", ("code", ""): "DejaVuSansMono.ttf"}
_PICTURES_BEHIND = "## The front"


def pdf_page(run: StudyRun) -> bytes:
    """The report of a study; the same study gives the same bytes."""
    spec, trials = run.study.spec, run.trials
    pages = _Pages(f"{spec.name}: {spec.subject}")
    pages.set_creation_date(run.study.created_at)
    for block in _blocks(markdown_page(run)):
        pages.lay_out(block)
        if block == [_PICTURES_BEHIND]:
            pages.pictures(rendered(f(spec, trials), "svg", outlines=True) for f in (front_figure, growth_figure))
    return bytes(pages.output())


def _blocks(markdown: str) -> Iterator[list[str]]:
    """Lines that belong together: a heading, a paragraph, a table, or a block of code with its fences."""
    fence = ""
    block: list[str] = []
    for line in [*markdown.splitlines(), ""]:
        is_fence = line == fence if fence else re.fullmatch("`{3,}", line)
        if is_fence and not fence:
            fence = line
        elif not is_fence and (fence or line):
            block.append(line)
        elif fence or block:
            yield [fence, *block] if fence else block
            fence, block = "", []


class _Pages(FPDF):
    """Pages with the study's name above and their number below.

    Args:
        title: of the document.
    """

    def __init__(self, title: str) -> None:
        super().__init__(format="A4")
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        for (family, style), name in _FONTS.items():
            self.add_font(family, style, folder / name)
        self.set_title(title)
        self.set_creator("greenshift")
        self.set_margins(_MARGIN_MM, _MARGIN_MM)
        self.set_auto_page_break(True, margin=_MARGIN_MM)
        self.add_page()

    def footer(self) -> None:
        """What stands below every page."""
        self.set_y(-_MARGIN_MM + 4)
        self.set_font("text", size=7)
        self.cell(0, 4, self._fitting(str(self.title)))
        self.set_x(_MARGIN_MM)
        self.cell(0, 4, f"{self.page_no()} of {{nb}}", align="R")

    def lay_out(self, lines: list[str]) -> None:
        """One block of Markdown as `markdown_page` writes it."""
        first = lines[0]
        if first.startswith("#"):
            self._heading(first)
        elif first.startswith("```"):
            self._code(lines[1:])
        elif first.startswith("|"):
            self._table([_cells(line) for line in lines if not re.fullmatch(r"[| -]+", line)])
        else:
            self._paragraph(" ".join(lines))

    def pictures(self, drawn: Any) -> None:
        """Pictures, given as SVG, each as wide as the text."""
        for svg in drawn:
            # What describes the picture is no part of it, and is warned of.
            shown = re.sub(rb"<metadata>.*?</metadata>", b"", svg, flags=re.DOTALL)
            self.image(io.BytesIO(shown), w=0.72 * self.epw, x=_MARGIN_MM)
            self.ln(3)

    def _heading(self, line: str) -> None:
        level = len(line) - len(line.lstrip("#"))
        title = _plain(line.lstrip("# "))
        if level > 1:
            self.ln(3)
            # A heading is never the last of its page, and the pictures stand on the one of theirs.
            if line == _PICTURES_BEHIND or self.will_page_break(5 * _LINE_MM):
                self.add_page()
        self.start_section(title, level=0)
        self.set_font("text", "B", 20 - 4 * level)
        self.multi_cell(0, 9 - level, title, new_x="LMARGIN", new_y="NEXT")
        self.ln(1)

    def _paragraph(self, text: str) -> None:
        quoted = text.startswith("> ")
        self.set_font("text", size=_TEXT_PT)
        if quoted and self.will_page_break(self._height(text)):
            self.add_page()
        with self.local_context(fill_color=(238, 243, 240)):
            self.multi_cell(0, _LINE_MM, _plain(text.removeprefix("> ")), align="L", fill=quoted, padding=2 * quoted,
                            new_x="LMARGIN", new_y="NEXT")  # fmt: skip
        self.ln(2)

    def _code(self, lines: list[str]) -> None:
        self.set_font("code", size=_CODE_PT)
        self.multi_cell(0, 3.8, "\n".join(lines), align="L", border="L", padding=2, new_x="LMARGIN", new_y="NEXT")
        self.ln(2)

    def _table(self, rows: list[list[str]]) -> None:
        widths = self._widths(rows)
        self.set_font("text", size=_CELL_PT)
        self.set_line_width(0.1)
        self.set_draw_color(_PALE)
        layout = TableBordersLayout.HORIZONTAL_LINES
        with self.table(rows, col_widths=widths, borders_layout=layout, line_height=3.4, padding=(0.7, 1),
                        text_align="LEFT", headings_style=FontFace(emphasis="BOLD")):  # fmt: skip
            pass
        self.ln(3)

    def _widths(self, rows: list[list[str]]) -> list[float]:
        """In mm: columns as wide as their texts or, where these find no room, at least as their longest words.

        The headings of columns may take several lines.
        """
        self.set_font("text", "B", _CELL_PT)
        columns = list(zip(*rows, strict=True))
        words = [max(self.get_string_width(word) for cell in column for word in cell.split() or [""])
                 for column in columns]  # fmt: skip
        least = [word + _PADDING_MM for word in words]
        if sum(least) > self.epw:
            # Some words are broken: no column takes much more than its share.
            least = [min(word, 1.5 * self.epw / len(columns)) for word in least]
        wanted = [max(min(max(map(self.get_string_width, column[1:])), self.epw / 2) + _PADDING_MM, word)
                  for column, word in zip(columns, least, strict=True)]  # fmt: skip
        if sum(wanted) <= self.epw:
            return [*wanted[:-1], self.epw - sum(wanted[:-1])]
        more = [max(w - word, 0.1) for w, word in zip(wanted, least, strict=True)]
        left = max(self.epw - sum(least), 0.0)
        return [word + left * m / sum(more) for word, m in zip(least, more, strict=True)]

    def _height(self, text: str) -> float:
        """In mm, of a paragraph that is marked."""
        found: Any = self.multi_cell(0, _LINE_MM, text, padding=2, dry_run=True, output=MethodReturnValue.HEIGHT)
        return float(found)

    def _fitting(self, text: str) -> str:
        """The text as far as one line holds it."""
        lines: Any = self.multi_cell(0.8 * self.epw, 4, text, dry_run=True, output=MethodReturnValue.LINES)
        return str(lines[0])


def _cells(line: str) -> list[str]:
    """The cells of a row, of which only bars that are not escaped part two."""
    return [_plain(cell.strip()) for cell in re.findall(r"\|((?:\\.|[^|\\])*)(?=\|)", line)]


def _plain(text: str) -> str:
    """What an escaped text says, without the marks of code."""
    return re.sub(r"\\(.)|`", lambda found: found[1] or "", text)
