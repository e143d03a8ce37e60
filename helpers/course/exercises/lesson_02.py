"""The checks of lesson 02."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from helpers.course.exercises import array, call, choice, compare


def smallest_loss(answer: str) -> str:
    """02.1: what makes the loss small and the samples equal."""
    hints = {
        "a": "A diverged network has a huge loss, or none. What is 0.26 times 784?",
        "c": "With a weak KL the samples are scribble, but they are not all the same.",
    }
    choice(answer, "b", hints)
    return "0.26 nats per pixel is about 200 nats per image: independent pixels."


def who_is_better(answer: str) -> str:
    """02.2: can a bound and an estimate be compared?"""
    hints = {
        "a": "The number of A is the lower one. Think again about what an ELBO is.",
        "b": "A's log p(x) lies above its ELBO. By how much did the curve rise with k above?",
    }
    choice(answer, "c", hints)
    return "An ELBO is a bound: A's log p(x) may well lie above -88.9."


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
    for logit, pixel, expected in ((200.0, 0.0, -200.0), (-200.0, 1.0, -200.0), (200.0, 1.0, 0.0)):
        image = tf.fill((1, 1, 1, 1), pixel)
        name = f"log p of one pixel {pixel:.0f} with logit {logit:.0f}"
        got = array(call(answer, image, tf.fill((1, 1, 1, 1), logit)), (1,), name)
        compare(got, [expected], f"{name[0].upper()}{name[1:]}: is there a function of logits?")
    return "Summed over the pixels, and finite where the sigmoid rounds to one."


def draw(answer: Callable) -> str:
    """02.4: a log-precision of log 1/4 is a standard deviation of 2."""
    rng = np.random.default_rng(24)
    for shape in ((1, 2), (5, 3)):
        mean, log_precision, eps = rng.normal(size=(3, *shape)).astype(np.float32)
        log_precision = 2 * log_precision + 1  # most variances below 1, some above
        parts = [tf.constant(part) for part in (mean, log_precision, eps)]
        got = array(call(answer, *parts), shape)
        mistakes = {
            "That multiplies the noise by the variance.": mean + np.exp(-log_precision) * eps,
            "That multiplies it by the precision.": mean + np.exp(log_precision) * eps,
            "That multiplies it by 1/σ: the precision is 1/σ².": mean
            + np.exp(0.5 * log_precision) * eps,
            "That is the mean, without noise.": mean,
        }
        expected = mean + np.exp(-0.5 * log_precision) * eps
        compare(got, expected, "This is no draw from N(mean, 1/precision).", mistakes=mistakes)
    return "The standard deviation is exp(-log_precision / 2)."


def kl_between(answer: Callable) -> str:
    """02.5: one case by hand, then random Gaussians of several sizes."""
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


def slerp(answer: Callable) -> str:
    """02.6: codes of unequal length at several angles, and places on the way."""
    rng = np.random.default_rng(26)
    codes = [np.array([[0.8, 0.1], [-0.3, 0.9]]), *(rng.normal(size=(2, k)) for k in (2, 3, 50))]
    for a, b in codes:
        for t in (0.0, 0.3, 0.5, 0.9, 1.0):
            got = array(call(answer, a, b, t), a.shape)
            angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            mistakes = {
                "This is the straight line.": (1 - t) * a + t * b,
                "a and b are exchanged: t = 0 must give a.": _arc(b, a, t, angle),
                "ω is the angle between a and b, not always a right one.": _arc(a, b, t, np.pi / 2),
                "The cosine of ω is a·b divided by both lengths.": _arc(
                    a, b, t, np.arccos(np.clip(a @ b, -1, 1))
                ),
            }
            hint = f"Not the place {t:.0%} of the way from {a[:3].round(2)} to {b[:3].round(2)}."
            compare(got, _arc(a, b, t, angle), hint, mistakes=mistakes)
    return "Now decode the two walks and compare their middles."


def _per_image(pixels: np.ndarray) -> np.ndarray:
    """Return the sum over all axes but the first."""
    return pixels.reshape(len(pixels), -1).sum(axis=1)


def _kl(
    mean: np.ndarray, log_var: np.ndarray, prior_mean: np.ndarray, prior_log_var: np.ndarray
) -> np.ndarray:
    """Return KL(N(mean, exp(log_var)) || N(prior_mean, exp(prior_log_var))), shape (batch,)."""
    ratio = (np.exp(log_var) + (mean - prior_mean) ** 2) / np.exp(prior_log_var)
    return 0.5 * np.sum(prior_log_var - log_var + ratio - 1.0, axis=-1)


def _arc(a: np.ndarray, b: np.ndarray, t: float, angle: float) -> np.ndarray:
    """Return the place on the arc from a to b, for a given angle between them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


CHECKS = {
    "02.1": smallest_loss,
    "02.2": who_is_better,
    "02.3": bernoulli_log_prob,
    "02.4": draw,
    "02.5": kl_between,
    "02.6": slerp,
}
