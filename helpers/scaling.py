"""What limits training on many devices: the noise of the gradient, and what a step costs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from helpers.course.checks import check_positive, check_whole

BYTES_OF_A_WEIGHT = 4  # gradients are float32 under any policy


# --- The batch -----------------------------------------------------------------------------------


class NoiseScale(NamedTuple):
    """How noisy the gradient of one image is.

    Attributes
    ----------
    scale : float
        tr(Σ) / |G|², in images: the batch whose gradient is half signal, half noise.
    error : float
        Standard error of `scale` over the repeats (jackknife).
    trace : float
        tr(Σ), the variance of one image's gradient, summed over the weights.
    signal : float
        |G|², the squared length of the mean gradient.
    """

    scale: float
    error: float
    trace: float
    signal: float


def noise_scale(
    small: npt.ArrayLike, large: npt.ArrayLike, small_batch: int, large_batch: int
) -> NoiseScale:
    """Return the noise scale of gradients, from their lengths at two sizes of the batch.

    A mean over B images has the squared length ``|G|² + tr(Σ) / B`` on average: two equations for
    two unknowns. McCandlish et al. 2018 (arXiv 1812.06162), appendix A.1. Both unknowns are
    averaged over the repeats before one is divided by the other: a mean of ratios would be biased,
    since a single estimate of |G|² can be near 0.

    Parameters
    ----------
    small, large : array
        Squared lengths of gradients that are means over `small_batch` and over `large_batch`
        independent images, shape (repeats,), at least two.
    small_batch, large_batch : int

    Returns
    -------
    NoiseScale

    Raises
    ------
    ValueError
        Shapes or sizes do not fit, or the signal drowns in the noise.
    """
    small, large = np.asarray(small, float), np.asarray(large, float)
    if small.shape != large.shape or small.ndim != 1 or len(small) < 2:
        raise ValueError(f"shapes {small.shape} and {large.shape}: give (repeats,), two at least")
    check_whole(small_batch=small_batch)
    check_whole(low=small_batch + 1, large_batch=large_batch)
    traces = (small - large) / (1 / small_batch - 1 / large_batch)
    signals = (large_batch * large - small_batch * small) / (large_batch - small_batch)
    trace, signal, n = float(traces.mean()), float(signals.mean()), len(traces)
    if signal <= 0:
        raise ValueError(f"|G|² comes out as {signal:.3g}: take more repeats, or larger batches")
    without_one = (traces.sum() - traces) / (signals.sum() - signals)
    error = np.sqrt((n - 1) * np.var(without_one))
    return NoiseScale(trace / signal, float(error), trace, signal)


def steps_to_target(losses: Sequence[float], steps_per_epoch: int, target: float) -> float:
    """Return after how many steps a training reached a loss; nan if it never did.

    Parameters
    ----------
    losses : sequence of float
        Validation loss after each epoch; between epochs it is taken to fall linearly.
    steps_per_epoch : int
    target : float

    Returns
    -------
    float
        Where the first epoch is already there, its steps.
    """
    below = np.flatnonzero(np.asarray(losses) <= target)
    if not len(below):
        return float("nan")
    epochs = below[0] + 1.0
    if below[0]:
        before, after = losses[below[0] - 1], losses[below[0]]
        epochs -= (target - after) / (before - after)
    return float(epochs * steps_per_epoch)


def fit_steps(batches: npt.ArrayLike, steps: npt.ArrayLike) -> tuple[float, float]:
    """Return (S_min, B_noise) of the law ``S = S_min (1 + B_noise / B)``.

    S steps reach a loss with batches of B images: at least S_min however large the batch, and twice
    as many at B = B_noise (McCandlish et al. 2018, section 2.2). Least squares of relative errors.

    Parameters
    ----------
    batches, steps : array
        Shape (measurements,), at least two.
    """
    batches, steps = np.asarray(batches, float), np.asarray(steps, float)
    columns = np.stack([np.ones_like(batches), 1 / batches], axis=1)
    (s_min, slope), _ = nnls(columns / steps[:, None], np.ones_like(steps))
    return float(s_min), float(slope / s_min) if s_min else float("inf")


# --- The step ------------------------------------------------------------------------------------


class StepCost(NamedTuple):
    """``seconds = fixed + per_operation * operations + per_byte * sent``, what a step costs.

    Attributes
    ----------
    fixed : float
        Seconds that a step takes however little it computes and sends.
    per_operation : float
        Seconds for a floating-point operation: one over the machine's speed.
    per_byte : float
        Seconds for a byte: one over the bandwidth.
    """

    fixed: float
    per_operation: float
    per_byte: float

    def seconds(self, operations: npt.ArrayLike, sent: npt.ArrayLike) -> npt.ArrayLike:
        """Return what steps of so many operations and bytes take."""
        operations, sent = np.asarray(operations, float), np.asarray(sent, float)
        return self.fixed + self.per_operation * operations + self.per_byte * sent


def fit_step_cost(
    operations: npt.ArrayLike, sent: npt.ArrayLike, seconds: npt.ArrayLike
) -> StepCost:
    """Return the cost of a step that fits measured steps best; none of its parts is negative.

    Least squares of relative errors, so that short steps count as much as long ones.

    Parameters
    ----------
    operations : array
        Floating-point operations of the step, of all processes that share the machine, shape
        (measurements,).
    sent : array
        Bytes that they send, all together.
    seconds : array
        What the step took.
    """
    seconds = np.asarray(seconds, float)
    columns = np.stack([np.ones_like(seconds), operations, sent], axis=1) / seconds[:, None]
    size = np.maximum(columns.max(axis=0), np.finfo(float).tiny)  # of like sizes for the solver
    parts, _ = nnls(columns / size, np.ones_like(seconds))
    return StepCost(*(float(part) for part in parts / size))


# --- The sum of the gradients --------------------------------------------------------------------


def ring_bytes(weights: int, replicas: int) -> float:
    """Return the bytes that each replica sends to sum float32 gradients in a ring, in one step.

    One round adds up, one hands out; each replica sends all but one of N parts in either
    (Patarasuk & Yuan 2009).
    """
    check_whole(weights=weights, replicas=replicas)
    return 2 * (replicas - 1) / replicas * BYTES_OF_A_WEIGHT * weights


def ring_seconds(weights: int, replicas: int, bandwidth: float, latency: float) -> float:
    """Return what a ring takes: 2 (N - 1) hops, one after the other, of an N-th of the gradient.

    Parameters
    ----------
    weights, replicas : int
    bandwidth : float
        Bytes that a link carries in a second.
    latency : float
        Seconds until the first byte of a message arrives.
    """
    check_positive(bandwidth=bandwidth)
    return 2 * (replicas - 1) * latency + ring_bytes(weights, replicas) / bandwidth


def tree_seconds(weights: int, replicas: int, bandwidth: float, latency: float) -> float:
    """Return what a binary tree takes: log2 N hops up and as many down, of the whole gradient.

    Fewer hops than a ring has, and more bytes for each: the better way for small messages. The
    arguments are those of `ring_seconds`.
    """
    check_whole(weights=weights, replicas=replicas)
    check_positive(bandwidth=bandwidth)
    hops = 2 * int(np.ceil(np.log2(replicas)))
    return hops * (latency + BYTES_OF_A_WEIGHT * weights / bandwidth)
