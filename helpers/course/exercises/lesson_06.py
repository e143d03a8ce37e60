"""The checks of the exercises of lesson 06."""

import numpy as np
import tensorflow as tf

from helpers.course.exercises import NotYet, array, call, compare


def check_precision(answer: object) -> str:
    """The share of true alarms depends on how rare anomalies are."""
    for found, false, share in ((0.8, 0.05, 0.001), (0.9, 0.3, 0.25), (0.5, 0.01, 0.5)):
        true_alarms, false_alarms = found * share, false * (1 - share)
        compare(
            array(call(answer, found, false, share), ()),
            true_alarms / (true_alarms + false_alarms),
            f"precision({found}, {false}, {share}): divide the true alarms by all alarms.",
            mistakes={
                "How rare are anomalies? Their share has to play a part.": found / (found + false),
                "False alarms come from the ordinary images: how many of those are there?": (
                    true_alarms / (true_alarms + false)
                ),
                "That is how many true alarms there are for each false one, not their share.": (
                    true_alarms / false_alarms
                ),
                "That is the share of the alarms that are false.": (
                    false_alarms / (true_alarms + false_alarms)
                ),
                "That is the share of all images that raise an alarm.": true_alarms + false_alarms,
                "That is the share of the anomalies that are found.": found,
            },
            rtol=1e-3,
        )
    return "With one anomaly in a thousand, fewer than 2 of 100 alarms are true."


def _per_pixel(noisy: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Return the log-probability of each noisy pixel, from the probability that it is white."""
    white = np.clip(white, 1e-7, 1 - 1e-7)  # some mistakes are no probabilities
    return np.log(np.where(noisy == 1, white, 1 - white))


def check_scanner(answer: object) -> str:
    """The likelihood of an image with faded ink and with dust."""
    rng = np.random.default_rng(62)
    for shape, fade, dust in (((3, 4, 5, 1), 0.3, 0.1), ((2, 3, 3, 1), 0.05, 0.4)):
        noisy = (rng.random(shape) < 0.4).astype(np.float32)
        m = rng.uniform(0.05, 0.95, shape).astype(np.float32)
        white = m * (1 - fade) + (1 - m) * dust
        right = _per_pixel(noisy, white)
        axes = (1, 2, 3)
        compare(
            array(call(answer, tf.constant(noisy), tf.constant(m), fade, dust), shape[:1]),
            right.sum(axis=axes),
            "A noisy pixel is white if it was white and did not fade, or black and caught dust.",
            mistakes={
                "A sum over the pixels, not a mean.": right.mean(axis=axes),
                "Dust falls on black pixels only: with which probability is a pixel black?": (
                    _per_pixel(noisy, np.clip(m * (1 - fade) + dust, 0, 1 - 1e-7)).sum(axis=axes)
                ),
                "Half of the dust? That was a coin that might leave the pixel as it is.": (
                    _per_pixel(noisy, m * (1 - fade) + dust / 2).sum(axis=axes)
                ),
                "Which of the two mistakes happens to a white pixel?": (
                    _per_pixel(noisy, m * (1 - dust) + (1 - m) * fade).sum(axis=axes)
                ),
                "That is the clean image's probability: no noise is in it.": (
                    _per_pixel(noisy, m).sum(axis=axes)
                ),
                "Black pixels count too, with one minus the probability of white.": (
                    (noisy * np.log(white)).sum(axis=axes)
                ),
            },
            rtol=1e-3,
        )
    return "Two ways for a pixel to be white, and a sum over the pixels."


def _softmax_rows(log_joint: np.ndarray) -> np.ndarray:
    """Return each row of (images, labels) as probabilities."""
    p = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def check_bayes(answer: object) -> str:
    """Return praise for p(y|x): with the prior, and for images of very different likelihood."""
    rng = np.random.default_rng(6)
    for images, labels in ((3, 4), (5, 2)):
        log_px_y = rng.normal(-90, 2, size=(images, labels))
        py = rng.dirichlet(np.ones(labels))
        joint = log_px_y + np.log(py)
        columns = np.exp(joint - joint.max())
        got = array(call(answer, log_px_y, py), (images, labels))
        compare(
            got,
            _softmax_rows(joint),
            "Each row is p(x | y) p(y), divided by the sum of that row.",
            mistakes={
                "Where has p(y) gone?": _softmax_rows(log_px_y),
                "Add log p(y), not p(y), to a log-probability.": _softmax_rows(log_px_y + py),
                "Every row should sum to 1: for each image some label is right.": columns
                / columns.sum(axis=0),
            },
        )
    # One image far less likely than the other: both rows must survive the exponential.
    far = joint - np.array([0.0, 2_000.0, 0.0, 900.0, 0.0])[:, None]
    with np.errstate(all="ignore"):
        got = np.asarray(call(answer, far - np.log(py), py), dtype=np.float64)
    if got.shape != far.shape or not np.allclose(got, _softmax_rows(far), atol=1e-3):
        raise NotYet(
            "With one image 2,000 nats below the others the result breaks: "
            "take out the largest number of each image, not of all images."
        )
    return "Each image by itself, and with the prior."


def _share(answer: object, log_new: float, log_old: float) -> float:
    """Return how often a reader's function accepts one pair of log-weights."""
    u = np.random.default_rng(3).permutation((np.arange(10_000) + 0.5) / 10_000)
    new, old = np.full(u.shape, log_new), np.full(u.shape, log_old)
    with np.errstate(all="ignore"):
        taken = call(answer, new, old, u)
    shape, kind = np.shape(taken), np.asarray(taken).dtype.kind
    if shape != u.shape or kind != "b":
        raise NotYet("Return one boolean for each chain, an array of the shape of u.")
    return float(np.mean(np.asarray(taken)))


def check_accept(answer: object) -> str:
    """Return praise for Metropolis–Hastings: uphill always, downhill by the ratio, far from 0."""
    up, slightly = _share(answer, -90.0, -95.0), _share(answer, -90.0, -90.3)
    down = {ratio: _share(answer, -90.0 - np.log(ratio), -90.0) for ratio in (4, 1.6)}
    if up == 1.0 and min(down.values()) == 1.0:
        raise NotYet("A worse z is not always accepted: the ratio is below 1.")
    if up < 1.0 or slightly < 1.0:
        raise NotYet("A z with a larger weight is always accepted: is the ratio upside down?")
    for ratio, share in down.items():
        if abs(share - 1 / ratio) > 0.01:
            raise NotYet(
                f"A weight {ratio} times smaller is accepted in a share of {1 / ratio:.2f} of the "
                f"cases, not {share:.2f}: compare u with the ratio, or log u with its logarithm."
            )
    if abs(_share(answer, -3_000.0, -3_000.0 + np.log(4)) - 0.25) > 0.01:
        raise NotYet("Near -3,000 both exponentials vanish: take the difference first.")
    rng = np.random.default_rng(64)
    new, old, u = rng.normal(-90, 2, 50), rng.normal(-90, 2, 50), rng.random(50)
    if not np.array_equal(np.asarray(call(answer, new, old, u)), np.log(u) < new - old):
        raise NotYet("Each chain decides by its own two weights and its own u.")
    return "Uphill always, downhill as often as the ratio says."


CHECKS = {
    "06.1": check_precision,
    "06.2": check_scanner,
    "06.3": check_bayes,
    "06.4": check_accept,
}
