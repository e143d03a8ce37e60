"""The checks of lesson 07."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from scipy.special import log_softmax, logsumexp

from helpers.course.exercises import NotYet, array, call, compare

STEPS, LATENT_DIM = 3, 20  # of exercise 1
PEAK = -0.5 * LATENT_DIM * np.log(2.0 * np.pi)


def three_numbers(answer: object) -> str:
    """07.1: passes of a density and of a draw, and the highest log-density."""
    name = "Your answer (density, draw, highest log-density)"
    density, draw, highest = array(answer, (3,), name)
    if (density, draw) == (STEPS * LATENT_DIM, STEPS):
        raise NotYet(
            "(a) and (b): which way is fast? The density of a given z starts from all of z."
        )
    if density != STEPS:
        raise NotYet(
            f"(a): each step is called once on the way from z to u, not {density:g} in all."
        )
    if draw == LATENT_DIM:
        raise NotYet("(b): twenty passes undo one step. How many steps are there?")
    if draw != STEPS * LATENT_DIM:
        raise NotYet(f"(b): one pass solves one dimension of one step, so {draw:g} cannot be.")
    _check_peak(highest)
    return "N(u; 0, I) is at most its peak, and a log-gate is below 0."


def _check_peak(highest: float) -> None:
    """Raise unless this is the log-density of N(0, I) at 0."""
    if np.isclose(highest, np.exp(PEAK), rtol=1e-2, atol=0.0):
        raise NotYet("(c): that is the density. Give its logarithm.")
    if np.isclose(highest, PEAK / LATENT_DIM, atol=1e-2):
        raise NotYet("(c): that is one dimension. There are twenty.")
    if np.isclose(highest, 2 * PEAK, atol=1e-2):
        raise NotYet("(c): half of that: the density of N(0, 1) at 0 is 1 / sqrt(2 pi).")
    if not np.isclose(highest, PEAK, rtol=0.0, atol=0.03):
        raise NotYet(
            "(c): log p(z) = log N(u; 0, I) + the sum of the log-gates. How large can each be?"
        )


def mixture(answer: Callable) -> str:
    """07.2: a weighted mixture, at points with any number of axes in front."""
    rng = np.random.default_rng(72)
    cases = (((5, 3), 4, 1), ((2, 4, 3), 6, 1), ((3, 1), 2, 1), ((2,), 3, 1))
    cases += (((6, 3), 4, 40), ((6, 3), 3, 40))  # densities that are 0 for a float, a weight of 0
    for shape, parts, reach in cases:
        z = (reach * rng.normal(size=shape)).astype(np.float32)
        z_mean, z_log_var = rng.normal(size=(2, parts, shape[-1])).astype(np.float32)
        weights = rng.dirichlet(np.ones(parts)).astype(np.float32)
        if parts == 3:
            weights[1] += weights[2]
            weights[2] = 0.0
        returned = call(answer, *(tf.constant(part) for part in (z, z_mean, z_log_var, weights)))
        got = array(returned, shape[:-1], f"For z of shape {shape}, the log-density")
        _compare_mixture(got, z, z_mean, z_log_var, weights)
    return "A sum over the dimensions, then a log-sum-exp over the components."


def _compare_mixture(
    got: np.ndarray,
    z: np.ndarray,
    z_mean: np.ndarray,
    z_log_var: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Compare with the log-density of the mixture, and with what the known mistakes give."""
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights.astype(np.float64))

    def log_parts(variance: np.ndarray) -> np.ndarray:
        """Log-densities of the components, (..., N)."""
        squares = (z[..., None, :] - z_mean) ** 2 / variance
        return -0.5 * (squares + np.log(2 * np.pi * variance)).sum(axis=-1)

    right, equal = log_parts(np.exp(z_log_var)), -np.log(len(weights))
    compare(
        got,
        logsumexp(log_weights + right, axis=-1),
        "That is not the log-density of the mixture.",
        rtol=1e-3,
        atol=1e-4,
        mistakes={
            "exp(z_log_var) is the variance; TFP's Normal takes the standard deviation.": logsumexp(
                log_weights + log_parts(np.exp(2 * z_log_var)), axis=-1
            ),
            "The components have weights.": logsumexp(equal + right, axis=-1),
            "That is a mean of logarithms: a mixture averages the densities.": np.mean(
                log_weights + right, axis=-1
            ),
            "The weights sum to 1 already: do not divide by their number.": logsumexp(
                equal + log_weights + right, axis=-1
            ),
            "The weights multiply densities, not logarithms.": np.sum(weights * right, axis=-1),
        },
    )


def dreg(answer: Callable) -> str:
    """07.3: the sum over the draws of the squared normalised weight times the slope."""
    rng = np.random.default_rng(73)
    cases = (((4, 3), 0, 0, 1), ((1, 5), -90, 0, 1), ((7, 2), -1500, 300, 1))
    cases += (((7, 2), -1500, 300, 200),)  # as far apart as the draws of one image can be
    for shape, level, apart, spread in cases:
        levels = level + apart * np.arange(shape[1])  # of the images
        log_w = (levels + spread * rng.normal(size=shape)).astype(np.float32)
        slope = rng.normal(size=shape).astype(np.float32)
        weight = np.exp(log_softmax(log_w.astype(np.float64), axis=0))
        returned = call(answer, tf.constant(log_w), tf.constant(slope))
        got = array(returned, shape[1:], "The gradient")
        over_all = np.exp(log_softmax(log_w.astype(np.float64)))
        compare(
            got,
            np.sum(weight**2 * slope, axis=0),
            "That is not the sum of the squared normalised weights times the slopes.",
            rtol=1e-3,
            mistakes={
                "Each weight counts twice: once from the bound, once more from the second "
                "reparameterisation.": np.sum(weight * slope, axis=0),
                "A sum over the draws, not a mean: the weights hold the 1/k.": np.mean(
                    weight**2 * slope, axis=0
                ),
                "The weights of each image sum to 1, not those of all images together.": np.sum(
                    over_all**2 * slope, axis=0
                ),
                "The weights are missing: better draws count for more.": np.mean(slope, axis=0),
            },
        )
    return "With k = 1 the weight is 1, and what is left is sticking the landing."


class _Network:
    """A network of the first half, (..., K/2) to m and s of that shape, which counts its calls."""

    def __init__(self, half: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.half, self.calls = half, 0
        self.kernels = rng.normal(size=(2, half, half)).astype(np.float32)

    def __call__(self, first: object) -> tuple[tf.Tensor, tf.Tensor]:
        first = tf.convert_to_tensor(first, tf.float32)
        if first.shape[-1] != self.half:
            raise ValueError(f"the network takes one half, (..., {self.half}), got {first.shape}")
        self.calls += 1
        shift, scale = (tf.tensordot(first, kernel, 1) for kernel in self.kernels)
        # A wide range of s, so that a pair that bounds s itself is found out.
        return shift + 0.3, 5.0 * tf.tanh(scale) - 0.1


def coupling(answer: object) -> str:
    """07.4: both directions of a coupling layer."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise NotYet("Give both functions as a pair: answer_4 = (forward, backward).")
    forward, backward = answer
    rng = np.random.default_rng(74)
    for seed, (shape, half) in enumerate((((5,), 2), ((2, 3), 3), ((1,), 1))):
        z = rng.normal(size=(*shape, 2 * half)).astype(np.float32)
        network = _Network(half, seed)
        shift, scale = (np.asarray(part, np.float64) for part in network(z[..., :half]))
        network.calls = 0
        _check_forward(call(forward, network, tf.constant(z)), z, shift, scale)
        _check_calls("forward", network)
        _check_backward(backward, network, z, shift, scale)
    _check_far_out(forward)
    return "One call of the network in each direction: that is what the copied half buys."


def _check_far_out(forward: Callable) -> None:
    """Raise if a bound is put on s; not for the way back, where float32 would lose z."""
    scale = np.array([[30.0, -20.0]])
    z = np.array([[0.5, -0.7, 1.1, 0.4]], np.float32)

    def network(first: object) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.zeros_like(first), tf.constant(scale, tf.float32)

    _check_forward(call(forward, network, tf.constant(z)), z, np.zeros((1, 2)), scale)


def _check_forward(returned: object, z: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> None:
    """Raise unless this is u and the log-determinant of each example."""
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise NotYet("forward: return two things, u and the log-determinants.")
    first, second = np.split(z, 2, axis=-1)

    def joined(changed: np.ndarray) -> np.ndarray:
        return np.concatenate([first, changed], axis=-1)

    compare(
        array(returned[0], z.shape, "forward: u"),
        joined(np.exp(scale) * second + shift),
        "forward: u is the first half as it is, and e^s z_2 + m behind it.",
        mistakes={
            "forward: the shift is added after the scaling.": joined(
                np.exp(scale) * (second + shift)
            ),
            "forward: e^s, not s itself.": joined(scale * second + shift),
            "forward: that divides by e^s.": joined(np.exp(-scale) * second + shift),
            "forward: take s as it comes. What bounds it belongs in the network.": joined(
                np.exp(np.tanh(scale)) * second + shift
            ),
            "forward: s is clipped. Take it as it comes: what bounds it belongs in the network.": (
                joined(np.exp(np.clip(scale, -1, 1)) * second + shift)
            ),
            "forward: the copied half comes first.": np.concatenate(
                [np.exp(scale) * second + shift, first], axis=-1
            ),
        },
    )
    _check_log_det(returned[1], scale)


def _check_log_det(returned: object, scale: np.ndarray) -> None:
    """Raise unless this is the sum of s, for each example."""
    name, log_det = "forward: the log-determinant", scale.sum(axis=-1)
    compare(
        array(returned, log_det.shape, name),
        log_det,
        f"{name} is the sum of s over the changed half.",
        mistakes={
            f"{name} has the wrong sign.": -log_det,
            f"{name} is the sum of s, not of e^s.": np.exp(scale).sum(axis=-1),
            f"{name} is a sum over the dimensions, not a mean.": scale.mean(axis=-1),
            f"{name}: one for each example, not one for all.": np.full(log_det.shape, scale.sum()),
        },
    )


def _check_backward(
    backward: Callable, network: _Network, z: np.ndarray, shift: np.ndarray, scale: np.ndarray
) -> None:
    """Raise unless the way back ends at z, with one call of the network."""
    first, second = np.split(z, 2, axis=-1)
    u = np.concatenate([first, np.exp(scale) * second + shift], axis=-1).astype(np.float32)
    network.calls = 0
    returned = call(backward, network, tf.constant(u))
    got = array(returned, z.shape, "backward: z")
    changed = u[..., network.half :]
    wrong = {
        "backward: take m away before you divide.": np.exp(-scale) * changed - shift,
        "backward: divide by e^s.": np.exp(scale) * (changed - shift),
        "backward: that goes forward again.": np.exp(scale) * changed + shift,
    }
    mistakes = {hint: np.concatenate([first, part], axis=-1) for hint, part in wrong.items()}
    compare(got, z, "backward: it does not end at z.", mistakes=mistakes, rtol=1e-3, atol=1e-4)
    _check_calls("backward", network)


def _check_calls(name: str, network: _Network) -> None:
    """Raise unless the network was called once."""
    if network.calls != 1:
        raise NotYet(f"{name}: the network is called {network.calls} times, and once will do.")


CHECKS = {"07.1": three_numbers, "07.2": mixture, "07.3": dreg, "07.4": coupling}
