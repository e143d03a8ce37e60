"""Pixel distributions against their definitions, and a registry that pairs each with its data."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from helpers import data, evaluation, training
from helpers.likelihoods import (
    LIKELIHOODS,
    DiscretisedLogistic,
    Likelihood,
    discretised_logistic_log_prob,
)
from helpers.vae import VAE

tfd = tfp.distributions
LEVELS = np.arange(256, dtype="float32") / 255
BYTES = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1), dtype=np.uint8)
PREPARED = {protocol: data.prepare(BYTES, protocol) for protocol in data.PROTOCOLS}


def outputs_for(likelihood, shape=(3, 2, 2, 1), seed=0):
    """What a decoder returns: logits, or mean and log-variance."""
    rng = np.random.default_rng(seed)
    first = tf.constant(rng.normal(size=shape), tf.float32)
    if not likelihood.needs_log_var:
        return first
    return first, tf.constant(rng.normal(-1, 0.5, size=shape), tf.float32)


# --- densities and probabilities ------------------------------------------------------------------


def check_sums_to_one(log_prob):
    """Over the 256 grey levels, with means inside, outside and at the edges, narrow and wide."""
    for mean in (-0.3, 0.0, 0.37, 1.0, 4.0):
        for log_scale in (-5.0, -2.0, 1.0):
            parameters = (np.full(256, value, "f4") for value in (mean, log_scale))
            log_p = np.float64(log_prob(LEVELS, *parameters))
            assert np.isfinite(log_p).all()
            np.testing.assert_allclose(np.exp(log_p).sum(), 1, atol=2e-4)


def density_times_bin(x, mean, log_scale):
    """The density in the middle of each bin: misses the mass beyond the edges."""
    return tfd.Logistic(mean, np.exp(log_scale)).log_prob(x) - np.log(255)


def bins_too_wide(x, mean, log_scale):
    return discretised_logistic_log_prob(x, mean, log_scale) + np.log(256 / 255)


def test_discretised_logistic_sums_to_one():
    check_sums_to_one(discretised_logistic_log_prob)


@pytest.mark.parametrize("mutant", [density_times_bin, bins_too_wide])
def test_wrong_discretised_logistic_is_rejected(mutant):
    with pytest.raises(AssertionError):
        check_sums_to_one(mutant)


def test_discretised_logistic_draws_from_its_own_probabilities():
    mean, log_scale = tf.fill((1, 1, 1), 0.02), tf.fill((1, 1, 1), -4.0)
    p = tfd.Independent(DiscretisedLogistic(mean, tf.exp(log_scale)), 3)
    draws = np.rint(p.sample(20_000, seed=(0, 1)).numpy().ravel() * 255).astype(int)
    expected = np.exp(p.log_prob(LEVELS.reshape(-1, 1, 1, 1)))
    observed = np.bincount(draws, minlength=256) / 20_000
    assert np.abs(observed - expected).max() < 0.015 and expected[0] > 0.1


def mass(likelihood):
    """Sum or integral of exp(log p) over what one pixel can be."""
    p = likelihood.distribution(outputs_for(likelihood, (1, 1, 1)))
    if likelihood.adds_eight_bits:  # a density
        x = np.linspace(-12, 12, 20_001, dtype="f4")
        return np.exp(p.log_prob(x.reshape(-1, 1, 1, 1))).sum() * (x[1] - x[0])
    x = np.array([0, 1], "f4") if "dynamic" in likelihood.protocols else LEVELS
    return np.exp(p.log_prob(x.reshape(-1, 1, 1, 1))).sum()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_normalised_are_and_the_others_are_not(name):
    likelihood = LIKELIHOODS[name]
    assert (abs(mass(likelihood) - 1) < 1e-3) == likelihood.normalised


def check_bernoulli(log_prob):
    """Against the definition, with p computed here: summed over the pixels of each image."""
    logits = np.random.default_rng(1).normal(size=(2, 4, 4, 1)).astype("f4")
    x = PREPARED["static"][:2]
    p = 1 / (1 + np.exp(-np.float64(logits)))
    expected = np.sum(np.where(x == 1, np.log(p), np.log1p(-p)), axis=(1, 2, 3))
    np.testing.assert_allclose(log_prob(logits, x), expected, rtol=1e-4)


def of_registry(logits, x):
    return LIKELIHOODS["bernoulli"].distribution(logits).log_prob(x)


def sigmoid_twice(logits, x):
    return of_registry(tf.sigmoid(logits), x)


def mean_over_pixels(logits, x):
    return of_registry(logits, x) / 16


def test_bernoulli_takes_logits_once_and_sums_over_pixels():
    check_bernoulli(of_registry)


@pytest.mark.parametrize("mutant", [sigmoid_twice, mean_over_pixels])
def test_wrong_bernoulli_is_rejected(mutant):
    with pytest.raises(AssertionError):
        check_bernoulli(mutant)


def test_log_variance_is_a_log_variance():
    mean, log_var = outputs_for(LIKELIHOODS["gaussian"])
    x = PREPARED["dequantised"][:3, :2, :2]
    p = LIKELIHOODS["gaussian"].distribution((mean, log_var))
    squares = (x - mean) ** 2 / np.exp(log_var)
    expected = -0.5 * np.sum(squares + log_var + np.log(2 * np.pi), axis=(1, 2, 3))
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-4)


# --- the registry ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_likelihood_takes_its_protocols_and_refuses_the_others(name):
    likelihood = LIKELIHOODS[name]
    assert likelihood.name == name
    for protocol in data.PROTOCOLS:
        if protocol in likelihood.protocols:
            likelihood.check_protocol(protocol)
            likelihood.check(PREPARED[protocol])
        else:
            with pytest.raises(ValueError, match=f"{name}.*{protocol}"):
                likelihood.check_protocol(protocol)


@pytest.mark.parametrize(
    ("name", "protocol", "words"),
    [
        ("bernoulli", "grey", "other than 0 and 1.*'grey_bernoulli'"),
        ("gaussian", "grey", "'dequantised'"),
        ("gaussian", "threshold", "'dequantised'"),
        ("discretised_logistic", "dequantised", "k/255.*'grey'"),
    ],
)
def test_pixels_that_cannot_be_scored_are_refused(name, protocol, words):
    with pytest.raises(ValueError, match=words):
        LIKELIHOODS[name].check(PREPARED[protocol])


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (BYTES, TypeError, "uint8.*helpers.data.prepare"),
        (PREPARED["grey"] * 255, ValueError, r"pixels from 0 to 249: give \[0, 1\]"),
        (PREPARED["grey"] * np.nan, ValueError, "without NaN"),
    ],
)
def test_pixels_outside_the_unit_interval_are_refused(x, error, words):
    with pytest.raises(error, match=words):
        LIKELIHOODS["grey_bernoulli"].check(x)


def laplace(mean, log_var):
    return tfd.Laplace(mean, tf.exp(0.5 * log_var))


@pytest.fixture
def with_laplace(monkeypatch):
    """A likelihood of one's own, by one entry in the registry."""
    own = Likelihood("laplace", laplace, ("dequantised",), needs_log_var=True, adds_eight_bits=True)
    monkeypatch.setitem(LIKELIHOODS, own.name, own)


def test_a_new_name_is_scored_by_its_own_distribution(with_laplace, tmp_path):
    model = VAE(2, (4, 4, 1), decoder="gaussian_mlp", hidden_dim=6, likelihood="laplace")
    z, x = np.ones((3, 2), "f4"), PREPARED["dequantised"][:3]
    mean, log_var = (np.asarray(output) for output in model.decode(z))
    scale = np.exp(0.5 * log_var)
    expected = np.sum(-np.abs(x - mean) / scale - np.log(2 * scale), axis=(1, 2, 3))
    np.testing.assert_allclose(model.likelihood(z).log_prob(x), expected, rtol=1e-4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.elbo(x, seed=(0, 1)), model.elbo(x, seed=(0, 1)))
    # bits per dimension of a density: 8 - log p / (D ln 2)
    assert evaluation.bits_per_dim(-16 * np.log(2), 16, "laplace") == pytest.approx(9)
    with pytest.raises(ValueError, match="'laplace' is for images of the protocol 'dequantised'"):
        training.fit(model, BYTES, epochs=1, batch_size=6, protocol="grey", seed=0, verbose=0)


def test_a_new_name_of_logits_is_not_taken_for_a_bernoulli():
    def continuous(logits):
        return tfd.ContinuousBernoulli(logits=logits)

    own = Likelihood("continuous_bernoulli", continuous, ("grey",))
    logits = outputs_for(own)
    x = PREPARED["grey"][:3, :2, :2]
    expected = tf.reduce_sum(continuous(logits).log_prob(x), axis=(1, 2, 3))
    np.testing.assert_allclose(own.distribution(logits).log_prob(x), expected, rtol=1e-4)


def test_a_new_name_without_the_right_decoder_fails_loudly(with_laplace):
    with pytest.raises(ValueError, match=r"'laplace' does not fit.*logits.*bernoulli"):
        VAE(2, (4, 4, 1), hidden_dim=6, likelihood="laplace")


def test_a_likelihood_of_an_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match=r"'dequantised'.*got 'dequantized'"):
        Likelihood("laplace", laplace, ("dequantized",))
