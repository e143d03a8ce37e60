"""Right and wrong answers to the exercises of lesson 09."""

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


def average_of_two(means, counts):
    return (counts[0] * means[0] + counts[1] * means[1]) / (counts[0] + counts[1])


def noise_scale(gradients, b, swapped=False, shares=True, quotient=True, module=np):
    gradients = module.asarray(gradients) if module is np else tf.cast(gradients, tf.float64)
    mean, total = (np.mean, np.sum) if module is np else (tf.reduce_mean, tf.reduce_sum)
    big = gradients.shape[0] * b
    small_norm, big_norm = mean(total(gradients**2, 1)), total(mean(gradients, 0) ** 2)
    if swapped:
        small_norm, big_norm = big_norm, small_norm
    noise = (small_norm - big_norm) / ((1 / b - 1 / big) if shares else 1)
    signal = (big * big_norm - b * small_norm) / (big - b)
    return noise / signal if quotient else noise


ANSWERS = {
    "09.1": Answers(
        right=[175e6, 175_000_000, 2 * 7 / 8 * 4 * 25_000_000, tf.constant(175e6)],
        wrong=[100e6, 200e6, 43.75e6, 1.4e9, 87.5e6, 175, 0.0, "175 MB"],
    ),
    "09.2": Answers(
        right=[average_by_numpy, average_by_hand],
        wrong=[
            lambda means, counts: np.mean(means, axis=0),  # ignores the counts
            lambda means, counts: np.nanmean(means, axis=0),
            average_careless,  # 0 * nan
            average_of_two,  # right for two replicas only
            lambda means, counts: np.tensordot(counts, np.nan_to_num(means), 1),  # a sum
            lambda means, counts: 0 * np.asarray(means)[0],
            lambda means: np.mean(means, axis=0),
            [1.0, 2.0],
        ],
    ),
    "09.3": Answers(
        right=[noise_scale, lambda gradients, b: noise_scale(gradients, b, module=tf)],
        wrong=[
            lambda gradients, b: noise_scale(gradients, b, swapped=True),
            lambda gradients, b: noise_scale(gradients, b, shares=False),
            lambda gradients, b: noise_scale(gradients, b, quotient=False),
            lambda gradients, b: noise_scale(gradients, 1),  # ignores b
            lambda gradients, b: 1 / noise_scale(gradients, b),
            lambda gradients, b: 2 / 3,
            lambda gradients, b: np.var(gradients, axis=0),  # the wrong shape
            2 / 3,
        ],
    ),
}
