"""Priors p(z), and what it costs a posterior to differ from the standard normal one."""

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


def standard_normal(latent_dim: int) -> tfd.Distribution:
    """Return p(z) = N(0, I), a distribution over vectors of shape (latent_dim,)."""
    return tfd.Independent(tfd.Normal(tf.zeros(latent_dim), 1.0), 1)


def kl_to_standard_normal(z_mean: tf.Tensor, z_log_var: tf.Tensor) -> tf.Tensor:
    """KL(N(z_mean, exp(z_log_var)) || N(0, I)) of each image in nats: a sum over the dimensions.

    Kingma & Welling 2013, appendix B. Built in lesson 02.

    Parameters
    ----------
    z_mean, z_log_var : tf.Tensor
        Shape (batch, latent).

    Returns
    -------
    tf.Tensor
        Shape (batch,), never negative.
    """
    per_dim = 0.5 * (tf.square(z_mean) + tf.exp(z_log_var) - z_log_var - 1.0)  # (batch, latent)
    return tf.reduce_sum(per_dim, axis=-1)
