"""Right and wrong answers to the exercises of lesson 05."""

from functools import partial

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp
from scipy.stats import norm
from tensorflow_probability import distributions as tfd

from exercise_answers import Answers

CODES = {"a": "healthy", "b": "collapsed", "c": "partly collapsed", "d": "not read"}
ROTATIONS = dict(zip("abcdef", ("free", "free", "costs", "free", "costs", "free"), strict=True))


def joint(distances, sigmas, own=False, symmetric=True):
    weights = np.exp(-(distances**2) / (2 * sigmas[:, None] ** 2))
    if not own:
        weights = weights * (1 - np.eye(len(distances)))
    p = weights / weights.sum(axis=1, keepdims=True)
    return (p + p.T) / (2 * len(p)) if symmetric else p / len(p)


def joint_by_loops(distances, sigmas):
    n = len(distances)
    p = np.zeros((n, n))
    for i in range(n):
        others = [j for j in range(n) if j != i]
        log_w = -(np.array(distances)[i, others] ** 2) / (2 * sigmas[i] ** 2)
        p[i, others] = np.exp(log_w - logsumexp(log_w))
    return tf.constant(0.5 * (p + p.T) / n)


def joint_of_those_apart(distances, sigmas):
    weights = np.where(distances > 0, np.exp(-(distances**2) / (2 * sigmas[:, None] ** 2)), 0)
    p = weights / weights.sum(axis=1, keepdims=True)
    return (p + p.T) / (2 * len(p))


def log_densities(z, z_mean, z_log_var):
    return norm.logpdf(z[:, None], z_mean, np.exp(0.5 * z_log_var)).sum(axis=-1)


def left_out(z, z_mean, z_log_var, own=False, count=None, prior=True):
    log_q = log_densities(z, z_mean, z_log_var)
    if not own:
        log_q[np.diag_indices(len(z))] = -np.inf
    log_mixture = logsumexp(log_q, axis=1) - np.log(count or len(z) - 1)
    return np.mean(log_mixture - prior * norm.logpdf(z).sum(axis=1))


def left_out_by_tensorflow(z, z_mean, z_log_var):
    values = []
    for i in range(len(z)):
        rest = np.arange(len(z)) != i
        q = tfd.MultivariateNormalDiag(z_mean[rest], np.exp(0.5 * z_log_var[rest]))
        log_p = tfd.MultivariateNormalDiag(tf.zeros(z.shape[1])).log_prob(z[i])
        mixture = tf.reduce_logsumexp(q.log_prob(z[i])) - np.log(len(z) - 1)
        values.append(mixture - log_p)
    return tf.reduce_mean(values)


def left_out_that_underflows(z, z_mean, z_log_var):
    q = np.exp(log_densities(z, z_mean, z_log_var))
    q[np.diag_indices(len(z))] = 0
    return np.mean(np.log(q.sum(axis=1) / (len(z) - 1)) - norm.logpdf(z).sum(axis=1))


def left_out_of_each_block(z, z_mean, z_log_var, size=100):
    values = []
    for start in range(0, len(z), size):
        log_q = log_densities(z[start : start + size], z_mean, z_log_var)
        log_q[np.diag_indices(len(log_q))] = -np.inf  # right in the first block only
        values.append(logsumexp(log_q, axis=1) - np.log(len(z) - 1))
    return np.mean(np.concatenate(values) - norm.logpdf(z).sum(axis=1))


ANSWERS = {
    "05.1": Answers(
        right=[
            CODES,
            {" A ": "Healthy", "B": "COLLAPSED", "c": "partly_collapsed", "d": "Not read"},
        ],
        wrong=[
            CODES | {"c": "healthy"},
            CODES | {"d": "healthy"},
            CODES | {"d": "collapsed"},
            dict.fromkeys("abcd", "collapsed"),
            {"a": "healthy"},
            CODES | {"b": 0},
            "b",
            3,
        ],
    ),
    "05.2": Answers(
        right=[ROTATIONS, {name.upper(): word.upper() for name, word in ROTATIONS.items()}],
        wrong=[
            ROTATIONS | {"a": "costs"},
            ROTATIONS | {"b": "costs"},
            ROTATIONS | {"e": "free"},
            ROTATIONS | {"f": "costs"},
            dict.fromkeys("abcdef", "free"),
            dict.fromkeys("abcdef", "costs"),
            {"a": "free"},
            ["free"] * 6,
        ],
    ),
    "05.3": Answers(
        right=[joint, joint_by_loops],
        wrong=[
            lambda d, s: joint(d, s, own=True, symmetric=False),  # as it was
            lambda d, s: joint(d, s, symmetric=False),
            lambda d, s: joint(d, s, own=True),
            lambda d, s: joint(d, np.ones_like(s)),  # ignores the widths
            lambda d, s: joint(d, s) * len(d),
            lambda d, s: np.full_like(d, 1 / d.size),
            lambda d, s: joint(np.sqrt(d), s),
            joint_of_those_apart,
            lambda d, s: joint(d, s)[0],
            lambda d: joint(d, np.ones(len(d))),
            "p + p.T",
        ],
    ),
    "05.4": Answers(
        right=[left_out, left_out_by_tensorflow],
        wrong=[
            lambda z, m, v: left_out(z, m, v, own=True, count=len(z)),
            lambda z, m, v: left_out(z, m, v, count=len(z)),
            lambda z, m, v: left_out(z, m, v, prior=False),
            lambda z, m, v: left_out(z, m, 0 * v),  # ignores the log-variances
            lambda z, m, v: left_out(z, m, 2 * v),
            left_out_that_underflows,
            left_out_of_each_block,
            partial(left_out_of_each_block, size=256),
            lambda z, m, v: left_out(z[:200], m[:200], v[:200]),
            lambda z, m, v: 0.3,
            lambda z, m, v: log_densities(z, m, v),
            None.__class__,
            0.3,
        ],
    ),
}
