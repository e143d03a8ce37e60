"""Right and wrong answers to the exercises of lesson 04."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from exercise_answers import Answers

tfd = tfp.distributions


def masks_evenly(degrees, width):
    degrees = np.array(degrees)
    hidden = np.arange(width) * len(degrees) // width
    return degrees[:, None] <= hidden, hidden[:, None] < degrees


def masks_in_turn(degrees, width):
    first, last = np.zeros((len(degrees), width)), np.zeros((width, len(degrees)))
    for unit in range(width):
        for place, degree in enumerate(degrees):
            first[place, unit] = degree <= unit % len(degrees)
            last[unit, place] = unit % len(degrees) < degree
    return first, last


def masks_strict_below(degrees, width):
    """Hidden degrees 1 … K: the rules the other way round."""
    degrees = np.array(degrees)
    hidden = 1 + np.arange(width) % len(degrees)
    return degrees[:, None] < hidden, hidden[:, None] <= degrees


def masks_that_leak(degrees, width):
    degrees = np.array(degrees)
    hidden = 1 + np.arange(width) % len(degrees)
    return degrees[:, None] <= hidden, hidden[:, None] <= degrees


def masks_without_context(degrees, width):
    """As in the paper: the first output hangs on its bias alone."""
    degrees = np.array(degrees)
    hidden = 1 + np.arange(width) % max(len(degrees) - 1, 1)
    return degrees[:, None] <= hidden, hidden[:, None] < degrees


def masks_of_places(degrees, width):
    return masks_evenly(range(1, len(degrees) + 1), width)  # ignores the order


def masks_too_strict(degrees, width):
    degrees = np.array(degrees)
    hidden = np.arange(width) * len(degrees) // width
    return degrees[:, None] < hidden, hidden[:, None] < degrees


def masks_transposed(degrees, width):
    return [mask.T for mask in masks_evenly(degrees, width)]


def sum_of(s):
    return tf.reduce_sum(s, axis=-1)


def log_of_product(s):
    return tf.math.log(tf.reduce_prod(tf.exp(s), axis=-1))


def step(network, z):
    m, s = network(z)
    return tf.exp(s) * z + m, tf.reduce_sum(s, axis=-1)


def step_numpy(network, z):
    m, s = (np.asarray(part, np.float64) for part in network(z))
    return np.exp(s) * np.asarray(z) + m, np.einsum("...k->...", s)


def price_lambda(covariance):
    precision = np.linalg.inv(covariance)
    return 0.5 * (np.log(np.diag(precision)).sum() + np.linalg.slogdet(covariance)[1])


def price_by_divergence(covariance):
    variances = 1 / np.diag(np.linalg.inv(covariance))
    zero = np.zeros(len(covariance))
    p = tfd.MultivariateNormalTriL(zero, np.linalg.cholesky(covariance))
    q = tfd.MultivariateNormalTriL(zero, np.diag(np.sqrt(variances)))
    return tfd.kl_divergence(q, p)


def total_correlation(covariance):
    """Right for K = 2 only."""
    return 0.5 * (np.log(np.diag(covariance)).sum() - np.linalg.slogdet(covariance)[1])


def first_pair(covariance):
    rho = covariance[0, -1] / np.sqrt(covariance[0, 0] * covariance[-1, -1])
    return -0.5 * np.log(1 - rho**2) if len(covariance) > 1 else 0.0


ANSWERS = {
    "04.1": Answers(
        right=[(3, 60, 63), [3.0, 60.0, 63.0], np.array([3, 60, 63])],
        wrong=[
            (60, 3, 63),
            (3, 20, 23),
            (3, 60, 60),
            (1, 60, 61),
            (3, 60, 120),
            (3, 60),
            3,
            "3, 60 and 63",
        ],
    ),
    "04.2": Answers(
        right=[masks_evenly, masks_in_turn, masks_strict_below],
        wrong=[
            masks_that_leak,
            masks_without_context,
            masks_of_places,
            masks_too_strict,
            masks_transposed,
            lambda degrees, width: masks_evenly(degrees, len(degrees)),  # ignores the width
            lambda degrees, width: (np.ones((len(degrees), width)), np.ones((width, len(degrees)))),
            lambda degrees, width: (np.zeros((len(degrees), width)),) * 2,
            lambda degrees, width: masks_evenly(degrees, width)[0],
            lambda degrees: masks_evenly(degrees, 6),
            (1, 2, 3),
        ],
    ),
    "04.3": Answers(
        right=[
            step,
            step_numpy,
            lambda f, z: (f(z)[0] + z * tf.exp(f(z)[1]), log_of_product(f(z)[1])),
        ],
        wrong=[
            lambda f, z: (tf.exp(f(z)[1]) * (z + f(z)[0]), sum_of(f(z)[1])),
            lambda f, z: (step(f, z)[0], tf.reduce_sum(f(z)[1])),  # over the batch
            lambda f, z: (step(f, z)[0], sum_of(tf.exp(f(z)[1]))),
            lambda f, z: (step(f, z)[0], tf.reduce_mean(f(z)[1], axis=-1)),  # wrong scale
            lambda f, z: (step(f, z)[0], -sum_of(f(z)[1])),
            lambda f, z: (step(f, z)[0], tf.reduce_sum(f(z)[1], axis=1)),  # right for two axes only
            lambda f, z: (z, 0 * z[..., 0]),  # ignores the network
            lambda f, z: step(f, z)[0],
            lambda f, z: (tf.sigmoid(f(z)[1]) * z + f(z)[0], sum_of(f(z)[1])),
            "exp(s) z + m",
        ],
    ),
    "04.4": Answers(
        right=[price_lambda, price_by_divergence],
        wrong=[
            total_correlation,
            first_pair,
            lambda covariance: 2 * price_lambda(covariance),
            lambda covariance: -price_lambda(covariance),
            lambda covariance: price_lambda(covariance) / len(covariance),
            lambda covariance: 0.830,
            lambda covariance: np.linalg.slogdet(covariance)[1],
            lambda covariance: np.diag(covariance),
            0.830,
        ],
    ),
}
