"""Segments and the buffer, at the paper's sizes, over frames of the real games."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import psutil
import torch

from envs.games import ATARI57
from relic_rl import build
from relic_rl import config as configuration
from relic_rl.bench.ceilings import Results, seconds_per_call
from relic_rl.bench.experience import paper_config, paper_segments, real_segments
from relic_rl.config import Config
from relic_rl.replay.segment import Segment

_BYTES_LANES, _BYTES_STEPS = 8, 160


def replay(config: Config) -> Results:
    """Segments and buffer, at the paper's sizes, over frames of the real game."""
    paper = paper_config()
    segments = paper_segments()
    steps = sum(segment.steps for segment in segments)
    bytes_per_step = sum(segment.resident_bytes for segment in segments) / steps
    copies = list(_copies(segments, 100_000 // paper.learner.segment_steps))
    buffer = build.make_replay(paper, seed=0)
    started = time.perf_counter()
    for segment in copies:
        buffer.insert(segment)
    insert_seconds = time.perf_counter() - started
    batch = paper.learner.batch_sequences
    cpu = torch.device("cpu")
    draw_seconds = seconds_per_call(lambda: buffer.draw(batch), cpu, repeats=20)
    sample_seconds = seconds_per_call(lambda: buffer.sample(batch), cpu, repeats=10)
    frames = np.concatenate([segment.decode_frames() for segment in segments[:50]])
    decode = seconds_per_call(lambda: [s.decode_frames() for s in segments[:50]], cpu, repeats=3)
    return {
        "bytes_per_step": bytes_per_step,
        "insert_steps_per_second": buffer.steps / insert_seconds,
        "draw_seconds": draw_seconds,
        "sample_seconds": sample_seconds,
        "decode_frames_per_second": len(frames) / decode,
    }


def replay_full(config: Config) -> Results:
    """The paper's 4,000,000 steps in memory, as copies of real segments."""
    paper = paper_config()
    segments = paper_segments()
    buffer = build.make_replay(paper, seed=0)
    before = psutil.Process().memory_info().rss
    for segment in _copies(segments, paper.replay.capacity_steps // paper.learner.segment_steps):
        buffer.insert(segment)
    resident = psutil.Process().memory_info().rss - before
    return {"steps": buffer.steps, "counted_bytes": buffer.bytes, "resident_bytes": resident}


def bytes_per_game(config: Config) -> Results:
    """Replay bytes per step of every game, for an epsilon-random policy of random weights.

    The segments are the paper's, recurrent state included; the convolutions that play are the
    preset's, which take a fraction of the time.
    """
    own = {"network.channels": config.network.channels, "network.features": config.network.features}
    config = configuration.changed(paper_config(), own)
    per_game = {}
    for game in ATARI57:
        segments = real_segments(config, _BYTES_LANES * _BYTES_STEPS, game, _BYTES_LANES)
        steps = sum(segment.steps for segment in segments)
        per_game[game] = sum(segment.resident_bytes for segment in segments) / steps
    worst = dict(sorted(per_game.items(), key=lambda item: -item[1])[:5])
    return {"mean_bytes_per_step": statistics.mean(per_game.values()), "worst": worst, **per_game}


def _copies(segments: Sequence[Segment], count: int) -> Iterator[Segment]:
    """As many segments as asked for, each with bytes of its own, named as episodes of their own."""
    for number in range(count):
        one = segments[number % len(segments)]
        name = one.name._replace(incarnation=1 + number // len(segments))
        yield replace(one, name=name, data=bytes(bytearray(one.data)))
