"""Right and wrong answers to the exercises of lesson 02."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from exercise_answers import Answers

tfd = tfp.distributions
PIXELS = (1, 2, 3)


def log_prob_softplus(x, logits):
    return tf.reduce_sum(x * logits - tf.nn.softplus(logits), axis=PIXELS)


def log_prob_keras_style(x, logits):
    return -tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(x, logits), axis=PIXELS)


def log_prob_numpy(x, logits):
    sign = 1 - 2 * np.asarray(x, np.float64)
    return -np.logaddexp(0, sign * np.asarray(logits)).reshape(len(sign), -1).sum(axis=1)


def log_prob_tfp(x, logits):
    return tfd.Independent(tfd.Bernoulli(logits=logits), 3).log_prob(x)


def log_prob_ignores_x(x, logits):
    return -tf.reduce_sum(tf.nn.softplus(logits), axis=PIXELS)


def log_prob_mean(x, logits):
    return tf.reduce_mean(x * logits - tf.nn.softplus(logits), axis=PIXELS)


def log_prob_naive(x, logits):
    y = tf.sigmoid(logits)
    return tf.reduce_sum(x * tf.math.log(y) + (1 - x) * tf.math.log(1 - y), axis=PIXELS)


def log_prob_clipped(x, logits):
    y = tf.clip_by_value(tf.sigmoid(logits), 1e-7, 1 - 1e-7)
    return tf.reduce_sum(x * tf.math.log(y) + (1 - x) * tf.math.log(1 - y), axis=PIXELS)


def log_prob_whole_batch(x, logits):
    return tf.reduce_sum(x * logits - tf.nn.softplus(logits))


def log_prob_exchanged(x, logits):
    return tf.reduce_sum((1 - x) * logits - tf.nn.softplus(logits), axis=PIXELS)


def log_prob_loss(x, logits):
    return -log_prob_softplus(x, logits)


def log_prob_constant(x, logits):
    return tf.fill((len(x),), -4 * np.log(2.0))


def log_prob_over_batch(x, logits):
    return log_prob_softplus(x, logits) / len(x)


def draw_half(z_mean, z_log_precision, eps):
    return z_mean + tf.exp(-0.5 * z_log_precision) * eps


def draw_root(z_mean, z_log_precision, eps):
    return np.asarray(z_mean) + np.asarray(eps) / np.sqrt(np.exp(z_log_precision))


def draw_variance(z_mean, z_log_precision, eps):
    return z_mean + tf.exp(-z_log_precision) * eps


def draw_precision(z_mean, z_log_precision, eps):
    return z_mean + tf.exp(z_log_precision) * eps


def draw_wrong_sign(z_mean, z_log_precision, eps):
    return z_mean + tf.exp(0.5 * z_log_precision) * eps


def draw_logarithm(z_mean, z_log_precision, eps):
    return z_mean - 0.5 * z_log_precision * eps


def draw_unit(z_mean, z_log_precision, eps):
    return z_mean + eps


def draw_no_noise(z_mean, z_log_precision, eps):
    return z_mean


def draw_one_dimension(z_mean, z_log_precision, eps):
    return z_mean[:, :1] + tf.exp(-0.5 * z_log_precision[:, :1]) * eps[:, :1]


def draw_no_return(z_mean, z_log_precision, eps):
    z_mean + tf.exp(-0.5 * z_log_precision) * eps


def kl_formula(mean, log_var, prior_mean, prior_log_var):
    ratio = (tf.exp(log_var) + (mean - prior_mean) ** 2) / tf.exp(prior_log_var)
    return 0.5 * tf.reduce_sum(prior_log_var - log_var + ratio - 1.0, axis=-1)


def kl_tfp(mean, log_var, prior_mean, prior_log_var):
    q = tfd.MultivariateNormalDiag(mean, tf.exp(0.5 * log_var))
    return q.kl_divergence(tfd.MultivariateNormalDiag(prior_mean, tf.exp(0.5 * prior_log_var)))


def kl_loop(mean, log_var, prior_mean, prior_log_var):
    mean, log_var, m, log_s = map(np.asarray, (mean, log_var, prior_mean, prior_log_var))
    total = np.zeros(len(mean))
    for k in range(mean.shape[1]):
        square = (mean[:, k] - m[:, k]) ** 2
        total += 0.5 * (log_s[:, k] - log_var[:, k] - 1)
        total += 0.5 * (np.exp(log_var[:, k]) + square) / np.exp(log_s[:, k])
    return total


def kl_exchanged(mean, log_var, prior_mean, prior_log_var):
    return kl_formula(prior_mean, prior_log_var, mean, log_var)


def kl_mean(mean, log_var, prior_mean, prior_log_var):
    return kl_formula(mean, log_var, prior_mean, prior_log_var) / mean.shape[-1]


def kl_standard_normal(mean, log_var, prior_mean, prior_log_var):
    return kl_formula(mean, log_var, tf.zeros_like(mean), tf.zeros_like(mean))


def kl_undivided(mean, log_var, prior_mean, prior_log_var):
    ratio = tf.exp(log_var) + (mean - prior_mean) ** 2
    return 0.5 * tf.reduce_sum(prior_log_var - log_var + ratio - 1.0, axis=-1)


def kl_half_divided(mean, log_var, prior_mean, prior_log_var):
    ratio = tf.exp(log_var - prior_log_var) + (mean - prior_mean) ** 2
    return 0.5 * tf.reduce_sum(prior_log_var - log_var + ratio - 1.0, axis=-1)


def kl_without_half(mean, log_var, prior_mean, prior_log_var):
    return 2 * kl_formula(mean, log_var, prior_mean, prior_log_var)


def kl_each_dimension(mean, log_var, prior_mean, prior_log_var):
    ratio = (tf.exp(log_var) + (mean - prior_mean) ** 2) / tf.exp(prior_log_var)
    return 0.5 * (prior_log_var - log_var + ratio - 1.0)


def _arc(a, b, t, cosine):
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def slerp_formula(a, b, t):
    return _arc(a, b, t, np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def slerp_half_angle(a, b, t):
    """The angle from the chord between the unit vectors, in tensors and single precision."""
    a, b = tf.constant(a, tf.float32), tf.constant(b, tf.float32)
    chord = tf.norm(a / tf.norm(a) - b / tf.norm(b))
    angle = 2 * tf.asin(chord / 2)
    return tf.sin((1 - t) * angle) / tf.sin(angle) * a + tf.sin(t * angle) / tf.sin(angle) * b


def slerp_straight(a, b, t):
    return (1 - t) * a + t * b


def slerp_exchanged(a, b, t):
    return slerp_formula(b, a, t)


def slerp_right_angle(a, b, t):
    return np.cos(t * np.pi / 2) * a + np.sin(t * np.pi / 2) * b


def slerp_unit_codes_only(a, b, t):
    return _arc(a, b, t, np.dot(a, b))


def slerp_on_unit_sphere(a, b, t):
    return slerp_formula(a / np.linalg.norm(a), b / np.linalg.norm(b), t)


def slerp_middle(a, b, t):
    return slerp_formula(a, b, 0.5)


def slerp_in_degrees(a, b, t):
    cosine = np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
    angle = np.degrees(np.arccos(cosine))
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def slerp_not_divided(a, b, t):
    cosine = np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
    angle = np.arccos(cosine)
    return np.sin((1 - t) * angle) * a + np.sin(t * angle) * b


ANSWERS = {
    "02.1": Answers(right=["b", " B "], wrong=["a", "c", "d", 2, ["b"]]),
    "02.2": Answers(right=["c", "C"], wrong=["a", "b", "A", 0, "both"]),
    "02.3": Answers(
        right=[log_prob_softplus, log_prob_keras_style, log_prob_numpy, log_prob_tfp],
        wrong=[
            log_prob_ignores_x,
            log_prob_mean,
            log_prob_naive,
            log_prob_clipped,
            log_prob_whole_batch,
            log_prob_exchanged,
            log_prob_loss,
            log_prob_constant,
            log_prob_over_batch,
            -2.773,
        ],
    ),
    "02.4": Answers(
        right=[draw_half, draw_root],
        wrong=[
            draw_variance,
            draw_precision,
            draw_wrong_sign,
            draw_logarithm,
            draw_unit,
            draw_no_noise,
            draw_one_dimension,
            draw_no_return,
            "exp(-0.5 * z_log_precision)",
        ],
    ),
    "02.5": Answers(
        right=[kl_formula, kl_tfp, kl_loop],
        wrong=[
            kl_exchanged,
            kl_mean,
            kl_standard_normal,
            kl_undivided,
            kl_half_divided,
            kl_without_half,
            kl_each_dimension,
            0.443,
        ],
    ),
    "02.6": Answers(
        right=[slerp_formula, slerp_half_angle],
        wrong=[
            slerp_straight,
            slerp_exchanged,
            slerp_right_angle,
            slerp_unit_codes_only,
            slerp_on_unit_sphere,
            slerp_middle,
            slerp_in_degrees,
            slerp_not_divided,
            np.zeros(2),
        ],
    ),
}
