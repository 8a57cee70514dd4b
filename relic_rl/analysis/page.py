"""The report's page: plain HTML with its style and figures inside, nothing fetched, no scripts."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from relic_rl.analysis.tables import Cell, Table

_STYLE = """
:root { --ink: #222; --soft: #666; --line: #ddd; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; background: #fff; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p { margin: .4rem 0; max-width: 46rem; }
.soft, figcaption, footer { color: var(--soft); font-size: .88rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.warning { border-left: 4px solid #c8552b; background: #fdf3ef; padding: .4rem .8rem;
  margin: .6rem 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid #eee; }
thead th { border-bottom: 2px solid var(--line); vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tbody tr:hover td { background: #f6f9fc; }
td small { color: var(--soft); display: block; font-weight: 400; }
td.best { font-weight: 600; }
figure { margin: .5rem 0 1.5rem; }
figure img { width: 100%; height: auto; display: block; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem; }
@media (max-width: 36rem) { dl { grid-template-columns: 1fr; } dt { margin-top: .4rem; }
  figure { overflow-x: auto; } figure img { min-width: 34rem; } }
@media print { .wide { overflow: visible; } }
"""


@dataclass(frozen=True, slots=True)
class Picture:
    """A titled figure that lies beside the page as PNG and SVG."""

    title: str
    caption: str
    png: Path
    svg: Path


def render_page(
    *,
    title: str,
    lead: str,
    facts: Sequence[tuple[str, str]],
    warnings: Sequence[str],
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    footnotes: Sequence[str],
) -> str:
    """Returns the page; every text is escaped here, so callers give plain text."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_e(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_e(title)}</h1><p class=soft>{_e(lead)}</p>",
        *(f"<p class=warning>{_e(warning)}</p>" for warning in warnings),
        "<dl>",
        *(f"<dt>{_e(name)}</dt><dd>{_e(value)}</dd>" for name, value in facts),
        "</dl>",
        _table(tables[0]),
        *(_picture(picture) for picture in pictures),
        *(_table(table) for table in tables[1:]),
        "<footer>",
        *(f"<p>{_e(footnote)}</p>" for footnote in footnotes),
        "</footer></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _e(text: str) -> str:
    return html.escape(text)


def _table(table: Table) -> str:
    head = "".join(f"<th>{_e(column)}</th>" for column in table.columns)
    body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return (
        f"<h2>{_e(table.title)}</h2><p class=soft>{_e(table.caption)}</p>\n"
        f"<div class=wide><table><thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    small = f"<small>{_e(cell.small)}</small>" if cell.small else ""
    return f"<td{' class=best' if cell.best else ''}>{_e(cell.text)}{small}</td>"


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.svg.read_bytes()).decode()
    return (
        f"<h2>{_e(picture.title)}</h2>\n<figure>"
        f'<img alt="{_e(picture.title)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{_e(picture.caption)} Files: {_e(picture.png.name)}, "
        f"{_e(picture.svg.name)}.</figcaption></figure>"
    )
