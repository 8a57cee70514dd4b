"""Tables as plain data, and as Markdown and LaTeX; `relic_rl.analysis.page` has the HTML."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table, with a smaller line below it."""

    text: str
    small: str = ""
    best: bool = False
    key: float | None = None
    """What the page sorts by; None: the text."""


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table; the first cell of a row names it."""

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sorts: bool = False
    """Whether a reader of the page may sort it."""


def markdown(tables: Sequence[Table], warnings: Sequence[str], footnotes: Sequence[str]) -> str:
    """Returns the tables as GitHub Markdown, with what must be known of them above and below."""
    parts = [_list(f"Warning: {line}" for line in warnings)] if warnings else []
    for table in tables:
        lines = [f"## {table.title}", "", table.caption, ""]
        lines.append("| " + " | ".join(table.columns) + " |")
        lines.append("|---|" + "---:|" * (len(table.columns) - 1))
        for row in table.rows:
            lines.append("| " + " | ".join(_joined(cell, "**{}**") for cell in row) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _list(footnotes)]) + "\n"


def latex(tables: Sequence[Table], warnings: Sequence[str], footnotes: Sequence[str]) -> str:
    """Returns the tables as LaTeX tabulars, in the style of booktabs.

    Captions, warnings and footnotes are printed with them: a table travels without its page.
    """
    parts = ["% Needs \\usepackage{booktabs}."]
    parts += [_remark(f"Warning: {line}") for line in warnings]
    for table in tables:
        lines = [_remark(f"{table.title}. {table.caption}")]
        lines.append(f"\\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}\n\\toprule")
        lines.append(" & ".join(_tex(column) for column in table.columns) + r" \\ \midrule")
        for row in table.rows:
            lines.append(" & ".join(_tex(_joined(c, "{}"), c.best) for c in row) + r" \\")
        lines.append("\\bottomrule\n\\end{tabular}")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, *map(_remark, footnotes)]) + "\n"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _remark(text: str) -> str:
    return rf"\par\noindent{{\small {_tex(text)}\par}}"


def _joined(cell: Cell, best: str) -> str:
    text = best.format(cell.text) if cell.best else cell.text
    return f"{text} ({cell.small})" if cell.small else text


def _tex(text: str, best: bool = False) -> str:
    for character in "\\&%$#_{}":
        text = text.replace(
            character, r"\textbackslash " if character == "\\" else f"\\{character}"
        )
    return f"\\textbf{{{text}}}" if best else text
