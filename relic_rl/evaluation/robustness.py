"""How an agent fares in what it was not trained in: corrupted pictures, other modes of its game."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import fmean

from envs.corruptions import CORRUPTIONS, DEFAULT_LEVEL, LEVELS
from envs.games import ATARI57
from envs.interface import Flavour
from envs.registry import find_environment
from relic_rl.errors import UsageError
from relic_rl.evaluation.evaluate import Condition, evaluate_agent
from relic_rl.evaluation.trained import TrainedAgent
from relic_rl.records.robustness import NO_CORRUPTION, Judgement
from relic_rl.stop import StopRequest

ALL = "all"


def conditions(
    game: str,
    *,
    modes: Sequence[str] = (),
    difficulties: Sequence[str] = (),
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = (),
) -> list[Condition]:
    """Every condition that is asked for; the first is what the agent was trained in.

    Each mode goes with each difficulty, and in each of these each corruption with each severity.

    Args:
      game: a game's name, or a toy's.
      modes: numbers that ale-py gives them, or `ALL`; without any, the default.
      difficulties: the same.
      corruptions: names in `envs.corruptions.CORRUPTIONS`.
      severities: 1 to 5.

    Raises:
      UsageError: the game has no such mode or difficulty.
      RomError: its ROM is missing or damaged.
    """
    known = find_environment(game).find_flavours()
    asked = itertools.product(
        _chosen(game, "mode", modes, known.modes),
        _chosen(game, "difficulty", difficulties, known.difficulties),
    )
    flavours = dict.fromkeys([known.default, *itertools.starmap(Flavour, asked)])
    looks = [(NO_CORRUPTION, 0), *itertools.product(corruptions, severities)]
    return [Condition(flavour, *look) for flavour in flavours for look in looks]


def one_condition(
    game: str,
    *,
    mode: int | None = None,
    difficulty: int | None = None,
    corruption: str | None = None,
    severity: int | None = None,
) -> Condition:
    """What is asked for, and nothing beside it; None is what the agent was trained in.

    Raises:
      UsageError: the game has no such mode or difficulty; an unknown corruption or severity; a
        severity of nothing.
      RomError: its ROM is missing or damaged.
    """
    if corruption is not None and corruption not in CORRUPTIONS:
        raise UsageError(f"corruption is {corruption!r}: use one of {', '.join(CORRUPTIONS)}")
    if severity is not None and corruption is None:
        raise UsageError(f"severity is {severity}: it goes with a corruption")
    level = DEFAULT_LEVEL if severity is None else severity
    if level not in LEVELS:
        raise UsageError(f"severity is {level}: use one of {', '.join(map(str, LEVELS))}")
    asked = conditions(
        game,
        modes=[] if mode is None else [str(mode)],
        difficulties=[] if difficulty is None else [str(difficulty)],
        corruptions=[] if corruption is None else [corruption],
        severities=[level],
    )
    return asked[-1]


def judge(
    trained: TrainedAgent,
    judged: Sequence[Condition],
    *,
    episodes: int,
    seed: int,
    stop: StopRequest,
    tell: Callable[[str, int, int, int], None],
) -> Iterator[Judgement]:
    """Plays the same number of episodes under each condition; ends early if stopped.

    The same `seed` gives the same games and the same corruptions.

    Args:
      trained: plays with its `evaluation_policy`.
      judged: the first is clean and in the default mode; the others are held against it.
      episodes: under each.
      seed: of the episodes.
      stop: looked at before each step.
      tell: which condition is played, and how far its episodes are, as `evaluate_agent` tells.
    """
    _, config, spec, env_frames, _ = trained
    clean: list[float] = []
    for condition in judged:
        scores = evaluate_agent(
            trained,
            condition=condition,
            episodes=episodes,
            seed=seed,
            stop=stop,
            tell=partial(tell, str(condition) if clean else "evaluating"),
        )
        if not scores:
            return
        clean = clean or scores
        is_default = condition.flavour == judged[0].flavour
        is_held = is_default and condition.corruption != NO_CORRUPTION
        yield Judgement(
            env_frames=env_frames,
            protocol=spec.protocol.name if spec.protocol else "none",
            epsilon=config.evaluation.epsilon,
            seed=seed,
            episodes=episodes,
            **condition.flavour._asdict(),
            default_mode=is_default,
            corruption=condition.corruption,
            severity=condition.severity,
            mean_score=fmean(scores),
            kept=kept_share(spec.name, clean, scores) if is_held else None,
            scores=tuple(scores),
        )


def kept_share(game: str, clean_scores: Sequence[float], scores: Sequence[float]) -> float | None:
    """(mean - random) / (clean mean - random): see `Judgement.kept`."""
    if game not in ATARI57:
        return None
    random = ATARI57[game].random
    earned = fmean(clean_scores) - random
    return (fmean(scores) - random) / earned if earned > 0 else None


def _chosen(game: str, what: str, given: Sequence[str], known: Sequence[int]) -> list[int]:
    names = list(map(str, known))
    if unknown := [one for one in given if one not in (ALL, *names)]:
        raise UsageError(f"{what} is {unknown[0]!r}: {game} has {', '.join(names)}")
    return [one for one in known if ALL in given or str(one) in given] or [known[0]]
