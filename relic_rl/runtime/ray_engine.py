"""The ray engine: actors on any number of machines, the learner and the replay here.

Each actor is a Ray actor that is told to take some steps, a round, and answers with encoded
segments. A fixed number of rounds is requested ahead: when the learner falls behind, the actors
wait, which is all that the rate limiter needs to hold the ratio.

Parameters go into Ray's object store when an actor is due to take newer ones, every `refresh_steps`
of its lanes, and at most once per version; a node fetches a version once for all of its actors.

Actors and nodes may die, join and leave. What a dead actor had not delivered is lost. Ray restarts
it, elsewhere if necessary, and here it becomes a new incarnation: new episodes and other random
numbers, under new names. An actor's versions are compared with ours before it acts.
"""

import logging
import time
from collections import Counter, defaultdict, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agents.agent import R2D2Agent
from relic_rl.errors import UserError
from relic_rl.machine.versions import difference, fingerprint
from relic_rl.replay.segment import Segment
from relic_rl.runtime.actor import Collected
from relic_rl.runtime.engines import Crew
from relic_rl.runtime.ray_actor import Place, RemoteActor, Round
from relic_rl.runtime.ray_cluster import Cluster, ClusterError
from relic_rl.runtime.watchdog import STALL_SECONDS

ROUNDS_AHEAD = 2
"""Requested of each actor at a time: one it works on, and the next."""
ROUND_STEPS = 256
"""Over all lanes, at least, if they come in time for a refresh: a call costs milliseconds."""
START_SECONDS = 600.0
"""Without any actor for so long, a run is told that its cluster has no place for it."""
REST_SECONDS = 0.5
"""Between an actor's death and the next word to it."""
_POLL_SECONDS = 0.5
_CHECK_SECONDS = 5.0

_log = logging.getLogger(__name__)

NOTHING = Collected(0, [], [])


class StalledError(UserError):
    """Actors do not answer, or find no place."""


@dataclass(eq=False)
class _Seat:
    """One actor of the run, whichever process fills it now."""

    number: int
    incarnation: int
    handle: Any
    place: Place | None = None
    """Where it acts; None while it is not known to."""
    is_called: bool = False
    """Whether the incarnation was told to begin."""
    heard_at: float | None = None
    """When it last answered; None: not yet, it may still wait for a place (a CPU, a node)."""
    rests_until: float = 0.0
    version_updates: int | None = None
    """Of the parameters that it was sent last."""
    steps_since_refresh: int = 0
    rounds: set[Any] = field(default_factory=set)
    """Those that are waited for."""


class RayEngine:
    """Actors on a Ray cluster.

    Args:
      cluster: joined; closed with the engine.
      crew: the run's actors; they act alone.
    """

    def __init__(self, cluster: Cluster, crew: Crew) -> None:
        self._cluster, self._ray = cluster, cluster.ray
        self._game = crew.game
        self._fingerprint = fingerprint(crew.game)
        self._make_actor = crew.alone
        self._refresh_steps = crew.actors.refresh_steps
        enough = min(ROUND_STEPS // crew.actors.lanes_per_actor, self._refresh_steps // 4)
        self._round_steps = max(crew.segment_steps, enough)
        self._stopwatch = crew.stopwatch
        remote = self._ray.remote(
            num_cpus=1, max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        self._remote: Any = remote(RemoteActor)
        self._seats = [
            _Seat(number, crew.incarnation, self._remote.remote())
            for number in range(crew.actors.actors)
        ]
        self._asked: dict[Any, tuple[_Seat, str]] = {}
        self._answered: deque[Any] = deque()
        self._agent: R2D2Agent | None = None
        self._parameters: Any = None
        self._version_updates = 0
        self._env_steps = 0
        self._checked_at = time.monotonic()
        self._waited_seconds = 0.0
        self._restarts = 0
        self._window: Counter[str] = Counter()
        """What came in since the last row of metrics."""
        self._window_seconds: dict[str, float] = defaultdict(float)
        """All actors' together, by what they were spent on."""
        self._window_began = time.monotonic()

    def collect(self) -> Collected:
        """One actor's round; nothing if none came in for half a second.

        Raises:
          StalledError: no actor has brought a step for ten minutes.
          ClusterError: a node has other versions, or cannot run actors at all.
          Exception: what an actor's code raised.
        """
        with self._stopwatch.time("waiting"):
            until = time.monotonic() + _POLL_SECONDS
            while (left := until - time.monotonic()) > 0:
                self._feed()
                self._end_those_that_hang()
                answer = self._next_answer(left)
                collected = None if answer is None else self._take(answer)
                if collected is not None:
                    self._waited_seconds = 0.0
                    return collected
        self._expect_steps()
        return NOTHING

    def publish(self, agent: R2D2Agent) -> None:
        """From here on, actors that are due take the agent's parameters.

        Most versions are never fetched, so they are not stored here: that costs milliseconds.
        """
        self._agent = agent

    def metrics(self) -> dict[str, float]:
        """How the cluster did since the last call; seconds are of all its actors together."""
        window, self._window = self._window, Counter()
        seconds, self._window_seconds = self._window_seconds, defaultdict(float)
        began, self._window_began = self._window_began, time.monotonic()
        rounds = max(window["rounds"], 1)
        waiting = sum(len(seat.rounds) for seat in self._seats)
        return {
            "actors_alive": sum(seat.place is not None for seat in self._seats),
            "actor_restarts": self._restarts,
            "parameter_staleness_updates": window["staleness_updates"] / rounds,
            # Of each round that is asked for, as many as the last ones brought on average.
            "segments_in_flight": waiting * window["segments"] / rounds,
            "segment_bytes_per_second": window["bytes"] / (self._window_began - began),
            "segment_bytes_per_step": window["bytes"] / max(window["steps"], 1),
            **{f"{name}_seconds": seconds[name] for name in sorted(seconds)},
        }

    def state(self) -> dict[str, Any]:
        """The newest incarnation of each actor; a resume starts new episodes."""
        return {"incarnations": [seat.incarnation for seat in self._seats]}

    def load_state(self, state: dict[str, Any], *, env_steps: int) -> None:
        """Continues the step count, with new episodes; `state` may be any engine's."""
        self._env_steps = env_steps

    def close(self) -> None:
        """Ends the actors, and leaves the cluster."""
        with ExitStack() as stack:  # what cannot be ended holds up nothing else
            stack.callback(self._cluster.close)
            for seat in self._seats:
                stack.callback(self._ray.kill, seat.handle)

    # --- what is asked --------------------------------------------------------------------------

    def _feed(self) -> None:
        """Asks for what is missing to `ROUNDS_AHEAD`, of those that do not rest."""
        now = time.monotonic()
        for seat in [seat for seat in self._seats if seat.rests_until <= now]:
            if not seat.is_called:
                seat.is_called = True
                self._ask(seat, "fingerprint", self._game)
                make_actor = partial(self._make_actor, seat.number)
                self._ask(seat, "begin", seat.incarnation, make_actor)
            while len(seat.rounds) < ROUNDS_AHEAD:
                self._ask_for_round(seat)

    def _ask_for_round(self, seat: _Seat) -> None:
        parameters = None
        is_due = seat.version_updates is None or seat.steps_since_refresh >= self._refresh_steps
        if is_due and self._newest_updates != seat.version_updates:
            parameters = self._parameters_for(seat)
            seat.version_updates, seat.steps_since_refresh = self._version_updates, 0
        seat.steps_since_refresh += self._round_steps
        wanted = (seat.incarnation, self._round_steps, self._env_steps, parameters)
        seat.rounds.add(self._ask(seat, "act", *wanted))

    @property
    def _newest_updates(self) -> int:
        return 0 if self._agent is None else self._agent.updates

    def _parameters_for(self, seat: _Seat) -> Any:
        """A reference: Ray fetches what it stands for, once a node. None: as actors begin.

        Newer ones are stored only for an actor that has the last: the others take the last, at most
        `refresh_steps` old, and a node's actors share one copy.
        """
        has_last = self._parameters is None or seat.version_updates == self._version_updates
        if self._agent is not None and has_last:
            self._version_updates = self._agent.updates
            self._parameters = self._ray.put(self._agent.policy().state())
        return self._parameters

    def _ask(self, seat: _Seat, method: str, *arguments: Any) -> Any:
        asked = getattr(seat.handle, method).remote(*arguments)
        self._asked[asked] = (seat, method)
        return asked

    # --- what is answered -----------------------------------------------------------------------

    def _next_answer(self, seconds: float) -> Any:
        """The next answer, taken in the order in which they are there; None: none came."""
        while self._answered:
            answer = self._answered.popleft()
            if answer in self._asked:  # else its actor was given up in the meantime
                return answer
        waiting = list(self._asked)
        if not waiting:
            time.sleep(min(seconds, REST_SECONDS / 2))
            return None
        ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        if not ready:
            ready, _ = self._ray.wait(waiting, timeout=min(seconds, REST_SECONDS / 2))
        self._answered.extend(ready)
        return self._answered.popleft() if self._answered else None

    def _take(self, answer: Any) -> Collected | None:
        seat, method = self._asked.pop(answer)
        seat.rounds.discard(answer)
        try:
            value = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            self._lose(seat, error)
            return None
        seat.heard_at = time.monotonic()
        if method == "act":
            return self._unpack(seat, value)
        if method == "begin":
            seat.place = value
            _log.info("actor %d.%d acts on %s", seat.number, seat.incarnation, value)
        elif problem := difference(self._fingerprint, value):
            raise ClusterError(f"a node of the cluster does not fit this run: {problem}")
        return None

    def _unpack(self, seat: _Seat, brought: Round | None) -> Collected | None:
        if brought is None:
            self._lose(seat, RuntimeError("its process was restarted"))
            return None
        self._env_steps += brought.steps
        self._window.update(
            rounds=1,
            segments=len(brought.segments),
            bytes=sum(map(len, brought.segments)),
            steps=brought.steps,
            staleness_updates=self._newest_updates - brought.version_updates,
        )
        for name, taken in brought.seconds.items():
            self._window_seconds[name] += taken
        segments = [Segment.from_bytes(data) for data in brought.segments]
        return Collected(brought.steps, segments, brought.episodes)

    def _lose(self, seat: _Seat, error: Exception) -> None:
        """Gives an incarnation up; the next one begins as soon as Ray has a process for it."""
        if getattr(error, "actor_init_failed", False):
            raise ClusterError(f"a node cannot run actors: {_last_line(error)}") from error
        if seat.heard_at is not None:
            self._restarts += 1
            where = seat.place or "a node before it began"
            _log.warning("actor %d died on %s: %s", seat.number, where, _last_line(error))
        if isinstance(error, self._ray.exceptions.ActorDiedError):
            seat.handle = self._remote.remote()  # Ray will not start the old one again
        self._asked = {asked: who for asked, who in self._asked.items() if who[0] is not seat}
        seat.rounds.clear()
        seat.incarnation += 1
        seat.place, seat.heard_at = None, None
        seat.is_called, seat.version_updates = False, None
        seat.rests_until = time.monotonic() + REST_SECONDS

    def _expect_steps(self) -> None:
        """Counts the time that is waited for a step of any actor at all."""
        self._waited_seconds += _POLL_SECONDS
        if self._waited_seconds > START_SECONDS:
            acting = [seat for seat in self._seats if seat.place is not None]
            if acting or self._restarts:
                raise StalledError(
                    f"no step came in {START_SECONDS:.0f} s, {len(acting)} of {len(self._seats)} "
                    f"actors have a place and {self._restarts} died: see the warnings above, "
                    "mend the nodes, and resume"
                )
            cpus = self._ray.cluster_resources().get("CPU", 0)
            raise StalledError(
                f"none of {len(self._seats)} actors has started in {START_SECONDS:.0f} s: each "
                f"needs a CPU of the Ray cluster, which has {cpus:.0f} in all; add nodes, or lower "
                "--actor.actors, and resume with --allow-change actor.actors"
            )

    def _end_those_that_hang(self) -> None:
        """Now and then; an actor that has answered while we were busy does not hang.

        Nor does one that was never heard: Ray does not tell whether it has a place already.
        """
        now = time.monotonic()
        if now - self._checked_at < _CHECK_SECONDS:
            return
        self._checked_at = now
        oldest: dict[_Seat, Any] = {}
        for asked, (seat, _) in self._asked.items():
            oldest.setdefault(seat, asked)
        for seat, asked in oldest.items():
            if seat.heard_at is None or now - seat.heard_at <= STALL_SECONDS:
                continue
            # fetch_local: an answer that still lies on the actor's node is an answer.
            if not self._ray.wait([asked], timeout=0, fetch_local=False)[0]:
                # A process that cannot even be killed must not keep its seat.
                self._ray.kill(seat.handle)
                seat.handle = self._remote.remote()
                self._lose(seat, StalledError(f"no answer for {STALL_SECONDS:.0f} s"))


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
