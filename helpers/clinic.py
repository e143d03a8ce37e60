"""The clinic: sick twins of the VAE, and the routine that examines a model. Built in lesson 08.

Each twin makes one well-known mistake. They are here so that the study that trained them, the
lesson that shows them and the exercise that examines them take them from one place. None of them is
of use for anything else.

`examine` makes a routine for any likelihood of it: each of its tests returns lines of a report.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from helpers.bounds import importance_bound
from helpers.course.checks import check_seed
from helpers.data import noise_seed
from helpers.evaluation import active_units, posterior_moments
from helpers.likelihoods import LIKELIHOODS
from helpers.priors import kl_to_standard_normal
from helpers.vae import VAE

# --- Sick twins -----------------------------------------------------------------------------------


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


# --- The routine ----------------------------------------------------------------------------------

BATCH = 100  # images that a training loss is asked for at once
BLOCK, DRAWS = 16, 50  # images and draws of the honest terms at once
NEIGHBOURS = 50  # images of a batch whose first image is watched
ERRORS = 4  # standard errors of a difference from which on it is no chance
OFF = 0.1  # nats between two computations of one term: less is not worth an arrow
MARGIN = 0.01  # nats for each number of an image: less is not worth an arrow


class Finding(NamedTuple):
    """A line of the report.

    Attributes
    ----------
    name : str
        What was measured.
    value : float
    hint : str
        What may be wrong; "" where nothing is odd.
    """

    name: str
    value: float
    hint: str


class _Patient(NamedTuple):
    """A model and what several tests need of it: terms of each image, nats, (images,) each."""

    vae: VAE
    x: np.ndarray
    seed: int
    own_log_px_z: np.ndarray
    own_kl: np.ndarray
    log_px_z: np.ndarray
    kl: np.ndarray
    log_px: np.ndarray

    @property
    def margin(self) -> float:
        """A difference of two values, in nats, that is worth an arrow."""
        return MARGIN * self.x[0].size


def examine(
    vae: VAE,
    x: np.ndarray,
    *,
    train: np.ndarray | None = None,
    baseline: float | None = None,
    floor: float | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Examine a model: print a line for each test, with an arrow where something is odd.

    After the routine of lesson 08, with rules of thumb for any likelihood, and with training images
    where that has validation images. What it is blind to: grey training data, draws that go through
    the flow again, an epoch that was chosen on the test images.

    Parameters
    ----------
    vae : helpers.vae.VAE
        Also a subclass with a loss of its own: its `elbo_terms` are what is examined.
    x : array
        Images that the model has not been trained on, as `helpers.data.prepare` makes them: a few
        hundred, (n, height, width, channels).
    train : array, optional
        About as many prepared training images, to see whether the model has learnt them by heart.
    baseline : float, optional
        Mean log p of independent pixels on `x`, see `helpers.evaluation.independent_pixels`.
    floor : float, optional
        What no model can exceed, see `helpers.evaluation.noise_floor`; by default what follows from
        the likelihood: a probability is at most 1.
    seed : int

    Returns
    -------
    list of Finding
        The symptoms, which are the lines with an arrow; empty for a model without any.

    Raises
    ------
    ValueError
        A weight holds NaN or infinity, or the images are not what the likelihood takes.
    """
    check_seed(seed=seed)
    vae.check_weights()
    vae.check_images(x)
    x = np.asarray(x, np.float32)
    patient = _Patient(vae, x, seed, *_own_terms(vae, x, seed), *_honest_terms(vae, x, seed))
    findings = [
        *_test_bounds(patient, baseline, _ceiling(vae) if floor is None else floor),
        *_test_loss(patient),
        *_test_code(patient),
        *_test_pixels(patient),
        *_test_neighbours(patient),
        *_test_flow(patient),
    ]
    if train is not None:
        vae.check_images(train)
        findings += _test_memory(patient, np.asarray(train, np.float32))
    for name, value, hint in findings:
        print(f"{name:<28}{value:11.2f}", f"  <-- {hint}" if hint else "")
    return [finding for finding in findings if finding.hint]


def _own_terms(vae: VAE, x: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what the training loss takes for log p(x|z) and KL, batch by batch, (images,) each."""
    terms = [
        np.stack(vae.elbo_terms(x[i : i + BATCH], seed=noise_seed(seed, 0, i, "validate")))
        for i in range(0, len(x), BATCH)
    ]
    return tuple(np.concatenate(terms, axis=1))


def _honest_terms(vae: VAE, x: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log p(x|z), log q(z|x) - log p(z) and log p(x), by draws from q, (images,) each."""

    @tf.function
    def terms(images: tf.Tensor, block_seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        q = vae.posterior(images)
        z, log_qz_x = q.experimental_sample_and_log_prob(DRAWS, seed=block_seed)
        log_px_z = vae.likelihood(z).log_prob(images)  # (DRAWS, images)
        kl = log_qz_x - vae.prior().log_prob(z)
        log_px = importance_bound(log_px_z - kl)
        return tf.reduce_mean(log_px_z, axis=0), tf.reduce_mean(kl, axis=0), log_px

    found = []
    for block in range(0, len(x), BLOCK):
        images = x[block : block + BLOCK]
        filled = np.resize(images, (BLOCK, *x.shape[1:]))  # of one shape, traced once
        parts = terms(filled, noise_seed(seed, 0, block, "score"))
        found.append([part[: len(images)] for part in parts])
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def _ceiling(vae: VAE) -> float:
    """Return what log p(x) cannot exceed, by the likelihood alone, nats."""
    likelihood = LIKELIHOODS[vae.likelihood_name]
    if likelihood.adds_eight_bits:  # a density over cells 1/256 wide, of probability 1 at most
        return float(np.prod(vae.image_shape) * np.log(256))
    return 0.0


def _test_bounds(patient: _Patient, baseline: float | None, ceiling: float) -> list[Finding]:
    """Look at the bounds themselves: possible, and better than independent pixels?"""
    own = float(np.mean(patient.own_log_px_z - patient.own_kl))
    honest = float(np.mean(patient.log_px_z - patient.kl))
    log_px = float(np.mean(patient.log_px))
    impossible = f"impossible: no bound lies above {ceiling:.1f}" if own > ceiling else ""
    normalised = LIKELIHOODS[patient.vae.likelihood_name].normalised
    is_weak = baseline is not None and log_px < baseline + patient.margin
    return [
        Finding("own ELBO", own, impossible),
        Finding("honest ELBO", honest, "" if normalised else "no probability of grey images"),
        Finding(
            f"log p, k = {DRAWS}",
            log_px,
            "hardly better than independent pixels" if is_weak else "",
        ),
    ]


def _test_loss(patient: _Patient) -> list[Finding]:
    """Compare both parts of the loss with those of the model's own distributions."""
    parts = (
        (
            "log p(x|z): own − honest",
            patient.own_log_px_z - patient.log_px_z,
            "not at draws from q, or not a sum over the pixels",
        ),
        (
            "KL: own − honest",
            patient.own_kl - patient.kl,
            "not the KL of q: weighted, or not a sum over the latent dimensions",
        ),
    )
    return [
        Finding(name, float(off.mean()), hint if _is_off(off) else "") for name, off, hint in parts
    ]


def _is_off(differences: np.ndarray) -> bool:
    """Whether the mean of differences of single images is more than chance, and than `OFF`."""
    error = differences.std() / np.sqrt(len(differences))
    return bool(np.abs(differences.mean()) > ERRORS * error + OFF)


def _test_code(patient: _Patient) -> list[Finding]:
    """Ask whether the code says anything about the image."""
    kl, latent_dim = float(patient.kl.mean()), patient.vae.latent_dim
    units = active_units(posterior_moments(patient.vae, patient.x)[0])
    unused = f"at most a quarter of the {latent_dim} dimensions is used"
    return [
        Finding("KL, honest", kl, "the code says next to nothing: collapse?" if kl < 0.5 else ""),
        Finding("active units", units, unused if units <= latent_dim / 4 else ""),
    ]


def _test_pixels(patient: _Patient) -> list[Finding]:
    """Ask whether reconstructions of binary images reach black and white."""
    if not np.isin(patient.x, (0, 1)).all():
        return []
    p = np.concatenate(
        [patient.vae.reconstruct(patient.x[i : i + BATCH]) for i in range(0, len(patient.x), BATCH)]
    )
    low, high = float(p.min()), float(p.max())
    return [
        Finding(
            "darkest pixel",
            low,
            "nothing is black: collapse, a sigmoid too many?" if low > 0.1 else "",
        ),
        Finding(
            "brightest pixel",
            high,
            "nothing is white: collapse, a sigmoid too many?" if high < 0.9 else "",
        ),
    ]


def _test_neighbours(patient: _Patient) -> list[Finding]:
    """Replace all images of a batch but the first, whose own ELBO must not move."""
    batch = patient.x[:NEIGHBOURS]
    others = np.concatenate([batch[:1], np.zeros_like(batch[1:])])
    first, again = (
        np.subtract(*_own_terms(patient.vae, images, patient.seed))[0] for images in (batch, others)
    )
    moved = float(abs(first - again))
    return [
        Finding("moved by neighbours", moved, "images leak into each other" if moved > 0.01 else "")
    ]


def _test_flow(patient: _Patient) -> list[Finding]:
    """Compare the flow's log-determinant with that of autodiff."""
    vae, x = patient.vae, patient.x[:NEIGHBOURS]
    if vae.flow is None:
        return []
    context = vae.encode(x)[2]
    z_0 = vae.posterior(x).base.sample(seed=noise_seed(patient.seed, 0, 1, "score"))
    with tf.GradientTape() as tape:
        tape.watch(z_0)
        z, claimed = vae.flow(z_0, context)
    true = np.linalg.slogdet(np.float64(tape.batch_jacobian(z, z_0)))[1]
    off = float(np.mean(claimed - true))
    hint = "the flow's density is wrong: are its masks in place?"
    return [Finding("log-det: claimed − autodiff", off, hint if abs(off) > OFF else "")]


def _test_memory(patient: _Patient, train: np.ndarray) -> list[Finding]:
    """Compare training images with held-out ones, by the same weights."""
    elbos = [patient.log_px_z - patient.kl]
    log_px_z, kl, _ = _honest_terms(patient.vae, train, patient.seed)
    elbos.append(log_px_z - kl)
    better = float(elbos[1].mean() - elbos[0].mean())
    error = np.sqrt(sum(e.var() / len(e) for e in elbos))
    hint = "learnt by heart: stop earlier, take more images or a smaller network"
    is_odd = better > ERRORS * error + patient.margin
    return [Finding("training − held-out ELBO", better, hint if is_odd else "")]
