"""What the parts of `relic-rl bench` work on."""

from relic_rl.bench.experience import real_segments
from relic_rl.config import resolve


def test_segments_are_played_on_the_cpu_where_acting_is_to_be_a_gpus_graph() -> None:
    config = resolve("smoke", {"actor.cuda_graph": "true"}).config

    segments = real_segments(config, steps=100, lanes=2)

    assert sum(segment.steps for segment in segments) >= 50
