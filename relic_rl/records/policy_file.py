"""A policy in one file: all that is needed to play a game as a trained agent does.

A safetensors file. Its tensors are the policy's parameters, `part.name`. Its text holds one entry,
`relic_rl_policy`: a JSON document of what the tensors are, with a hash of them and of itself.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from relic_rl import config as configuration
from relic_rl.config import Config
from relic_rl.errors import UsageError, UserError
from relic_rl.records.checkpoint_files import hash_of
from relic_rl.records.folders import refusing, write_whole
from relic_rl.records.identity import environment_of

SCHEMA = 1
_KEY = "relic_rl_policy"
DECIDE_A_POLICY = ("env", "network", "representation")
"""Sections of the settings that a policy needs, whole; of others a later version may know more."""
_KEPT = (*DECIDE_A_POLICY, "evaluation", "learner")
_KINDS: dict[str, type] = {
    "game": str,
    "updates": int,
    "env_frames": int,
    "settings": dict,
    "about": dict,
    "tensors_sha256": str,
}
"""Of what is read back."""


class PolicyFile(NamedTuple):
    """What a file holds."""

    parts: dict[str, dict[str, Tensor]]
    """Of `R2D2Agent.evaluation_policy`, on the CPU."""
    config: Config
    """Of the run, as far as playing goes; the rest are defaults."""
    game: str
    updates: int
    env_frames: int
    """That it was trained for."""
    about: dict[str, Any]
    """The run's seed, preset, versions, commit and machine, and its last evaluation: for people."""


def write_policy(path: Path, policy: PolicyFile) -> int:
    """Writes the file, whole or not at all; returns its bytes.

    Raises:
      UserError: it cannot be written.
    """
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for part, named in policy.parts.items()
        for name, tensor in named.items()
    }
    settings = asdict(policy.config)
    body = {
        "schema": SCHEMA,
        "game": policy.game,
        "updates": policy.updates,
        "env_frames": policy.env_frames,
        "settings": {section: settings[section] for section in _KEPT},
        "about": policy.about,
        "tensors_sha256": _hash_of_tensors(tensors),
    }
    document = {**body, "sha256": hash_of(body)}
    content = save(tensors, {_KEY: json.dumps(document)})
    with refusing(f"write {path}"):
        write_whole(path, content)
    return len(content)


def read_policy(path: Path) -> PolicyFile:
    """Reads what `write_policy` wrote, every byte of it checked.

    Raises:
      UserError: unreadable, of another kind or version, or changed since.
    """
    with refusing(f"read {path}"):
        content = path.read_bytes()  # not by safetensors, for which names of files are UTF-8
    try:
        tensors = load(content)
        text = _metadata(content).get(_KEY)
        if text is None:
            raise UserError(f"{path} holds no policy of relic-rl: use what `export` wrote")
        document = json.loads(text)
    except (SafetensorError, ValueError, LookupError, RecursionError) as error:
        raise UserError(f"{path} is no policy file: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise UserError(f"{path} is a policy file of another version: export it again")
    if document.pop("sha256", None) != hash_of(document):
        raise UserError(f"{path} was changed: its text does not match its hash")
    for name, kind in _KINDS.items():
        if not isinstance(document.get(name), kind):
            raise UserError(f"{path} is no policy file: its {name} is {document.get(name)!r}")
    if document["tensors_sha256"] != _hash_of_tensors(tensors):
        raise UserError(f"{path} was changed: its parameters do not match their hash")
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    try:
        config = configuration.complete(document["settings"], str(path), DECIDE_A_POLICY)
    except UsageError as error:
        problem = str(error).partition(";")[0]  # what follows is advice for a file that is text
        raise UserError(f"{problem}: export it again from its run") from error
    return PolicyFile(
        parts=parts,
        config=config,
        game=environment_of(document["game"]).name,
        updates=document["updates"],
        env_frames=document["env_frames"],
        about=document["about"],
    )


def _metadata(content: bytes) -> dict[str, str]:
    """The text of a sound safetensors file: 8 bytes are the length of its header, which is JSON."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] | None = json.loads(content[8 : 8 + length]).get("__metadata__")
    return found or {}


def _hash_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
