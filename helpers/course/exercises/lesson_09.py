"""The checks of the exercises of lesson 09."""

from collections.abc import Callable

import numpy as np

from helpers.course.exercises import NotYet, array, call, compare, number

SHARDS = (  # of exercise 1: the right number, a hint, and mistakes that we know
    (
        720,
        "whose files run out first, and after how many steps?",
        {
            960: "the worker with two files stops the others after 240 images each.",
            360: "that is the largest shard. Count what all three have trained on.",
            240: "that is what one worker trains on. Count the images of all three.",
        },
    ),
    (
        960,
        "how many of the 960 images does each worker get?",
        {320: "that is what one worker trains on. Count the images of all three."},
    ),
    (
        320,
        "which images does each worker train on, if all read in one order?",
        {
            960: "960 images are trained on, but how many of them are different?",
            120: "how many images does one worker take in as many steps as under (b)?",
        },
    ),
)
MOST_REPLICAS = 1024  # that the project looks at
ENDLESS = 1e12  # images: a noise scale far above every batch


def check_shards(answer: object) -> str:
    """Eight files of 120 images, three workers: different images in an epoch, three policies."""
    names = ("(a)", "(b)", "(c)")
    for name, got, (right, hint, mistakes) in zip(names, array(answer, (3,)), SHARDS, strict=True):
        if got != right:  # what was right is not told: it is a prediction
            raise NotYet(f"{name}: " + mistakes.get(got, hint))
    return "By file the smallest shard ends the epoch, and without sharding all see the same."


def check_average(answer: object) -> str:
    """The mean over all images: unequal shares, and an empty one."""
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
                "Divide by the number of images, not of replicas.": summed / len(counts),
            },
        )
    means, counts = np.array([[1.0, 2.0], [np.nan, np.nan], [4.0, 8.0]]), np.array([4.0, 0.0, 2.0])
    with np.errstate(all="ignore"):
        got = np.asarray(call(answer, means, counts), dtype=np.float64)
    if got.shape != (2,) or not np.allclose(got, [2.0, 4.0]):
        raise NotYet("An empty share must not count, although its mean is nan: 0 · nan is nan.")
    means[0] = np.nan  # of a replica that has images
    with np.errstate(all="ignore"):
        got = np.asarray(call(answer, means, counts), dtype=np.float64)
    if not np.all(np.isnan(got)):
        raise NotYet("A nan of a replica that has images is an error, and must not be hidden.")
    return "Weighted by images, and a replica without images does no harm."


def check_agreement(answer: object) -> str:
    """The newest epoch that every worker can load; 0 where there is none."""
    cases = [  # epochs that each worker can load
        [[4, 5], [5, 4]],
        [[3, 5, 4], [4, 3], [3, 4, 5]],
        [[6, 7], [5]],  # the newest of the slowest is not what the others have kept
        [[9, 1, 8], [2, 1, 9], [8, 9, 1], [1, 8]],
        [[2, 3], []],
        [[7]],
        [[8, 5, 3], [3, 8, 9]],  # in no order
    ]
    for epochs in cases:
        common = set.intersection(*map(set, epochs))
        newest = [max(own, default=0) for own in epochs]
        mistakes = {
            "The smallest of the newest epochs need not be one that the others have kept.": min(
                newest
            ),
            "Not every worker can load that one.": max(newest),
            "All can load that one, and also a newer one.": min(common, default=0),
        }
        right = max(common, default=0)
        wrong = {hint: value for hint, value in mistakes.items() if value != right}
        got = number(call(answer, [list(own) for own in epochs]))
        compare(got, right, f"For {epochs} that is not right.", mistakes=wrong)
    return "All workers start from the newest epoch that every one of them can load."


def check_replicas(answer: object) -> str:
    """The most replicas whose efficiency is still high enough."""
    for share, noise, costs, least in (
        (256, 20_000, (2e-3, 1e-5, 2e-3, 1e-5), 0.3),
        (64, 20_000, (2e-3, 1e-4, 1e-3, 1e-5), 0.5),
        (64, 2_000, (2e-3, 1e-4, 1e-3, 0.0), 0.5),
        (16, 100_000, (1e-3, 1e-5, 3e-2, 0.0), 0.25),
        (32, 5_000, (5e-3, 1e-4, 0.0, 0.0), 0.8),
        (16, 1_000_000, (2e-3, 1e-4, 0.0, 0.0), 0.5),  # right up to the last number
    ):
        seconds = _step_seconds(*costs)
        right = _most(share, noise, seconds, least)
        mistakes = {
            "Steps fall with 1/B only far below the noise scale.": _most(
                share, ENDLESS, seconds, least
            ),
            "A step does not take the same time at every number of replicas.": _most(
                share, noise, lambda replicas, share: 1.0, least
            ),
            "That is right for an efficiency of a half only.": _most(share, noise, seconds, 0.5),
            "Steps depend on the batch of all replicas, R times the share.": _most(
                share, 0.0, seconds, least
            ),
            "Divide by R times the time of R replicas.": MOST_REPLICAS,
        }
        wrong = {hint: value for hint, value in mistakes.items() if value != right}
        got = number(call(answer, share, noise, seconds, least))
        hint = f"For a share of {share}, a noise scale of {noise:,} and least={least}: not right."
        compare(got, right, hint, mistakes=wrong)
    return "More replicas pay as long as neither the noise nor the network is in the way."


def _step_seconds(
    fixed: float, per_image: float, sending: float, latency: float
) -> Callable[[int, int], float]:
    """Return the time of a step as a function of replicas and of the images on each."""

    def seconds(replicas: int, share: int) -> float:
        ring = 2 * (replicas - 1)  # hops
        return fixed + per_image * share + ring * (sending / replicas + latency)

    return seconds


def _most(share: int, noise: float, seconds: Callable[[int, int], float], least: float) -> int:
    """Return the largest power of two at which R replicas are at least `least` · R times faster."""

    def time(replicas: int) -> float:  # in units of S_min
        batch = replicas * share
        return (1 + noise / batch) * seconds(replicas, share)

    tried = [2**k for k in range(MOST_REPLICAS.bit_length())]
    return max(r for r in tried if time(1) / (r * time(r)) >= least)


CHECKS = {
    "09.1": check_shards,
    "09.2": check_average,
    "09.3": check_agreement,
    "09.4": check_replicas,
}
