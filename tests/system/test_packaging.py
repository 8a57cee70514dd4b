"""What a package index, a type checker and a reference manager are told."""

import importlib.metadata
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("target", "packages"), [("install", ["."]), ("train", ["."]), ("test", [".", ".[dev]"])]
)
def test_who_only_trains_gets_no_development_extras(
    target: str, packages: list[str], tmp_path: Path
) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    steps = subprocess.run(
        ["make", "--dry-run", target], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout

    assert re.findall(r"-c constraints\.txt -e '?([^'\n]+)", steps) == packages


@pytest.mark.parametrize("package", ["relic_rl", "agents", "envs"])
def test_type_checkers_are_told_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_the_package_says_who_made_it_and_what_it_runs_on() -> None:
    classifiers = PROJECT["classifiers"]
    oldest = re.fullmatch(r">=(\d\.\d+)", PROJECT["requires-python"])

    assert PROJECT["authors"] == [{"name": "the relic-rl authors"}]
    assert oldest
    assert f"Programming Language :: Python :: {oldest[1]}" in classifiers
    assert "Typing :: Typed" in classifiers


def test_the_citation_has_the_version_and_the_license_of_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    said = dict(re.findall(r"^(version|license|title): (.+)$", citation, re.MULTILINE))

    assert said == {
        "title": PROJECT["name"],
        "version": importlib.metadata.version("relic-rl"),
        "license": PROJECT["license"],
    }
