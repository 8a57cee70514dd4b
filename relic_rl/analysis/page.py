"""The report's page: one HTML file with its style, its script and its figures inside.

It asks the network for nothing, and forbids itself to: the content policy at its head allows no
source but the page. The script only sorts tables. The text is in `page.html.jinja`.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from relic_rl.analysis.pictures import Picture
from relic_rl.analysis.tables import Table

_HERE = Path(__file__).parent


class PageContent(NamedTuple):
    """What `page.html.jinja` shows, by the names that it has there."""

    title: str
    lead: str
    tiles: Sequence[tuple[str, Sequence[tuple[str, str, bool]]]]
    """The numbers that it opens with: a title; each column's label, its number, and whether it is
    of the reader's own runs."""
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    sections: Sequence[Table | Picture]
    footnotes: Sequence[str]


def render_page(content: PageContent) -> str:
    """Returns the page; every text is escaped here, so callers give plain text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["table"] = lambda section: isinstance(section, Table)
    environment.filters["data_uri"] = _data_uri
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.jinja").render(
        **content._asdict(),
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=_base64(hashlib.sha256(script.encode()).digest()),
    )


def _data_uri(svg: Path) -> str:
    return f"data:image/svg+xml;base64,{_base64(svg.read_bytes())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
