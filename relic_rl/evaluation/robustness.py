"""How much of its score an agent keeps when what it sees is corrupted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from agents.agent import R2D2Agent
from envs.corrupted import CorruptedEnv
from envs.corruptions import CORRUPTIONS
from envs.games import ATARI57
from envs.interface import Lanes
from relic_rl import build
from relic_rl.config import Config
from relic_rl.evaluation.evaluate import evaluate_agent
from relic_rl.stop import StopRequest


@dataclass(frozen=True, slots=True)
class CorruptedScores:
    """Scores under one corruption at one severity."""

    corruption: str
    severity: int
    scores: list[float]
    kept: float | None
    """Share of what the agent scores above random play on clean frames; None where that is
    nothing, or where random play has no score."""

    @property
    def mean_score(self) -> float:
        """Over the episodes."""
        return fmean(self.scores)


def evaluate_corrupted(
    agent: R2D2Agent,
    config: Config,
    game: str,
    clean_scores: Sequence[float],
    *,
    corruptions: Sequence[str],
    severities: Sequence[int],
    seed: int,
    stop: StopRequest,
    tell: Callable[[str, int, int, int], None],
) -> Iterator[CorruptedScores]:
    """Plays the episodes of the clean scores again, under each corruption at each severity.

    The same `seed` gives the same games and the same corruptions. Ends early if stopped.

    Args:
      agent: plays with its `evaluation_policy`.
      config: the run's.
      game: a game's name, or a toy's.
      clean_scores: of `evaluate_agent` with this seed.
      corruptions: names in `envs.corruptions.CORRUPTIONS`.
      severities: 1 to 5.
      seed: of the episodes.
      stop: looked at before each step.
      tell: which corruption is played, and how far its episodes are, as `evaluate_agent` tells.
    """
    for corruption in corruptions:
        for severity in severities:
            see = partial(_seen, corruption=corruption, severity=severity, seed=seed)
            scores = evaluate_agent(
                agent,
                config,
                game,
                seed=seed,
                episodes=len(clean_scores),
                stop=stop,
                tell=partial(tell, f"{corruption} {severity}"),
                see=see,
            )
            if not scores:
                return
            kept = kept_share(game, clean_scores, scores)
            yield CorruptedScores(corruption, severity, scores, kept)


def kept_share(game: str, clean_scores: Sequence[float], scores: Sequence[float]) -> float | None:
    """(mean - random) / (clean mean - random): see `CorruptedScores.kept`."""
    if game not in ATARI57:
        return None
    random = ATARI57[game].random
    earned = fmean(clean_scores) - random
    return (fmean(scores) - random) / earned if earned > 0 else None


def _seen(env: Lanes, *, corruption: str, severity: int, seed: int) -> Lanes:
    drawn = build.named_seed(seed, f"corruption {corruption} {severity}")
    return CorruptedEnv(env, CORRUPTIONS[corruption], severity, seed=drawn)
