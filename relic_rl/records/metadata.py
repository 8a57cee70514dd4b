"""metadata.json of a run folder: versions, ROM, protocol, commit and machine of its sessions."""

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import relic_rl
from envs.interface import EnvSpec
from relic_rl.records.folders import FolderError, write_whole

METADATA_FILE = "metadata.json"


def write_metadata(
    path: Path,
    *,
    spec: EnvSpec,
    seed: int,
    preset: str,
    learner_device: str,
    learner_threads: int,
) -> None:
    """Records versions, ROM, protocol, commit and machine beside the configuration."""
    protocol = asdict(spec.protocol) if spec.protocol else {}
    metadata: dict[str, Any] = {
        "game": spec.name,
        "seed": seed,
        "preset": preset,
        "protocol": spec.protocol and spec.protocol.name,
        **{f"protocol_{name}": value for name, value in protocol.items() if name != "name"},
        "action_set": spec.action_set,
        "frames_per_step": spec.frames_per_step,
        "rom_md5": spec.rom_md5,
        **_session(learner_device, learner_threads),
    }
    write_whole(path / METADATA_FILE, json.dumps(metadata, indent=1) + "\n")


def record_resume(path: Path, *, learner_device: str, learner_threads: int) -> None:
    """Adds what a run resumes with: versions, commit, machine. Damaged metadata stays as it is."""
    metadata = read_metadata(path)
    earlier = metadata.get("resumed", [])
    if metadata and isinstance(earlier, list):
        metadata["resumed"] = [*earlier, _session(learner_device, learner_threads)]
        write_whole(path / METADATA_FILE, json.dumps(metadata, indent=1) + "\n")


def read_metadata(path: Path) -> dict[str, Any]:
    """What a run recorded of itself; nothing where that is missing or damaged."""
    try:
        found = json.loads((path / METADATA_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _session(learner_device: str, learner_threads: int) -> dict[str, Any]:
    """What may differ between a run's start and each resume."""
    return {
        **{
            name.replace("-", "_"): importlib.metadata.version(name)
            for name in ("relic-rl", "torch", "numpy", "gymnasium", "ale-py")
        },
        "python": platform.python_version(),
        "commit": _commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "learner_device": learner_device,
        "learner_threads": learner_threads,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def expect_emulator(path: Path, rom_md5: str | None) -> None:
    """Refuses a run that began on another emulator: its scores would be of neither.

    Args:
      path: the run folder; if its metadata.json is missing or damaged, nothing is refused.
      rom_md5: of the game here; None without a ROM.

    Raises:
      FolderError: ale-py's version or the ROM is another one.
    """
    found, here = read_metadata(path), importlib.metadata.version("ale-py")
    version, rom = found.get("ale_py", here), found.get("rom_md5", rom_md5)
    if version != here:
        raise FolderError(
            f"{path} began with ale-py {version}, here is {here}: install that version, or "
            "start a new run"
        )
    if rom != rom_md5:
        raise FolderError(
            f"{path} began with another ROM (MD5 {rom}, here {rom_md5}): bring that one back, "
            "or start a new run"
        )


def _commit() -> str | None:
    """The checkout's commit, if the package runs from one."""
    here = Path(relic_rl.__file__).parent.parent
    if not (here / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=False,
            # GIT_DIR and its like, set by a hook for one, would name another repository.
            env={name: text for name, text in os.environ.items() if not name.startswith("GIT_")},
        )
    except OSError:  # a checkout copied to where there is no git
        return None
    return result.stdout.strip() or None
