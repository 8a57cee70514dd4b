"""Instance discrimination between two views: what ReLIC, SimCLR and CURL have in common.

    log p[i, j] = log softmax_j( <online_i, target_j> / τ )

The label of row i is i. The contrast set of a row is every target row of the *other* view,
the positive included; embeddings of its own view are no negatives.

Source: Mitrovic et al., "Representation Learning via Invariant Causal Mechanisms" (ReLIC), 2021,
eq. 3, whose contrast set this is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def log_probabilities(
    online: Tensor, target: Tensor, *, temperature: float = 1.0, normalize: bool = False
) -> Tensor:
    """Returns log p, float[M, M], with τ the temperature; the rest is as in `similarities`.

    Raises:
      ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, must be > 0")
    return F.log_softmax(similarities(online, target, normalize=normalize) / temperature, dim=-1)


def similarities(online: Tensor, target: Tensor, *, normalize: bool = False) -> Tensor:
    """Returns <online_i, target_j>, float[M, M] in float32 at least.

    Args:
      online: float[M, F].
      target: float[M, F]; not detached here.
      normalize: scale each embedding to unit length first.
    """
    with torch.autocast(online.device.type, enabled=False):
        online, target = full_precision(online), full_precision(target)
        if normalize:
            online, target = F.normalize(online, dim=-1), F.normalize(target, dim=-1)
        return online @ target.T


def instance_cross_entropy(log_p: Tensor) -> Tensor:
    """Returns -mean_i log p[i, i], a scalar."""
    return -log_p.diagonal().mean()


@torch.no_grad()
def contrastive_accuracy(online: Tensor, target: Tensor, *, normalize: bool = False) -> Tensor:
    """Returns the fraction of rows whose most similar target is their own, a scalar.

    A diagnostic without gradient, for one direction; for both, average the calls (online_1,
    target_2) and (online_2, target_1). It does not depend on the temperature. Chance is 1 / M.

    Raises:
      ValueError: on shapes that disagree.
    """
    check_embeddings(online=online, target=target)
    return accuracy_of(similarities(online, target, normalize=normalize))


def accuracy_of(logits: Tensor) -> Tensor:
    """Returns the fraction of rows of float[M, M] whose largest entry is the diagonal's."""
    nearest = logits.argmax(-1)
    return (nearest == torch.arange(len(nearest), device=nearest.device)).float().mean()


def full_precision(embedding: Tensor) -> Tensor:
    """Returns float[M, F] in float32 at least."""
    return embedding.to(torch.promote_types(embedding.dtype, torch.float32))


def check_embeddings(**embeddings: Tensor) -> None:
    """Raises ValueError unless all are of one shape [M, F]."""
    (first, reference), *others = embeddings.items()
    if reference.ndim != 2:
        raise ValueError(f"{first} has shape {tuple(reference.shape)}, must be [M, F]")
    for name, embedding in others:
        if embedding.shape != reference.shape:
            raise ValueError(
                f"{name} has shape {tuple(embedding.shape)}, must be {tuple(reference.shape)} "
                f"like {first}"
            )
