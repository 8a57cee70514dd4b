"""Play full episodes with a run's last checkpoint."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from relic_rl.commands import arguments
from relic_rl.commands.printing import against_human, print_json
from relic_rl.console import counted
from relic_rl.errors import UserError
from relic_rl.records.identity import check_seed
from relic_rl.run_game import normalized_score
from relic_rl.stop import StopRequest


def add_to(verbs: Any) -> None:
    """Adds `relic-rl evaluate`."""
    parser = arguments.add_verb(verbs, "evaluate", run, usage="RUN_DIR [flags]", doc=__doc__)
    arguments.add_run_dir(parser)
    parser.add_argument(
        "--episodes",
        metavar="N",
        type=arguments.positive_number,
        help="Episodes to play; by default as many as at the run's end",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=arguments.whole_number,
        help="Seed of the episodes: the same seed gives the same ones; by default 0",
    )
    arguments.add_json(parser)


def run(
    run_dir: Path, *, episodes: int | None = None, seed: int = 0, as_json: bool = False
) -> None:
    """Plays full episodes with a run's last sound checkpoint; changes nothing in the folder."""
    from relic_rl.evaluation.evaluate import evaluate_agent
    from relic_rl.evaluation.trained import load_trained

    check_seed(seed)
    # ale-py greets on stdout, which belongs to the result.
    with redirect_stdout(sys.stderr), StopRequest().listening() as stop:
        agent, config, game, env_frames, _ = load_trained(run_dir)
        episodes = episodes or config.evaluation.episodes
        scores = evaluate_agent(agent, config, game, seed=seed, episodes=episodes, stop=stop)
    if not scores:
        raise UserError("stopped before all episodes were played")
    mean = sum(scores) / len(scores)
    result = {
        "game": game,
        "env_frames": env_frames,
        "episodes": episodes,
        "scores": scores,
        "mean_score": mean,
        "human_normalized_score": normalized_score(game, mean),
        "protocol": config.env.protocol,
    }
    if as_json:
        print_json(result)
        return
    print(f"{game} after {env_frames:,} frames, protocol {config.env.protocol}")
    listed = ", ".join(f"{score:.0f}" for score in scores)
    print(f"scores of {counted(episodes, 'episode')}: {listed}")
    print(f"mean score {mean:.1f}{against_human(game, mean)}")
