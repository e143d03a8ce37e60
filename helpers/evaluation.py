"""Scores: importance-weighted likelihood, and what the latents do."""

import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers.data import check_whole


@dataclass(frozen=True)
class LogLikelihood:
    """Importance-weighted estimate of log p(x) for a set of images, in nats.

    `values` (images,) are the estimates, `elbos` (images,) the mean log-weights of the same draws;
    `monte_carlo_error` is the standard error of `mean` that the finite number of samples leaves
    (delta method).
    """

    values: np.ndarray
    elbos: np.ndarray
    seconds: float
    monte_carlo_error: float

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def elbo(self) -> float:
        return float(self.elbos.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `mean` over the images: what another test set would change."""
        n = len(self.values)
        return float(self.values.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0


def log_importance_weights(vae, x, num_samples: int, seed) -> tf.Tensor:
    """Return log p(x|z) + log p(z) - log q(z|x) for draws z ~ q(z|x).

    Burda et al. 2015, eq. 8. Built in notebook 02.

    Parameters
    ----------
    vae : helpers.vae.VAE
    x : tf.Tensor
        Shape (batch, height, width, channels).
    num_samples : int
        Draws for each image.
    seed : pair of int

    Returns
    -------
    tf.Tensor
        Shape (num_samples, batch), nats.
    """
    q = vae.posterior(x)
    z, log_qz_x = q.experimental_sample_and_log_prob(num_samples, seed=seed)
    log_px_z = vae.likelihood(z).log_prob(x)  # (samples, batch)
    return log_px_z + vae.prior().log_prob(z) - log_qz_x


def log_likelihood(vae, x, num_samples: int, *, seed: int = 0, max_rows=2048) -> LogLikelihood:
    """Estimate log p(x) of each image with S = `num_samples` >= 1 importance samples.

    ``log 1/S sum_s w_s`` (Burda et al. 2015, eq. 8), a lower bound in expectation that tightens
    with S. `x` has shape (images, height, width, channels); the same `seed` gives the same draws.
    The log-sum-exp is streamed over chunks of `max_rows` decoder rows, so that memory grows neither
    with S nor with the images.
    """
    check_whole(num_samples=(num_samples, 1), max_rows=(max_rows, 1), seed=(seed, 0))
    vae.check_images(x)
    vae.check_weights()
    x = np.asarray(x, np.float32)
    batch = min(len(x), 16, max_rows)
    chunk = min(num_samples, max(1, max_rows // batch))

    @tf.function
    def update(images, draws, draw_seed, top, total, squares, log_total):
        log_w = log_importance_weights(vae, images, draws, draw_seed)
        new_top = tf.maximum(top, tf.reduce_max(log_w, axis=0))
        w, shrink = tf.exp(log_w - new_top), tf.exp(top - new_top)
        total = total * shrink + tf.reduce_sum(w, axis=0)
        squares = squares * tf.square(shrink) + tf.reduce_sum(tf.square(w), axis=0)
        return new_top, total, squares, log_total + tf.reduce_sum(log_w, axis=0)

    values, elbos, variances, start = [], [], [], time.perf_counter()
    for first in range(0, len(x), batch):
        images = x[first : first + batch]
        images = tf.constant(np.resize(images, (batch, *images.shape[1:])))  # one shape, one trace
        state = tf.fill((batch,), -np.inf), *(tf.zeros(batch) for _ in range(3))
        for done in range(0, num_samples, chunk):
            # Tensors, not numbers: a Python number would trace the function anew for each value.
            draw_seed = tf.constant([seed, first * 100_003 + done])
            state = update(images, min(chunk, num_samples - done), draw_seed, *state)
        top, total, squares, log_total = (s.numpy()[: len(x) - first] for s in state)
        values.append(top + np.log(total / num_samples))
        elbos.append(log_total / num_samples)
        variances.append(np.maximum(squares / total**2 - 1 / num_samples, 0.0))
    error = float(np.sqrt(np.concatenate(variances).sum()) / len(x))
    seconds = time.perf_counter() - start
    return LogLikelihood(np.concatenate(values), np.concatenate(elbos), seconds, error)


def posterior_moments(vae, x, batch_size: int = 1000, *, grey: bool = False):
    """Return the posterior means and log-variances, each an array of shape (images, latent).

    With a flow: what it makes of the mean of its base, and the log-variances of the base. `grey`:
    `x` holds grey values in [0, 1], the means of coin tosses, where the model learnt from tosses.
    """
    if not grey:
        vae.check_images(x)
    check_whole(batch_size=(batch_size, 1))
    triples = [vae.encode(x[i : i + batch_size]) for i in range(0, len(x), batch_size)]
    parts = [(vae.carry(z_mean, context), z_log_var) for z_mean, z_log_var, context in triples]
    return tuple(np.concatenate([np.asarray(p[k]) for p in parts]) for k in (0, 1))


def kl_per_dimension(z_mean, z_log_var) -> np.ndarray:
    """Mean KL of each latent dimension to N(0, 1) over the images, nats, shape (latent,)."""
    z_mean, z_log_var = np.asarray(z_mean, np.float64), np.asarray(z_log_var, np.float64)
    return 0.5 * np.mean(z_mean**2 + np.exp(z_log_var) - z_log_var - 1.0, axis=0)


def active_units(z_mean, threshold: float = 0.01) -> int:
    """Count the columns of z_mean (images, latent) of Var > threshold (Burda et al. 2015, 5.3)."""
    if np.ndim(z_mean) != 2 or not np.size(z_mean) or not np.isfinite(z_mean).all():
        raise ValueError(f"z_mean={z_mean!r}: give finite numbers (images, latent)")
    return int((np.var(np.asarray(z_mean), axis=0) > threshold).sum())


def leave_one_out_accuracy(points, labels, k: int = 10) -> float:
    """Share of the points (n, d) whose class is that of most of their k nearest others.

    `labels` (n,): whole numbers from 0. Euclidean; the lowest of classes with equal votes wins.
    Built in notebook 05.
    """
    labels = np.asarray(labels, np.int64)
    if labels.shape != np.shape(points)[:1]:
        raise ValueError(f"labels {labels.shape} for points {np.shape(points)}: give (n,)")
    nearest = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)
    votes = np.apply_along_axis(np.bincount, 1, labels[nearest], minlength=labels.max() + 1)
    return float(np.mean(votes.argmax(axis=1) == labels))


def held_out_scores(train, train_labels, test, test_labels, k: int = 10, *, standardise=True):
    """Accuracies on `test` (m, d) of what was fitted to `train` (n, d), as {"knn": …, "probe": …}.

    The probe is linear (Alain & Bengio 2016), on columns of variance 1 if `standardise`; k-NN takes
    the points as they are. Built in notebook 05.
    """
    neighbours = KNeighborsClassifier(k).fit(train, train_labels)
    steps = [StandardScaler()] * standardise + [LogisticRegression(max_iter=1000)]
    probe = make_pipeline(*steps).fit(train, train_labels)
    return {"knn": float(neighbours.score(test, test_labels)),
            "probe": float(probe.score(test, test_labels))}


def bits_per_dim(log_p, num_dims: int, *, dequantised: bool) -> float:
    """Turn nats per image (a number, or an array to average) into bits per dimension.

    ``-log p / (D ln 2)`` with D = `num_dims` numbers per image (3,072 for CIFAR-10). A density of
    pixels dequantised to ``(x + u) / 256`` gets 8 added, a probability of 8-bit pixels does not.
    """
    check_whole(num_dims=(num_dims, 1))
    return 8.0 * dequantised - float(np.mean(log_p)) / (num_dims * np.log(2.0))


def local_log_prob(x, counted) -> np.ndarray:
    """log p of binary images (n, h, w, 1), nats, (n,), by a coder that knows strokes, no digits.

    p(pixel | ten pixels before it: two to the left, five in the row above, three two rows up) is
    what the images `counted` hold: the template of JBIG, a standard for scanned pages (ITU-T T.82).
    Over all images of one size p sums to 1. Built in notebook 06.
    """
    places = [(2, 2), (2, 1), (2, 0), *((1, c) for c in range(5)), (0, 1), (0, 2), (0, 3)]

    def codes(images):  # the pixel is the lowest bit, its neighbours are the others
        if not np.isin(images, (0, 1)).all() or np.ndim(images) != 4 or np.shape(images)[3] != 1:
            raise ValueError(f"images {np.shape(images)}: give pixels 0 and 1, (n, h, w, 1)")
        h, w = np.shape(images)[1:3]
        padded = np.pad(np.asarray(images, np.int16)[..., 0], ((0, 0), (2, 0), (2, 2)))
        return sum(padded[:, r : r + h, c : c + w] << bit for bit, (r, c) in enumerate(places))

    # Half a sighting of each case beforehand, so that nothing is impossible.
    seen = 0.5 + np.bincount(codes(counted).ravel(), minlength=2048).reshape(1024, 2)
    log_p = np.log(seen / seen.sum(axis=1, keepdims=True)).ravel()
    return log_p[codes(x)].sum(axis=(1, 2))
