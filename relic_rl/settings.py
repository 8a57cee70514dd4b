"""The settings, section by section: one frozen dataclass per part of a run.

Defaults are R2D2's and ReLIC's published ones. The docstring under a field says what it means and,
in square brackets, the source of its default; `relic-rl config` prints both.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic

from relic_rl.counters import Budget

LARGEST = 2**53
"""Beyond it a number is no longer exact as a float, and no machine has so much of anything."""
Fraction = Annotated[float, pydantic.Field(ge=0.0, le=1.0)]
Decay = Annotated[float, pydantic.Field(ge=0.0, lt=1.0)]
PositiveFraction = Annotated[float, pydantic.Field(gt=0.0, le=1.0)]
PositiveFloat = Annotated[float, pydantic.Field(gt=0.0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, pydantic.Field(ge=0.0, allow_inf_nan=False)]
PositiveInt = Annotated[int, pydantic.Field(ge=1, le=LARGEST)]
NonNegativeInt = Annotated[int, pydantic.Field(ge=0, le=LARGEST)]


@dataclass(frozen=True, slots=True)
class EnvConfig:
    """The emulator and the evaluation protocol."""

    protocol: Literal["noop", "machado"] = "noop"
    """`noop`: up to 30 no-ops, no sticky actions. `machado`: sticky 0.25, no no-ops. [R2D2 app.]"""
    action_set: Literal["full", "minimal"] = "full"
    """All 18 actions, or those that the game uses. [R2D2 app.]"""
    threads: NonNegativeInt = 0
    """Emulator threads of an actor; 0: its share of the cores. [ours]"""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Sizes of the Q-network."""

    frame_stack: PositiveInt = 4
    """Frames that one observation stacks. [R2D2 app.]"""
    channels: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 64, 64)
    """Of the convolutions 8x8/4, 4x4/2, 3x3/1, given as `16,32,32`. [R2D2 app.: DQN's network]"""
    features: PositiveInt = 512
    """Width of the fully connected layer after them. [DQN]"""
    lstm: PositiveInt = 512
    """Width of the LSTM. [R2D2 app.]"""
    hidden: PositiveInt = 512
    """Width of each hidden layer of the dueling head. [R2D2 app.]"""
    previous_reward: Literal["raw", "tanh"] = "raw"
    """How the previous reward enters the LSTM. [R2D2 app. gives no transformation]"""
    skip_core: bool = False
    """The head sees the encoder's features beside the LSTM's output. [ours; R2D2 does not]"""
    recurrent: bool = True
    """False: the state is zero at every step, R2D2's feed-forward comparison. [R2D2 table 1]"""


@dataclass(frozen=True, slots=True)
class LearnerConfig:
    """R2D2's loss, its sequences and its optimizer."""

    batch_sequences: PositiveInt = 64
    """Sequences in a batch. [R2D2 table 2]"""
    segment_steps: PositiveInt = 40
    """Steps in a segment; sequences start at every segment. [R2D2 2.3: overlap of 40]"""
    burn_in_steps: NonNegativeInt = 40
    """Steps that only warm the state up: 0 or segment_steps. [R2D2 table 2]"""
    unroll_steps: PositiveInt = 80
    """Steps trained on, a multiple of segment_steps. [R2D2 table 2]"""
    n_steps: PositiveInt = 5
    """Rewards in a target. [R2D2 2.3]"""
    trace_lambda: Fraction = 0.0
    """Above 0: Peng's Q(λ) targets over the sequence instead of n-step ones. [ours]"""
    discount: Fraction = 0.997
    """γ. [R2D2 table 2]"""
    life_loss_ends_return: bool = False
    """Nothing is bootstrapped over a lost life; the episode goes on. [R2D2 app.: no]"""
    rescaling_epsilon: PositiveFloat = 1e-3
    """ε of the value rescaling h. [R2D2 2.3]"""
    learning_rate: PositiveFloat = 1e-4
    """Adam's. [R2D2 table 2]"""
    adam_epsilon: PositiveFloat = 1e-3
    """Adam's. [R2D2 table 2]"""
    clip_norm: PositiveFloat = 40.0
    """Global gradient norm. [Ape-X, as in SEED RL]"""
    target_period_updates: PositiveInt = 2500
    """Updates between copies to the target network. [R2D2 table 2]"""
    target_decay: Decay = 0.0
    """Above 0: instead of copies, a target averaged over about 1/(1 - this) updates. [ours]"""
    average_decay: Fraction = 0.0
    """Above 0: evaluation plays with parameters averaged over about 1/(1 - this) updates. [ours]"""
    bfloat16: bool = False
    """Q-networks learn in bfloat16, their LSTM and all losses in float32; CUDA only. [ours]"""
    compile_encoders: bool = False
    """torch.compile for the online and target encoders; CUDA only. [ours]"""
    diagnostics_every_updates: NonNegativeInt = 200
    """Updates between the costly diagnostics; 0: never. [ours]"""


@dataclass(frozen=True, slots=True)
class RepresentationConfig:
    """The representation loss and how it joins the RL loss."""

    arm: Literal["relic", "simclr", "curl", "byol", "augmentation", "none"] = "relic"
    """Arm of the paper's table 4, or `none`. [ReLIC table 4]"""
    encoder: Literal["shared", "separate"] = "shared"
    """One jointly trained encoder, or a second one of its own. [separate: ReLIC E.6]"""
    weight: NonNegativeFloat = 1.0
    """Weight of the loss beside the RL loss, with a shared encoder. [ours]"""
    temperature: PositiveFloat = 1.0
    """τ; of relic and simclr only. [ReLIC table 8]"""
    alpha: NonNegativeFloat = 1.0
    """Weight of the invariance term. [ReLIC eq. 3; value not stated]"""
    normalize: bool = False
    """Unit embeddings before the product; of relic and simclr only. [ReLIC table 8: not scaled]"""
    kl_direction: Literal["forward", "reverse", "symmetric"] = "forward"
    """KL(p12 || p21), KL(p21 || p12), or their mean. [ReLIC eq. 3; not stated which]"""
    kl_stop_gradient: Literal["none", "entropy", "first", "second"] = "none"
    """Part of the KL that is held constant: see `relic_loss`. [ReLIC: not stated]"""
    momentum: Fraction = 0.99
    """Of the momentum encoder h. [ReLIC E.6]"""
    acting_encoder: Literal["online", "momentum"] = "online"
    """Whose features a separate encoder gives the Q-network: f's or h's. [ReLIC: not stated]"""
    stacks_per_sequence: PositiveInt = 1
    """Frame stacks of each sequence in the contrast set, spread over time. [ReLIC: not stated]"""
    use_burn_in: bool = False
    """Whether stacks of the burn-in may be among them. [ReLIC: not stated]"""
    learning_rate: PositiveFloat = 5e-4
    """Adam's, for a separate encoder. [ReLIC table 8]"""
    adam_epsilon: PositiveFloat = 0.01
    """Adam's, for a separate encoder. [ReLIC table 8]"""
    clip_norm: PositiveFloat = 40.0
    """Global gradient norm, for a separate encoder. [ReLIC E.6]"""


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """What is kept, what is sampled, and how often."""

    capacity_steps: PositiveInt = 4_000_000
    """Steps kept; the oldest go first. [R2D2 table 2]"""
    max_bytes: PositiveInt = 8_000_000_000
    """Ceiling in memory, all counted, whatever the capacity. [ours]"""
    min_steps: NonNegativeInt = 50_000
    """Steps in the replay before learning starts. [Ape-X]"""
    replay_ratio: PositiveFloat = 0.8
    """Trained steps per environment step. [R2D2 2.3]"""
    priority_exponent: Fraction = 0.9
    """Of the priorities when sampling. [R2D2 table 2]"""
    priority_mix: Fraction = 0.9
    """η: share of the largest error in a sequence's priority, the rest is the mean. [R2D2 2.3]"""
    importance_exponent: Fraction = 0.6
    """Of the importance weights. [R2D2 table 2]"""


@dataclass(frozen=True, slots=True)
class ActorConfig:
    """Who gathers experience, and how they explore."""

    lanes: PositiveInt = 256
    """Environments, each at its own place on the ladder of epsilons. [R2D2 table 2: actors]"""
    actors: PositiveInt = 1
    """Actors that share the lanes evenly; more than one needs the threads or ray engine. [ours]"""
    epsilon_base: PositiveFraction = 0.4
    """ε_i = base^(1 + exponent i / (lanes - 1)). [Ape-X]"""
    epsilon_exponent: NonNegativeFloat = 7.0
    """See epsilon_base. [Ape-X]"""
    publish_every_updates: PositiveInt = 16
    """Updates between fresh parameters (400 steps a lane); ray: before the first. [R2D2 table 2]"""
    refresh_steps: PositiveInt = 400
    """Ray engine: steps of each lane before an actor fetches newer parameters. [R2D2 table 2]"""


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How the agent is judged: full episodes, unclipped, under the run's protocol."""

    episodes: PositiveInt = 10
    """Full episodes of the evaluation at the end, and of `relic-rl evaluate`. [ours]"""
    epsilon: Fraction = 0.001
    """Of evaluation's random actions. [SEED RL]"""
    every_minutes: NonNegativeFloat = 30.0
    """Between evaluations during training; 0: only at the end. [ours]"""
    interim_episodes: PositiveInt = 3
    """Episodes of an evaluation during training. [ours]"""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How long, on what, and how it is recorded."""

    frames: PositiveInt = 15_000_000_000
    """Environment frames to train for (4 a step). [ReLIC E.6]"""
    minutes: NonNegativeFloat = 0.0
    """Minutes to train for, whichever ends first; 0: no limit. [ours]"""
    engine: Literal["inline", "threads", "ray"] = "inline"
    """Who acts: in turn with the learner, in threads beside it, or on a Ray cluster. [ours]"""
    ray_address: str = "local"
    """Ray engine: local, auto, HOST:PORT or ray://HOST:PORT; see docs/cluster.md. [ours]"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the learner computes. [ours]"""
    threads: NonNegativeInt = 0
    """CPU threads of the learner; 0: as many as cores. [ours]"""
    track: Literal["off", "offline", "online"] = "off"
    """Whether wandb mirrors the metrics. [ours]"""
    log_every_seconds: PositiveFloat = 10.0
    """Between status lines. [ours]"""
    metrics_every_updates: PositiveInt = 100
    """Between rows of metrics.jsonl. [ours]"""
    checkpoint_every_minutes: PositiveFloat = 10.0
    """Between checkpoints. [ours]"""

    @property
    def budget(self) -> Budget:
        """Where the run ends."""
        return Budget(self.frames, self.minutes)
