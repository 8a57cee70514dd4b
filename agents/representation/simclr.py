"""The SimCLR arm of ReLIC's Atari comparison: ReLIC's contrastive part without its regulariser.

Source: Mitrovic et al., "Representation Learning via Invariant Causal Mechanisms" (ReLIC), 2021,
table 5 ("same φ and g, no regulariser") and app. E.6 (no critic embedding, a target encoder with
momentum 0.99, table 8). Deviation from Chen et al., "A Simple Framework for Contrastive Learning
of Visual Representations" (SimCLR), 2020, on purpose and as there: a momentum encoder, and only
other-view negatives (M - 1, not 2 M - 2).
"""

from dataclasses import replace

from agents.networks import ConvEncoder
from agents.representation.options import RepresentationOptions
from agents.representation.relic import Relic
from agents.sequences import SequenceOptions


class SimClr(Relic):
    """ReLIC's arm with α = 0: its invariance term is reported and not learned from."""

    def __init__(
        self, options: RepresentationOptions, sequence: SequenceOptions, encoder: ConvEncoder
    ) -> None:
        super().__init__(replace(options, alpha=0.0), sequence, encoder)
