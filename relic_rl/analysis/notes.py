"""What a report says in words: what was run, what is wrong with it, and what to know of a score."""

from collections.abc import Callable, Iterable, Sequence

from envs.games import ATARI57
from relic_rl.analysis.columns import Column
from relic_rl.analysis.published import METHODS
from relic_rl.analysis.runs import Run, Series

_VERSIONS = {
    **{"Preset": "preset", "Action set": "action_set", "ale-py": "ale_py"},
    **{"Gymnasium": "gymnasium", "PyTorch": "torch", "relic-rl": "relic_rl"},
    **{"Commit": "commit", "Machine": "machine"},
}
_PROTOCOLS = {
    "noop": "noop: up to 30 no-ops, no sticky actions, 108,000-frame episodes, raw rewards",
    "machado": "machado: sticky actions 0.25, no no-ops, 108,000-frame episodes, raw rewards",
}
_DEFENDER = (
    "Defender: the emulator's reward is about 100 times the score on the screen. The published"
    " scores and the human's have the same factor."
)
_WRAP = (
    "Score counters of six digits wrap at 1,000,000: the emulator then gives a reward of about"
    " -1,000,000 (seen in Asterix, ChopperCommand, Defender, DemonAttack, Frostbite, Gopher,"
    " Seaquest, UpNDown, VideoPinball). A good agent's mean can fall there."
)


def lead(series: Sequence[Series]) -> str:
    """The report in one sentence."""
    runs = [run for one in series for run in one.runs]
    games = len({run.game for run in runs})
    seeds = len({run.seed for run in runs})
    return (
        f"{games} of the 57 Atari games, {seeds} {'seed' if seeds == 1 else 'seeds'},"
        f" {_span([run.env_frames for run in runs])} frames a run."
        " What counts is the last evaluation of each run."
    )


def facts(series: Sequence[Series]) -> list[tuple[str, str]]:
    """What was run, on what: name and value of each fact."""
    runs = [run for one in series for run in one.runs]
    episodes = _span([len(run.last_scores) for run in runs])
    epsilons = _distinct(f"{run.epsilon:g}" for run in runs)
    facts = [
        ("Protocol", _distinct(_PROTOCOLS.get(run.protocol, run.protocol) for run in runs)),
        (
            "Evaluation",
            f"{episodes} full episodes a run, epsilon {epsilons}; the last, not the best",
        ),
    ]
    for one in series:
        seeds = _distinct(str(seed) for seed in sorted({run.seed for run in one.runs}))
        seeds = f"{'seeds' if ',' in seeds else 'seed'} {seeds}"
        frames = _span([run.env_frames for run in one.runs])
        minutes = sum(float(run.evaluations.minutes[-1]) for run in one.runs)
        games = len({run.game for run in one.runs})
        trained = f"{frames} frames, {minutes:,.0f} minutes of training in all"
        facts.append((one.label, f"{games} of 57 games, {seeds}, {trained}"))
    for name, key in _VERSIONS.items():
        values = _distinct(str(run.metadata[key]) for run in runs if run.metadata.get(key))
        if values:
            facts.append((name, values))
    return facts


def mixtures(series: Sequence[Series]) -> list[str]:
    """Differences that make runs incomparable, each in words with an example of either side."""
    runs = [run for one in series for run in one.runs]
    kinds: tuple[tuple[str, Callable[[Run], str]], ...] = (
        ("protocols", lambda run: run.protocol),
        ("ale-py versions", lambda run: run.ale_py),
    )
    lines = []
    for name, key in kinds:
        values = sorted({key(run) for run in runs})
        if len(values) > 1:
            example = {
                value: next(r.folder.name for r in runs if key(r) == value) for value in values
            }
            named = ", ".join(f"{value} ({example[value]})" for value in values)
            lines.append(f"{name} differ: {named}")
    return lines


def warnings(series: Sequence[Series], columns: Sequence[Column]) -> list[str]:
    """What is missing, failed, shorter or judged otherwise than the rest; named, run by run."""
    lines = []
    for one in series:
        if one.failed:
            named = "; ".join(_by_reason(one.failed))
            lines.append(f"{one.label}: without a score, and not counted: {named}.")
        if one.runs:
            lines += _warnings_of(one, columns[0].scores)
    runs = [run for one in series for run in one.runs]
    epsilons = sorted({run.epsilon for run in runs})
    if len(epsilons) > 1:
        lines.append(f"Evaluated with different epsilons: {', '.join(map(str, epsilons))}.")
    published = any(column.is_published for column in columns)
    if published and any(run.protocol != "noop" for run in runs):
        lines.append("The published scores are under the no-op protocol, these runs are not.")
    return lines


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
    longest = max(run.env_frames for run in one.runs)
    short = [run for run in one.runs if run.env_frames < 0.95 * longest]
    if short:
        named = ", ".join(f"{run.folder.name} ({run.env_frames:,})" for run in short)
        lines.append(f"{one.label}: shorter than its longest run ({longest:,}): {named}.")
    return lines


def footnotes(columns: Sequence[Column], against: Sequence[str]) -> list[str]:
    """Definitions, sources, and known quirks of the games' scores."""
    notes = [
        "P(A is better than B): how probably a run of A beats a run of B on a game drawn at random;"
        " equal scores count half.",
        "Human-normalized score: (score - random) / (human - random), in percent. Capped mean clips"
        " each game to 0 and 100; superhuman games have 100 or more; percentiles are linear.",
    ]
    for method in dict.fromkeys(against):
        known = METHODS[method]
        notes.append(f"{known.name}: {known.source}; trained for {known.frames} per game.")
    if "Defender" in columns[0].scores:
        notes.append(_DEFENDER)
    return [*notes, _WRAP]


def _by_reason(failed: Iterable[str]) -> list[str]:
    """`a: why`, `b: why` become `a, b: why`."""
    names: dict[str, list[str]] = {}
    for line in failed:
        name, _, reason = line.partition(": ")
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(those)}: {reason}" for reason, those in names.items()]


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
