"""What a report says in words: what was run, what is wrong with it, and what to know of a score."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from envs.games import ATARI57, REFERENCE_SOURCE, title_of
from relic_rl.analysis.columns import Column
from relic_rl.analysis.published import ATARI100K_FRAMES
from relic_rl.analysis.runs import Run
from relic_rl.analysis.series import Series, compared_settings, first_few, span
from relic_rl.console import counted

_VERSIONS = {
    "Preset": "preset",
    "Action set": "action_set",
    "ale-py": "ale_py",
    "Gymnasium": "gymnasium",
    "PyTorch": "torch",
    "relic-rl": "relic_rl",
    "Commit": "commit",
    "Machine": "machine",
    "Learner on": "learner_device",
}
_PROTOCOLS = {
    "noop": "noop: up to 30 no-ops, no sticky actions, 108,000-frame episodes, raw rewards",
    "machado": "machado: sticky actions 0.25, no no-ops, 108,000-frame episodes, raw rewards",
}
_MUCH_LONGER = 1.1
"""A column trained this many times as long as another is worth a warning."""
_BETTER = (
    "P(A is better than B): the probability that a run of A scores higher than a run of B on a"
    " random game; equal scores count half."
)
_NORMALIZED = (
    "Human-normalized score: (score - random) / (human - random). Tables and pictures show it in"
    " percent, CSV and JSON files as a fraction: 1 is human. The capped mean clips each game to 0"
    " and 100 %. A superhuman game has 100 % or more. Percentiles are linear."
)
INTERVALS = (
    "Intervals: 95 %, from a bootstrap over each game's own seeds. With few seeds they are narrower"
    " than they should be: of one game with 3 seeds they are the lowest and the highest, between"
    " which the true mean lies about 3 times in 4; over four such games, 5 times in 6."
)
_ARM = (
    "An arm is the representation loss that trains the encoder beside R2D2's own loss"
    " (representation.arm); the arm none is R2D2 alone."
)
_VIDEO_PINBALL = (
    "VideoPinball: its random score is 0 in the paper's table, while other sources measured"
    " 16,256.9, which would be 92 % of human here. An agent that has learned nothing can count as"
    " superhuman on this game."
)
_WRAP = (
    "Score counters with six digits wrap at 1,000,000: the emulator then gives a reward of about"
    " -1,000,000 (seen in Asterix, ChopperCommand, Defender, DemonAttack, Frostbite, Gopher,"
    " Seaquest, UpNDown, VideoPinball). This can pull down the mean of a good agent."
)


def lead(series: Sequence[Series]) -> str:
    """The report in two sentences."""
    runs = [run for one in series for run in one.runs]
    games = len({run.game for run in runs})
    seeds = len({run.seed for run in runs})
    frames = span([run.env_frames for run in runs], "frame")
    what_counts = caution(series) or "The score of a run is the evaluation at its end."
    return (
        f"{games} of the 57 Atari games, {counted(seeds, 'seed')}, {frames} per run. {what_counts}"
    )


def caution(series: Sequence[Series]) -> str:
    """What must stand beside every number of a report without a finished run; else nothing."""
    if not any(run.unfinished for one in series for run in one.runs):
        return ""
    return "Provisional: no run has finished. The score of a run is its latest evaluation."


def facts(series: Sequence[Series]) -> list[tuple[str, str]]:
    """What was run, on what: name and value of each fact."""
    runs = [run for one in series for run in one.runs]
    episodes = span([len(run.last_scores) for run in runs], "full episode")
    epsilons = _distinct(f"{run.epsilon:g}" for run in runs)
    facts = [
        ("Protocol", _distinct(_PROTOCOLS.get(run.protocol, run.protocol) for run in runs)),
        (
            "Evaluation",
            f"{episodes}, epsilon {epsilons}; the last evaluation, not the best",
        ),
    ]
    for one in series:
        seeds = _distinct(str(seed) for seed in sorted({run.seed for run in one.runs}))
        seeds = f"{'seeds' if ',' in seeds else 'seed'} {seeds}"
        frames = span([run.env_frames for run in one.runs], "frame")
        minutes = round(sum(float(run.evaluations.minutes[-1]) for run in one.runs))
        games = len({run.game for run in one.runs})
        trained = f"{frames} per run, {counted(minutes, 'minute')} of training in total"
        facts.append((one.label, f"{games} of 57 games, {seeds}, {trained}"))
    for name, key in _VERSIONS.items():
        values = _distinct(str(one[key]) for run in runs for one in run.sessions if one.get(key))
        if values:
            facts.append((name, values))
    return facts


def mixtures(series: Sequence[Series]) -> list[str]:
    """Differences that make runs incomparable, each in words with an example of either side.

    Protocols and emulators must be the same in the whole report, settings in each series.
    """
    runs = [run for one in series for run in one.evaluated]
    found = {
        "protocols": _different((run.protocol, run) for run in runs),
        "ale-py versions": _different((run.ale_py, run) for run in runs),
    }
    lines = [f"{name} differ: {values}" for name, values in found.items() if values]
    return lines + [line for one in series for line in _mixed_settings(one)]


def _mixed_settings(one: Series) -> list[str]:
    """A line if the runs are not seeds of one column: they differ in more than game and seed."""
    compared = [(compared_settings(run), run) for run in one.evaluated]
    names = dict.fromkeys(name for settings, _ in compared for name in settings)
    found = {
        name: _different((settings.get(name), run) for settings, run in compared) for name in names
    }
    lines = [f"{name} {values}" for name, values in found.items() if values]
    if not lines:
        return []
    return [f"settings differ within {one.label}: {first_few(lines, most=4, between='; ')}"]


def _different(values: Iterable[tuple[object, Run]]) -> str:
    """Every value with the name of a run that has it; nothing where all have the same."""
    examples: dict[str, str] = {}
    for value, run in values:
        examples.setdefault(str(value), run.name)
    if len(examples) < 2:
        return ""
    return ", ".join(f"{value} ({name})" for value, name in sorted(examples.items()))


def warnings(series: Sequence[Series], columns: Sequence[Column]) -> list[str]:
    """What is missing, failed, unfinished or judged differently from the rest; run by run."""
    lines = []
    for one in series:
        lines += _absences(one)
        if one.runs:
            lines += _warnings_of(one, columns[0].shared)
    if not columns[0].shared:
        listed = "; ".join(
            f"{column.label} has {first_few(sorted(column.scores))}" for column in columns
        )
        lines.append(
            f"No game is in all columns, so nothing is aggregated over games: {listed}. A report on"
            " each alone has its aggregates."
        )
    runs = [run for one in series for run in one.runs]
    epsilons = sorted({run.epsilon for run in runs})
    if len(epsilons) > 1:
        lines.append(f"Evaluated with different epsilons: {', '.join(map(str, epsilons))}.")
    return [*lines, *_unlike_references(runs, columns), *_unequal_training(series, columns)]


def _unlike_references(runs: Sequence[Run], columns: Sequence[Column]) -> list[str]:
    lines = []
    references = [column.reference for column in columns if column.reference]
    benchmarks = {reference.method.benchmark for reference in references if reference.method}
    protocols = {run.protocol for run in runs}
    if benchmarks and protocols != {"noop"}:
        lines.append(f"The published scores use the no-op protocol, {_these(protocols, ['noop'])}.")
    if "100k" in benchmarks and any(
        run.env_frames > _MUCH_LONGER * ATARI100K_FRAMES for run in runs
    ):
        lines.append(
            f"The scores of Atari 100k are after {ATARI100K_FRAMES:,} frames per game, these runs'"
            f" after {span([run.env_frames for run in runs], 'frame')}."
        )
    if "57" in benchmarks:
        if any(run.settings.get("env.action_set") == "minimal" for run in runs):
            lines.append(
                "The published agents choose among all 18 actions, these runs among the actions"
                " that their game uses (env.action_set minimal)."
            )
        if any(run.settings.get("learner.life_loss_ends_return") for run in runs):
            lines.append(
                "The published agents are not told about lives; in these runs, returns end when a"
                " life is lost (learner.life_loss_ends_return)."
            )
    versions = {run.ale_py for run in runs}
    for reference in references:
        for what, ours, theirs in (
            ("protocol", protocols, reference.protocols),
            ("ale-py", versions, reference.ale_py),
        ):
            if theirs and ours != {*theirs}:
                named = f"{what} {', '.join(theirs)}"
                lines.append(f"{reference.label} has {named}, {_these(ours, theirs)}.")
    return lines


def _these(ours: set[str], theirs: Iterable[str]) -> str:
    """How many of the runs have none of what others have, in words."""
    return "these runs do not" if ours.isdisjoint(theirs) else "not all of these runs do"


def _unequal_training(series: Sequence[Series], columns: Sequence[Column]) -> list[str]:
    frames = {one.label: fmean(run.env_frames for run in one.runs) for one in series if one.runs}
    references = [column.reference for column in columns if column.reference]
    frames |= {one.label: one.env_frames for one in references if one.env_frames}
    if not frames or max(frames.values()) <= _MUCH_LONGER * min(frames.values()):
        return []
    named = ", ".join(f"{label} {mean:,.0f}" for label, mean in frames.items())
    return [f"The columns were trained for different lengths, in frames per run: {named}."]


def _absences(one: Series) -> list[str]:
    lines = []
    if one.failed:
        lines.append(f"not counted: {'; '.join(by_reason(one.failed))}")
    if one.unfinished:
        named = _standing(one.unfinished)
        lines.append(f"not finished, so shown in the curves but not counted: {named}")
    if caution([one]):
        lines.append(
            f"not finished, but counted because no run has finished: {_standing(one.runs)}"
        )
    if not one.runs:
        lines.append("no run counts, so there is no column")
    return [f"{one.label}: {line}." for line in lines]


def _standing(runs: Iterable[Run]) -> str:
    lines = (f"{run.name} ({run.env_frames:,} frames): {run.unfinished}" for run in runs)
    return "; ".join(by_reason(lines))


def _warnings_of(one: Series, common: Iterable[str]) -> list[str]:
    lines = []
    games = {run.game for run in one.runs}
    missing = [game for game in ATARI57 if game not in games]
    if missing and (title := title_of(games)):
        lines.append(f"{one.label}: {title}, not all 57.")
    elif missing:
        named = f"missing: {', '.join(missing)}"
        if len(games) < len(missing):
            named = f"all but {', '.join(sorted(games))} are missing"
        lines.append(f"{one.label}: {len(games)} of 57 games; {named}.")
    left_out = [game for game in ATARI57 if game in games and game not in set(common)]
    if left_out and common:
        lines.append(
            f"{one.label}: not in the aggregates, because another column lacks them:"
            f" {', '.join(left_out)}."
        )
    (usual, _), *others = Counter(map(_budget, one.runs)).most_common()
    if others:
        named = ", ".join(
            f"{run.name} ({_budget(run)})" for run in one.runs if _budget(run) != usual
        )
        lines.append(f"{one.label}: trained with another budget than {usual}: {named}.")
    return lines


def _budget(run: Run) -> str:
    """What ends the run, in words."""
    frames = f"{run.settings['run.frames']:,} frames"
    minutes = run.settings["run.minutes"]
    return f"{minutes:g} minutes or {frames}" if minutes else frames


def footnotes(columns: Sequence[Column]) -> list[str]:
    """Definitions, sources, and known quirks of the games' scores."""
    notes = [_BETTER, _NORMALIZED, f"Human and random scores: {REFERENCE_SOURCE}."]
    if any("arm=" in column.label for column in columns):
        notes.append(_ARM)
    if any(column.aggregate and column.aggregate.intervals for column in columns):
        notes.append(INTERVALS)
    notes += [column.reference.source for column in columns if column.reference]
    if any("VideoPinball" in column.scores for column in columns):
        notes.append(_VIDEO_PINBALL)
    return [*notes, _WRAP]


def by_reason(lines: Iterable[str]) -> list[str]:
    """`a: why`, `b: why` become `a, b: why`."""
    names: dict[str, list[str]] = {}
    for line in lines:
        name, _, reason = line.partition(": ")
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(those)}: {reason}" for reason, those in names.items()]


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
