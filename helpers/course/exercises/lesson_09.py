"""The checks of the exercises of lesson 09."""

import numpy as np

from helpers.course.exercises import NotYet, array, call, compare, number


def check_bytes(answer: object) -> str:
    """Return praise for the bytes that each of 8 replicas sends for 25 million weights."""
    sent = number(answer)
    hints = {
        100e6: "That is the size of the gradients. A ring goes round twice.",
        200e6: "Nearly: each round has N - 1 hops of a piece of 1/N.",
        1.4e9: "Each replica sends to its neighbour only, not to all the others.",
        43.75e6: "Bytes are asked for: a float32 has four of them.",
        87.5e6: "That is one round. The first one sums, the second one hands the sums on.",
        175.0: "Right in megabytes; the question is about bytes.",
    }
    for wrong, hint in hints.items():
        if np.isclose(sent, wrong):
            raise NotYet(hint)
    compare(sent, 175e6, "Put N = 8 and four bytes for each weight into the formula.")
    return "2 · 7/8 · 100 MB, less than twice the gradients."


def check_average(answer: object) -> str:
    """Return praise for the mean over all images: unequal shares, and an empty one."""
    rng = np.random.default_rng(7)
    for counts, shape in (((4, 3), (3,)), ((1, 6, 2), (2, 2)), ((5, 1, 1, 3), ())):
        gradients = rng.normal(size=(sum(counts), *shape))
        parts = np.split(gradients, np.cumsum(counts)[:-1])
        means = np.stack([part.mean(axis=0) for part in parts])
        weights = np.asarray(counts, float)
        summed = np.tensordot(weights, means, 1)
        compare(
            array(call(answer, means, weights), shape),
            gradients.mean(axis=0),
            f"For shares of {counts} images: a replica's mean counts as often as it has images.",
            mistakes={
                "That takes all shares as equal.": means.mean(axis=0),
                "That is the sum over all images: divide by their number.": summed,
            },
        )
    means, counts = np.array([[1.0, 2.0], [np.nan, np.nan], [4.0, 8.0]]), np.array([4.0, 0.0, 2.0])
    with np.errstate(all="ignore"):
        got = np.asarray(call(answer, means, counts), dtype=np.float64)
    if got.shape != (2,) or not np.allclose(got, [2.0, 4.0]):
        raise NotYet("An empty share must not count, although its mean is nan: 0 · nan is nan.")
    return "Weighted by images, and a replica without images does no harm."


def check_noise_scale(answer: object) -> str:
    """Return praise for tr(Σ)/|G|²: by hand, and solved exactly for random gradients."""
    by_hand = array(call(answer, np.array([[3.0], [1.0]]), 1), ())
    compare(
        by_hand,
        2 / 3,
        "|g_b|² is the mean of the squared norms, |g_B|² the squared norm of the mean.",
        mistakes={"That is tr(Σ): divide it by |G|².": 2.0, "Upside down: tr(Σ) / |G|².": 1.5},
    )
    rng = np.random.default_rng(8)
    for share, replicas in ((10, 8), (50, 4), (3, 2)):
        gradients = 0.1 + rng.normal(size=(replicas, 500)) / np.sqrt(share)
        whole = replicas * share
        small = np.mean(np.sum(gradients**2, axis=1))
        large = np.sum(gradients.mean(axis=0) ** 2)
        noise = (small - large) / (1 / share - 1 / whole)
        right = _solved(small, large, share, whole)
        compare(
            array(call(answer, gradients, share), ()),
            right,
            f"For {replicas} replicas of {share} images. Mind 1/b and 1/B.",
            mistakes={
                "The two norms have changed places.": _solved(large, small, share, whole),
                "Where have 1/b and 1/B gone?": right * (1 / share - 1 / whole),
                "That is tr(Σ): divide it by |G|².": noise,
            },
            rtol=1e-3,
        )
    return "Two norms are enough to tell how large a batch is worth it."


def _solved(small: float, large: float, share: int, whole: int) -> float:
    """Return the noise scale from the squared norms over a share and over the whole batch."""
    noise = (small - large) / (1 / share - 1 / whole)
    return noise * (whole - share) / (whole * large - share * small)


CHECKS = {"09.1": check_bytes, "09.2": check_average, "09.3": check_noise_scale}
