"""Right and wrong answers to the exercises of lesson 04."""

import itertools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from exercise_answers import Answers
from helpers.flows import gated_step, made_masks

tfd = tfp.distributions


def masks_by_rules(degrees, widths, inside=np.less_equal, last=np.less, first=0):
    """Masks whose hidden degrees go evenly from `first` up, by two comparisons."""
    hidden = [first + np.arange(n) * (len(degrees) - first) // n for n in widths]
    layers = [np.array(degrees), *hidden]
    found = [inside(layers[i][:, None], layers[i + 1]) for i in range(len(widths))]
    return [*found, last(layers[-1][:, None], np.array(degrees))]


def masks_in_turn(degrees, widths):
    """Degrees in turn, loops, and numbers in the place of truth values."""
    layers = [degrees, *([unit % len(degrees) for unit in range(n)] for n in widths)]
    found = []
    for before, after in itertools.pairwise(layers):
        found.append([[float(b <= a) for a in after] for b in before])
    return (*found, [[int(unit < d) for d in degrees] for unit in layers[-1]])


def masks_one_higher(degrees, widths):
    """Hidden degrees 1 … K: the first comparison is strict in place of the last."""
    hidden = [1 + np.arange(n) % len(degrees) for n in widths]
    layers = [np.array(degrees), *hidden, np.array(degrees)]
    found = [layers[i][:, None] <= layers[i + 1] for i in range(len(layers) - 1)]
    found[0] = layers[0][:, None] < layers[1]
    return found


def masks_of_places(degrees, widths):
    return masks_by_rules(range(1, len(degrees) + 1), widths)  # ignores the order


def masks_transposed(degrees, widths):
    return [mask.T for mask in masks_by_rules(degrees, widths)]


def masks_of_one_layer(degrees, widths):
    return masks_by_rules(degrees, widths[:1])  # right for one hidden layer only


def masks_of_ones(degrees, widths):
    return [np.ones_like(mask) for mask in masks_by_rules(degrees, widths)]


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
        right=[masks_by_rules, masks_in_turn, masks_one_higher, made_masks],
        wrong=[
            lambda d, w: masks_by_rules(d, w, last=np.less_equal),  # as given: it leaks
            lambda d, w: masks_by_rules(d, w, inside=np.less),  # cuts what is allowed
            lambda d, w: masks_by_rules(d, w, first=1),  # the first output hears no context
            masks_of_places,
            masks_transposed,
            masks_of_one_layer,
            masks_of_ones,
            lambda d, w: [0 * mask for mask in masks_of_ones(d, w)],
            lambda d, w: masks_by_rules(d, w)[0],
            lambda d: masks_by_rules(d, (6, 4)),
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
            lambda f, z: gated_step(lambda z, _: f(z), z),  # the step of the lesson
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
