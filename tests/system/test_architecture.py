"""What ARCHITECTURE.md promises of the code as a whole."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import relic_rl
from relic_rl import config

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("relic_rl", "agents", "envs")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def python(code: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 40
    assert Path(relic_rl.__file__).is_relative_to(ROOT)


def test_the_floors_hold() -> None:
    script = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", result.stdout)


def test_agents_open_no_file_and_start_no_process() -> None:
    forbidden = {"os", "io", "pathlib", "shutil", "subprocess", "multiprocessing"}
    found = []
    for path in (path for path in SOURCES if path.is_relative_to(ROOT / "agents")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import():
                    names = {alias.name.partition(".")[0] for alias in node.names} & forbidden
                case ast.ImportFrom():
                    names = {(node.module or "").partition(".")[0]} & forbidden
                case ast.Call(func=ast.Name("open")):
                    names = {"open"}
                case _:
                    continue
            found += [(path.name, name) for name in names]

    assert found == []


def test_no_module_is_named_after_nothing() -> None:
    empty_names = {"utils", "util", "helpers", "common", "misc", "base", "parts"}

    assert [path for path in SOURCES if path.stem in empty_names] == []


def test_verbs_say_nothing_that_a_narrow_terminal_would_cut() -> None:
    # `print_line` folds between words; what programs read, JSON, goes out as it is.
    verbs = sorted((ROOT / "relic_rl/commands").glob("*.py"))
    prints = [path.name for path in verbs if re.search(r"(?<![\w.])print\(", path.read_text())]

    assert prints == ["printing.py"]


def test_tests_are_no_package() -> None:
    # One would hide `agents` and `envs` behind `tests/agents` and `tests/envs`.
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize(
    "forbidden",
    [
        r"weights_only\s*=\s*False",
        r"allow_pickle\s*=\s*True",
        r"^\s*(import|from) (c?[Pp]ickle|dill|cloudpickle|shelve|marshal|joblib)\b",
        r"\b(eval|exec)\(",
        r"\byaml\.load\(",
    ],
)
def test_nothing_is_unpickled_or_evaluated(forbidden: str) -> None:
    pattern = re.compile(forbidden, re.MULTILINE)
    found = [str(p.relative_to(ROOT)) for p in SOURCES if pattern.search(without_calls(p))]

    assert found == []


def without_calls(path: Path) -> str:
    """The source without methods called eval: torch's modules have one."""
    return path.read_text().replace(".eval()", "")


def test_no_loaded_tensors_or_arrays_without_saying_that_nothing_is_unpickled() -> None:
    for path in SOURCES:
        for call in re.findall(r"\b(?:torch|np)\.load\([^)]*\)", path.read_text()):
            assert "weights_only=True" in call or "allow_pickle=False" in call, (path, call)


def test_environments_reports_and_the_command_line_are_imported_without_torch(
    tmp_path: Path,
) -> None:
    modules = (
        "envs.interface",
        "envs.toy",
        "envs.atari",
        "relic_rl.analysis.report",
        "relic_rl.cli",
    )
    code = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} imports torch')"
    )
    result = python(code, tmp_path)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_training_does_not_import_torchs_compiler(tmp_path: Path) -> None:
    brief = ("--frames", "200", "--replay.min_steps", "64", "--evaluation.episodes", "1")
    command = ["train", "toy_memory", "--preset", "smoke", "--run-dir", "run", *brief]
    result = python(
        f"import sys; from relic_rl import cli; status = cli.main({command}); "
        "sys.exit(status or 'torch._dynamo' in sys.modules)",
        tmp_path,
    )

    assert (result.returncode, result.stderr) == (0, "")


def test_importing_opens_no_window_starts_no_thread_says_nothing_and_needs_neither_wandb_nor_ray(
    tmp_path: Path,
) -> None:
    code = (
        "import sys, threading; sys.modules['ray'] = None\n"
        "import relic_rl.commands.foreground, relic_rl.bench.run\n"
        "import relic_rl.sweep.sweep, relic_rl.sweep.ray_backend\n"
        "import relic_rl.runtime.ray_engine, relic_rl.runtime.ray_actor\n"
        "print(threading.active_count(), 'wandb' in sys.modules, sys.modules['ray'])"
    )
    result = python(code, tmp_path)

    assert (result.stdout, result.stderr) == ("1 False None\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stranger", ["agents", "envs"])
def test_a_foreign_package_of_the_same_name_is_named_and_refused(
    tmp_path: Path, stranger: str
) -> None:
    (tmp_path / stranger).mkdir()
    (tmp_path / stranger / "__init__.py").write_text("")
    result = python("import relic_rl", tmp_path, PYTHONPATH=str(tmp_path))

    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: relic-rl needs its own package '{stranger}'")
    assert str(tmp_path / stranger) in last


@pytest.mark.parametrize("name", ["agents", "envs"])
def test_a_package_that_another_distribution_overwrote_is_refused_with_its_name(
    tmp_path: Path, name: str
) -> None:
    # As `pip install openai-agents` leaves an environment that has relic-rl.
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        text = (ROOT / package / "__init__.py").read_text()
        (tmp_path / package / "__init__.py").write_text(text)
    (tmp_path / name / "__init__.py").write_text("from .agent import Agent\n")
    metadata = tmp_path / "other_project-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: other-project\nVersion: 1.0\n")
    (metadata / "RECORD").write_text(f"{name}/__init__.py,,\n")
    result = python("import relic_rl", tmp_path, PYTHONPATH=str(tmp_path))

    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(
        f"ImportError: relic-rl's package '{name}' in {tmp_path} was overwritten"
    )
    assert "by other-project: uninstall that and install relic-rl again" in last


def test_every_setting_is_read_by_some_part() -> None:
    # As `options.weight`, `self._options.weight` or `config.representation.weight`: other things
    # have a weight, too. Options of themselves say `self`: a check of its value is no use of it.
    read = {
        (ast.unparse(node.value).rpartition(".")[2].lstrip("_"), node.attr)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    unread = {
        f"{section}.{item.name}"
        for section, kind in config.SECTIONS.items()
        for item in fields(kind)
        if not read & {(owner, item.name) for owner in (section, "options", "o")}
    }

    assert unread == set()


def test_the_version_is_said_once() -> None:
    assert importlib.metadata.version("relic-rl") == relic_rl.__version__
