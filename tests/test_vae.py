"""The bound, its parts and their mutants; what Keras' users do with a VAE; bad input."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from helpers.networks import BernoulliMLP, GaussianMLP, PyramidEncoder
from helpers.priors import kl_to_standard_normal
from helpers.vae import VAE, reparameterise
from linear_gaussian import exact_log_px, images, linear_vae

tfd = tfp.distributions
IMAGE = (4, 4, 1)


def binary(n=6, shape=(28, 28, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 2, (n, *shape)).astype("float32")


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


def test_the_posterior_draws_by_reparameterisation():
    model, x = VAE(3, hidden_dim=8), binary(5)
    q, (z_mean, z_log_var, _) = model.posterior(x), model.encode(x)
    np.testing.assert_allclose(
        q.sample(seed=(1, 2)), reparameterise(z_mean, z_log_var, (1, 2)), atol=1e-6
    )
    draws = q.sample(4000, seed=(1, 2)).numpy()
    assert draws.shape == (4000, 5, 3)
    std = np.exp(0.5 * z_log_var)
    np.testing.assert_allclose(draws.mean(axis=0), z_mean, atol=0.1)
    np.testing.assert_allclose(draws.std(axis=0), std, rtol=0.06)
    same = tfd.MultivariateNormalDiag(z_mean, std)
    np.testing.assert_allclose(q.log_prob(draws), same.log_prob(draws), rtol=1e-4, atol=1e-4)


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


RIGHT_TERMS = VAE.elbo_terms


def kl_averaged(self, x, *, seed, training=False):
    log_px_z, kl = RIGHT_TERMS(self, x, seed=seed)
    return log_px_z, kl / self.latent_dim


def pixels_averaged(self, x, *, seed, training=False):
    log_px_z, kl = RIGHT_TERMS(self, x, seed=seed)
    return log_px_z / np.prod(self.image_shape), kl


def noise_shrunk(self, x, *, seed, training=False):
    """Noise scaled by 1e-4, its density taken where the draw would have been."""
    q, prior = self.posterior(x), self.prior()
    z = q.mean() + 1e-4 * (q.sample(seed=seed) - q.mean())
    return self.likelihood(z).log_prob(x), q.log_prob(q.sample(seed=seed)) - prior.log_prob(z)


def noise_shrunk_density(self, x, *, seed, training=False):
    """Noise scaled by 1e-4, its density taken where the shrunken draw lies."""
    q, prior = self.posterior(x), self.prior()
    z = q.mean() + 1e-4 * (q.sample(seed=seed) - q.mean())
    return self.likelihood(z).log_prob(x), q.log_prob(z) - prior.log_prob(z)


@pytest.mark.parametrize("mutant", [kl_averaged, pixels_averaged, noise_shrunk])
def test_wrong_bound_is_rejected(mutant, monkeypatch):
    monkeypatch.setattr(VAE, "elbo_terms", mutant)
    with pytest.raises(AssertionError):
        check_exact_bound(linear_vae())


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
        dict(image_shape=(4, 4, 3), decoder="gaussian_mlp", likelihood="gaussian"),
        dict(image_shape=(4, 4, 3), decoder="gaussian_mlp", likelihood="discretised_logistic"),
        dict(encoder=GaussianMLP(9, 3), decoder=BernoulliMLP(7, (28, 28, 1))),
        dict(encoder=PyramidEncoder((3, 4, 2, 6), 3, blocks=1)),
    ],
)
def test_keras_file_gives_back_the_same_model(tmp_path, kwargs):
    keras.utils.set_random_seed(1)
    model = VAE(**{"latent_dim": 3, "hidden_dim": 8} | kwargs)
    x = np.random.default_rng(0).integers(0, 2, (3, *model.image_shape)).astype("float32")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(x), again(x))
    for a, b in zip(
        model.elbo_terms(x, seed=(5, 6)), again.elbo_terms(x, seed=(5, 6)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert again.encoder.get_config() == model.encoder.get_config()
    assert again.get_config() == model.get_config() or "encoder" in kwargs


def flat_image(units):
    return keras.layers.Dense(units, use_bias=False)


def own_encoder(*, as_functional=False):
    """A network of somebody who knows Keras and not this course."""
    image = keras.Input((4, 4, 1))
    h = keras.layers.Flatten()(image)
    outputs = [flat_image(2)(h), flat_image(2)(h)]
    if as_functional:
        return keras.Model(image, outputs)

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.net = keras.Model(image, outputs)

        def call(self, x):
            return tuple(self.net(x))

    return Own()


def sequential_decoder(shape=(4, 4, 1)):
    return keras.Sequential([flat_image(int(np.prod(shape))), keras.layers.Reshape(shape)])


@pytest.mark.parametrize("as_functional", [False, True])
def test_networks_of_ones_own_train(as_functional):
    encoder, decoder = own_encoder(as_functional=as_functional), sequential_decoder()
    model = VAE(2, (4, 4, 1), encoder=encoder, decoder=decoder)
    x = binary(8, (4, 4, 1))
    before = model.get_weights()
    model.compile("adam", jit_compile=False)
    model.fit(x, verbose=0)
    assert len(before) == 3
    assert all(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.elbo(x, seed=(0, 1)).shape == (8,)
    z_mean, z_log_var = model.encoder.predict(x, verbose=0)
    assert z_mean.shape == z_log_var.shape == (8, 2)
    assert model.decoder.predict(z_mean, verbose=0).shape == (8, 4, 4, 1)


class Labelled(VAE):
    """A VAE whose networks see more than images and codes: a label, here a constant."""

    def encode(self, x, training=False):
        x = tf.reshape(x, (-1, 16))
        return super().encode(tf.concat([x, tf.ones_like(x[:, :3])], axis=1), training=training)

    def decode(self, z, training=False):
        return super().decode(tf.concat([z, tf.ones_like(z)], axis=1), training=training)


def test_a_subclass_may_widen_the_networks_inputs():
    model = Labelled(2, IMAGE, hidden_dim=4)
    assert model.encoder.hidden[0].kernel.shape == (16 + 3, 4)
    assert model.decoder.hidden[0].kernel.shape == (2 + 2, 4)
    model.compile("adam", jit_compile=False, run_eagerly=True)
    model.fit(binary(4, IMAGE), verbose=0)
    assert model.reconstruct(binary(4, IMAGE)).shape == (4, *IMAGE)


class WithHead(VAE):
    """A VAE that gets a layer of its own behind the constructor's back."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.reader = keras.layers.Dense(1)


def test_a_subclass_may_add_a_layer():
    model = WithHead(2, IMAGE, hidden_dim=4)
    model.reader(binary(1, IMAGE))
    assert len(model.trainable_variables) == 12


class Returns(keras.Model):
    """Returns what it is given, whatever comes in."""

    def __init__(self, *shapes, bare=False):
        super().__init__()
        self.shapes, self.bare = shapes, bare

    def call(self, inputs):
        outputs = tuple(tf.zeros((len(inputs), *shape)) for shape in self.shapes)
        return outputs[0] if self.bare else outputs


@pytest.mark.parametrize(
    ("networks", "words"),
    [
        (dict(encoder=Returns((2,), bare=True)), r"encoder returns one tensor.*z_log_var\)"),
        (
            dict(encoder=Returns((2,), (2,), (3,), (4,))),
            r"encoder returns a tuple of one tensor, one.*z_log_var, context\)",
        ),
        (dict(encoder=Returns((3,), (3,))), r"encoder returns shapes .*\(1, 3\).*give \(1, 2\)"),
        (
            dict(decoder=Returns(IMAGE, IMAGE, IMAGE)),
            r"decoder returns a tuple of one tensor, one.*logits",
        ),
        (
            dict(decoder=sequential_decoder((5, 5, 1))),
            r"decoder returns shapes .*\(1, 5, 5, 1\).*give \(1, 4, 4, 1\)",
        ),
        (dict(decoder=Returns(IMAGE, IMAGE)), r"'bernoulli' does not fit.*\(mean, log_var\)"),
        (dict(iaf_steps=1, encoder=GaussianMLP(8, 2)), "needs an encoder that returns .*context"),
    ],
)
def test_a_network_that_returns_something_else_is_told_what_is_wanted(networks, words):
    with pytest.raises(ValueError, match=words):
        VAE(2, IMAGE, hidden_dim=4, **networks)


SERVE = """
import sys
import numpy as np
import tensorflow as tf

served = tf.saved_model.load(sys.argv[1])
x = np.load(sys.argv[2])
z = served.encode(x)
signature = served.signatures["serving_default"](tf.constant(x))
np.savez(sys.argv[3], z=z, decoded=served.decode(z), x=served.serve(x[:3]), **signature)
assert "helpers" not in sys.modules
"""


def test_a_trained_model_is_exported_and_serves_where_the_course_is_unknown(tmp_path):
    model, x = VAE(2, (4, 4, 1), hidden_dim=4, iaf_steps=1, iaf_hidden=4), binary(6, (4, 4, 1))
    model.compile("adam", jit_compile=False)
    model.fit(x, verbose=0)
    model.export(tmp_path / "served", verbose=False)
    np.save(tmp_path / "x.npy", x)
    command = [sys.executable, "-c", SERVE, tmp_path / "served", tmp_path / "x.npy"]
    subprocess.run([*command, tmp_path / "found.npz"], check=True, cwd=tmp_path)
    found, expected = np.load(tmp_path / "found.npz"), model.likelihood(model.code(x)).mean()
    np.testing.assert_allclose(found["z"], model.code(x), atol=1e-6)
    np.testing.assert_allclose(found["decoded"], expected, atol=1e-6)
    np.testing.assert_allclose(found["x"], expected[:3], atol=1e-6)
    (name,) = set(found.files) - {"z", "decoded", "x"}  # Keras gives the one output its name
    np.testing.assert_allclose(found[name], expected, atol=1e-6)


def test_a_summary_names_the_parts(capsys):
    lines = []
    VAE(2, IMAGE, hidden_dim=4, iaf_steps=1, iaf_hidden=4).summary(print_fn=lines.append)
    text = "\n".join(lines)
    for part in ("encoder (GaussianMLP)", "flow (IAF)", "decoder (BernoulliMLP)", "prior (Stan"):
        assert part in text
    own = VAE(2, IMAGE, encoder=own_encoder(as_functional=True), hidden_dim=4)
    assert own.encoder.name.startswith("functional")  # one's own keeps its name


def test_keras_predicts_with_the_parts_of_every_pair():
    x = binary(3, (17, 18, 2))
    pairs = {"gaussian_mlp": "bernoulli_mlp", "conv": "conv", "pyramid": "pyramid"}
    for encoder, decoder in pairs.items():
        hidden = (2, 3, 2, 4) if encoder == "pyramid" else (2, 3)
        names = dict(encoder=encoder, decoder=decoder, hidden_dim=hidden)
        model = VAE(2, (17, 18, 2), iaf_steps=1, iaf_hidden=4, **names)
        z_mean, z_log_var, context = model.encoder.predict(x, verbose=0)
        assert z_mean.shape == z_log_var.shape == (3, 2) and context.shape[0] == 3
        logits = model.decoder.predict(z_mean, verbose=0)
        assert logits.shape == x.shape == model.predict(x, verbose=0).shape


class Watch(keras.callbacks.Callback):
    """A callback of somebody's own: notes what it is given."""

    def __init__(self):
        super().__init__()
        self.epochs, self.batches = [], 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append({name: float(value) for name, value in logs.items()})


@pytest.mark.parametrize("as_pipeline", [False, True])
def test_keras_fit_takes_arrays_and_pipelines_and_callbacks(as_pipeline, tmp_path):
    x, held = binary(20, IMAGE), binary(8, IMAGE, seed=1)
    model, watch = VAE(2, IMAGE, hidden_dim=4), Watch()
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True)
    stop = keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)
    options = dict(epochs=3, callbacks=[watch, best, stop], verbose=0)
    if as_pipeline:
        pipelines = [tf.data.Dataset.from_tensor_slices(part).batch(10) for part in (x, held)]
        log = model.fit(pipelines[0], validation_data=pipelines[1], **options)
    else:
        log = model.fit(x, batch_size=10, validation_data=(held,), **options)
    assert watch.batches == 6 and [e["loss"] for e in watch.epochs] == log.history["loss"]
    assert set(watch.epochs[0]) == set(log.history) >= {"loss", "val_loss", "kl", "val_kl"}
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    assert loaded.evaluate(held, verbose=0, return_dict=True)["loss"] == pytest.approx(
        min(log.history["val_loss"]), rel=1e-4
    )


@pytest.mark.parametrize(
    "kwargs",
    [
        dict(hidden_dim=(5, 4), iaf_steps=2, iaf_hidden=(4, 3)),
        dict(encoder="conv", decoder="conv", hidden_dim=(2, 3)),
    ],
)
def test_tensorflows_checkpoint_leaves_no_weight_out(kwargs, tmp_path):
    model, other = VAE(2, (4, 4, 1), **kwargs), VAE(2, (4, 4, 1), **kwargs)
    for weight in model.weights:
        weight.assign_add(tf.ones_like(weight))
    path = tf.train.Checkpoint(model=model).write(tmp_path / "model")
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)


def test_an_encoder_frozen_then_unfrozen_trains_again():
    model, x = VAE(2, (4, 4, 1), hidden_dim=4), binary(8, (4, 4, 1))

    def moved():
        before = model.encoder.get_weights()
        model.compile(keras.optimizers.Adam(0.1), jit_compile=False, run_eagerly=True)
        model.fit(x, verbose=0)
        after = model.encoder.get_weights()
        return [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]

    model.encoder.trainable = False
    assert not any(moved())
    model.encoder.trainable = True
    assert all(moved())


def test_fit_lowers_the_loss_and_reports_the_parts_of_the_bound():
    keras.utils.set_random_seed(0)
    x = np.repeat(binary(4, IMAGE), 50, axis=0)
    model = VAE(2, IMAGE, hidden_dim=16)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    history = model.fit(x, epochs=6, batch_size=32, verbose=0, validation_data=(x[:7],)).history
    assert set(history) == {p + n for p in ("", "val_") for n in ("loss", "reconstruction", "kl")}
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    total = np.array(history["reconstruction"]) + np.array(history["kl"])
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)


def test_a_ragged_last_batch_weighs_as_much_as_it_holds():
    model = VAE(2, IMAGE, hidden_dim=4, seed=3)
    model.compile(jit_compile=False, run_eagerly=True)
    x = binary(10, IMAGE)
    loss = model.evaluate(x, batch_size=8, verbose=0, return_dict=True)["loss"]
    seeds = [model.step_seed(seen, testing=True) for seen in (0, 8)]
    parts = [model.elbo(x[:8], seed=seeds[0]), model.elbo(x[8:], seed=seeds[1])]
    np.testing.assert_allclose(loss, -np.mean(np.concatenate(parts)), rtol=1e-5)


def test_no_two_steps_share_a_seed():
    seeds = set()
    for seed in (0, 1):
        model = VAE(2, IMAGE, hidden_dim=4, seed=seed)
        for step in range(5):
            seeds |= {tuple(model.step_seed(step).numpy())}
            seeds |= {tuple(model.step_seed(step, testing=True).numpy())}
    assert len(seeds) == 20  # so validation batch 0 does not draw what training step 0 drew


def test_batches_whose_gradients_are_accumulated_draw_different_noise():
    class Watched(VAE):
        def step_seed(self, step, *, testing=False):
            seeds.append(tuple(super().step_seed(step, testing=testing).numpy()))
            return super().step_seed(step, testing=testing)

    seeds, model = [], Watched(2, IMAGE, hidden_dim=4, seed=1)
    optimizer = keras.optimizers.SGD(1e-3, gradient_accumulation_steps=2)
    model.compile(optimizer, run_eagerly=True)
    model.fit(binary(8, IMAGE), batch_size=2, verbose=0)
    assert len(seeds) == len(set(seeds)) == 4


def test_beta_weighs_the_kl_of_the_loss_alone():
    x = binary(8, IMAGE)
    losses = {}
    for beta in (0.0, 1.0, 4.0):
        keras.utils.set_random_seed(0)
        model = VAE(2, IMAGE, hidden_dim=4, beta=beta)
        model.compile(jit_compile=False, run_eagerly=True)
        losses[beta] = model.evaluate(x, verbose=0, return_dict=True)
    kl = losses[1.0]["kl"]
    for beta, logs in losses.items():
        np.testing.assert_allclose(logs["loss"], logs["reconstruction"] + beta * kl, rtol=1e-5)


def test_noise_is_a_function_of_seed_and_step():
    def weights_after(seed):
        keras.utils.set_random_seed(0)
        model = VAE(2, IMAGE, hidden_dim=4, seed=seed)
        model.compile(keras.optimizers.SGD(1e-3), jit_compile=False, run_eagerly=True)
        model.fit(binary(8, IMAGE), batch_size=4, epochs=1, shuffle=False, verbose=0)
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


def test_samples_come_from_the_prior_through_the_decoder(monkeypatch):
    model, seen = VAE(2, IMAGE, hidden_dim=4), []
    likelihood = model.likelihood
    monkeypatch.setattr(model, "likelihood", lambda z: seen.append(z) or likelihood(z))
    samples = model.sample(4000, seed=1)
    (z,) = seen
    np.testing.assert_allclose(tf.reduce_mean(z, axis=0), 0, atol=0.07)
    np.testing.assert_allclose(tf.math.reduce_std(z, axis=0), 1, atol=0.05)
    np.testing.assert_array_equal(samples, likelihood(z).mean())
    draws = model.sample(4000, seed=1, draw=True)
    np.testing.assert_allclose(np.mean(draws, axis=0), np.mean(samples, axis=0), atol=0.05)


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


def with_flow():
    keras.utils.set_random_seed(0)
    return VAE(3, hidden_dim=16, iaf_steps=2, iaf_hidden=8)


def test_mixed_precision_trains_and_its_densities_are_float32(mixed, tmp_path):
    x = np.repeat(binary(4), 25, axis=0)
    plain, model = with_flow(), mixed(with_flow)
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
        (dict(image_shape=(28, 28)), r"image_shape=\(28, 28\): give \(height, width, channels\)"),
        (dict(encoder="resnet"), r"encoder must be .*'gaussian_mlp'.*'resnet'"),
        (dict(decoder=3), r"decoder must be .*'bernoulli_mlp'.*got 3"),
        (dict(likelihood="poisson"), r"likelihood must be .*'bernoulli'.*'poisson'"),
        (dict(likelihood="gaussian"), r"'gaussian' does not fit.*logits.*bernoulli"),
        (dict(kl="exact"), r"kl must be .*'analytic'.*got 'exact'"),
        (dict(beta=-1), "beta=-1: give a finite number"),
        (dict(seed=2**31), "seed must be below"),
        (dict(iaf_steps=-1), "iaf_steps must be at least 0, got -1"),
        (dict(iaf_steps=1, kl="analytic"), "a flow's KL has no closed form"),
        (dict(beta_warmup=1.5), "beta_warmup must be a whole number, got 1.5"),
    ],
)
def test_bad_construction_is_named(kwargs, words):
    with pytest.raises((ValueError, TypeError), match=words):
        VAE(**{"latent_dim": 2, "hidden_dim": 4} | kwargs)


TOO_BRIGHT = 255 * binary(4, IMAGE)
BAD_IMAGES = [
    (TOO_BRIGHT.astype("uint8"), TypeError, "dtype uint8: give floats"),
    (TOO_BRIGHT, ValueError, "pixels from 0 to 255"),
    (TOO_BRIGHT * np.nan, ValueError, "NaN"),
]


@pytest.mark.parametrize(("x", "error", "words"), BAD_IMAGES)
def test_images_that_were_not_prepared_are_named(x, error, words):
    model = VAE(2, IMAGE, hidden_dim=4)
    with pytest.raises(error, match=words):
        model.elbo(x, seed=(0, 1))


@pytest.mark.parametrize(
    "use",
    [
        lambda model, x: model.elbo(tf.constant(x), seed=(0, 1)),
        lambda model, x: model.reconstruct(x),
        lambda model, x: model.fit(x, x),
        lambda model, x: model.fit(tf.data.Dataset.from_tensor_slices(x).batch(2)),
        lambda model, x: model.fit(binary(2, IMAGE), validation_data=(x,)),
        lambda model, x: model.evaluate(x),
    ],
)
def test_every_way_in_says_so_in_one_sentence(use):
    model = VAE(2, IMAGE, hidden_dim=4)
    model.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match="pixels from 0 to 255") as caught:
        use(model, TOO_BRIGHT)
    assert len(str(caught.value).splitlines()) == 1


def test_a_check_takes_no_batch_from_a_generator():
    model = VAE(2, IMAGE, hidden_dim=4)
    model.compile("adam", jit_compile=False)
    batches = [binary(2, IMAGE, seed) for seed in range(3)]
    model.fit(((batch,) for batch in batches), epochs=1, steps_per_epoch=3, verbose=0)
    assert int(model.optimizer.iterations) == 3


@pytest.mark.parametrize("x", [binary(4, IMAGE), binary(4, IMAGE)[0], binary(0, (28, 28, 1))])
def test_images_of_another_shape_are_named(x):
    with pytest.raises(ValueError, match=r"images of shape .*: give \(n, 28, 28, 1\)"):
        VAE(2, hidden_dim=4).check_images(x)


def test_z_of_another_size_and_nan_weights_are_named():
    model = VAE(2, IMAGE, hidden_dim=4)
    with pytest.raises(ValueError, match=r"z of shape \(2, 3\): the last dimension must be 2"):
        model.likelihood(np.zeros((2, 3), "f4"))
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        model.sample(0, seed=1)
    model.decoder.logits_head.bias.assign(np.full(16, np.nan))
    with pytest.raises(ValueError, match=r"bias.*NaN"):
        model.check_weights()
