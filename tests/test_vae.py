"""The bound, its parts and their mutants; likelihoods; saving; bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from linear_gaussian import exact_log_px, images, linear_vae

from helpers import vae as vae_module
from helpers.networks import BernoulliMLP, GaussianMLP
from helpers.vae import (
    VAE,
    discretised_logistic_log_prob,
    kl_to_standard_normal,
    reparameterise,
    tfd,
)


def binary(n=6, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (n, 28, 28, 1)).astype("float32")


# --- pieces: a property, and mutants that it must reject ------------------------------------------


def check_kl(kl):
    """Against Monte Carlo with TFP's densities, within 5 standard errors."""
    mean, log_var = np.array([[0.3, -1.2, 0.0]], "f4"), np.array([[-1.0, 0.5, 0.0]], "f4")
    q = tfd.MultivariateNormalDiag(mean, np.exp(log_var / 2))
    z = q.sample(20_000, seed=(1, 2))
    p = tfd.MultivariateNormalDiag(tf.zeros(3), tf.ones(3))
    terms = (q.log_prob(z) - p.log_prob(z)).numpy()
    error = terms.std() / np.sqrt(len(terms))
    assert abs(float(kl(mean, log_var)[0]) - terms.mean()) < 5 * error


def test_closed_form_kl_agrees_with_monte_carlo():
    check_kl(kl_to_standard_normal)
    np.testing.assert_allclose(kl_to_standard_normal(tf.zeros((2, 3)), tf.zeros((2, 3))), 0)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda m, v: kl_to_standard_normal(m, v) / m.shape[-1],  # averaged over dimensions
        lambda m, v: kl_to_standard_normal(m, 2 * v),  # standard deviation taken for variance
        lambda m, v: kl_to_standard_normal(m, v) - 0.5,  # the -1 counted once too often
    ],
)
def test_wrong_kl_is_rejected(mutant):
    with pytest.raises(AssertionError):
        check_kl(mutant)


def check_reparameterisation(draw):
    """Gradient of E[z^2] by autodiff against finite differences with the same noise."""
    mean, log_var = (tf.Variable(np.full((4000, 1), v, "f4")) for v in (0.7, 0.4))
    seed = (3, 4)
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(draw(mean, log_var, seed) ** 2)
    gradients = tape.gradient(value, [mean, log_var])
    for k, gradient in enumerate(gradients):
        assert gradient is not None, "no gradient reaches the parameter"
        step = [0.0, 0.0]
        step[k] = 1e-2
        up = tf.reduce_mean(draw(mean + step[0], log_var + step[1], seed) ** 2)
        down = tf.reduce_mean(draw(mean - step[0], log_var - step[1], seed) ** 2)
        np.testing.assert_allclose(tf.reduce_sum(gradient), (up - down) / 2e-2, rtol=1e-2)
    spread = float(tf.math.reduce_std(draw(mean, log_var, seed)))
    assert abs(spread - np.exp(0.2)) < 0.05  # the noise has the standard deviation asked for


def test_reparameterised_gradient_agrees_with_finite_differences():
    check_reparameterisation(reparameterise)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda m, v, s: tf.stop_gradient(reparameterise(m, v, s)),
        lambda m, v, s: m + 1e-4 * (reparameterise(m, v, s) - m),  # noise scaled by 1e-4
        lambda m, v, s: reparameterise(m, 2 * v, s),
    ],
)
def test_wrong_reparameterisation_is_rejected(mutant):
    with pytest.raises(AssertionError):
        check_reparameterisation(mutant)


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.37, 1.0, 4.0])
@pytest.mark.parametrize("log_scale", [-5.0, -2.0, 1.0])
def test_discretised_logistic_sums_to_one(mean, log_scale):
    x = np.arange(256, dtype="float32") / 255
    parameters = (np.full(256, value, "f4") for value in (mean, log_scale))
    log_p = discretised_logistic_log_prob(x, *parameters)
    assert np.all(np.isfinite(log_p))
    np.testing.assert_allclose(np.exp(np.float64(log_p)).sum(), 1, atol=2e-4)


def test_discretised_logistic_distribution_draws_from_its_own_probabilities():
    mean, log_scale = tf.fill((1, 1, 1), 0.02), tf.fill((1, 1, 1), -4.0)
    p = tfd.Independent(vae_module.DiscretisedLogistic(mean, tf.exp(log_scale)), 3)
    draws = np.rint(p.sample(20_000, seed=(0, 1)).numpy().ravel() * 255).astype(int)
    levels = np.arange(256, dtype="f4").reshape(-1, 1, 1, 1) / 255
    expected = np.exp(p.log_prob(levels).numpy())
    observed = np.bincount(draws, minlength=256) / 20_000
    assert np.abs(observed - expected).max() < 0.015 and expected[0] > 0.1


# --- the bound ------------------------------------------------------------------------------------


def mean_elbo(model, x, draws):
    """Mean bound of each image over many draws, in one call."""
    return np.reshape(model.elbo(np.tile(x, (draws, 1, 1, 1)), seed=(0, 0)), (draws, -1)).mean(0)


def check_exact_bound(model):
    """With the exact posterior the Monte Carlo bound is log p(x) for *every* draw."""
    x = images()
    np.testing.assert_allclose(model.elbo(x, seed=(0, 1)), exact_log_px(x), atol=2e-3)


@pytest.mark.parametrize("kl", ["monte_carlo", "analytic"])
def test_bound_of_the_linear_gaussian_vae(kl):
    x = images()
    if kl == "monte_carlo":
        check_exact_bound(linear_vae(kl=kl))
    wrong = linear_vae(mean_shift=0.4, log_var_shift=0.5, kl=kl)
    elbo = mean_elbo(wrong, x, 300)
    # The gap of a shifted posterior is KL(q || p(z|x)), known in closed form.
    var = np.exp(wrong.encoder.log_var.numpy() - 0.5)
    gap = 0.5 * np.sum(np.exp(0.5) + 0.4**2 / var - 1 - 0.5)
    np.testing.assert_allclose(exact_log_px(x) - elbo, gap, atol=0.5)
    np.testing.assert_allclose(np.mean(exact_log_px(x) - elbo), gap, atol=0.06)


def kl_averaged(self, x, *, seed):
    log_px_z, kl = vae_module.VAE.elbo_terms(self, x, seed=seed)
    return log_px_z, kl / self.latent_dim


def pixels_averaged(self, x, *, seed):
    log_px_z, kl = vae_module.VAE.elbo_terms(self, x, seed=seed)
    return log_px_z / np.prod(self.image_shape), kl


def noise_shrunk(self, x, *, seed):
    q, prior = self.posterior(x), self.prior()
    z = q.mean() + 1e-4 * (q.sample(seed=seed) - q.mean())
    return self.likelihood(z).log_prob(x), q.log_prob(q.sample(seed=seed)) - prior.log_prob(z)


def noise_shrunk_density(self, x, *, seed):
    """Noise scaled by 1e-4, its density taken where the shrunken draw lies."""
    q, prior = self.posterior(x), self.prior()
    z = q.mean() + 1e-4 * (q.sample(seed=seed) - q.mean())
    return self.likelihood(z).log_prob(x), q.log_prob(z) - prior.log_prob(z)


@pytest.mark.parametrize("mutant", [kl_averaged, pixels_averaged, noise_shrunk])
def test_wrong_bound_is_rejected(mutant):
    model = type("Mutant", (VAE,), {"elbo_terms": mutant})
    model.__init__ = VAE.__init__
    exact = linear_vae()
    wrong = model(2, (2, 3, 1), encoder=exact.encoder, decoder=exact.decoder, likelihood="gaussian")
    with pytest.raises(AssertionError):
        check_exact_bound(wrong)


def check_unbiased(elbo_terms):
    """Mean over draws of the Monte Carlo KL against the closed form, within 5 standard errors."""
    keras.utils.set_random_seed(0)
    model = VAE(3, hidden_dim=8)
    model.encoder.mean_head.bias.assign([1.0, -1.0, 0.5])
    model.encoder.log_var_head.bias.assign([-1.0, 0.5, -2.0])
    x = binary(1)
    kl = np.asarray(elbo_terms(model, np.repeat(x, 4000, axis=0), seed=(1, 2))[1])
    exact = float(kl_to_standard_normal(*model.encode(x)[:2])[0])
    error = kl.std() / np.sqrt(len(kl))
    assert error < 0.06 and abs(kl.mean() - exact) < 5 * error


def test_monte_carlo_bound_is_unbiased_against_the_analytic_one():
    check_unbiased(VAE.elbo_terms)


@pytest.mark.parametrize("mutant", [kl_averaged, noise_shrunk_density])
def test_biased_monte_carlo_kl_is_rejected(mutant):
    with pytest.raises(AssertionError):
        check_unbiased(mutant)


def check_bernoulli(model):
    """Likelihood against the definition, with p computed here from the decoder's logits."""
    x, z = binary(2), np.random.default_rng(1).normal(size=(2, 3)).astype("f4")
    p = 1 / (1 + np.exp(-np.float64(model.decode(z)[0])))
    expected = np.sum(np.where(x == 1, np.log(p), np.log1p(-p)), axis=(1, 2, 3))
    np.testing.assert_allclose(model.likelihood(z).log_prob(x), expected, rtol=1e-4)


def test_bernoulli_likelihood_takes_logits_once():
    model = VAE(3, hidden_dim=8)
    check_bernoulli(model)

    class SigmoidTwice(BernoulliMLP):
        def call(self, z):
            return tf.sigmoid(super().call(z)[0]), None, None

    inner = SigmoidTwice(8, (28, 28, 1))
    twice = VAE(3, hidden_dim=8, decoder=inner)
    twice.decode = lambda z: BernoulliMLP.call(inner, z)
    twice.likelihood = lambda z: tfd.Independent(tfd.Bernoulli(logits=inner(z)[0]), 3)
    with pytest.raises(AssertionError):
        check_bernoulli(twice)


def test_likelihood_takes_any_leading_axes():
    model = VAE(3, hidden_dim=8)
    x, z = binary(4), np.random.default_rng(1).normal(size=(5, 4, 3)).astype("f4")
    together = model.likelihood(z).log_prob(x)  # (5, 4)
    single = model.likelihood(z[2]).log_prob(x)
    np.testing.assert_allclose(together[2], single, rtol=1e-5)


# --- Keras ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs",
    [
        dict(latent_dim=3, hidden_dim=(8, 6)),
        dict(latent_dim=2, hidden_dim=8, kl="analytic", beta=0.5, activation="gelu", seed=4),
        dict(latent_dim=3, image_shape=(4, 4, 3), hidden_dim=8, decoder="gaussian_mlp",
             likelihood="gaussian"),
        dict(latent_dim=3, image_shape=(4, 4, 3), hidden_dim=8, decoder="gaussian_mlp",
             likelihood="discretised_logistic"),
        dict(latent_dim=3, encoder=GaussianMLP(9, 3), decoder=BernoulliMLP(7, (28, 28, 1))),
    ],
)  # fmt: skip
def test_keras_file_gives_back_the_same_model(tmp_path, kwargs):
    keras.utils.set_random_seed(1)
    model = VAE(**kwargs)
    x = np.random.default_rng(0).integers(0, 2, (3, *model.image_shape)).astype("float32")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(x), again(x))
    np.testing.assert_array_equal(model.elbo(x, seed=(5, 6)), again.elbo(x, seed=(5, 6)))
    configs = [m.get_config() | {k: getattr(m, k).get_config() for k in ("encoder", "decoder")}
               for m in (model, again)]  # fmt: skip
    assert configs[0] == configs[1]


def test_fit_lowers_the_loss_and_reports_the_parts_of_the_bound():
    keras.utils.set_random_seed(0)
    x = np.repeat(binary(4), 50, axis=0)
    model = VAE(2, hidden_dim=16)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    history = model.fit(x, epochs=6, batch_size=32, verbose=0, validation_data=(x[:7],)).history
    assert set(history) == {p + n for p in ("", "val_") for n in ("loss", "reconstruction", "kl")}
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    total = np.array(history["reconstruction"]) + np.array(history["kl"])
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)


def test_a_ragged_last_batch_weighs_as_much_as_it_holds():
    model = VAE(2, hidden_dim=4, seed=3)
    model.compile(jit_compile=False)
    x = binary(10)
    loss = model.evaluate(x, batch_size=8, verbose=0, return_dict=True)["loss"]
    parts = [model.elbo(x[:8], seed=(3, 0)), model.elbo(x[8:], seed=(3, 8))]
    np.testing.assert_allclose(loss, -np.mean(np.concatenate(parts)), rtol=1e-5)


def test_beta_weighs_the_kl_of_the_loss_alone():
    x = binary(8)
    losses = {}
    for beta in (0.0, 1.0, 4.0):
        keras.utils.set_random_seed(0)
        model = VAE(2, hidden_dim=4, beta=beta)
        model.compile(jit_compile=False)
        losses[beta] = model.evaluate(x, verbose=0, return_dict=True)
    kl = losses[1.0]["kl"]
    for beta, logs in losses.items():
        np.testing.assert_allclose(logs["loss"], logs["reconstruction"] + beta * kl, rtol=1e-5)


def test_noise_is_a_function_of_seed_and_step():
    def weights_after(seed):
        keras.utils.set_random_seed(0)
        model = VAE(2, hidden_dim=4, seed=seed)
        model.compile(keras.optimizers.SGD(1e-3), jit_compile=False)
        model.fit(binary(8), batch_size=4, epochs=1, shuffle=False, verbose=0)
        return np.concatenate([np.ravel(w) for w in model.get_weights()])

    assert np.array_equal(weights_after(1), weights_after(1))
    assert not np.array_equal(weights_after(1), weights_after(2))


def test_every_weight_gets_a_gradient():
    model = VAE(2, (4, 4, 3), hidden_dim=4, decoder="gaussian_mlp", likelihood="gaussian")
    x = np.random.default_rng(0).random((3, 4, 4, 3)).astype("f4")
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(model.elbo(x, seed=(0, 0)))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert len(gradients) == 12 and all(float(tf.norm(g)) > 0 for g in gradients)


def test_samples_and_reconstructions_are_images():
    model = VAE(2, hidden_dim=4)
    assert model.sample(5, seed=1).shape == (5, 28, 28, 1) == model.reconstruct(binary(5)).shape
    np.testing.assert_array_equal(model.sample(5, seed=1), model.sample(5, seed=1))
    assert set(np.unique(model.sample(5, seed=1, draw=True))) == {0.0, 1.0}


# --- mixed precision ------------------------------------------------------------------------------


@pytest.fixture
def mixed():
    """Return a function that builds under mixed_bfloat16, then sets the policy back."""

    def build(make):
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        try:
            return make()
        finally:
            keras.mixed_precision.set_global_policy("float32")

    yield build
    assert keras.mixed_precision.global_policy().name == "float32"


def with_flow(steps):
    keras.utils.set_random_seed(0)
    return VAE(3, hidden_dim=16, iaf_steps=steps, iaf_hidden=8)


@pytest.mark.parametrize("steps", [0, 2])
def test_mixed_precision_trains_and_its_densities_are_float32(mixed, steps, tmp_path):
    x = np.repeat(binary(4), 25, axis=0)
    plain, model = with_flow(steps), mixed(lambda: with_flow(steps))
    model.set_weights(plain.get_weights())
    assert model.encoder(x[:1])[0].dtype == tf.bfloat16  # the networks do compute in 16 bits
    assert {weight.dtype for weight in model.weights} == {"float32"}
    elbo, exact = model.elbo(x, seed=(1, 2)), plain.elbo(x, seed=(1, 2))
    assert elbo.dtype == tf.float32
    np.testing.assert_allclose(elbo, exact, rtol=0.01)
    assert np.abs(np.diff(np.unique(elbo))).min() < 0.4  # finer than bfloat16 near 540: steps of 4
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    loss = model.fit(x, epochs=4, batch_size=20, verbose=0).history["loss"]
    assert np.isfinite(loss).all() and loss[-1] < 0.9 * loss[0]
    # A file written under one policy gives the same weights under the other.
    model.save(tmp_path / "mixed.keras")
    again = keras.saving.load_model(tmp_path / "mixed.keras")
    assert again.encoder(x[:1])[0].dtype == tf.float32
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(again.elbo(x, seed=(1, 2)), model.elbo(x, seed=(1, 2)), rtol=0.01)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (dict(latent_dim=0), "latent_dim must be at least 1, got 0"),
        (dict(latent_dim=2.5), "latent_dim"),
        (dict(latent_dim=2, image_shape=(28, 28)), "height, width, channels"),
        (dict(latent_dim=2, encoder="resnet"), "encoder must be .*'gaussian_mlp'.*'resnet'"),
        (dict(latent_dim=2, decoder="mlp"), "decoder must be .*'bernoulli_mlp'.*'mlp'"),
        (dict(latent_dim=2, likelihood="poisson"), "likelihood must be .*'bernoulli'.*'poisson'"),
        (dict(latent_dim=2, likelihood="gaussian"), "gaussian.*does not fit.*grey_bernoulli"),
        (dict(latent_dim=2, decoder="gaussian_mlp"), "does not fit.*discretised_logistic"),
        (dict(latent_dim=2, kl="exact"), "kl must be .*'analytic'.*got 'exact'"),
        (dict(latent_dim=2, beta=-1), "beta=-1"),
        (dict(latent_dim=2, hidden_dim=0), "hidden_dim=0"),
    ],
)
def test_bad_construction_is_named(kwargs, words):
    with pytest.raises((ValueError, TypeError), match=words):
        VAE(**kwargs)


@pytest.mark.parametrize(
    ("likelihood", "x", "words"),
    [
        ("bernoulli", np.zeros((2, 28, 28, 1), "uint8"), "uint8"),
        ("bernoulli", np.zeros((28, 28, 1), "f4"), r"\(28, 28, 1\)"),
        ("bernoulli", np.zeros((2, 14, 14, 1), "f4"), "14, 14"),
        ("bernoulli", np.zeros((0, 28, 28, 1), "f4"), "batch >= 1"),
        ("bernoulli", np.full((2, 28, 28, 1), 0.5, "f4"), "grey_bernoulli"),
        ("bernoulli", np.full((2, 28, 28, 1), np.nan, "f4"), "NaN"),
        ("grey_bernoulli", np.full((2, 28, 28, 1), 255.0, "f4"), "255"),
        ("gaussian", np.full((2, 28, 28, 1), -0.1, "f4"), "-0.1"),
        ("discretised_logistic", np.full((2, 28, 28, 1), 0.5, "f4"), "k/255"),
    ],
)
def test_bad_images_are_named(likelihood, x, words):
    decoder = "bernoulli_mlp" if "bernoulli" in likelihood else "gaussian_mlp"
    model = VAE(2, hidden_dim=4, likelihood=likelihood, decoder=decoder)
    with pytest.raises((ValueError, TypeError), match=words):
        model.check_images(x)


def test_images_on_the_grid_pass():
    model = VAE(2, hidden_dim=4, likelihood="discretised_logistic", decoder="gaussian_mlp")
    grid = np.resize(np.arange(256), (2, 28, 28, 1)).astype("float32") / np.float32(255)
    model.check_images(grid)


def test_nan_weights_and_bad_sample_counts_are_named():
    model = VAE(2, hidden_dim=4)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        model.sample(0, seed=1)
    model.decoder.logits_head.bias.assign(np.full(784, np.nan))
    with pytest.raises(ValueError, match=r"bias.*NaN"):
        model.check_weights()
