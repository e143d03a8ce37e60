"""Right and wrong answers to the exercises of lesson 06."""

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp, softmax

from exercise_answers import Answers


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
        right=[np.log(200), 5.298, tf.math.log(200.0)],
        wrong=[40.0, np.log2(200), np.log(10), 0.0, 200, "ln 200", [5.3, 5.3]],
    ),
    "06.2": Answers(
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
    "06.3": Answers(
        right=[lambda new, old, u: np.log(u) < new - old, accept_by_ratio],
        wrong=[
            lambda new, old, u: np.log(u) < old - new,  # upside down
            lambda new, old, u: u < new - old,  # the log-ratio as a probability
            lambda new, old, u: u < np.exp(new) / np.exp(old),  # both exponentials vanish
            lambda new, old, u: new > old,  # never downhill
            lambda new, old, u: np.full(np.shape(u), True),
            lambda new, old, u: u < 0.5,  # ignores the weights
            accept_half,  # right for a ratio of 4 only
            lambda new, old, u: np.exp(np.minimum(new - old, 0.0)),  # a probability, no decision
            lambda new, old, u: bool(new[0] > old[0]),
            True,
        ],
    ),
}
