"""Tables as text: what a name holds is printed, not interpreted."""

import pytest

from relic_rl.analysis.table_formats import latex, markdown
from relic_rl.analysis.tables import Cell, Table

TABLE = Table("Scores", "Mean.", ("Game", "NAME"), ((Cell("Pong"), Cell("1.0", "3 %", best=True)),))


def named(name: str) -> list[Table]:
    return [Table(TABLE.title, TABLE.caption, ("Game", name), TABLE.rows)]


@pytest.mark.parametrize(
    ("name", "as_markdown", "as_latex"),
    [
        ("a_b", "a_b", r"a\_b"),
        ("_a_", r"\_a\_", r"\_a\_"),
        ("a|b", r"a\|b", r"a\textbar{}b"),
        ("$x$", r"\$x\$", r"\$x\$"),
        ("2^9", "2^9", r"2\textasciicircum{}9"),
        ("a\\b", r"a\\b", r"a\textbackslash{}b"),
        ("<i>", r"\<i>", r"\textless{}i\textgreater{}"),
        ("100 %", "100 %", r"100 \%"),
    ],
)
def test_a_name_is_printed_as_it_is(name: str, as_markdown: str, as_latex: str) -> None:
    assert f"| Game | {as_markdown} |" in markdown(named(name), [name], [name]).splitlines()
    assert f"- Warning: {as_markdown}" in markdown(named(name), [name], [name])
    assert f"Game & {as_latex} \\\\ \\midrule" in latex(named(name), [name], [name])
    assert f"Warning: {as_latex}\\par" in latex(named(name), [name], [name])


def test_the_best_of_a_row_is_bold_with_its_smaller_line() -> None:
    assert "| Pong | **1.0** (3 %) |" in markdown([TABLE], [], [])
    assert r"Pong & \textbf{1.0 (3 \%)} \\" in latex([TABLE], [], [])
