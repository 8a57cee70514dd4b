"""Tables as Markdown and LaTeX, with the warnings and notes that a reader of them needs."""

import re
from collections.abc import Sequence

from relic_rl.analysis.tables import Cell, Table

# What Markdown would take for markup; an underscore inside a word is none.
_MARKDOWN = re.compile(r"[\\`*|<$~\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_TEX = str.maketrans(
    {character: rf"\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    | {"|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}"}
)


def markdown(tables: Sequence[Table], warnings: Sequence[str], footnotes: Sequence[str]) -> str:
    """Returns the tables as GitHub Markdown."""
    parts = [_md_list([f"Warning: {line}" for line in warnings])] if warnings else []
    for table in tables:
        lines = [f"## {_md(table.title)}", "", _md(table.caption), ""]
        lines.append(_md_row([_md(column) for column in table.columns]))
        lines.append("|---|" + "---:|" * (len(table.columns) - 1))
        lines += [_md_row([_md_cell(cell) for cell in row]) for row in table.rows]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _md_list(footnotes)]) + "\n"


def latex(tables: Sequence[Table], warnings: Sequence[str], footnotes: Sequence[str]) -> str:
    """Returns the tables as LaTeX tabulars, in the style of booktabs.

    Captions, warnings and notes are printed with them: a table travels without its page.
    """
    parts = ["% Needs \\usepackage{booktabs}."]
    parts += [_tex_remark(f"Warning: {line}") for line in warnings]
    for table in tables:
        lines = [_tex_remark(f"{table.title}. {table.caption}")]
        lines.append(f"\\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}\n\\toprule")
        lines.append(" & ".join(_tex(column) for column in table.columns) + r" \\ \midrule")
        lines += [" & ".join(_tex_cell(cell) for cell in row) + r" \\" for row in table.rows]
        lines.append("\\bottomrule\n\\end{tabular}")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, *(_tex_remark(line) for line in footnotes)]) + "\n"


def _md(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text)


def _md_list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_md(line)}" for line in lines)


def _md_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _md_cell(cell: Cell) -> str:
    text = f"**{_md(cell.text)}**" if cell.best else _md(cell.text)
    return f"{text} ({_md(cell.small)})" if cell.small else text


def _tex(text: str) -> str:
    return text.translate(_TEX)


def _tex_remark(text: str) -> str:
    return rf"\par\noindent{{\small {_tex(text)}\par}}"


def _tex_cell(cell: Cell) -> str:
    text = _tex(f"{cell.text} ({cell.small})" if cell.small else cell.text)
    return rf"\textbf{{{text}}}" if cell.best else text
