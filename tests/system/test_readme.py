"""README's commands run, as a reader would type them; the files that documents name exist."""

import re
import shlex
from pathlib import Path

import pytest

from relic_rl import cli

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(?:sh|console|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLACEHOLDERS = {"RUN_DIR": "runs/first", "GAME": "pong", "FILE.mp4": "video.mp4"}
NOT_RUN = {"sweep", "status", "bench"}
"""Verbs that take minutes: they have tests of their own."""
PLACES = (ROOT, ROOT / "relic_rl", ROOT / "docs")
"""Where a path in a document may begin."""
SWEEPS = "sweeps/"
"""Where README's sweeps lie, which no command here has made."""


def commands(program: str) -> list[list[str]]:
    """The arguments of every fenced command of a program, comments and prompts aside."""
    blocks = FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    joined = "\n".join(blocks).replace("\\\n", " ")
    lines = (line.strip().removeprefix("$ ") for line in joined.splitlines())
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line and line[0] == program]


def runnable(arguments: list[str]) -> list[str]:
    """The command with a short budget and without placeholders."""
    known = [PLACEHOLDERS.get(word, word) for word in arguments]
    if known[0] == "train":
        preset = [] if "--preset" in known else ["--preset", "smoke"]
        short = ("--frames", "1600", "--replay.min_steps", "64", "--evaluation.epsilon", "1")
        return [*without_frames(known), *preset, *short, "--run.metrics_every_updates", "2"]
    if known[0] == "resume":
        return [*without_frames(known), "--frames", "2000"]
    if known[0] == "watch":
        return [*known, "--max-frames", "40"]
    return known


def without_frames(words: list[str]) -> list[str]:
    if "--frames" not in words:
        return words
    at = words.index("--frames")
    return words[:at] + words[at + 2 :]


def test_the_relic_rl_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # other tests have the other cores
    found = [
        arguments
        for arguments in commands("relic-rl")
        if arguments[0] not in NOT_RUN and not any(SWEEPS in word for word in arguments)
    ]

    assert {"train", "resume", "evaluate", "doctor"} <= {arguments[0] for arguments in found}
    for arguments in found:
        status = cli.main(runnable(arguments))
        out, err = capsys.readouterr()
        assert (status, err) == (0, ""), (arguments, out[-2000:])
    for code in PYTHON.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        exec(compile(code, "README.md", "exec"), {})


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = {words[0] for words in commands("make")} | set(re.findall(r"`make ([a-z-]+)", text))

    assert named >= {"train", "test", "check"}
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "docs/reliability.md"])
def test_files_and_folders_that_are_named_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"`((?:agents|envs|relic_rl|configs|docs|tests)/[\w./-]*)`", text)

    assert named
    for name in named:
        assert (ROOT / name).exists(), f"{document} names {name}"


@pytest.mark.parametrize(("document", "lines"), [("README.md", 150), ("ARCHITECTURE.md", 120)])
def test_what_is_read_first_is_short(document: str, lines: int) -> None:
    assert len((ROOT / document).read_text(encoding="utf-8").splitlines()) <= lines


def test_the_reliability_page_is_short_and_linked() -> None:
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")

    assert len(page.splitlines()) <= 120
    for document in ("README.md", "ARCHITECTURE.md"):
        assert "docs/reliability.md" in (ROOT / document).read_text(encoding="utf-8")


def test_every_file_that_the_documents_name_is_there() -> None:
    # Not the changelog's and the evidence's: they speak of the past.
    documents = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *ROOT.glob("docs/*.md")]
    documents += ROOT.glob("docs/decisions/*.md")
    tests = {path.name for path in ROOT.glob("tests/**/*.py")}
    lost = []
    for document in documents:
        text = document.read_text(encoding="utf-8")
        named = re.findall(r"\b[a-z_-]+/[\w./-]+\.(?:py|md|csv|png|toml)\b", text)
        lost += [name for name in named if not any((at / name).exists() for at in PLACES)]
        lost += [name for name in re.findall(r"\btest_\w+\.py", text) if name not in tests]

    assert lost == []


def test_every_module_on_the_architectures_map_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = text[text.index("## Where things are") : text.index("## Invariants")]
    named, lost = 0, []
    for _, where in re.findall(r"^\| (.*) \| (.*) \|$", rows, re.MULTILINE):
        folder = ""
        for name, slash in re.findall(r"`([\w/]+?)(/?)`", where):
            folder = name if slash else folder
            if not slash:
                named += 1
                lost += [] if module_exists(folder, name) else [f"{folder}/{name}"]

    assert (named > 80, lost) == (True, [])


def module_exists(folder: str, name: str) -> bool:
    return any((top / folder / f"{name}.py").exists() for top in (ROOT, ROOT / "relic_rl"))
