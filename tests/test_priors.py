"""Priors and importance-weighted bounds: properties and their mutants."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from helpers import bounds, evaluation, priors, training
from helpers.course import widgets
from helpers.flows import FlowDensity
from helpers.priors import FlowPrior, StandardNormal, VampPrior
from helpers.vae import VAE, Terms

tfd = tfp.distributions
SHAPE = (2, 2, 1)
PSEUDO = np.random.default_rng(3).uniform(size=(4, *SHAPE)).astype("f4")
X = np.random.default_rng(4).integers(0, 2, (6, *SHAPE)).astype("f4")
MADE = {  # of each prior, a small one in two dimensions
    "standard_normal": lambda: StandardNormal(2, SHAPE),
    "vamp": lambda: VampPrior(2, SHAPE, PSEUDO),
    "flow": lambda: FlowPrior(2, SHAPE, steps=2, hidden=(8,)),
}
each_prior = pytest.mark.parametrize("name", MADE)


def shaken(model, scale=0.5, seed=0):
    """Noise on every weight, biases too, so that no property holds by a zero."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign_add(rng.normal(0, scale, weight.shape))
    return model


def small_vae(name="standard_normal", **options):
    keras.utils.set_random_seed(0)
    prior = MADE[name]()
    return shaken(VAE(2, SHAPE, prior=prior, hidden_dim=(6,), seed=1, **options))


# --- Densities -----------------------------------------------------------------------------------

WIDTH = 0.1
AXIS = np.arange(-12 + WIDTH / 2, 12, WIDTH, dtype="f4")  # middles of cells
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1)  # (n, n, 2)


def check_integral(log_prob):
    assert np.exp(np.asarray(log_prob(GRID), np.float64)).sum() * WIDTH**2 == pytest.approx(1, 0.01)


@each_prior
def test_a_prior_integrates_to_1(name):
    check_integral(small_vae(name).prior().log_prob)


def test_wrong_densities_are_rejected():
    flow = small_vae("flow").prior_layer.flow
    base = priors.standard_normal(2)
    mixture = small_vae("vamp").prior()
    parts = mixture.components_distribution
    for wrong in (
        lambda z: base.log_prob(flow(z)[0]) - flow(z)[1],  # the sign of a posterior's flow
        lambda z: base.log_prob(flow(z)[0]),
        lambda z: tf.reduce_logsumexp(parts.log_prob(z[..., None, :]), axis=-1),  # not averaged
    ):
        with pytest.raises(AssertionError):
            check_integral(wrong)


def check_draws(draws, log_prob):
    """Draws fall into the cells of a grid as often as the density says (a chi-squared test)."""
    edges = np.linspace(-3, 3, 7)
    counts = np.histogram2d(*np.asarray(draws).T, [edges, edges])[0]
    density = np.exp(np.asarray(log_prob(GRID), np.float64)) * WIDTH**2
    wanted = np.histogram2d(*GRID.reshape(-1, 2).T, [edges, edges], weights=density.ravel())[
        0
    ] * len(draws)
    many = wanted > 20
    chi = (counts - wanted)[many] ** 2 / wanted[many]
    assert many.sum() > 4 and chi.mean() < 2


@each_prior
def test_draws_have_the_density_that_log_prob_says(name):
    prior = small_vae(name).prior()
    check_draws(prior.sample(20_000, seed=(1, 2)), prior.log_prob)


def test_wrong_draws_are_rejected():
    flow, mixture = small_vae("flow").prior(), small_vae("vamp").prior()
    eps = priors.standard_normal(2).sample(20_000, seed=(1, 2))
    one = mixture.components_distribution[0].sample(20_000, seed=(1, 2))
    for draws, prior in ((flow.flow(eps)[0], flow), (eps, flow), (one, mixture)):
        with pytest.raises(AssertionError):
            check_draws(draws, prior.log_prob)


def check_log_determinant(flow):
    """The log-determinants that a flow returns, and its density, are those of autodiff."""
    z = tf.random.stateless_normal((5, 3), (1, 2))
    with tf.GradientTape() as tape:
        tape.watch(z)
        z_0, log_det = flow(z)
    exact = np.linalg.slogdet(tape.batch_jacobian(z_0, z).numpy())[1]
    np.testing.assert_allclose(log_det, exact, atol=1e-5)
    wanted = priors.standard_normal(3).log_prob(z_0) + exact
    density = FlowDensity(priors.standard_normal(3), flow)
    np.testing.assert_allclose(density.log_prob(z), wanted, atol=1e-5)


def shaken_flow():
    return shaken(FlowPrior(3, SHAPE, steps=3, hidden=(9, 9))).flow


def test_log_determinant_of_a_flow_is_that_of_autodiff():
    check_log_determinant(shaken_flow())


@pytest.mark.parametrize("factor", [-1.0, 0.5])
def test_a_wrong_log_determinant_is_rejected(factor):
    flow = shaken_flow()
    call = flow.call
    flow.call = lambda z: (call(z)[0], factor * call(z)[1])
    with pytest.raises(AssertionError):
        check_log_determinant(flow)


def test_weight_decay_spares_the_biases_of_a_flow():
    """Its last bias keeps the gates open: 1.5 at the start."""
    flow = FlowPrior(2, SHAPE, hidden=(8,))
    before = [np.array(weight) for weight in flow.trainable_weights]
    optimizer = training.make_optimizer(0.1, 10, warmup=0.0, weight_decay=0.5)
    optimizer.apply_gradients([(tf.zeros(w.shape), w) for w in flow.trainable_weights])
    for old, weight in zip(before, flow.trainable_weights, strict=True):
        factor = 1.0 if len(weight.shape) == 1 else 0.95
        np.testing.assert_allclose(weight, factor * old, rtol=1e-5)


def test_weight_decay_spares_pseudo_inputs():
    prior = VampPrior(2, SHAPE, PSEUDO)
    before = np.array(prior.logits)
    optimizer = training.make_optimizer(0.1, 10, warmup=0.0, weight_decay=0.5)
    optimizer.apply_gradients([(tf.zeros(prior.logits.shape), prior.logits)])
    np.testing.assert_allclose(prior.logits, before, rtol=1e-6)


def test_a_single_pseudo_input_gives_its_posterior():
    keras.utils.set_random_seed(0)
    image = np.clip(PSEUDO[:1], 0.1, 0.9)
    vae = VAE(2, SHAPE, prior=VampPrior(2, SHAPE, image), hidden_dim=(6,))
    z = np.random.default_rng(0).normal(size=(5, 2)).astype("f4")
    wanted = vae.posterior(image).log_prob(z)
    np.testing.assert_allclose(vae.prior().log_prob(z), wanted, rtol=1e-5)
    of_logits = vae.posterior(vae.prior_layer.logits).log_prob(z)  # no pixels
    assert np.abs(of_logits - wanted).max() > 1e-2


def test_pseudo_inputs_have_equal_weights():
    vae = small_vae("vamp")
    z = np.random.default_rng(0).normal(size=(5, 1, 2)).astype("f4")
    parts = np.exp(vae.posterior(vae.prior_layer.pseudo_inputs).log_prob(z))  # (5, components)
    np.testing.assert_allclose(vae.prior().log_prob(z)[:, 0], np.log(parts.mean(1)), rtol=1e-4)


def test_pseudo_inputs_start_as_given_and_stay_images():
    prior = VampPrior(2, SHAPE, PSEUDO)
    np.testing.assert_allclose(prior.pseudo_inputs, np.clip(PSEUDO, 0.01, 0.99), atol=1e-5)
    far = np.asarray(shaken(prior, 100).pseudo_inputs)
    assert 0 <= far.min() < 0.01 and 0.99 < far.max() <= 1


def test_pseudo_inputs_are_trained():
    vae = small_vae("vamp")
    before = np.array(vae.prior_layer.pseudo_inputs)
    vae.compile(keras.optimizers.Adam(0.01))
    vae.fit(X, epochs=2, verbose=0)
    assert np.abs(np.asarray(vae.prior_layer.pseudo_inputs) - before).max() > 1e-3


@each_prior
def test_a_vae_with_a_flow_posterior_takes_each_prior(name):
    vae = small_vae(name, iaf_steps=1, iaf_hidden=(6,))
    score = evaluation.log_likelihood(vae, X, 50)
    assert np.isfinite(score.values).all() and score.mean >= score.elbo


# --- Bounds --------------------------------------------------------------------------------------


def check_importance_bound(bound):
    log_w = np.random.default_rng(0).normal(size=(5, 3)).astype("f4")
    wanted = np.log(np.exp(log_w.astype("f8")).mean(axis=0))
    np.testing.assert_allclose(bound(tf.constant(log_w)), wanted, rtol=1e-5)
    np.testing.assert_allclose(bound(tf.constant(log_w - 500)), wanted - 500, rtol=1e-5)
    np.testing.assert_allclose(bound(tf.constant(log_w[:1])), log_w[0], rtol=1e-6)


def test_the_bound_is_the_log_of_the_mean_weight():
    check_importance_bound(bounds.importance_bound)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda w: tf.reduce_logsumexp(w, axis=0),  # a sum
        lambda w: tf.reduce_mean(w, axis=0),  # the mean of the logs
        lambda w: tf.math.log(tf.reduce_mean(tf.exp(w), axis=0)),  # underflows
        lambda w: tf.reduce_logsumexp(w, axis=1) - tf.math.log(float(w.shape[1])),
    ],
)
def test_a_wrong_bound_is_rejected(mutant):
    with pytest.raises(AssertionError):
        check_importance_bound(mutant)


def mean_bound(k, bound="iwae", repeats=400):
    vae = small_vae(bound=bound, num_samples=k)
    many = np.repeat(X, repeats, axis=0)
    return float(tf.reduce_mean(vae.bound_of(vae.bound_terms(many, seed=(1, 2)), 1.0)))


def test_one_draw_gives_the_elbo():
    vae, same = small_vae(bound="iwae"), small_vae()
    terms = vae.bound_terms(X, seed=(1, 2))
    np.testing.assert_allclose(vae.bound_of(terms, 1.0), same.elbo(X, seed=(1, 2)), rtol=1e-5)


def test_the_bound_rises_with_k_and_stays_below_log_px():
    values = [mean_bound(k) for k in (1, 2, 5, 20)]
    assert values == sorted(values) and values[-1] - values[0] > 0.01
    assert values[-1] < evaluation.log_likelihood(small_vae(), X, 5_000).mean + 0.005
    assert mean_bound(5, "dreg") == pytest.approx(values[2], abs=1e-5)


def encoder_gradients(gradients, name, beta, k=4, seeds=1500):
    """Gradients of the encoder's weights for one image and many draws, (seeds, weights)."""
    vae = small_vae(name, bound="dreg", num_samples=k)

    @tf.function
    def one(seed):
        with tf.GradientTape(persistent=True) as tape:
            terms = vae.bound_terms(X[:1], seed=seed, tape=tape)
            loss = -tf.reduce_mean(vae.bound_of(terms, beta))
        found = gradients(vae, tape, loss, terms, seed, beta)
        return tf.concat([tf.reshape(g, [-1]) for g in found], 0)

    return np.array([one(tf.constant([7, s])) for s in range(seeds)])


def encoder(vae):
    return vae.encoder.trainable_variables


def dreg(vae, tape, loss, terms, seed, beta):
    """What a training step of the VAE takes."""
    gradients = vae._gradients(tape, loss, terms, beta)
    found = dict(zip((v.path for v in vae.trainable_variables), gradients, strict=True))
    return [found[variable.path] for variable in encoder(vae)]


def plain(vae, tape, loss, terms, seed, beta):
    """The gradient of the bound as autodiff has it."""
    with tf.GradientTape() as own:
        q = vae.posterior(X[:1])
        z, log_q = q.experimental_sample_and_log_prob(vae.num_samples, seed=seed)
        log_ratio = vae.prior().log_prob(z) - log_q
        log_w = vae.likelihood(z).log_prob(X[:1]) + beta * log_ratio
        loss = -tf.reduce_mean(bounds.importance_bound(log_w))
    return own.gradient(loss, encoder(vae))


def weight_not_squared(vae, tape, loss, terms, seed, beta):
    """A single factor of the weight: `pull` holds it, the second one is forgotten."""
    pull = tape.gradient(loss, terms.z)
    return tape.gradient(terms.drawn, encoder(vae), output_gradients=pull)


def mean_of_the_draws(vae, tape, loss, terms, seed, beta):
    """1/k in place of the weight."""
    pull = tape.gradient(loss, terms.z) / vae.num_samples
    return tape.gradient(terms.drawn, encoder(vae), output_gradients=pull)


def without_beta(vae, tape, loss, terms, seed, beta):
    """The square of the weight, which is right for a KL of weight 1 only."""
    log_w = terms.log_px_z - beta * terms.kl
    seen = (tape, loss, log_w, terms.drawn, terms.z)
    return bounds.doubly_reparameterised(*seen, encoder(vae))


def check_unbiased(gradients, name="standard_normal", beta=1.0):
    """The mean over draws is that of the bound's own gradient, within its standard errors."""
    found, wanted = (encoder_gradients(kind, name, beta) for kind in (gradients, plain))
    difference = (found - wanted).mean(axis=0)  # the same draws: most of the chance cancels
    error = (found - wanted).std(axis=0) / np.sqrt(len(found))
    moved = error > 0
    assert moved.sum() > 10 and np.mean((difference / error)[moved] ** 2) < 3
    return found, wanted


def test_dreg_is_unbiased_and_has_less_variance():
    found, wanted = check_unbiased(dreg)
    assert found.var(axis=0).sum() < 0.7 * wanted.var(axis=0).sum()


def test_dreg_is_unbiased_where_the_encoder_lays_out_the_prior():
    check_unbiased(dreg, "vamp")


def test_dreg_is_unbiased_with_a_weighted_kl():
    check_unbiased(dreg, beta=0.3)


@pytest.mark.parametrize(
    ("mutant", "beta"), [(weight_not_squared, 1.0), (mean_of_the_draws, 1.0), (without_beta, 0.3)]
)
def test_a_biased_gradient_is_rejected(mutant, beta):
    with pytest.raises(AssertionError):
        check_unbiased(mutant, beta=beta)


@each_prior
def test_dreg_trains_decoder_and_prior_as_the_bound_does(name):
    """What does not make the draws has the gradient of the bound, draw by draw."""
    vae = small_vae(name, bound="dreg", num_samples=3)
    others = [*vae.decoder.trainable_variables, *vae.prior_layer.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        terms = vae.bound_terms(X, seed=(1, 2), tape=tape)
        loss = -tf.reduce_mean(vae.bound_of(terms, 1.0))
    log_w = terms.log_px_z - terms.kl
    found = bounds.doubly_reparameterised(tape, loss, log_w, terms.drawn, terms.z, others)
    with tf.GradientTape() as own:
        log_w = evaluation.log_importance_weights(vae, X, 3, seed=(1, 2))
        loss = -tf.reduce_mean(bounds.importance_bound(log_w))
    for a, b in zip(found, own.gradient(loss, others), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


# --- In a VAE ------------------------------------------------------------------------------------


@each_prior
@pytest.mark.parametrize("bound", ["elbo", "iwae", "dreg"])
def test_training_raises_the_bound_and_a_saved_model_is_the_same(name, bound, tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (40, *SHAPE), dtype=np.uint8) * 255
    vae = small_vae(name, bound=bound, num_samples=1 if bound == "elbo" else 3)
    settings = dict(epochs=30, batch_size=20, protocol="threshold", seed=1, learning_rate=0.01)
    history = training.fit(vae, images, validation=X, verbose=0, **settings)
    assert history["loss"][-1] < history["loss"][0] and history["val_loss"][-1] < 6
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert loaded.get_config() == vae.get_config()
    for found, wanted in (
        (loaded.sample(4, seed=1), vae.sample(4, seed=1)),
        (loaded.prior().log_prob(GRID[0]), vae.prior().log_prob(GRID[0])),
        (
            evaluation.log_likelihood(loaded, X, 9).values,
            evaluation.log_likelihood(vae, X, 9).values,
        ),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


@each_prior
def test_samples_are_decoded_draws_of_the_prior(name):
    vae = small_vae(name)
    z = vae.prior().sample(5, seed=(3, 0))
    np.testing.assert_allclose(vae.sample(5, seed=3), vae.likelihood(z).mean(), rtol=1e-6)


@each_prior
def test_the_explorer_takes_each_prior(name):
    keras.utils.set_random_seed(0)
    shape = (4, 4, 1)
    prior = priors.PRIORS[name](2, shape)
    vae = VAE(2, shape, prior=prior, hidden_dim=(6,))
    points = np.asarray(vae.prior().sample(8, seed=(1, 2)))
    limit = 1.1 * np.abs(points).max()
    page = widgets.latent_explorer(vae, points, [0] * 8, ["a"], n=3, limit=limit)
    assert "<script>" in page.data


@each_prior
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_every_prior(name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        vae = small_vae(name, bound="dreg", num_samples=2)
        vae.compile(keras.optimizers.Adam(0.01))
        loss = vae.fit(X, epochs=3, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(loss).all() and vae.prior().log_prob(GRID[0]).dtype == tf.float32


def test_the_kl_is_weighted_in_the_bound():
    vae = small_vae(bound="iwae", num_samples=2)
    terms = Terms(tf.constant([[1.0], [2.0]]), tf.constant([[3.0], [5.0]]))
    wanted = np.log(np.mean(np.exp([1 - 1.5, 2 - 2.5])))
    np.testing.assert_allclose(vae.bound_of(terms, 0.5), [wanted], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(prior="student"), "prior must be one of"),
        (dict(prior="vamp", kl="analytic"), "use kl='monte_carlo'"),
        (dict(prior="flow", kl="analytic"), "use kl='monte_carlo'"),
        (dict(prior=StandardNormal(3, SHAPE)), "latent_dim=3"),
        (dict(prior=StandardNormal(2, (3, 3, 1))), "image_shape=\\(3, 3, 1\\)"),
        (dict(bound="iwea"), "bound must be one of"),
        (dict(bound="iwae", num_samples=0), "num_samples"),
        (dict(num_samples=2), "use bound='iwae'"),
        (dict(bound="iwae", num_samples=2, kl="analytic"), "use kl='monte_carlo'"),
        (dict(bound="dreg", num_samples=2, iaf_steps=1), "use bound='iwae'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VAE(2, SHAPE, hidden_dim=(6,), **options)


@pytest.mark.parametrize(
    ("pseudo", "message"),
    [
        (0, "pseudo_inputs"),
        (PSEUDO[:0], "n at least 1"),
        (PSEUDO[:, :1], "images \\(n, 2, 2, 1\\)"),
        (PSEUDO[0], "images \\(n, 2, 2, 1\\)"),
        ((255 * PSEUDO).astype("uint8"), "images / 255"),
        (2 * PSEUDO, "floats in \\[0, 1\\]"),
        (PSEUDO * np.nan, "floats in \\[0, 1\\]"),
    ],
)
def test_bad_pseudo_inputs_are_refused(pseudo, message):
    with pytest.raises(ValueError, match=message):
        VampPrior(2, SHAPE, pseudo)
