"""The pages of docs/howto are tried: what they tell to write is written, and their commands run.

A page's fenced blocks are followed in order, in a copy of the sources:
  python, toml, csv   begin with `# PATH`: the new file
  diff                begins with `# PATH`: lines of that file, with `-`, `+` and blank in front
  sh                  `relic-rl` and `python` commands, run in the copy
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for page in ROOT.glob("docs/howto/*.md") if page.name != "README.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLI = "from relic_rl.cli import main; raise SystemExit(main())"
SOURCES = ("agents", "envs", "relic_rl", "configs", "tests")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources, to write in."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.slow  # half a minute a page
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_page_tells_works(page: Path, copy: Path) -> None:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))

    assert {language for language, _ in blocks} & {"python", "diff"}
    assert any(language == "sh" for language, _ in blocks)
    for language, text in blocks:
        follow(language, text, copy)


def follow(language: str, text: str, copy: Path) -> None:
    if language == "sh":
        for line in text.replace("\\\n", " ").splitlines():
            run(shlex.split(line, comments=True), copy)
    elif language != "text":
        first, body = text.split("\n", 1)
        assert first.startswith("# "), f"a block does not say which file it is: {first}"
        path = copy / first.removeprefix("# ")
        if language == "diff":
            path.write_text(patched(path.read_text(encoding="utf-8"), body), encoding="utf-8")
        else:
            assert not path.exists(), f"{path} is there already"
            path.write_text(body, encoding="utf-8")
        if path.suffix == ".py":  # it is to be copied: as tidy as the rest
            for check in (["ruff", "check"], ["ruff", "format", "--check"]):
                run(["python", "-m", *check, str(path)], copy)


def patched(source: str, diff: str) -> str:
    """The source with the diff's hunks replaced; each hunk ends with a blank line or the diff."""
    for hunk in diff.split("\n\n"):
        lines = hunk.rstrip("\n").split("\n")
        before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
        after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
        assert source.count(before) == 1, f"there is no such place, or several:\n{before}"
        source = source.replace(before, after)
    return source


def run(words: list[str], copy: Path) -> None:
    if not words:
        return
    programs = {"relic-rl": [sys.executable, "-c", CLI], "python": [sys.executable]}
    result = subprocess.run(
        [*programs[words[0]], *words[1:]],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, f"{words}\n{result.stdout[-3000:]}{result.stderr[-3000:]}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/howto/README.md").read_text(encoding="utf-8")

    assert [page.name for page in PAGES if f"({page.name})" not in index] == []
