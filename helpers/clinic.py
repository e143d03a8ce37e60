"""Sick twins of the VAE: each makes one well-known mistake. Built in lesson 08.

They are here so that the study that trained them, the lesson that shows them and the exercise that
examines them take them from one place. None of them is of use for anything else.
"""

import numpy as np
import tensorflow as tf

from helpers.priors import kl_to_standard_normal
from helpers.vae import VAE


class MeanPixels(VAE):
    """The loss averages over the pixels, and sums the KL over the latent dimensions."""

    def elbo_terms(self, x: tf.Tensor, *, seed: tf.Tensor, training: bool = False) -> tuple:
        log_px_z, kl = super().elbo_terms(x, seed=seed, training=training)
        return log_px_z / 784, kl


class MeanKL(VAE):
    """The loss sums over the pixels, and averages the KL over the latent dimensions."""

    def elbo_terms(self, x: tf.Tensor, *, seed: tf.Tensor, training: bool = False) -> tuple:
        log_px_z, kl = super().elbo_terms(x, seed=seed, training=training)
        return log_px_z, kl / self.latent_dim


class MeanBoth(VAE):
    """The loss averages both: over the pixels, and over the latent dimensions."""

    def elbo_terms(self, x: tf.Tensor, *, seed: tf.Tensor, training: bool = False) -> tuple:
        log_px_z, kl = super().elbo_terms(x, seed=seed, training=training)
        return log_px_z / 784, kl / self.latent_dim


class HeavyKL(VAE):
    """The KL counts ten times."""

    def elbo_terms(self, x: tf.Tensor, *, seed: tf.Tensor, training: bool = False) -> tuple:
        log_px_z, kl = super().elbo_terms(x, seed=seed, training=training)
        return log_px_z, 10 * kl


class SquaredError(VAE):
    """The loss is the sum of squared errors and the KL."""

    def elbo_terms(self, x: tf.Tensor, *, seed: tf.Tensor, training: bool = False) -> tuple:
        q = self.posterior(x, training=training)
        x_hat = self.likelihood(q.sample(seed=seed), training=training).mean()
        squares = tf.reduce_sum((x - x_hat) ** 2, axis=(1, 2, 3))
        return -squares, kl_to_standard_normal(q.mean(), 2 * tf.math.log(q.stddev()))


class QuietNoise(VAE):
    """The noise of the draw has the standard deviation 1e-4, not 1."""

    def elbo_terms(self, x: tf.Tensor, *, seed: tf.Tensor, training: bool = False) -> tuple:
        z_mean, z_log_var, _ = self.encode(x, training=training)
        eps = 1e-4 * tf.random.stateless_normal(tf.shape(z_mean), seed)
        z = z_mean + tf.exp(0.5 * z_log_var) * eps
        log_px_z = self.likelihood(z, training=training).log_prob(x)
        return log_px_z, kl_to_standard_normal(z_mean, z_log_var)


class VarianceAsSd(VAE):
    """The draw takes the variance, exp(z_log_var), for the standard deviation."""

    def elbo_terms(self, x: tf.Tensor, *, seed: tf.Tensor, training: bool = False) -> tuple:
        z_mean, z_log_var, _ = self.encode(x, training=training)
        eps = tf.random.stateless_normal(tf.shape(z_mean), seed)
        z = z_mean + tf.exp(z_log_var) * eps
        log_px_z = self.likelihood(z, training=training).log_prob(x)
        return log_px_z, kl_to_standard_normal(z_mean, z_log_var)


class SigmoidTwice(VAE):
    """The decoder ends in a sigmoid, and the Bernoulli takes its outputs for logits."""

    def decode(self, z: tf.Tensor, training: bool = False) -> tf.Tensor:
        return tf.sigmoid(super().decode(z, training=training))


class SummedLogDet(VAE):
    """Every image is charged with the log-determinants of the whole batch."""

    def elbo_terms(self, x: tf.Tensor, *, seed: tf.Tensor, training: bool = False) -> tuple:
        context = self.encode(x, training=training)[2]
        q_0 = self.posterior(x, training=training).base
        z_0, log_q_0 = q_0.experimental_sample_and_log_prob(seed=seed)
        z, log_det = self.flow(z_0, context)  # (batch, latent), (batch,)
        log_qz_x = log_q_0 - tf.reduce_sum(log_det)
        log_px_z = self.likelihood(z, training=training).log_prob(x)
        return log_px_z, log_qz_x - self.prior().log_prob(z)


def take_masks_away(vae: VAE) -> VAE:
    """Let every output of the flow's networks see every input."""
    for made in vae.flow.steps:
        made.masks = [np.ones_like(mask) for mask in made.masks]
    return vae
