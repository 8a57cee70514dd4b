"""Ask what an agent's representation knows: a run's last checkpoint, a policy file, --trained.

Linear probes read the variables of the game's memory out of the encoder's features and out of the
LSTM's state, on episodes of their own; beside them, out of an untrained encoder and out of the
pixels. For the 22 games that AtariARI annotates (Anand et al., 2019). What is found of a run is
added to its probes.jsonl, for `relic-rl report`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from envs.interface import EnvSpec
from envs.ram import CATEGORIES
from relic_rl.commands import arguments
from relic_rl.commands.printing import new_table, print_json, print_table, under_rules
from relic_rl.console import beside_results, counted, print_line
from relic_rl.errors import UsageError, UserError
from relic_rl.records.folders import expect_writable
from relic_rl.records.identity import check_seed
from relic_rl.records.probes import PROBES_FILE, Probing, append_probing
from relic_rl.records.run_folder import expect_run
from relic_rl.stop import StopRequest

USAGE = "RUN_DIR [flags]"
HEADINGS = {"encoder": "encoder", "lstm": "LSTM", "random_encoder": "random", "pixels": "pixels"}
KINDS = dict(
    zip(CATEGORIES, ("agent", "small object", "other object", "display", "other"), strict=True)
)
"""Of variables, in the order of a table."""


def add_arguments(parser: arguments.Parser) -> None:
    """Adds what it takes."""
    arguments.add_agent(parser)
    arguments.add_number(
        parser,
        "--steps",
        help="Steps to play, over all episodes; by default evaluation.probe_steps",
    )
    arguments.add_number(
        parser,
        "--checkpoint",
        help="Frames of the checkpoint: a run keeps its last two; by default the last",
    )
    arguments.add_number(
        parser, "--seed", least=0, help="Seed of the episodes and of the untrained encoder"
    )
    arguments.add_json(parser)


def run(
    run_dir: Path,
    *,
    trained: bool = False,
    steps: int | None = None,
    checkpoint: int | None = None,
    seed: int = 0,
    as_json: bool = False,
) -> None:
    """Probes an agent; what was found of a run is added to its `probes.jsonl`."""
    from relic_rl.evaluation.probe import probe_agent
    from relic_rl.evaluation.trained import load_trained, shipped_agent

    check_seed(seed)
    source = shipped_agent(str(run_dir)) if trained else run_dir
    is_run = not source.is_file()
    if is_run:
        expect_run(source)
        expect_writable(source, "run folder")  # where what is found goes
    elif checkpoint is not None:
        raise UsageError("--checkpoint goes with a run's folder, not with a policy file")
    with beside_results() as console, StopRequest().listening() as stop:
        probed = load_trained(source, env_frames=checkpoint)
        found = probe_agent(probed, seed=seed, stop=stop, tell=console.working, steps=steps)
    if found is None:
        raise UserError("stopped before everything was probed")
    try:
        if is_run:
            append_probing(source, found)
    finally:  # what took minutes is shown on a full disk, too
        if as_json:
            print_json(asdict(found))
        else:
            _print_all(found, probed.spec)
    if is_run and not as_json:
        print_line(f"added to {source / PROBES_FILE}")


def _print_all(found: Probing, spec: EnvSpec) -> None:
    print_line(f"{spec.name} after {found.env_frames:,} frames{under_rules(spec)}")
    print_line(
        f"{counted(found.steps, 'step')} of {counted(found.episodes, 'episode')}, "
        f"{found.train_steps:,} to learn from and {found.test_steps:,} to judge by"
    )
    _print(_readouts(found), ["kind"])
    if found.dropped:
        listed = ", ".join(found.dropped)
        print_line(
            f"{counted(len(found.dropped), 'variable')} hardly changed, not probed: {listed}"
        )
    _print(_geometry(found), [])
    print_line(f"chance of the contrastive accuracy: {_number(found.chance)}")


def _print(table: Table, names: Sequence[str]) -> None:
    """Prints a table; on a narrow terminal without the columns named, and then without the last."""
    scores = [str(column.header) for column in table.columns if column.justify == "right"]
    print_table(table, spare=[*names, *reversed(scores[1:])])


def _readouts(found: Probing) -> Table:
    """A row for each variable, and the mean; F1 and R² of each representation."""
    names = [HEADINGS[name] for name in found.representations]
    scores = [f"{score}\n{name}" for score in ("F1", "R²") for name in names]
    table = new_table(["variable", "kind"], scores)
    representations = found.representations.values()
    asked = found.representations["encoder"].variables
    for variable in sorted(asked, key=lambda name: [*KINDS].index(asked[name].category)):
        readouts = [one.variables[variable] for one in representations]
        values = [one.f1 for one in readouts] + [one.r2 for one in readouts]
        table.add_row(variable, KINDS[asked[variable].category], *map(_number, values))
    means = [one.f1 for one in representations] + [one.r2 for one in representations]
    table.add_row("mean over kinds", "", *map(_number, means))
    return table


def _geometry(found: Probing) -> Table:
    """What needs no labels: a column for each representation."""
    table = new_table([""], [HEADINGS[name] for name in found.representations])
    for row in ("effective_rank", "mean_share", "invariance", "contrastive_accuracy"):
        values = [getattr(one, row) for one in found.representations.values()]
        table.add_row(row.replace("_", " "), *map(_number, values))
    return table


def _number(value: float | None) -> str:
    """As many digits as a probe is worth."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"
