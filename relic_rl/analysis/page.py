"""The report's page: one HTML file with its style, its script and its figures inside.

It asks the network for nothing, and forbids itself to: the content policy at its head allows no
source but the page. The script only sorts tables.
"""

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from relic_rl.analysis.pictures import Picture
from relic_rl.analysis.tables import Cell, Table

_HERE = Path(__file__).parent
_WIDEST_INCH_PIXELS, _NARROWEST_INCH_PIXELS = 112, 64
"""Of a figure's inch: beyond, letters are out of proportion to the page's; below, unreadable."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One number that the page opens with, for every column."""

    title: str
    lines: tuple[tuple[str, str, bool], ...]
    """Label, number, and whether it is of the reader's own runs."""


def render_page(
    *,
    title: str,
    lead: str,
    tiles: Sequence[Tile],
    facts: Sequence[tuple[str, str]],
    warnings: Sequence[str],
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    footnotes: Sequence[str],
) -> str:
    """Returns the page; every text is escaped here, so callers give plain text."""
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    titles = [tables[0].title, *(picture.title for picture in pictures)]
    titles += [table.title for table in tables[1:]]
    notes = "\n".join(f"<p>{_e(warning)}</p>" for warning in warnings)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">',
        '<link rel="icon" href="data:,">',
        f"<title>{_e(title)}</title>\n<style>\n{style}</style></head><body>",
        f"<header><div><h1>{_e(title)}</h1><p class=lead>{_e(lead)}</p><nav>",
        *(f'<a href="#{_anchor(text)}">{_e(text)}</a>' for text in titles),
        "</nav></div></header>\n<div class=page>",
        f"<div class=tiles>{''.join(map(_tile, tiles))}</div>",
        f"<div class=notes>\n{notes}\n</div>" if warnings else "",
        "<dl class=facts>",
        *(f"<div><dt>{_e(name)}</dt><dd>{_e(value)}</dd></div>" for name, value in facts),
        "</dl>",
        _table(tables[0]),
        *map(_picture, pictures),
        *map(_table, tables[1:]),
        "<footer>",
        *(f"<p>{_e(footnote)}</p>" for footnote in footnotes),
        f"</footer></div>\n<script>{script}</script></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _e(text: str) -> str:
    return html.escape(text)


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sources = ("img-src data:", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'")
    return "; ".join(("default-src 'none'", *sources))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _heading(title: str) -> str:
    return f'<h2 id="{_anchor(title)}">{_e(title)}</h2>'


def _tile(tile: Tile) -> str:
    lines = "".join(
        f"<div class=own><span>{_e(label)}</span><b>{_e(number)}</b></div>"
        if is_own
        else f"<div><span>{_e(label)}</span>{_e(number)}</div>"
        for label, number, is_own in tile.lines
    )
    return f"<div class=tile><h3>{_e(tile.title)}</h3>{lines}</div>"


def _table(table: Table) -> str:
    kinds = ["text" if cell.key is None else "number" for cell in table.rows[0]]
    if table.sorts:
        head = "".join(
            f"<th data-kind={kind}><button>{_e(column)}</button></th>"
            for kind, column in zip(kinds, table.columns, strict=True)
        )
    else:
        head = "".join(f"<th>{_e(column)}</th>" for column in table.columns)
    hint = " A click on a head sorts; scores by percentage." if table.sorts else ""
    body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return (
        f"{_heading(table.title)}<p class=soft>{_e(table.caption + hint)}</p>\n"
        f'<div class="wide{" tall" if table.sorts else ""}"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    small = f"<small>{_e(cell.small)}</small>" if cell.small else ""
    key = _e(cell.text) if cell.key is None else f"{cell.key:.6g}"
    return f'<td{" class=best" if cell.best else ""} data-key="{key}">{_e(cell.text)}{small}</td>'


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.svg.read_bytes()).decode()
    widest = picture.width_inches * _WIDEST_INCH_PIXELS
    narrowest = picture.width_inches * _NARROWEST_INCH_PIXELS
    return (
        f"{_heading(picture.title)}\n<p class=soft>{_e(picture.caption)}</p><figure>"
        f'<img alt="{_e(picture.title)}" style="max-width:{widest:.0f}px;'
        f'min-width:{narrowest:.0f}px" src="data:image/svg+xml;base64,{data}"></figure>'
        f"<p class=soft>As files: {_e(picture.png.name)}, {_e(picture.svg.name)}</p>"
    )
