"""The checks of the exercises of lesson 06."""

import numpy as np

from helpers.course.exercises import NotYet, array, call, compare, number


def check_label_gain(answer: object) -> str:
    """Return praise for the most that one of 200 labels can save, in nats."""
    compare(
        number(answer),
        np.log(200),
        "p(x) is at least p(x | y) times the probability of y. Take the logarithm.",
        mistakes={
            "Those are bits. How many nats are they?": np.log2(200),
            "That was for ten labels; here there are 200.": np.log(10),
            "That is the reported difference, not the most that is possible.": 40.0,
        },
        atol=0.005,
    )
    return "ln 200 = 5.30 nats. A difference of 40 is a mistake in the program."


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
    if got.shape != far.shape or not np.allclose(got, _softmax_rows(far), atol=1e-6):
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
    return "Uphill always, downhill as often as the ratio says."


CHECKS = {"06.1": check_label_gain, "06.2": check_bayes, "06.3": check_accept}
