"""Right and wrong answers to the exercises of lesson 03."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from exercise_answers import Answers

tfd = tfp.distributions


def sizes_formula(width, channels, filters, kernel, stride):
    return (width - kernel) // stride + 1, (kernel * kernel * channels + 1) * filters


def sizes_counted(width, channels, filters, kernel, stride):
    places = len(range(0, width - kernel + 1, stride))
    return [places, np.ones((kernel, kernel, channels, filters)).size + filters]


def sizes_asked_of_keras(width, channels, filters, kernel, stride):
    layer = keras.layers.Conv2D(filters, kernel, stride)
    layer.build((1, width, width, channels))
    return layer.compute_output_shape((1, width, width, channels))[1], layer.count_params()


def sizes_of_the_first_line(width, channels, filters, kernel, stride):
    return width // stride, kernel * filters


def sizes_same(width, channels, filters, kernel, stride):
    return -(-width // stride), kernel**2 * channels * filters + filters


def sizes_without_the_first_place(width, channels, filters, kernel, stride):
    return (width - kernel) // stride, kernel**2 * channels * filters + filters


def sizes_no_bias(width, channels, filters, kernel, stride):
    return (width - kernel) // stride + 1, kernel**2 * channels * filters


def sizes_no_channels(width, channels, filters, kernel, stride):
    return (width - kernel) // stride + 1, kernel**2 * filters + filters


def sizes_flat_kernel(width, channels, filters, kernel, stride):
    return (width - kernel) // stride + 1, kernel * channels * filters + filters


def sizes_kernel_3(width, channels, filters, kernel, stride):
    return (width - 3) // stride + 1, 9 * channels * filters + filters


def sizes_of_all_places(width, channels, filters, kernel, stride):
    size = (width - kernel) // stride + 1
    return size, (kernel**2 * channels * filters + filters) * size**2


def sizes_fraction(width, channels, filters, kernel, stride):
    return (width - kernel) / stride + 1, kernel**2 * channels * filters + filters


def sizes_one_number(width, channels, filters, kernel, stride):
    return (width - kernel) // stride + 1


def sizes_constant(width, channels, filters, kernel, stride):
    return 13, 320


def _standard(z):
    return tfd.MultivariateNormalDiag(tf.zeros_like(z), tf.ones_like(z))


def _posterior(z_mean, z_log_var):
    return tfd.MultivariateNormalDiag(z_mean, tf.exp(0.5 * z_log_var))


def _each(z, centres):
    """Log-density of every z (batch, latent) around every centre, (batch, centres)."""
    return tfd.MultivariateNormalDiag(centres, tf.ones_like(centres)).log_prob(z[:, None])


def elbo_log_sum_exp(log_px_z, z, z_mean, z_log_var, centres):
    log_pz = tf.reduce_logsumexp(_each(z, centres), axis=1) - np.log(len(centres))
    return log_px_z + log_pz - _posterior(z_mean, z_log_var).log_prob(z)


def elbo_tfp_mixture(log_px_z, z, z_mean, z_log_var, centres):
    prior = tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros(len(centres))),
        tfd.MultivariateNormalDiag(centres, tf.ones_like(centres)),
    )
    return log_px_z + prior.log_prob(z) - _posterior(z_mean, z_log_var).log_prob(z)


def elbo_landing(log_px_z, z, z_mean, z_log_var, centres):
    """Right, and without the score in its gradient, as in exercise 4."""
    frozen = tf.stop_gradient(z_mean), tf.stop_gradient(z_log_var)
    return elbo_log_sum_exp(log_px_z, z, *frozen, centres)


def elbo_numpy(log_px_z, z, z_mean, z_log_var, centres):
    """The right values, and no gradient."""
    return elbo_log_sum_exp(log_px_z, z, z_mean, z_log_var, centres).numpy()


def elbo_by_way_of_numpy(log_px_z, z, z_mean, z_log_var, centres):
    """A tensor with the right values, and no gradient."""
    return tf.constant(elbo_numpy(log_px_z, z, z_mean, z_log_var, centres))


def elbo_numpy_prior(log_px_z, z, z_mean, z_log_var, centres):
    """The right values; no gradient passes through the prior."""
    log_pz = np.logaddexp.reduce(_each(z, centres).numpy(), axis=1) - np.log(len(centres))
    return log_px_z + log_pz - _posterior(z_mean, z_log_var).log_prob(z)


def elbo_stopped(log_px_z, z, z_mean, z_log_var, centres):
    return tf.stop_gradient(elbo_log_sum_exp(log_px_z, z, z_mean, z_log_var, centres))


def elbo_reconstruction_stopped(log_px_z, z, z_mean, z_log_var, centres):
    return elbo_log_sum_exp(tf.stop_gradient(log_px_z), z, z_mean, z_log_var, centres)


def elbo_q_stopped(log_px_z, z, z_mean, z_log_var, centres):
    log_q = _posterior(z_mean, z_log_var).log_prob(z)
    elbo = elbo_log_sum_exp(log_px_z, z, z_mean, z_log_var, centres)
    return elbo + log_q - tf.stop_gradient(log_q)


def elbo_standard_normal(log_px_z, z, z_mean, z_log_var, centres):
    return log_px_z + _standard(z).log_prob(z) - _posterior(z_mean, z_log_var).log_prob(z)


def elbo_without_weights(log_px_z, z, z_mean, z_log_var, centres):
    log_pz = tf.reduce_logsumexp(_each(z, centres), axis=1)
    return log_px_z + log_pz - _posterior(z_mean, z_log_var).log_prob(z)


def elbo_averaged_logs(log_px_z, z, z_mean, z_log_var, centres):
    log_pz = tf.reduce_mean(_each(z, centres), axis=1)
    return log_px_z + log_pz - _posterior(z_mean, z_log_var).log_prob(z)


def elbo_naive(log_px_z, z, z_mean, z_log_var, centres):
    log_pz = tf.math.log(tf.reduce_mean(tf.exp(_each(z, centres)), axis=1))
    return log_px_z + log_pz - _posterior(z_mean, z_log_var).log_prob(z)


def elbo_nearest(log_px_z, z, z_mean, z_log_var, centres):
    log_pz = tf.reduce_max(_each(z, centres), axis=1) - np.log(len(centres))
    return log_px_z + log_pz - _posterior(z_mean, z_log_var).log_prob(z)


def elbo_middle_centre(log_px_z, z, z_mean, z_log_var, centres):
    return elbo_standard_normal(
        log_px_z, z - tf.reduce_mean(centres, 0), z_mean - tf.reduce_mean(centres, 0), z_log_var, 0
    )


def elbo_wrong_sign(log_px_z, z, z_mean, z_log_var, centres):
    log_pz = tf.reduce_logsumexp(_each(z, centres), axis=1) - np.log(len(centres))
    return log_px_z + log_pz + _posterior(z_mean, z_log_var).log_prob(z)


def elbo_without_q(log_px_z, z, z_mean, z_log_var, centres):
    return log_px_z + tf.reduce_logsumexp(_each(z, centres), axis=1) - np.log(len(centres))


def elbo_each_centre(log_px_z, z, z_mean, z_log_var, centres):
    return _each(z, centres)


def _draw(z_mean, z_log_var, eps):
    return z_mean + tf.exp(0.5 * z_log_var) * eps


def _log_q(z, z_mean, z_log_var):
    per_dim = np.log(2 * np.pi) + z_log_var + (z - z_mean) ** 2 * tf.exp(-z_log_var)
    return -0.5 * tf.reduce_sum(per_dim, axis=-1)


def stl_frozen_density(log_joint, z_mean, z_log_var, eps):
    z = _draw(z_mean, z_log_var, eps)
    q = _posterior(tf.stop_gradient(z_mean), tf.stop_gradient(z_log_var))
    return log_joint(z) - q.log_prob(z)


def stl_score_subtracted(log_joint, z_mean, z_log_var, eps):
    z = _draw(z_mean, z_log_var, eps)
    score = _log_q(tf.stop_gradient(z), z_mean, z_log_var)  # its gradient is the direct part
    return log_joint(z) - _log_q(z, z_mean, z_log_var) + score - tf.stop_gradient(score)


def stl_by_hand(log_joint, z_mean, z_log_var, eps):
    z = _draw(z_mean, z_log_var, eps)
    frozen = [tf.stop_gradient(part) for part in (z_mean, z_log_var)]
    return log_joint(z) - _log_q(z, *frozen)


def stl_not_at_all(log_joint, z_mean, z_log_var, eps):
    z = _draw(z_mean, z_log_var, eps)
    return log_joint(z) - _log_q(z, z_mean, z_log_var)


def stl_whole_density_stopped(log_joint, z_mean, z_log_var, eps):
    z = _draw(z_mean, z_log_var, eps)
    return log_joint(z) - tf.stop_gradient(_log_q(z, z_mean, z_log_var))


def stl_draw_stopped(log_joint, z_mean, z_log_var, eps):
    z = tf.stop_gradient(_draw(z_mean, z_log_var, eps))
    return log_joint(z) - _log_q(z, z_mean, z_log_var)


def stl_everything_stopped(log_joint, z_mean, z_log_var, eps):
    return tf.stop_gradient(stl_not_at_all(log_joint, z_mean, z_log_var, eps))


def stl_mean_only(log_joint, z_mean, z_log_var, eps):
    z = _draw(z_mean, z_log_var, eps)
    return log_joint(z) - _log_q(z, tf.stop_gradient(z_mean), z_log_var)


def stl_without_q(log_joint, z_mean, z_log_var, eps):
    return log_joint(_draw(z_mean, z_log_var, eps))


def stl_variance_for_deviation(log_joint, z_mean, z_log_var, eps):
    z = z_mean + tf.exp(z_log_var) * eps
    return log_joint(z) - _log_q(z, tf.stop_gradient(z_mean), tf.stop_gradient(z_log_var))


def stl_ignores_eps(log_joint, z_mean, z_log_var, eps):
    z = z_mean + 0.0 * z_log_var
    return log_joint(z) - _log_q(z, tf.stop_gradient(z_mean), tf.stop_gradient(z_log_var))


def stl_numpy(log_joint, z_mean, z_log_var, eps):
    return stl_not_at_all(log_joint, z_mean, z_log_var, eps).numpy()


def stl_constant(log_joint, z_mean, z_log_var, eps):
    return tf.zeros(len(eps))


C, M = "closed", "monte carlo"
ANSWERS = {
    "03.1": Answers(
        right=[sizes_formula, sizes_counted, sizes_asked_of_keras],
        wrong=[
            sizes_of_the_first_line,
            sizes_same,
            sizes_without_the_first_place,
            sizes_no_bias,
            sizes_no_channels,
            sizes_flat_kernel,
            sizes_kernel_3,
            sizes_of_all_places,
            sizes_fraction,
            sizes_one_number,
            sizes_constant,
            (13, 320),
        ],
    ),
    "03.2": Answers(
        right=[
            (C, C, M, M, C),
            ["Closed", "closed ", "Monte Carlo", "monte-carlo", "closed"],
            (C, C, "monte_carlo", "monte_carlo", C),
        ],
        wrong=[
            (M, M, M, M, M),
            (C, C, C, C, C),
            (C, C, M, M, M),
            (C, M, M, M, C),
            (C, C, M, C, C),
            (M, C, M, M, C),
            (M, M, C, M, M),
            (C, C, M),
            (C, C, M, M, "stl"),
            (1, 2, 3, 4, 5),
            "closed",
            0.5,
        ],
    ),
    "03.3": Answers(
        right=[elbo_log_sum_exp, elbo_tfp_mixture, elbo_landing],
        wrong=[
            elbo_standard_normal,
            elbo_without_weights,
            elbo_averaged_logs,
            elbo_naive,
            elbo_nearest,
            elbo_middle_centre,
            elbo_wrong_sign,
            elbo_without_q,
            elbo_each_centre,
            elbo_numpy,
            elbo_by_way_of_numpy,
            elbo_numpy_prior,
            elbo_stopped,
            elbo_reconstruction_stopped,
            elbo_q_stopped,
            -101.5,
        ],
    ),
    "03.4": Answers(
        right=[stl_frozen_density, stl_score_subtracted, stl_by_hand],
        wrong=[
            stl_not_at_all,
            stl_whole_density_stopped,
            stl_draw_stopped,
            stl_everything_stopped,
            stl_mean_only,
            stl_without_q,
            stl_variance_for_deviation,
            stl_ignores_eps,
            stl_numpy,
            stl_constant,
            -7.0,
        ],
    ),
}
