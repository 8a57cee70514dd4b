"""Linear probes: how well what one is given tells what one asks for, on episodes apart.

    classifier   softmax over the values that a variable took, judged by F1
    regression   ridge, judged by R²

Features are standardized by the training steps. The classifiers learn until the validation loss no
longer falls; the ridge's strength is the one of `STRENGTHS` that does best on validation.

Source: Anand et al., "Unsupervised State Representation Learning in Atari", NeurIPS 2019, sections
4 and 5: linear classifiers over the 256 values of a byte, early stopping, the F1 of each value
weighted by how often it occurs, train, validation and test episodes at 70, 10 and 20 %. Deviations:
standardized features; Adam at a larger rate, with fewer epochs; weights by the true values, where
the paper's code has the predicted ones; the regression is ours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from agents.adam import Adam
from relic_rl.stop import StopRequest

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of the ridge, beside features of variance 1."""
TRAIN_SHARE, VALIDATION_SHARE = 0.7, 0.1
"""Of the steps, rounded down to whole episodes; the test has the rest."""
BATCH_ROWS = 256
LEARNING_RATE = 1e-2
MAX_EPOCHS = 100
PATIENCE_EPOCHS = 3
"""Without a lower validation loss, and a classifier has learned what it will."""
_UNSEEN = -100
"""A value that training lacks; `F.cross_entropy` leaves it out."""


class Split(NamedTuple):
    """Steps by part, int64 indices; an episode is in one part only."""

    train: Tensor
    validation: Tensor
    test: Tensor

    def to(self, device: torch.device) -> "Split":
        """The same there."""
        return Split(*(part.to(device) for part in self))


def split_by_episode(episodes: NDArray[np.int64], *, seed: int) -> Split:
    """Deals whole episodes out, in random order.

    Args:
      episodes: int64[N], which one a step is of; at least three.
      seed: of the order.
    """
    names, steps = np.unique(episodes, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    done = np.cumsum(steps[order]) / steps.sum()
    validation = max(1, int(np.searchsorted(done, TRAIN_SHARE)))
    test = int(np.searchsorted(done, TRAIN_SHARE + VALIDATION_SHARE))
    test = min(max(test, validation + 1), len(names) - 1)
    validation = min(validation, test - 1)
    parts = np.split(names[order], [validation, test])
    return Split(*(torch.from_numpy(np.flatnonzero(np.isin(episodes, part))) for part in parts))


def regression_r2(
    features: Tensor, targets: Tensor, split: Split, *, stop: StopRequest
) -> list[float | None]:
    """R² on the test steps, of each column of the targets.

    Minimizes mean (x w - y)² + λ |w|² over the training steps, in float64. One that is stopped
    means nothing.

    Args:
      features: float[N, F].
      targets: [N, V], on the same device.
      split: of the N steps.
      stop: looked at first, and before each strength.

    Returns:
      1 - Σ(y - ŷ)² / Σ(y - ȳ)², ȳ the test's own mean; None where the test has one value only.
    """
    if stop.requested:
        return [None] * targets.shape[1]
    x, y = _standardized(features.double(), split.train), targets.double()
    offset = y[split.train].mean(0)
    trained, wanted = x[split.train], y[split.train] - offset
    gram, moments = trained.T @ trained / len(trained), trained.T @ wanted / len(trained)
    best_error = torch.full((y.shape[1],), torch.inf, dtype=y.dtype, device=y.device)
    weights = torch.zeros_like(moments)
    for strength in STRENGTHS:
        if stop.requested:
            break
        damped = gram + strength * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        found = torch.cholesky_solve(moments, torch.linalg.cholesky(damped))
        error = _squared_error(x @ found + offset, y, split.validation)
        weights = torch.where(error < best_error, found, weights)
        best_error = torch.minimum(error, best_error)
    error = _squared_error(x @ weights + offset, y, split.test)
    variance = _squared_error(y[split.test].mean(0).expand_as(y), y, split.test)
    return [
        1.0 - float(e) / float(v) if v > 0 else None for e, v in zip(error, variance, strict=True)
    ]


def classification_f1(
    features: Tensor, labels: Tensor, split: Split, *, seed: int, stop: StopRequest
) -> list[float]:
    """Weighted F1 on the test steps, of each column of the labels.

    All classifiers learn side by side, from the same batches. One that is stopped means nothing.

    Args:
      features: float[N, F].
      labels: uint8[N, V], on the same device.
      split: of the N steps.
      seed: of the order of training steps.
      stop: looked at before each epoch.
    """
    x = _standardized(features.float(), split.train)
    columns = labels.T.contiguous()
    classes = [torch.unique(column[split.train]) for column in columns]
    targets = torch.stack(
        [_indices(column, known) for column, known in zip(columns, classes, strict=True)], dim=1
    )
    sizes = [len(known) for known in classes]
    weight, bias = _fit(x, targets, sizes, split, seed=seed, stop=stop)
    logits = torch.addmm(bias, x[split.test], weight).split(sizes, dim=1)
    return [
        weighted_f1(known[scores.argmax(dim=1)], column[split.test])
        for scores, known, column in zip(logits, classes, columns, strict=True)
    ]


def weighted_f1(predicted: Tensor, actual: Tensor) -> float:
    """F1 of each value, 2 hits / (predicted + actual), weighted by how often it is actual.

    Args:
      predicted: uint8[N].
      actual: uint8[N].
    """
    hits = torch.bincount(actual[predicted == actual].long(), minlength=256)
    of_predicted = torch.bincount(predicted.long(), minlength=256)
    of_actual = torch.bincount(actual.long(), minlength=256)
    f1 = 2 * hits.double() / (of_predicted + of_actual).clamp(min=1)
    return float((f1 * of_actual).sum() / of_actual.sum())


def entropies(labels: Tensor) -> list[float]:
    """Entropy of each column of uint8[N, V], in nats."""
    counts = [torch.bincount(column.long(), minlength=256) for column in labels.T]
    return [float(torch.special.entr(count.double() / len(labels)).sum()) for count in counts]


def _standardized(features: Tensor, train: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over the training steps; what hardly varies there is 0."""
    deviation, mean = torch.std_mean(features[train], dim=0, correction=0)
    varies = deviation > 1e-6 * deviation.amax()
    return (features - mean) * torch.where(varies, 1.0 / deviation, 0.0)


def _squared_error(predicted: Tensor, actual: Tensor, rows: Tensor) -> Tensor:
    return ((predicted[rows] - actual[rows]) ** 2).mean(0)


def _indices(column: Tensor, known: Tensor) -> Tensor:
    """Places among the known values, int64[N]; `_UNSEEN` where it is none of them."""
    places = torch.searchsorted(known, column).clamp(max=len(known) - 1)
    return torch.where(known[places] == column, places, _UNSEEN)


def _fit(
    x: Tensor, targets: Tensor, sizes: Sequence[int], split: Split, *, seed: int, stop: StopRequest
) -> tuple[Tensor, Tensor]:
    """Weights float32[F, sum of sizes] and biases of all classifiers, each at its best epoch."""
    weight = torch.zeros(x.shape[1], sum(sizes), device=x.device, requires_grad=True)
    bias = torch.zeros(sum(sizes), device=x.device, requires_grad=True)
    of_variable = torch.repeat_interleave(torch.tensor(sizes)).to(x.device)
    best = weight.detach().clone(), bias.detach().clone()
    lowest = torch.full((len(sizes),), torch.inf, device=x.device)
    since = torch.zeros(len(sizes), dtype=torch.int64, device=x.device)
    adam = Adam([weight, bias], lr=LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(MAX_EPOCHS):
        if stop.requested:
            break
        order = split.train[torch.randperm(len(split.train), generator=generator).to(x.device)]
        for rows in order.split(BATCH_ROWS):
            adam.zero_grad()
            _losses(x[rows], targets[rows], weight, bias, sizes).sum().backward()
            adam.step()
        with torch.no_grad():
            rows = split.validation
            losses = _losses(x[rows], targets[rows], weight, bias, sizes)
            is_better = losses < lowest
            lowest = torch.where(is_better, losses, lowest)
            since = torch.where(is_better, 0, since + 1)
            newer = is_better[of_variable]
            best = torch.where(newer, weight, best[0]), torch.where(newer, bias, best[1])
        if bool((since >= PATIENCE_EPOCHS).all()):
            break
    return best


def _losses(
    x: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, sizes: Sequence[int]
) -> Tensor:
    """Cross entropy of each variable, float32[V]; 0 where all values are unseen."""
    logits = torch.addmm(bias, x, weight).split(list(sizes), dim=1)
    found = [
        F.cross_entropy(scores, target, ignore_index=_UNSEEN, reduction="sum")
        / (target != _UNSEEN).sum().clamp(min=1)
        for scores, target in zip(logits, targets.T, strict=True)
    ]
    return torch.stack(found)
