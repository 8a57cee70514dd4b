"""What a report says in words: what was run, what is wrong with it, and what to know of a score."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from envs.games import ATARI57, REFERENCE_SOURCE
from relic_rl.analysis.columns import Column
from relic_rl.analysis.published import METHODS
from relic_rl.analysis.runs import Run, Series
from relic_rl.console import counted

_VERSIONS = {
    **{"Preset": "preset", "Action set": "action_set", "ale-py": "ale_py"},
    **{"Gymnasium": "gymnasium", "PyTorch": "torch", "relic-rl": "relic_rl"},
    **{"Commit": "commit", "Machine": "machine", "Learner on": "learner_device"},
}
_PROTOCOLS = {
    "noop": "noop: up to 30 no-ops, no sticky actions, 108,000-frame episodes, raw rewards",
    "machado": "machado: sticky actions 0.25, no no-ops, 108,000-frame episodes, raw rewards",
}
_FREE_WITHIN_A_COLUMN = (
    *("run.", "evaluation.", "env.threads", "env.protocol", "actor.actors"),
    *("learner.compile_encoders", "learner.diagnostics_every_updates"),
)
"""Where and how long a run trains, how it is judged; protocols are compared in the whole report."""
_MUCH_LONGER = 1.1
"""Training so many times as long as another column's is worth a word."""
_FEW_FIELDS = 4  # two presets may differ in thirty
_INTERVALS = (
    "Intervals: bootstrap over each game's own seeds, 95 %. With n seeds it is about as wide as it"
    " should be times the root of (n - 1) / n, which is 0.82 for 3."
)
_WRAP = (
    "Score counters of six digits wrap at 1,000,000: the emulator then gives a reward of about"
    " -1,000,000 (seen in Asterix, ChopperCommand, Defender, DemonAttack, Frostbite, Gopher,"
    " Seaquest, UpNDown, VideoPinball). A good agent's mean can fall there."
)


def lead(series: Sequence[Series]) -> str:
    """The report in two sentences."""
    runs = [run for one in series for run in one.runs]
    games = len({run.game for run in runs})
    seeds = len({run.seed for run in runs})
    return (
        f"{games} of the 57 Atari games, {counted(seeds, 'seed')},"
        f" {span([run.env_frames for run in runs])} frames a run."
        f" {caution(series) or 'What counts is the evaluation at the end of each run.'}"
    )


def caution(series: Sequence[Series]) -> str:
    """What must stand beside every number of a report without a finished run; else nothing."""
    if not any(run.unfinished for one in series for run in one.runs):
        return ""
    return "Provisional: no run is finished; what counts is the last evaluation of each so far."


def facts(series: Sequence[Series]) -> list[tuple[str, str]]:
    """What was run, on what: name and value of each fact."""
    runs = [run for one in series for run in one.runs]
    episodes = span([len(run.last_scores) for run in runs])
    epsilons = _distinct(f"{run.epsilon:g}" for run in runs)
    facts = [
        ("Protocol", _distinct(_PROTOCOLS.get(run.protocol, run.protocol) for run in runs)),
        (
            "Evaluation",
            f"full episodes a run: {episodes}; epsilon {epsilons}; the last, not the best",
        ),
    ]
    for one in series:
        seeds = _distinct(str(seed) for seed in sorted({run.seed for run in one.runs}))
        seeds = f"{'seeds' if ',' in seeds else 'seed'} {seeds}"
        frames = span([run.env_frames for run in one.runs])
        minutes = sum(float(run.evaluations.minutes[-1]) for run in one.runs)
        games = len({run.game for run in one.runs})
        trained = f"{frames} frames, {minutes:,.0f} minutes of training in all"
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
    """A line if the runs are no seeds of one column: they differ in more than game and seed."""
    names = dict.fromkeys(name for run in one.evaluated for name in run.settings)
    found = {
        name: _different((run.settings.get(name), run) for run in one.evaluated)
        for name in names
        if not name.startswith(_FREE_WITHIN_A_COLUMN)
    }
    lines = [f"{name} {values}" for name, values in found.items() if values]
    if not lines:
        return []
    shown = "; ".join(lines[:_FEW_FIELDS])
    more = f"; and {len(lines) - _FEW_FIELDS} more" if len(lines) > _FEW_FIELDS else ""
    return [f"settings differ within {one.label}, put each into a folder of its own: {shown}{more}"]


def _different(values: Iterable[tuple[object, Run]]) -> str:
    """Every value with the folder of a run that has it; nothing where all have the same."""
    examples: dict[str, str] = {}
    for value, run in values:
        examples.setdefault(str(value), run.folder.name)
    if len(examples) < 2:
        return ""
    return ", ".join(f"{value} ({name})" for value, name in sorted(examples.items()))


def warnings(series: Sequence[Series], columns: Sequence[Column]) -> list[str]:
    """What is missing, failed, unfinished or judged otherwise than the rest; named, run by run."""
    lines = []
    for one in series:
        lines += _absences(one)
        if one.runs:
            lines += _warnings_of(one, columns[0].scores)
    runs = [run for one in series for run in one.runs]
    epsilons = sorted({run.epsilon for run in runs})
    if len(epsilons) > 1:
        lines.append(f"Evaluated with different epsilons: {', '.join(map(str, epsilons))}.")
    published = any(column.is_published for column in columns)
    if published and any(run.protocol != "noop" for run in runs):
        lines.append("The published scores are under the no-op protocol, these runs are not.")
    if published and any(run.settings.get("env.action_set") == "minimal" for run in runs):
        lines.append(
            "The published agents choose among all 18 actions, these runs among those that their"
            " game uses (env.action_set minimal)."
        )
    if published and any(run.settings.get("learner.life_loss_ends_return") for run in runs):
        lines.append(
            "The published agents see no lives, these runs learn that returns end with a life"
            " (learner.life_loss_ends_return)."
        )
    return lines + _unequal_training(series)


def _unequal_training(series: Sequence[Series]) -> list[str]:
    frames = {one.label: fmean(run.env_frames for run in one.runs) for one in series if one.runs}
    if not frames or max(frames.values()) <= _MUCH_LONGER * min(frames.values()):
        return []
    named = ", ".join(f"{label} {mean:,.0f}" for label, mean in frames.items())
    return [f"Columns are trained for different lengths, in frames a run: {named}."]


def _absences(one: Series) -> list[str]:
    lines = []
    if one.failed:
        lines.append(f"without a score, and not counted: {'; '.join(_by_reason(one.failed))}")
    if one.unfinished:
        named = _standing(one.unfinished)
        lines.append(f"not finished, so drawn as far as evaluated but not counted: {named}")
    if caution([one]):
        lines.append(f"not finished, but counted for want of others: {_standing(one.runs)}")
    if not one.runs:
        lines.append("no run that counts, so no column")
    return [f"{one.label}: {line}." for line in lines]


def _standing(runs: Iterable[Run]) -> str:
    lines = (f"{run.folder.name} ({run.env_frames:,} frames): {run.unfinished}" for run in runs)
    return "; ".join(_by_reason(lines))


def _warnings_of(one: Series, common: Iterable[str]) -> list[str]:
    lines = []
    games = {run.game for run in one.runs}
    missing = [game for game in ATARI57 if game not in games]
    if missing:
        named = f"missing: {', '.join(missing)}"
        if len(games) < len(missing):
            named = f"all but {', '.join(sorted(games))} are missing"
        lines.append(f"{one.label}: {len(games)} of 57 games; {named}.")
    left_out = [game for game in ATARI57 if game in games and game not in set(common)]
    if left_out:
        named = ", ".join(left_out)
        lines.append(f"{one.label}: not in the tables, for another series lacks them: {named}.")
    (usual, _), *others = Counter(map(_budget, one.runs)).most_common()
    if others:
        named = ", ".join(
            f"{run.folder.name} ({_budget(run)})" for run in one.runs if _budget(run) != usual
        )
        lines.append(f"{one.label}: trained for another budget than {usual}: {named}.")
    return lines


def _budget(run: Run) -> str:
    """What ends the run, in words."""
    frames = f"{run.settings['run.frames']:,} frames"
    minutes = run.settings["run.minutes"]
    return f"{minutes:g} minutes or {frames}" if minutes else frames


def footnotes(columns: Sequence[Column], against: Sequence[str]) -> list[str]:
    """Definitions, sources, and known quirks of the games' scores."""
    notes = [
        "P(A is better than B): how probably a run of A beats a run of B on a game drawn at random;"
        " equal scores count half.",
        "Human-normalized score: (score - random) / (human - random), in percent. Capped mean clips"
        " each game to 0 and 100; superhuman games have 100 or more; percentiles are linear.",
        f"Human and random scores: {REFERENCE_SOURCE}.",
    ]
    if any(column.aggregate.intervals for column in columns):
        notes.append(_INTERVALS)
    for method in dict.fromkeys(against):
        known = METHODS[method]
        notes.append(
            f"{known.name}: {known.source}; one score a game, {known.selection}; each game trained"
            f" for {known.frames}."
        )
    return [*notes, _WRAP]


def span(values: Sequence[int]) -> str:
    """Least and greatest, in words; one number if they are equal."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _by_reason(failed: Iterable[str]) -> list[str]:
    """`a: why`, `b: why` become `a, b: why`."""
    names: dict[str, list[str]] = {}
    for line in failed:
        name, _, reason = line.partition(": ")
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(those)}: {reason}" for reason, those in names.items()]


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
