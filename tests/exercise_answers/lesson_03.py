"""Right and wrong answers to the exercises of lesson 03."""

import math

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from exercise_answers import Answers

tfd = tfp.distributions


def width_formula(width, kernel, stride):
    return (width - kernel) // stride + 1


def width_counted(width, kernel, stride):
    return len(range(0, width - kernel + 1, stride))


def width_asked_of_keras(width, kernel, stride):
    layer = keras.layers.MaxPooling1D(kernel, stride)
    return layer.compute_output_shape((1, width, 1))[1]


def width_of_the_first_line(width, kernel, stride):
    return width // stride


def width_without_the_first_place(width, kernel, stride):
    return (width - kernel) // stride


def width_same(width, kernel, stride):
    return -(-width // stride)


def width_kernel_3(width, kernel, stride):
    return (width - 3) // stride + 1


def width_stride_1(width, kernel, stride):
    return width - kernel + 1


def width_rounded_up(width, kernel, stride):
    return math.ceil((width - kernel) / stride) + 1


def width_fraction(width, kernel, stride):
    return (width - kernel) / stride + 1


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


def bits_tensors(kl, allowance):
    return tf.reduce_sum(tf.maximum(tf.reduce_mean(kl, axis=0), allowance))


def bits_loop(kl, allowance):
    return sum(max(float(allowance), float(column.mean())) for column in np.asarray(kl).T)


def bits_hinge(kl, allowance):
    return float(np.sum(allowance + tf.nn.relu(np.mean(kl, axis=0) - allowance)))


def bits_hard_coded(kl, allowance):
    return bits_tensors(kl, 0.5)


def bits_maximum_first(kl, allowance):
    return tf.reduce_sum(tf.reduce_mean(tf.maximum(kl, allowance), axis=0))


def bits_no_allowance(kl, allowance):
    return tf.reduce_sum(tf.reduce_mean(kl, axis=0))


def bits_no_sum(kl, allowance):
    return tf.maximum(tf.reduce_mean(kl, axis=0), allowance)


def bits_discount(kl, allowance):
    return tf.reduce_sum(tf.nn.relu(tf.reduce_mean(kl, axis=0) - allowance))


def bits_averaged(kl, allowance):
    return tf.reduce_mean(tf.maximum(tf.reduce_mean(kl, axis=0), allowance))


def bits_summed_batch(kl, allowance):
    return tf.reduce_sum(tf.maximum(tf.reduce_sum(kl, axis=0), allowance))


def bits_one_allowance(kl, allowance):
    return tf.maximum(tf.reduce_sum(tf.reduce_mean(kl, axis=0)), allowance)


def bits_minimum(kl, allowance):
    return tf.reduce_sum(tf.minimum(tf.reduce_mean(kl, axis=0), allowance))


def bits_constant(kl, allowance):
    return 4.0


ANSWERS = {
    "03.1": Answers(
        right=[0.16, tfd.Normal(2.0, 1.0).cdf(1.0), np.float32(0.1587)],
        wrong=[0.0, 0, 0.3085, 0.5, 0.8413, 15.87, 1.0, "b", [0.16]],
    ),
    "03.2": Answers(
        right=[width_formula, width_counted, width_asked_of_keras],
        wrong=[
            width_of_the_first_line,
            width_without_the_first_place,
            width_same,
            width_kernel_3,
            width_stride_1,
            width_rounded_up,
            width_fraction,
            26,
        ],
    ),
    "03.3": Answers(
        right=[elbo_log_sum_exp, elbo_tfp_mixture],
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
            -101.5,
        ],
    ),
    "03.4": Answers(
        right=[bits_tensors, bits_loop, bits_hinge],
        wrong=[
            bits_hard_coded,
            bits_maximum_first,
            bits_no_allowance,
            bits_no_sum,
            bits_discount,
            bits_averaged,
            bits_summed_batch,
            bits_one_allowance,
            bits_minimum,
            bits_constant,
            4.0,
        ],
    ),
}
