"""The invertible value rescaling h and its inverse: R2D2 learns h(return), unclipped.

    h(x)    = sign(x) (sqrt(|x| + 1) - 1) + ε x
    h^-1(y) = sign(y) (((sqrt(1 + 4 ε (|y| + 1 + ε)) - 1) / (2 ε))² - 1)

Both are computed in an algebraically equal form without a difference of nearly equal numbers, so
that neither small values nor a small ε lose digits, and without |.| alone as a factor, so that
the gradient at 0 is the true one (h'(0) = 1/2 + ε).

Source: Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement Learning"
(R2D2), 2019, sec. 2.3 and table 2; Pohlen et al., "Observe and Look Further", 2018.
No deviation.
"""

from torch import Tensor


def rescale(x: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Returns h(x): odd, strictly increasing, close to the square root for large |x|.

    h(x) = x / (sqrt(|x| + 1) + 1) + ε x, the formula above after multiplying by the conjugate.

    Args:
      x: float[...], values in the game's own reward unit.
      epsilon: ε >= 0 keeps the inverse Lipschitz. R2D2, table 2: 1e-3.

    Raises:
      ValueError: if epsilon is negative.
    """
    _check_epsilon(epsilon)
    return x / ((x.abs() + 1).sqrt() + 1) + epsilon * x


def unrescale(x: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Returns h^-1(x), the value in the game's own reward unit.

    With v = sqrt(|h^-1(x)| + 1) - 1, h reads ε v² + (1 + 2 ε) v = |x|, hence
    v = 2 |x| / (1 + 2 ε + sqrt((1 + 2 ε)² + 4 ε |x|)) and h^-1(x) = sign(x) v (v + 2).

    Args:
      x: float[...], rescaled values.
      epsilon: the ε >= 0 they were rescaled with; 0 is allowed.

    Raises:
      ValueError: if epsilon is negative.
    """
    _check_epsilon(epsilon)
    slope = 1 + 2 * epsilon
    v = 2 * x / (slope + (slope**2 + 4 * epsilon * x.abs()).sqrt())
    return v * (v.abs() + 2)


def _check_epsilon(epsilon: float) -> None:
    if not epsilon >= 0:
        raise ValueError(f"epsilon is {epsilon}, must be >= 0 for the rescaling to be invertible")
