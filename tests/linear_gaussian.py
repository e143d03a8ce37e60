"""A VAE whose log p(x) is known exactly: probabilistic PCA (Tipping & Bishop 1999)."""

import keras
import numpy as np
import tensorflow as tf

from helpers.vae import VAE

SHAPE, LATENT, SIGMA = (2, 3, 1), 2, 0.5
MEAN = np.full(6, 0.5)
# Orthogonal columns make the exact posterior diagonal, so that the family contains it.
W = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, -1, 1]]).T * [0.6, 0.3]


class LinearEncoder(keras.Model):
    """The exact posterior, its mean moved and its log-variance shifted by request."""

    def __init__(self, mean_shift=0.0, log_var_shift=0.0):
        super().__init__()
        m = W.T @ W + SIGMA**2 * np.eye(LATENT)
        self.gain = tf.constant((np.linalg.inv(m) @ W.T).T, tf.float32)  # (pixels, latent)
        log_var = np.log(SIGMA**2 / np.diag(m)) + log_var_shift
        self.log_var, self.shift = tf.constant(log_var, tf.float32), mean_shift
        self.built = True

    def call(self, x):
        mean = (tf.reshape(x, (-1, 6)) - tf.constant(MEAN, tf.float32)) @ self.gain + self.shift
        return mean, self.log_var + tf.zeros_like(mean)


class LinearDecoder(keras.Model):
    def __init__(self):
        super().__init__()
        self.built = True

    def call(self, z):
        mean = z @ tf.constant(W.T, tf.float32) + tf.constant(MEAN, tf.float32)
        mean = tf.reshape(mean, (-1, *SHAPE))
        return mean, tf.fill(tf.shape(mean), 2 * tf.math.log(SIGMA))


def linear_vae(mean_shift=0.0, log_var_shift=0.0, **kwargs):
    encoder = LinearEncoder(mean_shift, log_var_shift)
    return VAE(
        LATENT, SHAPE, encoder=encoder, decoder=LinearDecoder(), likelihood="gaussian", **kwargs
    )


def exact_log_px(x):
    """log N(x; mean, W W^T + sigma^2 I) of each image, nats."""
    cov = W @ W.T + SIGMA**2 * np.eye(6)
    d = np.reshape(x, (-1, 6)).astype(float) - MEAN
    mahalanobis = np.einsum("ni,ij,nj->n", d, np.linalg.inv(cov), d)
    return -0.5 * (mahalanobis + np.linalg.slogdet(2 * np.pi * cov)[1])


def images(n=40, seed=0):
    return np.random.default_rng(seed).random((n, *SHAPE)).astype("float32")
