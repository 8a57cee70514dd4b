"""Links between the documents lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)|<img src=\"([^\":]+)\"")


def test_there_are_documents_to_look_at() -> None:
    assert {"README.md", "ARCHITECTURE.md"} < {path.name for path in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_linked_file_is_there(document: Path) -> None:
    linked = [one or other for one, other in LINK.findall(document.read_text(encoding="utf-8"))]

    assert [name for name in linked if not (document.parent / name).exists()] == []


def test_every_lab_note_is_in_their_index() -> None:
    notes = ROOT / "docs/lab-notes"
    index = (notes / "README.md").read_text(encoding="utf-8")

    assert [path.name for path in notes.glob("*.md") if f"({path.name})" not in index] == [
        "README.md"
    ]
