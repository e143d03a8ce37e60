"""Right and wrong answers to the exercises of lesson 09."""

import functools

import numpy as np
import tensorflow as tf

from exercise_answers import Answers


def average_by_numpy(means, counts):
    means, counts = np.asarray(means, float), np.asarray(counts, float)
    return np.average(means[counts > 0], axis=0, weights=counts[counts > 0])


def average_by_hand(means, counts):
    total = 0.0
    for mean, count in zip(means, counts, strict=True):
        if count:
            total = total + count * np.asarray(mean)
    return total / np.sum(counts)


def average_careless(means, counts):
    means, counts = np.asarray(means, float), np.asarray(counts, float)
    return np.tensordot(counts, means, 1) / counts.sum()


def average_that_hides(means, counts):
    return np.average(np.nan_to_num(means), axis=0, weights=counts)


def average_of_two(means, counts):
    return (counts[0] * means[0] + counts[1] * means[1]) / (counts[0] + counts[1])


def newest_of_all(loadable):
    return max(set(loadable[0]).intersection(*loadable[1:]), default=0)


def newest_by_counting_down(loadable):
    epoch = max((max(own, default=0) for own in loadable), default=0)
    while epoch and not all(epoch in own for own in loadable):
        epoch -= 1
    return epoch


def most_replicas(share, noise_scale, step_seconds, least, count=lambda r, s: r * s, most=1024):
    """A right answer; the last two arguments make it wrong."""
    best, alone = 1, None
    replicas = 1
    while replicas <= most:
        steps = 1 + noise_scale / count(replicas, share)
        time = steps * step_seconds(replicas, share)
        alone = time if alone is None else alone
        if alone / (replicas * time) >= least:
            best = replicas
        replicas *= 2
    return best


def most_by_arrays(share, noise_scale, step_seconds, least):
    replicas = 2 ** np.arange(11)
    seconds = np.array([step_seconds(int(r), share) for r in replicas])
    times = (1 + noise_scale / (replicas * share)) * seconds
    return tf.constant(replicas[times[0] / (replicas * times) >= least].max())


def first_that_fails(share, noise_scale, step_seconds, least):
    times = [(1 + noise_scale / (2**k * share)) * step_seconds(2**k, share) for k in range(11)]
    return next((2**k for k in range(11) if times[0] / (2**k * times[k]) < least), 2048)


ANSWERS = {
    "09.1": Answers(
        right=[(720, 960, 320), [720.0, 960, 320], np.array([720, 960, 320])],
        wrong=[
            (960, 960, 320),  # the classic mistake: nobody runs out
            (240, 320, 320),  # of one worker
            (720, 960, 960),
            (360, 960, 320),
            (720, 320, 960),
            (960, 960, 960),  # a constant
            (1, 1, 1),
            (720, 960),
            720,
            "720, 960, 320",
        ],
    ),
    "09.2": Answers(
        right=[average_by_numpy, average_by_hand],
        wrong=[
            lambda means, counts: np.mean(means, axis=0),  # ignores the counts
            lambda means, counts: np.nanmean(means, axis=0),
            average_careless,  # 0 * nan
            average_of_two,  # right for two replicas only
            average_that_hides,  # also the nan of a replica that has images
            lambda means, counts: np.tensordot(counts, np.nan_to_num(means), 1),  # a sum
            lambda means, counts: np.tensordot(counts, means, 1) / len(counts),  # by replicas
            lambda means, counts: 0 * np.asarray(means)[0],
            lambda means: np.mean(means, axis=0),
            [1.0, 2.0],
        ],
    ),
    "09.3": Answers(
        right=[newest_of_all, newest_by_counting_down],
        wrong=[
            lambda loadable: min(max(own, default=0) for own in loadable),  # the classic mistake
            lambda loadable: max(max(own, default=0) for own in loadable),
            lambda loadable: max(loadable[0], default=0),  # ignores the others
            lambda loadable: min(set.intersection(*map(set, loadable)), default=0),
            lambda loadable: max(set.intersection(*map(set, loadable))),  # stops where none is left
            lambda loadable: next((e for e in loadable[0] if all(e in o for o in loadable)), 0),
            lambda loadable: next(  # the last that is found
                (e for e in reversed(loadable[0]) if all(e in o for o in loadable)), 0
            ),
            lambda loadable: max(set(loadable[0]) & set(loadable[1]), default=0),  # for two only
            lambda loadable: set.intersection(*map(set, loadable)),
            lambda loadable: 0,
            5,
        ],
    ),
    "09.4": Answers(
        right=[most_replicas, most_by_arrays],
        wrong=[
            lambda s, b, seconds, least: most_replicas(s, 1e12, seconds, least),  # ignores noise
            lambda s, b, seconds, least: most_replicas(s, b, lambda r, s: 1.0, least),
            lambda s, b, seconds, least: most_replicas(s, b, seconds, 0.5),  # for a half only
            functools.partial(most_replicas, count=lambda r, s: s),  # the batch of one replica
            functools.partial(most_replicas, most=8),
            functools.partial(most_replicas, most=512),
            first_that_fails,  # one too far
            lambda s, b, seconds, least: most_replicas(s, b, seconds, least / 1024),  # not by R
            lambda s, b, seconds, least: 64,
            lambda s, b, seconds, least: b / s,  # the noise scale in shares
            lambda s, b, seconds, least: None,
            64,
        ],
    ),
}
