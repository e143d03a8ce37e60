"""The score: log p(x) by importance sampling, its streamed sums, its draws and its error bars."""

import importlib
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from helpers import evaluation
from helpers.course import settings
from helpers.course.datasets import Split
from helpers.evaluation import add_log_weights, log_likelihood, no_weights
from helpers.vae import VAE
from linear_gaussian import exact_log_px, images, linear_vae

RNG = np.random.default_rng(0)


# --- The streamed sums against plain float64 -------------------------------------------------


def plain(log_w):
    """Estimate, mean log-weight and variance of the estimate of each image, without streaming."""
    log_w = np.asarray(log_w, np.float64)
    value = np.logaddexp.reduce(log_w, axis=0) - np.log(len(log_w))
    w = np.exp(log_w - log_w.max(axis=0))
    return value, log_w.mean(axis=0), w.var(axis=0) / w.mean(axis=0) ** 2 / len(w)


def log_weights(shape, samples=300, n=5):
    """Log-weights (samples, n) that rise, fall or jump by hundreds of nats."""
    noise = RNG.normal(size=(samples, n))
    slope = np.linspace(-900, -100, samples)[:, None]
    shapes = {
        "rise": slope + noise,
        "fall": slope[::-1] + noise,
        "jump": RNG.choice([-2000.0, -300.0, -90.0, 400.0], (samples, n)) + noise,
        "level": -90 + noise,
        "far below": -5000 + noise,  # exp(-5000) is 0 in any float
        "one alone": np.where(np.arange(samples)[:, None] == 201, 0.0, -700.0) + noise,
    }
    return shapes[shape]


SHAPES = ("rise", "fall", "jump", "level", "far below", "one alone")


def check_sums(add, shape):
    """The sums give what float64 gives on all weights at once, however these are cut."""
    log_w = log_weights(shape)
    for cuts in ([], [150], [1, 2, 299], range(7, 300, 7), range(1, 300)):
        sums = no_weights(log_w.shape[1])
        for part in np.split(log_w, list(cuts)):
            sums = add(sums, part)
        value, mean, variance = plain(log_w)
        np.testing.assert_allclose(sums.log_mean, value, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(sums.mean_log, mean, rtol=1e-10)
        np.testing.assert_allclose(sums.log_mean_variance, variance, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_streamed_sums_equal_plain_float64(shape):
    check_sums(add_log_weights, shape)


def _without(**kept):
    """A wrong `add_log_weights`: what it returns is changed by these functions of old and new."""

    def add(sums, log_w):
        new = add_log_weights(sums, log_w)
        return new._replace(**{name: change(sums, new) for name, change in kept.items()})

    return add


def _scale(sums, new):
    return np.exp(sums.top - new.top)


MUTANTS = {
    "the sum is not rescaled": _without(
        total=lambda old, new: new.total + old.total * (1 - _scale(old, new))
    ),
    "the squares are not rescaled": _without(
        squares=lambda old, new: new.squares + old.squares * (1 - _scale(old, new) ** 2)
    ),
    "the squares are rescaled once": _without(
        squares=lambda old, new: (
            new.squares + old.squares * (_scale(old, new) - _scale(old, new) ** 2)
        )
    ),
    "the top is that of the last chunk": lambda sums, log_w: add_log_weights(
        sums._replace(top=np.minimum(sums.top, log_w.max(axis=0))), log_w
    ),
    "the last chunk's count": _without(count=lambda old, new: new.count - old.count),
    "the last chunk's mean": _without(log_total=lambda old, new: new.log_total - old.log_total),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_sums_are_rejected(name):
    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        for shape in SHAPES:
            check_sums(MUTANTS[name], shape)


def test_weights_that_are_all_zero():
    with np.errstate(divide="ignore", invalid="ignore"):
        sums = add_log_weights(no_weights(1), np.full((3, 1), -np.inf))
        assert sums.log_mean == -np.inf
        assert add_log_weights(sums, np.zeros((3, 1))).log_mean == pytest.approx(np.log(0.5))


# --- The whole function on given log-weights --------------------------------------------------


def given(monkeypatch, log_w):
    """Let `log_importance_weights` return these (samples, images), block by block."""
    samples, n = log_w.shape
    blocks = []
    for first in range(0, n, evaluation.BLOCK_IMAGES):
        group = log_w[:, first : first + evaluation.BLOCK_IMAGES]
        missing = evaluation.BLOCK_IMAGES - group.shape[1]
        group = np.pad(group, ((0, 500), (0, missing)), constant_values=7e7)  # must not be seen
        blocks += [group[i : i + 128] for i in range(0, samples, 128)]
    assert evaluation.BLOCK_SAMPLES == 128
    blocks = iter(blocks)

    def weights(vae, x, num_samples, seed):
        block = tf.numpy_function(lambda: np.float32(next(blocks)), [], tf.float32)
        return tf.ensure_shape(block, (num_samples, len(x)))

    monkeypatch.setattr(evaluation, "log_importance_weights", weights)


@pytest.mark.parametrize("shape", SHAPES)
def test_scores_and_both_error_bars_of_given_weights(monkeypatch, shape):
    log_w = log_weights(shape, n=37)
    given(monkeypatch, log_w)
    score = log_likelihood(linear_vae(), images(37), 300)
    value, mean, variance = plain(np.float32(log_w))
    np.testing.assert_allclose(score.values, value, rtol=1e-6)
    np.testing.assert_allclose(score.elbos, mean, rtol=1e-6)
    assert score.mean == pytest.approx(value.mean(), rel=1e-6)
    assert score.elbo == pytest.approx(mean.mean(), rel=1e-6)
    assert score.monte_carlo_error == pytest.approx(np.sqrt(variance.sum()) / 37, rel=1e-5)
    deviations = value - value.mean()
    spread = np.sqrt(np.sum(deviations**2) / 36)
    assert score.standard_error == pytest.approx(spread / np.sqrt(37), rel=1e-5)


def test_one_image_and_one_sample_have_no_spread():
    score = log_likelihood(linear_vae(0.3), images(1), 1)
    assert score.standard_error == score.monte_carlo_error == 0.0
    assert score.mean == score.elbo


# --- Draws: a function of seed, image and sample ----------------------------------------------


def small_vae(**kwargs):
    """A model of 4x4 images whose posteriors differ from image to image."""
    tf.keras.utils.set_random_seed(3)
    return VAE(3, (4, 4, 1), hidden_dim=8, **kwargs)


BINARY = RNG.integers(0, 2, (37, 4, 4, 1)).astype("f4")


@pytest.mark.parametrize("steps", [0, 2])
def test_the_score_does_not_depend_on_how_rows_and_images_are_cut(steps):
    vae = small_vae(iaf_steps=steps, iaf_hidden=6)
    whole = log_likelihood(vae, BINARY, 150, seed=5)
    for rows in (7, 500):
        score = log_likelihood(vae, BINARY, 150, seed=5, max_rows=rows)
        np.testing.assert_allclose(score.values, whole.values, rtol=1e-6)
        np.testing.assert_allclose(score.elbos, whole.elbos, rtol=1e-6)
        assert score.monte_carlo_error == pytest.approx(whole.monte_carlo_error, rel=1e-3)
    few = log_likelihood(vae, BINARY[:18], 150, seed=5)
    np.testing.assert_allclose(few.values, whole.values[:18], rtol=1e-6)
    other = log_likelihood(vae, BINARY, 150, seed=6)
    assert not np.any(np.isclose(other.values, whole.values, rtol=1e-7))


def test_no_two_blocks_share_their_draws():
    same = np.repeat(BINARY[:1], 48, axis=0)
    short, long = (log_likelihood(small_vae(), same, s, seed=5).elbos for s in (128, 256))
    assert len(np.unique(short.round(6))) == 48  # the image is the same, the draws are not
    second = 2 * long - short  # the mean of samples 128 to 255 alone
    assert np.all(np.abs(second - short) > 1e-6)


class Counting(VAE):
    """A VAE that counts the rows which its decoder is given."""

    def decode(self, z, training=False):
        if hasattr(self, "rows"):
            self.rows.assign_add(tf.shape(z)[0])
            self.most.assign(tf.maximum(self.most, tf.shape(z)[0]))
        return super().decode(z, training)


@pytest.mark.parametrize("max_rows, most", [(2048, 2048), (50, 50), (7, 7)])
def test_the_decoder_sees_few_rows_at_once_and_none_in_vain(max_rows, most):
    vae = Counting(3, (4, 4, 1), hidden_dim=8)
    vae.rows, vae.most = (tf.Variable(0, trainable=False) for _ in range(2))
    log_likelihood(vae, BINARY[:19], 130, max_rows=max_rows)
    assert vae.most <= most
    blocks = 4  # two of images, two of samples; the end of each may be filled up
    assert 19 * 130 <= vae.rows < 19 * 130 + blocks * max_rows
    if max_rows == 2048:
        assert vae.rows == 19 * 130


class OwnPosterior(VAE):
    """A VAE whose posterior is one of TFP's distributions, which take short seeds only."""

    def posterior(self, x, training=False):
        z_mean, z_log_var, _ = self.encode(x, training)
        return tfp.distributions.MultivariateNormalDiag(z_mean, tf.exp(0.5 * z_log_var))


def test_a_posterior_of_tfp_is_scored_and_the_same_seed_gives_the_same():
    vae = OwnPosterior(3, (4, 4, 1), hidden_dim=8)
    one, two = (log_likelihood(vae, BINARY, 20, seed=9).values for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert np.isfinite(one).all()


# --- Against what is known exactly ------------------------------------------------------------


def test_exact_posterior_gives_log_p_with_one_sample():
    x = images(33)
    result = log_likelihood(linear_vae(), x, 1)
    np.testing.assert_allclose(result.values, exact_log_px(x), atol=2e-3)


def check_bound_tightens(vae):
    """ELBO < bound with more samples < ... -> log p(x), and never above it in expectation."""
    x = images(100)
    exact = exact_log_px(x).mean()
    means = [log_likelihood(vae, x, k, seed=k).mean for k in (1, 5, 50, 1000)]
    assert means[0] < means[1] < means[2] < means[3] + 0.01, means
    assert exact - means[0] > 0.3 and abs(exact - means[3]) < 0.03, (exact, means)


def test_bound_tightens_to_the_exact_value():
    check_bound_tightens(linear_vae(mean_shift=0.3, log_var_shift=0.6))


@pytest.mark.parametrize(
    "mutant",
    [
        lambda q, prior, lik, z, x: lik.log_prob(x) + prior.log_prob(z),  # forgets q
        lambda q, prior, lik, z, x: lik.log_prob(x) - q.log_prob(z),  # forgets the prior
        lambda q, prior, lik, z, x: lik.log_prob(x) + 0.5 * (prior.log_prob(z) - q.log_prob(z)),
    ],
)
def test_wrong_weights_are_rejected(monkeypatch, mutant):
    def wrong(vae, x, num_samples, seed):
        q = vae.posterior(x)
        z = q.sample(num_samples, seed=seed)
        return mutant(q, vae.prior(), vae.likelihood(z), z, x)

    monkeypatch.setattr(evaluation, "log_importance_weights", wrong)
    with pytest.raises(AssertionError):
        check_bound_tightens(linear_vae(mean_shift=0.3, log_var_shift=0.6))


def test_monte_carlo_error_is_the_spread_of_repeated_estimates():
    repeated = np.tile(images(8), (60, 1, 1, 1))
    result = log_likelihood(linear_vae(0.3, 0.6), repeated, 60)
    spread = np.std(result.values.reshape(60, 8).mean(axis=1), ddof=1)
    assert 0.7 < result.monte_carlo_error * np.sqrt(60) / spread < 1.4
    assert result.standard_error > result.monte_carlo_error


# --- AUROC, as the study of lesson 06 measures it ------------------------------------------------


def test_every_score_of_the_study_says_the_stranger_the_higher(monkeypatch):
    monkeypatch.syspath_prepend(settings.ROOT / "tools" / "studies")
    monkeypatch.setenv("VAE_PROFILE", "quick")
    study = importlib.import_module("application_study")
    vae = small_vae()
    for weight in vae.decoder.weights:
        weight.assign(tf.zeros_like(weight))
    vae.decoder.weights[-1].assign(tf.fill(vae.decoder.weights[-1].shape, -3.0))  # likes black
    labels = np.array([3, 8] * 10, np.uint8)
    images = np.zeros((20, 4, 4, 1), np.uint8)
    images[labels == 3] = 255
    images[:, 0, 0] = 255  # some ink in each
    part = Split(images, labels)
    dataset = types.SimpleNamespace(validation=part, test=part)
    counted = RNG.integers(0, 2, (50, 4, 4, 1))  # noise: the local coder has no preference
    for found in study.aurocs(vae, 3, dataset, images[labels == 8], counted).values():
        assert 0 <= found.pop("regret") <= 1  # this decoder reads no code: a wrong q costs little
        assert len(found) == 8 and set(found.values()) == {1.0}, found


# --- Many images, large seeds, checks of numbers, bad input ------------------------------------


def test_more_images_than_fit_an_old_key(monkeypatch):
    def weights(vae, x, num_samples, seed):
        return tf.random.stateless_normal((num_samples, len(x)), seed)

    monkeypatch.setattr(evaluation, "log_importance_weights", weights)
    monkeypatch.setattr(evaluation, "BLOCK_IMAGES", 512)  # to be quick
    n = 21_488 + 16
    score = log_likelihood(linear_vae(), np.full((n, 2, 3, 1), 0.5, "f4"), 1, seed=2**31 - 1)
    assert len(np.unique(score.values)) > n - 10
    assert abs(score.mean) < 0.05 and score.standard_error == pytest.approx(n**-0.5, rel=0.05)


def test_checks_of_numerics_find_nothing():
    tf.debugging.enable_check_numerics()
    try:
        score = log_likelihood(small_vae(), BINARY, 130, max_rows=50)
    finally:
        tf.debugging.disable_check_numerics()
    assert np.isfinite(score.values).all()


def test_scoring_shows_how_far_it_is(monkeypatch):
    seen = []

    def watched(steps, label):
        for step in steps:
            seen.append((label, step))
            yield step

    monkeypatch.setattr(evaluation, "progress", watched)
    log_likelihood(linear_vae(), images(33), 1)
    assert len(seen) == 3 and {label for label, _ in seen} == {"scoring"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(num_samples=0), ValueError, "num_samples must be at least 1, got 0"),
        (dict(num_samples="5"), TypeError, "num_samples must be a whole number, got '5'"),
        (dict(max_rows=0), ValueError, "max_rows must be at least 1, got 0"),
        (dict(seed=2**31), ValueError, "seed must be below"),
        (dict(x=2 * images(2)), ValueError, "pixels from"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(monkeypatch, change, error, message):
    monkeypatch.setattr(evaluation, "log_importance_weights", None)
    with pytest.raises(error, match=message):
        log_likelihood(**dict(vae=linear_vae(), x=images(2), num_samples=2) | change)


def test_bad_weights_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(evaluation, "log_importance_weights", None)
    vae = small_vae()
    vae.decoder.weights[-1].assign(np.full(vae.decoder.weights[-1].shape, np.inf))
    with pytest.raises(ValueError, match="NaN or infinity"):
        log_likelihood(vae, BINARY, 3)
