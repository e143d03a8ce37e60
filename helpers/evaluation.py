"""Scores: the importance-weighted likelihood, what the latents do, and how well codes tell classes.

A metric is a function of arrays, or of a model and images, that returns a number. To add one, write
it here with a test; nothing has to be registered.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from scipy.special import xlogy
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers.course.checks import (
    as_uint8_images,
    check_choice,
    check_seed,
    check_whole,
    shown,
)
from helpers.course.progress import progress
from helpers.data import PROTOCOLS, TEST_SEED, noise_seed, prepare, rescale
from helpers.likelihoods import BINARY_PROTOCOLS, LIKELIHOODS
from helpers.priors import kl_to_standard_normal
from helpers.vae import VAE, reparameterise

# Importance samples are drawn in blocks of so many images and samples, each with a key of its own,
# so that a draw depends on nothing but the seed, the place of its image and its own place.
BLOCK_IMAGES, BLOCK_SAMPLES = 16, 128


# --- log p(x) ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogLikelihood:
    """Importance-weighted estimate of log p(x) for a set of images, in nats.

    Attributes
    ----------
    values : np.ndarray
        The estimate for each image, shape (images,).
    elbos : np.ndarray
        The mean log-weight of the same draws for each image, shape (images,): the ELBO.
    seconds : float
        What the scoring took.
    monte_carlo_error : float
        Standard error of `mean` that comes from the finite number of samples (delta method); 0
        with one sample, from which no spread can be told.
    """

    values: np.ndarray
    elbos: np.ndarray
    seconds: float
    monte_carlo_error: float

    @property
    def mean(self) -> float:
        """The estimate averaged over the images."""
        return float(self.values.mean())

    @property
    def elbo(self) -> float:
        """The ELBO averaged over the images."""
        return float(self.elbos.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `mean` over the images: what another test set would change."""
        n = len(self.values)
        return float(self.values.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0


def log_importance_weights(
    vae: VAE, x: tf.Tensor, num_samples: int, seed: tf.Tensor | tuple[int, int]
) -> tf.Tensor:
    """Return log p(x|z) + log p(z) - log q(z|x) for draws z ~ q(z|x).

    Burda et al. 2015, eq. 8. Built in lesson 02.

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


class WeightSums(NamedTuple):
    """What is kept of the log-weights seen so far: four numbers an image, however many they are.

    Attributes
    ----------
    count : int
        Weights seen for each image.
    top : np.ndarray
        Largest log-weight, shape (images,). The sums below are in units of exp(top) and of its
        square, so that no weight is too small or too large for a float.
    total, squares : np.ndarray
        Sums of the weights and of their squares, shape (images,).
    log_total : np.ndarray
        Sum of the log-weights, shape (images,).
    """

    count: int
    top: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    log_total: np.ndarray

    @property
    def log_mean(self) -> np.ndarray:
        """Log of the mean weight, shape (images,): the estimate of log p(x)."""
        return self.top + np.log(self.total / self.count)

    @property
    def mean_log(self) -> np.ndarray:
        """Mean log-weight, shape (images,): the ELBO."""
        return self.log_total / self.count

    @property
    def log_mean_variance(self) -> np.ndarray:
        """Variance of `log_mean`, shape (images,): that of the mean weight over its square."""
        return np.maximum(self.squares / self.total**2 - 1 / self.count, 0.0)


def no_weights(images: int) -> WeightSums:
    """Return the sums before the first log-weight of so many images."""
    lowest = np.full(images, np.finfo(np.float64).min)  # below every log-weight, and finite
    return WeightSums(0, lowest, np.zeros(images), np.zeros(images), np.zeros(images))


def add_log_weights(sums: WeightSums, log_w: np.ndarray) -> WeightSums:
    """Return the sums with more log-weights (samples, images) in them: a streamed log-sum-exp."""
    log_w = np.asarray(log_w, np.float64)
    top = np.maximum(sums.top, log_w.max(axis=0))
    w = np.exp(log_w - top)
    rescale = np.exp(sums.top - top)  # what was summed before is in units of the old top
    return WeightSums(
        count=sums.count + len(log_w),
        top=top,
        total=rescale * sums.total + w.sum(axis=0),
        squares=rescale**2 * sums.squares + (w**2).sum(axis=0),
        log_total=sums.log_total + log_w.sum(axis=0),
    )


def log_likelihood(
    vae: VAE, x: npt.ArrayLike, num_samples: int, *, seed: int = 0, max_rows: int = 2048
) -> LogLikelihood:
    """Estimate log p(x) of each image with S = `num_samples` importance samples.

    ``log 1/S sum_s w_s`` (Burda et al. 2015, eq. 8): a lower bound in expectation, which tightens
    with S. Sample s of image i is a function of (`seed`, i, s) alone, and the log-sum-exp is
    streamed, so that memory grows neither with S nor with the images.

    Parameters
    ----------
    vae : helpers.vae.VAE
    x : array
        Images (images, height, width, channels) as the likelihood takes them.
    num_samples : int
        S, at least 1.
    seed : int
        From 0 to 2**31 - 1.
    max_rows : int
        Images that the decoder makes at once at most; less takes less memory. The result does not
        depend on it.

    Returns
    -------
    LogLikelihood

    Raises
    ------
    ValueError, TypeError
        Before any work: for a bad argument, for images that the likelihood cannot score, and for
        weights that hold NaN or infinity.
    """
    check_whole(num_samples=num_samples, max_rows=max_rows)
    check_seed(seed=seed)
    vae.check_images(x)
    vae.check_weights()
    x = np.asarray(x, np.float32)

    size = min(BLOCK_SAMPLES, num_samples)

    @tf.function
    def weigh(images: tf.Tensor, wanted: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        model = _SparingDecoder(vae, wanted, max_rows)
        draw_seed = noise_seed(seed, place[0], place[1], "score")
        return log_importance_weights(model, images, size, draw_seed)[: wanted[0], : wanted[1]]

    scored, start = [], time.perf_counter()
    for group, first in enumerate(progress(range(0, len(x), BLOCK_IMAGES), "scoring")):
        images = x[first : first + BLOCK_IMAGES]
        sums, given = no_weights(len(images)), len(images)
        # Blocks are filled up and cut again: all have one shape, for which `weigh` is traced once.
        images = tf.constant(np.resize(images, (BLOCK_IMAGES, *x.shape[1:])))
        for block, done in enumerate(range(0, num_samples, size)):
            wanted = tf.constant([min(size, num_samples - done), given])
            log_w = weigh(images, wanted, tf.constant([group, block]))
            sums = add_log_weights(sums, log_w.numpy())
        scored.append(sums)
    seconds = time.perf_counter() - start
    variance = np.concatenate([sums.log_mean_variance for sums in scored]).sum() / len(x) ** 2
    return LogLikelihood(
        values=np.concatenate([sums.log_mean for sums in scored]),
        elbos=np.concatenate([sums.mean_log for sums in scored]),
        seconds=seconds,
        monte_carlo_error=float(np.sqrt(variance)),
    )


class _SparingDecoder:
    """A model as `log_importance_weights` needs it, whose decoder does no more than it must.

    Of a block of z (draws, images, latent) it decodes the first `wanted` = (draws, images) only,
    since the others fill the block up, and at most `max_rows` rows at once.
    """

    def __init__(self, vae: VAE, wanted: tf.Tensor, max_rows: int) -> None:
        self.vae, self.wanted, self.max_rows = vae, wanted, max_rows
        self.posterior, self.prior = vae.posterior, vae.prior

    def likelihood(self, z: tf.Tensor) -> "_SparingDecoder":
        """Return p(x|z): this object itself, since `log_prob` is all that is asked of it."""
        self.z = z
        return self

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """Return log p(x|z), shape (draws, images); 0 where it is not wanted."""
        block = self.z.shape[:2]
        z = self.z[: self.wanted[0], : self.wanted[1]]
        x = x[: self.wanted[1]]
        if block[0] * block[1] <= self.max_rows:
            log_p = self.vae.likelihood(z).log_prob(x)
        else:
            log_p = self._in_parts(z, x)
        missing = tf.stack([tf.zeros_like(self.wanted), block - self.wanted], axis=1)
        return tf.pad(log_p, missing)

    def _in_parts(self, z: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Return log p(x|z) of z (draws, images, latent), computed part by part."""
        rows = tf.reshape(z, (-1, z.shape[-1]))  # row r belongs to image r modulo their number
        count, images = tf.shape(rows)[0], tf.shape(x)[0]
        size = tf.minimum(self.max_rows, count)

        def part(first: tf.Tensor) -> tf.Tensor:
            r = (first + tf.range(size)) % count  # the last part is filled up from the front
            return self.vae.likelihood(tf.gather(rows, r)).log_prob(tf.gather(x, r % images))

        parts = tf.map_fn(
            part,
            tf.range(0, count, size),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )
        return tf.reshape(tf.reshape(parts, [-1])[:count], tf.shape(z)[:2])


# --- What a likelihood is measured by -----------------------------------------------------------

PRIOR_IMAGES = 300  # that each pixel is taken to have been seen in, with the levels of all pixels


def noise_floor(images: np.ndarray) -> float:
    """Return the highest mean log p that any model can reach on fresh tosses of grey images.

    Minus the entropy of the tosses, for the protocols "static" and "dynamic": what remains is
    chance. Lesson 01.

    Parameters
    ----------
    images : array
        uint8, shape (n, h, w, c).

    Returns
    -------
    float
        Nats per image, 0 or below; 0 for images that are binary already.
    """
    images = as_uint8_images(images)
    p = np.arange(256) / 255
    negative_entropy = xlogy(p, p) + xlogy(1 - p, 1 - p)  # of each level
    return float(np.mean([negative_entropy[image].sum() for image in images]))


def independent_pixels(
    train: np.ndarray, test: np.ndarray, protocol: str, *, seed: int = TEST_SEED
) -> np.ndarray:
    """Log-likelihood of images if every pixel were drawn by itself: the line to beat.

    Each pixel has the distribution that it has in the training images: of 0 and 1, as in lesson 01,
    or of the 256 levels. The levels are counted as if `PRIOR_IMAGES` images more had been seen,
    with the levels of all pixels of the channel, so that no level is impossible.

    Parameters
    ----------
    train, test : array
        uint8, shapes (n, h, w, c) and (m, h, w, c).
    protocol : str
        One of `helpers.data.PROTOCOLS`. For "dequantised" it is the log of a density, as a
        Gaussian's; for "grey" the log-probability of 8-bit pixels.
    seed : int
        Of the tosses of the test images, as for `helpers.data.prepare`.

    Returns
    -------
    np.ndarray
        Nats, shape (m,).
    """
    train, test = as_uint8_images(train), as_uint8_images(test)
    check_choice("protocol", protocol, PROTOCOLS)
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(f"train {train.shape} and test {test.shape}: give images of one shape")
    if protocol in BINARY_PROTOCOLS:
        # Over many epochs the tosses of an image average to its grey values.
        seen = prepare(train, "threshold") if protocol == "threshold" else rescale(train)
        p = (seen.sum(axis=0, dtype=np.float64) + 1) / (len(seen) + 2)  # never 0 or 1
        x = prepare(test, protocol, seed=seed)
        return np.array([(xlogy(b, p) + xlogy(1 - b, 1 - p)).sum() for b in x])
    log_p = np.log(_level_probabilities(train))
    per_image = [np.take_along_axis(log_p, image[..., None], axis=-1).sum() for image in test]
    # A dequantised pixel lies anywhere in its level, which is 1/256 wide.
    width = np.log(256) * test[0].size if protocol == "dequantised" else 0.0
    return np.array(per_image) + width


def _level_probabilities(train: np.ndarray) -> np.ndarray:
    """Return the probability of each level in each pixel, (h, w, c, 256)."""
    channels = train.shape[-1]
    by_channel = [np.bincount(train[..., c].ravel(), minlength=256) for c in range(channels)]
    prior = np.array(by_channel) + 0.5  # nothing is impossible
    prior /= prior.sum(axis=-1, keepdims=True)
    counts = np.zeros((*train.shape[1:], 256))
    places = np.indices(train.shape[1:], sparse=True)
    for image in train:
        counts[(*places, image)] += 1
    return (counts + PRIOR_IMAGES * prior) / (len(train) + PRIOR_IMAGES)


# --- What the latents do -------------------------------------------------------------------------


def posterior_moments(
    vae: VAE, x: np.ndarray, batch_size: int = 1000, *, grey: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the means and log-variances of the posteriors of images.

    With a flow they are what it makes of the mean of its base, and the log-variances of the base.

    Parameters
    ----------
    vae : helpers.vae.VAE
    x : np.ndarray
        Images (images, height, width, channels) as the likelihood takes them.
    batch_size : int
        Images that the encoder sees at once.
    grey : bool
        `x` holds grey values in [0, 1], the means of coin tosses, and the model learnt from tosses.

    Returns
    -------
    tuple of np.ndarray
        Two arrays of shape (images, latent).
    """
    if not grey:
        vae.check_images(x)
    check_whole(batch_size=batch_size)
    means, log_vars = [], []
    for first in range(0, len(x), batch_size):
        z_mean, z_log_var, context = vae.encode(x[first : first + batch_size])
        means.append(np.asarray(vae.apply_flow(z_mean, context)))
        log_vars.append(np.asarray(z_log_var))
    return np.concatenate(means), np.concatenate(log_vars)


def kl_per_dimension(z_mean: npt.ArrayLike, z_log_var: npt.ArrayLike) -> np.ndarray:
    """Return the mean KL to N(0, 1) of each latent dimension.

    Parameters
    ----------
    z_mean, z_log_var : array
        Shape (images, latent).

    Returns
    -------
    np.ndarray
        Nats, shape (latent,).
    """
    z_mean, z_log_var = np.asarray(z_mean, np.float64), np.asarray(z_log_var, np.float64)
    return 0.5 * np.mean(z_mean**2 + np.exp(z_log_var) - z_log_var - 1.0, axis=0)


def active_units(z_mean: npt.ArrayLike, threshold: float = 0.01) -> int:
    """Count the latent dimensions whose posterior mean has a variance above `threshold`.

    Burda et al. 2015, whose threshold is the default.

    Parameters
    ----------
    z_mean : array
        Posterior means, shape (images, latent).
    threshold : float
        A variance, not a standard deviation.

    Raises
    ------
    ValueError
        `z_mean` has another shape, holds no image, or holds NaN or infinity.
    """
    z_mean = np.asarray(z_mean)
    if z_mean.ndim != 2 or z_mean.size == 0 or not np.isfinite(z_mean).all():
        raise ValueError(f"z_mean must hold finite numbers (images, latent), got {shown(z_mean)}")
    return int(np.sum(np.var(z_mean, axis=0) > threshold))


# --- A posterior for single images ---------------------------------------------------------------


def fit_posterior(
    log_px_z: Callable[[tf.Tensor], tf.Tensor],
    z_mean: tf.Tensor,
    z_log_var: tf.Tensor,
    *,
    steps: int = 100,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Climb the ELBO of each image by gradient steps on its own q = N(z_mean, exp(z_log_var)).

    What an encoder does for all images at once (amortised inference), done for each by itself, with
    Adam and a rate that falls to 0. The prior is N(0, I). No image has a part in another's q. Built
    in lesson 06.

    Parameters
    ----------
    log_px_z : callable
        From z (images, latent) to log p(x|z) of each image, (images,), nats: of whole images, of
        their visible pixels, or of what a known noise has made of them.
    z_mean, z_log_var : array
        Where to start, (images, latent) each: an encoder's outputs, or zeros, the prior.
    steps : int
        Gradient steps, each with one draw of z.
    learning_rate : float
        Of the first step.
    seed : int

    Returns
    -------
    tuple of tf.Tensor
        The means and the log-variances found, (images, latent) each.
    """
    q = [tf.Variable(z_mean), tf.Variable(z_log_var)]
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps)
    )
    optimizer.build(q)

    @tf.function
    def step(draw_seed: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            log_p = log_px_z(reparameterise(*q, draw_seed))
            loss = tf.reduce_sum(kl_to_standard_normal(*q) - log_p)  # over images: none mix
        optimizer.apply_gradients(zip(tape.gradient(loss, q), q, strict=True))

    for number in range(steps):
        step(tf.constant([seed, number]))
    return tuple(tf.convert_to_tensor(part) for part in q)


# --- What codes tell of classes ------------------------------------------------------------------


def leave_one_out_accuracy(points: np.ndarray, labels: np.ndarray, k: int = 10) -> float:
    """Share of the points whose class is that of most of their k nearest others.

    Euclidean; of classes with equal votes the lowest wins. Built in lesson 05.

    Parameters
    ----------
    points : array
        Shape (n, d).
    labels : array
        Whole numbers from 0, shape (n,).
    k : int
        Below n.
    """
    labels = np.asarray(labels, np.int64)
    if labels.shape != np.shape(points)[:1]:
        raise ValueError(f"labels {labels.shape} for points {np.shape(points)}: give (n,)")
    nearest = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)
    votes = np.apply_along_axis(np.bincount, 1, labels[nearest], minlength=labels.max() + 1)
    return float(np.mean(votes.argmax(axis=1) == labels))


def held_out_scores(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    k: int = 10,
    *,
    standardise: bool = True,
) -> dict[str, float]:
    """Accuracies on test points of two classifiers that were fitted to training points.

    The k nearest neighbours take the points as they are. The probe is linear (Alain & Bengio 2016).
    Built in lesson 05.

    Parameters
    ----------
    train, test : array
        Shapes (n, d) and (m, d).
    train_labels, test_labels : array
        Shapes (n,) and (m,).
    k : int
        Neighbours that vote.
    standardise : bool
        The probe sees columns of mean 0 and variance 1 (of the training points).

    Returns
    -------
    dict
        The accuracies "knn" and "probe".
    """
    neighbours = KNeighborsClassifier(k).fit(train, train_labels)
    probe = LogisticRegression(max_iter=1000)
    if standardise:
        probe = make_pipeline(StandardScaler(), probe)
    probe.fit(train, train_labels)
    return {
        "knn": float(neighbours.score(test, test_labels)),
        "probe": float(probe.score(test, test_labels)),
    }


# --- Other measures ------------------------------------------------------------------------------


def bits_per_dim(log_p: npt.ArrayLike, num_dims: int, likelihood: str) -> float:
    """Turn nats per image into bits per dimension.

    ``-log p / (D ln 2)`` with D = `num_dims`. The density of pixels dequantised to (x + u) / 256
    gets 8 added, the probability of 8-bit pixels does not.

    Parameters
    ----------
    log_p : number or array
        Nats per image; an array is averaged.
    num_dims : int
        Numbers per image, 3,072 for CIFAR-10.
    likelihood : str
        The name of the model's likelihood, "gaussian" for example; the registry
        `helpers.likelihoods.LIKELIHOODS` says whether it is a density of dequantised pixels.

    Raises
    ------
    ValueError
        The likelihood is not known, or its values do not sum to 1 over the images.
    """
    check_whole(num_dims=num_dims)
    check_choice("likelihood", likelihood, LIKELIHOODS)
    if not LIKELIHOODS[likelihood].normalised:
        raise ValueError(f"likelihood={likelihood!r} is no probability: it gives no bits/dim")
    bits = -float(np.mean(log_p)) / (num_dims * np.log(2.0))
    return bits + 8.0 if LIKELIHOODS[likelihood].adds_eight_bits else bits


def local_log_prob(x: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Log-probability of binary images by a coder that knows strokes, but no digits.

    p(pixel | ten pixels before it: two to the left, five in the row above, three two rows up) is
    what the images `counted` hold: the template of JBIG, a standard for scanned pages (ITU-T T.82).
    Over all images of one size p sums to 1. Built in lesson 06.

    Parameters
    ----------
    x, counted : array
        Pixels 0 and 1, shapes (n, height, width, 1) and (m, height, width, 1).

    Returns
    -------
    np.ndarray
        Nats, shape (n,).
    """
    # (row, column) in a window of three rows and five columns, whose pixel is at (2, 2).
    places = [(2, 2), (2, 1), (2, 0), *((1, c) for c in range(5)), (0, 1), (0, 2), (0, 3)]

    def patterns(images: np.ndarray) -> np.ndarray:
        """Write each pixel (lowest bit) and its ten neighbours as one number below 2,048."""
        if not np.isin(images, (0, 1)).all() or np.ndim(images) != 4 or np.shape(images)[3] != 1:
            raise ValueError(f"images {np.shape(images)}: give pixels 0 and 1, (n, h, w, 1)")
        h, w = np.shape(images)[1:3]
        padded = np.pad(np.asarray(images, np.int16)[..., 0], ((0, 0), (2, 0), (2, 2)))
        return sum(padded[:, r : r + h, c : c + w] << bit for bit, (r, c) in enumerate(places))

    # Half a sighting of each case beforehand, so that nothing is impossible.
    seen = 0.5 + np.bincount(patterns(counted).ravel(), minlength=2048).reshape(1024, 2)
    log_p = np.log(seen / seen.sum(axis=1, keepdims=True)).ravel()
    return log_p[patterns(x)].sum(axis=(1, 2))
