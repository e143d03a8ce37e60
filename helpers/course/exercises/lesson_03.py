"""The checks of lesson 03."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from helpers.course.exercises import NotYet, array, call, compare, number

LOG_2_PI = np.log(2 * np.pi)


def negative_draws(answer: float) -> str:
    """03.1: how often one draw of the KL from N(2, 1) to N(0, 1) is negative."""
    share, right = number(answer), 0.1587  # P(z < 1) for z ~ N(2, 1)
    hints = {
        0.0: "A KL is never negative, but one draw of log q - log p may be. For which z?",
        0.3085: "That is the share for q = N(1, 1), the case of the lesson. Here the mean is 2.",
        0.5: "Half of the draws lie below the mean, 2. Where does log q - log p change its sign?",
        0.8413: "That is the share of the positive ones.",
        0.0228: "That is the share of z below 0. Where does log q - log p change its sign?",
        15.87: "Give the share as a number between 0 and 1, not in percent.",
    }
    for wrong, hint in hints.items():
        if abs(share - wrong) < 0.005 and abs(share - right) > 0.005:
            raise NotYet(hint)
    if abs(share - right) > 0.005:
        raise NotYet(f"Not {share:g}. Write log q(z) - log p(z) down: it is a straight line in z.")
    return "log q - log p is 2z - 2, negative for z below 1. Its average is the KL, 2 nats."


def width(answer: Callable) -> str:
    """03.2: compared with the sizes that Keras finds."""
    rng = np.random.default_rng(32)
    cases = [(28, 3, 1), (28, 3, 2), (13, 3, 2), (13, 5, 3), (4, 4, 4), (28, 1, 2)]
    cases += [(int(rng.integers(9, 65)), *map(int, rng.integers(1, 8, size=2))) for _ in range(20)]
    for size, kernel, stride in cases:
        layer = keras.layers.Conv2D(1, kernel, stride)
        expected = layer.compute_output_shape((1, size, size, 1))[1]
        got = number(call(answer, size, kernel, stride))
        if got != expected:
            where = f"Width {size}, kernel {kernel}, stride {stride}"
            raise NotYet(f"{where}: expected {expected}, got {got:g}. Where can the kernel start?")
    return "The kernel starts at 0, s, 2s, … up to width - k."


def mixture_elbo(answer: Callable) -> str:
    """03.3: a prior of several centres, near them and far from them."""
    rng = np.random.default_rng(33)
    for batch, latent, count, far in ((1, 1, 2, 0), (4, 2, 3, 0), (5, 3, 6, 1), (3, 2, 3, 40)):
        log_px_z = rng.normal(-100, 10, batch)
        z_mean, z_log_var, eps = rng.normal(size=(3, batch, latent))
        z_mean, z = z_mean + far, z_mean + far + np.exp(0.5 * z_log_var) * eps
        centres = rng.normal(0.5, 2.0, (count, latent))
        parts = [tf.constant(p, tf.float32) for p in (log_px_z, z, z_mean, z_log_var, centres)]
        name = "Your result" if far < 40 else "Your result for codes far from all centres"
        got = array(call(answer, *parts), (batch,), name)

        log_qz_x = _log_normal(z, z_mean, z_log_var)
        each = _log_normal(z[:, None], centres, np.zeros_like(centres))  # (batch, centres)
        together = np.logaddexp.reduce(each, axis=1)
        rest = log_px_z - log_qz_x
        standard = _log_normal(z, np.zeros_like(z), np.zeros_like(z))
        mistakes = {
            "This prior is still N(0, I): where are the centres?": rest + standard,
            "The weights 1/C are missing: this prior integrates to C.": rest + together,
            "This averages log-densities. Average the densities.": rest + each.mean(axis=1),
            "The nearest centre is not the whole mixture.": rest + each.max(axis=1) - np.log(count),
            "log q is subtracted.": log_px_z + together - np.log(count) + log_qz_x,
        }
        hint = f"Not the ELBO of one draw under a prior with {count} centres."
        compare(got, rest + together - np.log(count), hint, mistakes=mistakes)
    return "There is no closed form for this KL, and the Monte Carlo ELBO needs none."


def free_bits(answer: Callable) -> str:
    """03.4: mean over the batch first, then the maximum, then the sum."""
    rng = np.random.default_rng(34)
    for shape in ((2, 3), (6, 5)):
        kl = rng.gamma(0.6, 1.0, shape).astype(np.float32)
        mean = kl.mean(axis=0)
        for allowance in (0.1, float(np.median(mean)) + 0.01, 2.5):
            got = array(call(answer, tf.constant(kl), allowance), ())
            larger = np.maximum(kl, allowance)
            mistakes = {
                "The maximum goes over the batch's mean, not over each image.": larger.mean(
                    0
                ).sum(),
                "That is the plain KL. Where is the allowance?": mean.sum(),
                "An allowance is not a discount: take the larger of the two.": np.maximum(
                    mean - allowance, 0.0
                ).sum(),
                "Sum over the dimensions; do not average.": np.maximum(mean, allowance).mean(),
                "Average over the batch; do not sum.": np.maximum(kl.sum(0), allowance).sum(),
                "Each dimension has its own allowance.": max(mean.sum(), allowance),
            }
            hint = f"Not the penalty for an allowance of {allowance:.3g} nats."
            compare(got, np.maximum(mean, allowance).sum(), hint, mistakes=mistakes)
    return "Below the allowance a dimension costs the same, whatever it does."


def _log_normal(z: np.ndarray, mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    """Return the log-density of a diagonal Gaussian, summed over the last axis."""
    return -0.5 * np.sum(LOG_2_PI + log_var + (z - mean) ** 2 / np.exp(log_var), axis=-1)


CHECKS = {
    "03.1": negative_draws,
    "03.2": width,
    "03.3": mixture_elbo,
    "03.4": free_bits,
}
