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


def log_prob_double(x, logits):
    x, logits = tf.cast(x, tf.float64), tf.cast(logits, tf.float64)
    return tf.reduce_sum(x * logits - tf.math.log(1 + tf.exp(logits)), axis=PIXELS)


def log_prob_clipped_logits(x, logits):
    return log_prob_softplus(x, tf.clip_by_value(logits, -200.0, 200.0))


def log_prob_widely_clipped_logits(x, logits):
    return log_prob_softplus(x, tf.clip_by_value(logits, -10_000.0, 10_000.0))


def log_prob_very_widely_clipped_logits(x, logits):
    return log_prob_softplus(x, tf.clip_by_value(logits, -1e6, 1e6))


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


def terms(draw, kl):
    """Return an answer to 02.2 made of its two lines."""

    def both(z_mean, z_log_precision, eps):
        return draw(z_mean, z_log_precision, eps), kl(z_mean, z_log_precision)

    return both


def draw_half(z_mean, z_log_precision, eps):
    return z_mean + tf.exp(-0.5 * z_log_precision) * eps


def draw_root(z_mean, z_log_precision, eps):
    return np.asarray(z_mean) + np.asarray(eps) / np.sqrt(np.exp(z_log_precision))


def draw_as_log_variance(z_mean, z_log_precision, eps):
    return z_mean + tf.exp(0.5 * z_log_precision) * eps


def draw_variance(z_mean, z_log_precision, eps):
    return z_mean + tf.exp(-z_log_precision) * eps


def draw_unit(z_mean, z_log_precision, eps):
    return z_mean + eps


def draw_no_noise(z_mean, z_log_precision, eps):
    return z_mean


def precision_kl(z_mean, z_log_precision):
    per_dim = z_mean**2 + tf.exp(-z_log_precision) + z_log_precision - 1
    return 0.5 * tf.reduce_sum(per_dim, axis=-1)


def precision_kl_tfp(z_mean, z_log_precision):
    q = tfd.Normal(z_mean, tf.exp(-0.5 * z_log_precision))
    return tf.reduce_sum(q.kl_divergence(tfd.Normal(0.0, 1.0)), axis=-1)


def precision_kl_unchanged(z_mean, z_log_precision):
    return precision_kl(z_mean, -z_log_precision)


def precision_kl_half_mended(z_mean, z_log_precision):
    per_dim = z_mean**2 + tf.exp(-z_log_precision) - z_log_precision - 1
    return 0.5 * tf.reduce_sum(per_dim, axis=-1)


def precision_kl_logarithm_only(z_mean, z_log_precision):
    per_dim = z_mean**2 + tf.exp(z_log_precision) + z_log_precision - 1
    return 0.5 * tf.reduce_sum(per_dim, axis=-1)


def precision_kl_mean(z_mean, z_log_precision):
    return precision_kl(z_mean, z_log_precision) / z_mean.shape[-1]


def precision_kl_over_batch(z_mean, z_log_precision):
    return tf.reduce_mean(precision_kl(z_mean, z_log_precision))


def no_return(z_mean, z_log_precision, eps):
    terms(draw_half, precision_kl)(z_mean, z_log_precision, eps)


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


RIGHT_DIRECTIONS = {"reconstruction": "up", "kl": "up", "elbo": "down", "log_px": "same"}


def directions(**changed):
    return RIGHT_DIRECTIONS | changed


ANSWERS = {
    "02.1": Answers(
        right=[
            RIGHT_DIRECTIONS,
            {"KL": " Up", "ELBO": "DOWN", "log_px": "same", "reconstruction": "up"},
        ],
        wrong=[
            directions(reconstruction="same"),
            directions(kl="down"),
            directions(kl="same"),
            directions(elbo="up"),
            directions(elbo="same"),
            directions(log_px="down"),
            directions(log_px="higher"),
            dict.fromkeys(RIGHT_DIRECTIONS, "up"),
            {"reconstruction": "up"},
            ("up", "up", "down", "same"),
            "up, up, down, same",
        ],
    ),
    "02.2": Answers(
        right=[terms(draw_half, precision_kl), terms(draw_root, precision_kl_tfp)],
        wrong=[
            terms(draw_as_log_variance, precision_kl_unchanged),  # as it stands in the lesson
            terms(draw_half, precision_kl_unchanged),
            terms(draw_as_log_variance, precision_kl),
            terms(draw_variance, precision_kl),
            terms(draw_unit, precision_kl),
            terms(draw_no_noise, precision_kl),
            terms(draw_half, precision_kl_half_mended),
            terms(draw_half, precision_kl_logarithm_only),
            terms(draw_half, precision_kl_mean),
            terms(draw_half, precision_kl_over_batch),
            draw_half,
            no_return,
            "exp(-0.5 * z_log_precision)",
        ],
    ),
    "02.3": Answers(
        right=[log_prob_softplus, log_prob_keras_style, log_prob_numpy, log_prob_tfp],
        wrong=[
            log_prob_ignores_x,
            log_prob_mean,
            log_prob_naive,
            log_prob_clipped,
            log_prob_double,
            log_prob_clipped_logits,
            log_prob_widely_clipped_logits,
            log_prob_very_widely_clipped_logits,
            log_prob_whole_batch,
            log_prob_exchanged,
            log_prob_loss,
            log_prob_constant,
            log_prob_over_batch,
            -2.773,
        ],
    ),
    "02.4": Answers(
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
}
