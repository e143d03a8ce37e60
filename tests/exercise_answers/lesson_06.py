"""Right and wrong answers to the exercises of lesson 06."""

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp, softmax
from tensorflow_probability import distributions as tfd

from exercise_answers import Answers


def precision_by_counting(t, f, share):
    images = 1_000_000
    found, alarms = images * share * t, images * (1 - share) * f
    return found / (found + alarms)


def scanner(noisy, white):
    return tf.reduce_sum(tf.math.log(tf.where(noisy == 1, white, 1 - white)), axis=(1, 2, 3))


def scanner_by_tfp(noisy, m, fade, dust):
    white = tfd.Bernoulli(probs=dust + m * (1 - fade - dust))
    return tfd.Independent(white, 3).log_prob(noisy)


def bayes_by_hand(log_px_y, py):
    joint = np.asarray(log_px_y) + np.log(py)
    joint = joint - joint.max(axis=1, keepdims=True)
    return np.exp(joint) / np.exp(joint).sum(axis=1, keepdims=True)


def bayes_by_logsumexp(log_px_y, py):
    joint = log_px_y + np.log(py)
    return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


def one_largest_for_all(log_px_y, py):
    joint = log_px_y + np.log(py)
    p = np.exp(joint - joint.max())
    return p / p.sum(axis=1, keepdims=True)


def accept_by_ratio(new, old, u):
    return u < np.minimum(1.0, np.exp(np.minimum(new - old, 0.0)))


def accept_half(new, old, u):
    return (new >= old) | (u < 0.25)


ANSWERS = {
    "06.1": Answers(
        right=[
            lambda t, f, share: t * share / (t * share + f * (1 - share)),
            lambda t, f, share: 1 / (1 + f / t * (1 / share - 1)),  # by the odds
            precision_by_counting,
        ],
        wrong=[
            lambda t, f, share: t / (t + f),  # ignores how rare anomalies are
            lambda t, f, share: t * share / (t * share + f),
            lambda t, f, share: t * share / (f * (1 - share)),
            lambda t, f, share: t * share + f * (1 - share),
            lambda t, f, share: 100 * t * share / (t * share + f * (1 - share)),  # in percent
            lambda t, f, share: 0.0157643,  # right for the first question only
            lambda t, f, share: None,
            lambda t, f: t / (t + f),
            0.016,
        ],
    ),
    "06.2": Answers(
        right=[
            lambda noisy, m, fade, dust: tf.reduce_sum(
                tf.math.log(
                    noisy * ((1 - fade) * m + dust * (1 - m))
                    + (1 - noisy) * (1 - (1 - fade) * m - dust * (1 - m))
                ),
                axis=(1, 2, 3),
            ),
            scanner_by_tfp,
        ],
        wrong=[
            lambda noisy, m, fade, dust: scanner(noisy, (1 - fade) * m + dust / 2),
            lambda noisy, m, fade, dust: scanner(noisy, (1 - dust) * m + fade * (1 - m)),  # swapped
            lambda noisy, m, fade, dust: scanner(noisy, (1 - fade) * m),  # ignores the dust
            lambda noisy, m, fade, dust: scanner(noisy, m),  # no noise at all
            lambda noisy, m, fade, dust: scanner(noisy, (1 - fade) * m + dust * (1 - m)) / 20,
            lambda noisy, m, fade, dust: tf.reduce_mean(
                tf.math.log(noisy * m + (1 - noisy) * (1 - m)), axis=(1, 2, 3)
            ),
            lambda noisy, m, fade, dust: tf.reduce_sum(  # one number for the batch
                scanner(noisy, (1 - fade) * m + dust * (1 - m))
            ),
            lambda noisy, m, fade, dust: tf.zeros(len(noisy)),
            "white",
        ],
    ),
    "06.3": Answers(
        right=[
            lambda log_px_y, py: softmax(log_px_y + np.log(py), axis=1),
            lambda log_px_y, py: tf.nn.softmax(log_px_y + np.log(py), axis=1),
            bayes_by_hand,
            bayes_by_logsumexp,
        ],
        wrong=[
            lambda log_px_y, py: softmax(log_px_y, axis=1),  # ignores the prior
            lambda log_px_y, py: softmax(log_px_y + py, axis=1),
            lambda log_px_y, py: softmax(log_px_y + np.log(py), axis=0),  # sums over images
            lambda log_px_y, py: np.broadcast_to(py, np.shape(log_px_y)),  # ignores the image
            lambda log_px_y, py: np.full(np.shape(log_px_y), 1 / len(py)),
            lambda log_px_y, py: log_px_y + np.log(py),  # not normalised
            one_largest_for_all,
            lambda log_px_y: softmax(log_px_y, axis=1),
            0.5,
        ],
    ),
    "06.4": Answers(
        right=[lambda new, old, u: np.log(u) < new - old, accept_by_ratio],
        wrong=[
            lambda new, old, u: np.log(u) < old - new,  # upside down
            lambda new, old, u: u < new - old,  # the log-ratio as a probability
            lambda new, old, u: u < np.exp(new) / np.exp(old),  # both exponentials vanish
            lambda new, old, u: new > old,  # never downhill
            lambda new, old, u: np.full(np.shape(u), True),
            lambda new, old, u: np.log(u) < new[0] - old[0],  # one rule for all chains
            lambda new, old, u: np.log(u) < np.mean(new - old),
            lambda new, old, u: np.log(u) < new.max() - old.max(),
            lambda new, old, u: u < 0.5,  # ignores the weights
            accept_half,  # right for a ratio of 4 only
            lambda new, old, u: np.exp(np.minimum(new - old, 0.0)),  # a probability, no decision
            lambda new, old, u: bool(new[0] > old[0]),
            True,
        ],
    ),
}
