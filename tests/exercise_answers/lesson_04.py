"""Right and wrong answers to the exercises of lesson 04."""

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from exercise_answers import Answers


def lean(z, rho, root=True, each=True, half=True):
    left = 1 - rho**2
    second = rho * z[:, 0] + (np.sqrt(left) if root else left) * z[:, 1]
    log_det = (0.5 if half else 1.0) * np.log(left)
    return np.stack([z[:, 0], second], axis=1), np.full(len(z), log_det) if each else log_det


def lean_by_matrix(z, rho):
    lower = np.array([[1.0, 0.0], [rho, np.sqrt(1 - rho**2)]])
    return tf.constant(z @ lower.T), tf.fill((len(z),), np.linalg.slogdet(lower)[1])


def lean_the_other_way(z, rho):
    first = rho * z[:, 1] + np.sqrt(1 - rho**2) * z[:, 0]
    return np.stack([first, z[:, 1]], axis=1), np.full(len(z), 0.5 * np.log(1 - rho**2))


def size_by_hand(log_w):
    w = np.exp(log_w - np.max(log_w, axis=0))
    return w.sum(axis=0) ** 2 / (w**2).sum(axis=0)


def unstable(log_w):
    w = np.exp(log_w)
    return w.sum(axis=0) ** 2 / (w**2).sum(axis=0)


def over_images(log_w):
    w = np.exp(log_w - np.max(log_w, axis=1, keepdims=True))
    return w.sum(axis=1) ** 2 / (w**2).sum(axis=1)


def not_squared(log_w):
    w = np.exp(log_w - np.max(log_w, axis=0))
    return w.sum(axis=0) / (w**2).sum(axis=0)


ANSWERS = {
    "04.1": Answers(
        right=[(3, 60), [3.0, 60.0], np.array([3, 60])],
        wrong=[(60, 3), (3, 20), (1, 60), (3, 3), 3, "3 and 60", (3, 60, 180)],
    ),
    "04.2": Answers(
        right=[lean, lean_by_matrix],
        wrong=[
            lambda z, rho: lean(z, rho, root=False),
            lambda z, rho: lean(z, rho, each=False),  # one number for the batch
            lambda z, rho: lean(z, rho, half=False),
            lambda z, rho: lean(z, 0.6),  # ignores rho
            lambda z, rho: (z, np.zeros(len(z))),  # right for rho = 0 only
            lean_the_other_way,
            lambda z, rho: lean(z, rho)[0],
            lambda z: lean(z, 0.5),
            0.6,
        ],
    ),
    "04.3": Answers(
        right=[
            size_by_hand,
            lambda log_w: np.exp(2 * logsumexp(log_w, axis=0) - logsumexp(2 * log_w, axis=0)),
        ],
        wrong=[
            unstable,
            over_images,
            not_squared,
            lambda log_w: np.full(log_w.shape[1], float(len(log_w))),  # ignores the weights
            lambda log_w: size_by_hand(log_w) / len(log_w),
            lambda log_w: size_by_hand(log_w).mean(),
            lambda log_w: size_by_hand(log_w[:4]),  # right for four samples only
            4.0,
        ],
    ),
}
