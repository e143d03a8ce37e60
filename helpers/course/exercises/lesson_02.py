"""The checks of lesson 02."""

import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from helpers.course.exercises import NotYet, array, call, choices, compare

DIRECTIONS = ("up", "down", "same")
HALF_THE_NOISE = {  # quantity: (direction, hint)
    "reconstruction": ("up", "With less noise the decoder sees a code nearer to the centre."),
    "kl": (
        "up",
        "Put σ² and a quarter of it into ½(μ² + σ² − log σ² − 1), for σ² = 1 and for a small σ².",
    ),
    "elbo": (
        "down",
        "The encoder was trained to make the ELBO large. Can another q be better, on average?",
    ),
    "log_px": ("same", "Which networks does log p(x) = log ∫ p(x|z) p(z) dz depend on?"),
}


def half_the_noise(answer: object) -> str:
    """02.1: what becomes of the bound's parts, and of log p(x), if q is made narrower."""
    example = '{"reconstruction": "same", "kl": "same", …}'
    choices(answer, HALF_THE_NOISE, DIRECTIONS, example, kind="direction")
    return "A worse q loosens the bound; the model itself is prior and decoder, and stays."


def code_and_kl(answer: Callable) -> str:
    """02.2: a log-precision of log 1/4 is a standard deviation of 2, in the draw and in the KL."""
    rng = np.random.default_rng(24)
    for shape in ((1, 2), (5, 3)):
        mean, log_precision, eps = rng.normal(size=(3, *shape)).astype(np.float32)
        log_precision = 2 * log_precision + 1  # most variances below 1, some above
        returned = call(answer, *(tf.constant(part) for part in (mean, log_precision, eps)))
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            raise NotYet("The function should return two tensors, z and the KL.")
        _check_code(array(returned[0], shape, "Your z"), mean, log_precision, eps)
        _check_kl(array(returned[1], shape[:1], "Your KL"), mean, log_precision)
    return "Both lines speak of the same q again: σ = exp(−log_precision / 2)."


def _check_code(
    got: np.ndarray, mean: np.ndarray, log_precision: np.ndarray, eps: np.ndarray
) -> None:
    """Raise unless `got` is the draw with the standard deviation that the precision says."""
    mistakes = {
        "z: 1/σ multiplies the noise, as if this were a log-variance.": mean
        + np.exp(0.5 * log_precision) * eps,
        "z: that multiplies the noise by the variance.": mean + np.exp(-log_precision) * eps,
        "z: that multiplies the noise by the precision.": mean + np.exp(log_precision) * eps,
        "z: that is the mean, without noise.": mean,
    }
    expected = mean + np.exp(-0.5 * log_precision) * eps
    compare(got, expected, "z is not mean + σ · eps with σ² = 1/precision.", mistakes=mistakes)


def _check_kl(got: np.ndarray, mean: np.ndarray, log_precision: np.ndarray) -> None:
    """Raise unless `got` is the KL of N(mean, 1/precision) to N(0, I), shape (batch,)."""
    zero, expected = 0 * mean, _kl(mean, -log_precision, 0 * mean, 0 * mean)
    mistakes = {
        "KL: this takes the log-precision for a log-variance.": _kl(
            mean, log_precision, zero, zero
        ),
        "KL: the variance is right, the sign of its logarithm is not.": expected
        - log_precision.sum(axis=-1),
        "KL: the logarithm is right, the variance is not.": expected
        + 0.5 * np.sum(np.exp(log_precision) - np.exp(-log_precision), axis=-1),
        "KL: sum over the dimensions; do not average.": expected / mean.shape[1],
    }
    hint = f"KL: not that of N(mean, 1/precision) to N(0, I), here of {mean.shape[1]} dimensions."
    compare(got, expected, hint, mistakes=mistakes, atol=1e-5)


def bernoulli_log_prob(answer: Callable) -> str:
    """02.3: a sum over pixels that looks at them, and no logarithm of zero."""
    rng = np.random.default_rng(23)
    for shape in ((3, 2, 2, 1), (4, 3, 5, 2)):
        x = (rng.random(shape) < 0.3).astype(np.float32)
        logits = rng.normal(0.5, 2.0, shape).astype(np.float32)
        got = array(call(answer, tf.constant(x), tf.constant(logits)), shape[:1])
        softplus = np.logaddexp(0.0, logits)
        pixels = (x * logits - softplus).reshape(len(x), -1)  # (batch, pixels)
        mistakes = {
            "This is nats per pixel. Nats per image is a sum.": pixels.mean(axis=1),
            "Where are the pixels x? This is log p of black images.": -_per_image(softplus),
            "A log-probability is negative: this is the loss.": -pixels.sum(axis=1),
            "Black and white are exchanged.": _per_image((1 - x) * logits - softplus),
            "Each image has its own number: do not divide by the size of the batch.": pixels.sum(
                axis=1
            )
            / len(x),
        }
        compare(got, pixels.sum(axis=1), "These are not the right numbers.", mistakes=mistakes)
    sizes = (
        20.0,
        50.0,
        100.0,
        200.0,
        1_000.0,
        10_000.0,
        1e6,
        1e20,
    )  # beyond whatever somebody clips at
    for size, sign, right in itertools.product(sizes, (1, -1), (True, False)):
        logit, pixel = sign * size, float((sign > 0) == right)
        image = tf.fill((1, 1, 1, 1), pixel)
        name = f"log p of one pixel {pixel:.0f} with logit {logit:,g}"
        got = array(call(answer, image, tf.fill((1, 1, 1, 1), logit)), (1,), name)
        hint = f"{name[0].upper()}{name[1:]}: is there a function of logits, without clipping?"
        compare(got, [0.0 if right else -size], hint)
    return "Summed over the pixels, and right where the sigmoid rounds to one."


def kl_between(answer: Callable) -> str:
    """02.4: one case by hand, then random Gaussians of several sizes."""
    rng = np.random.default_rng(25)
    one = np.ones((1, 1), np.float32)
    cases = [(0 * one, 0 * one, one, np.log(4 * one))]  # N(0, 1) to N(1, 4): 0.443
    cases += [rng.normal(size=(4, *shape)).astype(np.float32) for shape in ((1, 2), (6, 3))]
    for parts in cases:
        mean, log_var, prior_mean, prior_log_var = parts
        got = array(call(answer, *(tf.constant(part) for part in parts)), mean.shape[:1])
        expected = _kl(*parts)
        mistakes = {
            "Sum over the dimensions; do not average.": expected / mean.shape[1],
            "This is the other direction: KL(p || q).": _kl(
                prior_mean, prior_log_var, mean, log_var
            ),
            "This is the KL to N(0, I): where is the prior?": _kl(
                mean, log_var, 0 * mean, 0 * mean
            ),
            "The half in front is missing.": 2 * expected,
        }
        hint = f"Not the KL from N(μ, σ²) to N(m, s²), here of size {mean.shape[1]}."
        compare(got, expected, hint, mistakes=mistakes, atol=1e-5)
    return "Now let the network learn where each digit lives."


def _per_image(pixels: np.ndarray) -> np.ndarray:
    """Return the sum over all axes but the first."""
    return pixels.reshape(len(pixels), -1).sum(axis=1)


def _kl(
    mean: np.ndarray, log_var: np.ndarray, prior_mean: np.ndarray, prior_log_var: np.ndarray
) -> np.ndarray:
    """Return KL(N(mean, exp(log_var)) || N(prior_mean, exp(prior_log_var))), shape (batch,)."""
    ratio = (np.exp(log_var) + (mean - prior_mean) ** 2) / np.exp(prior_log_var)
    return 0.5 * np.sum(prior_log_var - log_var + ratio - 1.0, axis=-1)


CHECKS = {
    "02.1": half_the_noise,
    "02.2": code_and_kl,
    "02.3": bernoulli_log_prob,
    "02.4": kl_between,
}
