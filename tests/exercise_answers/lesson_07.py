"""Right and wrong answers to the exercises of lesson 07."""

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp
from tensorflow_probability import distributions as tfd

from exercise_answers import Answers

# --- 2: a mixture ---------------------------------------------------------------------------------


def by_normal(z, z_mean, z_log_var, weights):
    parts = tfd.Normal(z_mean, tf.exp(z_log_var / 2)).log_prob(z[..., None, :])
    log_parts = tf.math.log(weights) + tf.reduce_sum(parts, axis=-1)
    return tf.reduce_logsumexp(log_parts, axis=-1)


def by_scipy(z, z_mean, z_log_var, weights):
    z, mean, log_var = (np.asarray(part, "f8") for part in (z, z_mean, z_log_var))
    parts = -0.5 * ((z[..., None, :] - mean) ** 2 / np.exp(log_var) + log_var + np.log(2 * np.pi))
    return logsumexp(parts.sum(axis=-1), b=np.asarray(weights, "f8"), axis=-1)


def by_tfp(z, z_mean, z_log_var, weights):
    parts = tfd.MultivariateNormalDiag(z_mean, tf.exp(z_log_var / 2))
    return tfd.MixtureSameFamily(tfd.Categorical(probs=weights), parts).log_prob(z)


def without_shift(z, z_mean, z_log_var, weights):
    parts = tfd.Normal(z_mean, std(z_log_var)).log_prob(z[..., None, :])
    densities = weights * tf.exp(tf.reduce_sum(parts, axis=-1))
    return tf.math.log(tf.reduce_sum(densities, axis=-1))


def as_given(z, z_mean, z_log_var, weights):
    z = z[:, None]
    log_parts = tfd.Normal(z_mean, tf.exp(z_log_var)).log_prob(z)
    return tf.reduce_mean(tf.math.log(weights) + tf.reduce_sum(log_parts, axis=-1), axis=-1)


def mixture_of(make, log_weights, reduce=tf.reduce_logsumexp):
    """A mixture with another scale, other weights or another average."""

    def answer(z, z_mean, z_log_var, weights):
        parts = tfd.Normal(z_mean, make(z_log_var)).log_prob(z[..., None, :])
        return reduce(log_weights(weights) + tf.reduce_sum(parts, axis=-1), axis=-1)

    return answer


def std(z_log_var):
    return tf.exp(z_log_var / 2)


def uniform(weights):
    return tf.math.log(tf.ones_like(weights) / len(weights))


# --- 3: DReG --------------------------------------------------------------------------------------


def by_softmax(log_w, slope):
    return tf.reduce_sum(tf.nn.softmax(log_w, axis=0) ** 2 * slope, axis=0)


def by_numpy(log_w, slope):
    w = np.exp(np.asarray(log_w, "f8") - np.max(log_w, axis=0))
    return ((w / w.sum(axis=0)) ** 2 * np.asarray(slope)).sum(axis=0)


def underflowing(log_w, slope):
    w = tf.exp(log_w)
    return tf.reduce_sum((w / tf.reduce_sum(w, axis=0)) ** 2 * slope, axis=0)


def in_float64(log_w, slope):
    """It puts the underflow off."""
    return underflowing(tf.cast(log_w, tf.float64), tf.cast(slope, tf.float64))


def shifted_by(shift):
    return lambda log_w, slope: underflowing(log_w - shift(log_w), slope)


# --- 4: coupling ----------------------------------------------------------------------------------


def forward(network, z):
    first, second = tf.split(z, 2, axis=-1)
    m, s = network(first)
    return tf.concat([first, tf.exp(s) * second + m], axis=-1), tf.reduce_sum(s, axis=-1)


def backward(network, u):
    first, second = tf.split(u, 2, axis=-1)
    m, s = network(first)
    return tf.concat([first, (second - m) * tf.exp(-s)], axis=-1)


def numpy_forward(network, z):
    z = np.array(z)
    half = z.shape[-1] // 2
    m, s = (np.asarray(part) for part in network(z[..., :half]))
    z[..., half:] = z[..., half:] * np.exp(s) + m
    return z, s.sum(axis=-1)


def numpy_backward(network, u):
    u = np.array(u)
    half = u.shape[-1] // 2
    m, s = (np.asarray(part) for part in network(u[..., :half]))
    u[..., half:] = (u[..., half:] - m) / np.exp(s)
    return u


def forward_with(log_det):
    def answer(network, z):
        first, second = tf.split(z, 2, axis=-1)
        m, s = network(first)
        return tf.concat([first, tf.exp(s) * second + m], axis=-1), log_det(s)

    return answer


def bounded_by(bound):
    """Answers that bound s themselves, in both directions."""

    def bounded(network):
        def call(first):
            m, s = network(first)
            return m, bound(s)

        return call

    return (
        lambda network, z: forward(bounded(network), z),
        lambda network, u: backward(bounded(network), u),
    )


def clipped_in_u(network, z):
    """It clips s, and forgets that in the log-determinant."""
    first, second = tf.split(z, 2, axis=-1)
    m, s = network(first)
    u = tf.concat([first, tf.exp(tf.clip_by_value(s, -2.0, 2.0)) * second + m], axis=-1)
    return u, tf.reduce_sum(s, axis=-1)


def forward_twice(network, z):
    first, second = tf.split(z, 2, axis=-1)
    m, s = network(first)[0], network(first)[1]
    return tf.concat([first, tf.exp(s) * second + m], axis=-1), tf.reduce_sum(s, axis=-1)


def swapped(network, z):
    first, second = tf.split(z, 2, axis=-1)
    m, s = network(first)
    return tf.concat([tf.exp(s) * second + m, first], axis=-1), tf.reduce_sum(s, axis=-1)


def from_changed_half(network, u):
    first, second = tf.split(u, 2, axis=-1)
    m, s = network(second)
    return tf.concat([first, (second - m) * tf.exp(-s)], axis=-1)


def called_twice(network, u):
    first, second = tf.split(u, 2, axis=-1)
    return tf.concat([first, (second - network(first)[0]) * tf.exp(-network(first)[1])], axis=-1)


def shift_last(network, u):
    first, second = tf.split(u, 2, axis=-1)
    m, s = network(first)
    return tf.concat([first, second * tf.exp(-s) - m], axis=-1)


ANSWERS = {
    "07.1": Answers(
        right=[(3, 60, -18.379), (3, 60, -18.4), [3.0, 60.0, float(-10 * np.log(2 * np.pi))]],
        wrong=[
            (60, 3, -18.379),  # the posterior's way round
            (1, 60, -18.379),
            (3, 20, -18.379),
            (3, 63, -18.379),
            (3, 60, 0.0),
            (3, 60, -0.919),
            (3, 60, -36.758),
            (3, 60, 1.04e-8),
            3,
            "three, sixty, minus eighteen",
        ],
    ),
    "07.2": Answers(
        right=[by_normal, by_scipy, by_tfp],
        wrong=[
            as_given,
            mixture_of(tf.exp, tf.math.log),
            without_shift,  # right where a float can hold the densities
            mixture_of(std, uniform),  # ignores the weights
            mixture_of(std, tf.math.log, tf.reduce_mean),
            mixture_of(std, lambda weights: tf.math.log(weights / len(weights))),
            mixture_of(std, lambda weights: weights),
            mixture_of(std, lambda weights: tf.math.log(weights + 1e-7)),
            mixture_of(std, lambda weights: tf.math.log(weights + 1e-9)),
            lambda z, z_mean, z_log_var, weights: tf.zeros(z.shape[:-1]),  # a constant
            lambda z, z_mean, z_log_var, weights: by_normal(z[0], z_mean, z_log_var, weights),
            lambda z, z_mean, z_log_var, weights: tf.exp(by_normal(z, z_mean, z_log_var, weights)),
            "log_mixture",
        ],
    ),
    "07.3": Answers(
        right=[by_softmax, by_numpy],
        wrong=[
            lambda log_w, slope: tf.reduce_sum(tf.nn.softmax(log_w, axis=0) * slope, axis=0),
            lambda log_w, slope: tf.reduce_mean(tf.nn.softmax(log_w, axis=0) ** 2 * slope, axis=0),
            lambda log_w, slope: tf.reduce_mean(slope, axis=0),  # ignores the weights
            lambda log_w, slope: tf.reduce_sum(tf.nn.softmax(log_w, axis=1) ** 2 * slope, axis=0),
            lambda log_w, slope: tf.reduce_sum(slope),
            lambda log_w, slope: 0.0 * slope[0],  # a constant
            underflowing,  # right for weights that a float can hold
            in_float64,
            shifted_by(tf.reduce_max),  # right for images of like weights
            shifted_by(lambda log_w: tf.reduce_min(log_w, axis=0)),  # right for like draws
            shifted_by(lambda log_w: tf.reduce_mean(log_w, axis=0)),
            shifted_by(lambda log_w: log_w[0]),
            lambda log_w, slope: 2.0 * by_softmax(log_w, slope),
            "softmax squared",
        ],
    ),
    "07.4": Answers(
        right=[(forward, backward), (numpy_forward, numpy_backward), [forward, numpy_backward]],
        wrong=[
            forward,
            (forward_with(tf.reduce_sum), backward),  # summed over the batch
            (forward_with(lambda s: -tf.reduce_sum(s, axis=-1)), backward),
            (forward_with(lambda s: tf.reduce_mean(s, axis=-1)), backward),
            (forward_with(lambda s: tf.reduce_sum(tf.exp(s), axis=-1)), backward),
            (forward_with(lambda s: tf.zeros(s.shape[:-1])), backward),
            (swapped, backward),
            (forward_twice, backward),
            bounded_by(tf.tanh),
            bounded_by(lambda s: tf.clip_by_value(s, -1.0, 1.0)),
            bounded_by(lambda s: tf.clip_by_value(s, -3.0, 3.0)),
            bounded_by(lambda s: tf.clip_by_value(s, -10.0, 10.0)),
            (clipped_in_u, backward),
            (forward, lambda network, u: forward(network, u)[0]),
            (forward, lambda network, u: u),
            (forward, from_changed_half),
            (forward, called_twice),
            (forward, shift_last),
            "forward and backward",
        ],
    ),
}
