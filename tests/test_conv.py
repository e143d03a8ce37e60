"""Convolutional networks and what notebook 03 builds on: shapes, faults, round trips, mutants."""

import functools

import keras
import nbformat
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import course
from helpers import data, networks, plots, training
from helpers.networks import (
    ConvDecoder,
    ConvEncoder,
    GaussianConvDecoder,
    PyramidDecoder,
    PyramidEncoder,
    ResidualDecoder,
)
from helpers.vae import VAE, kl_to_standard_normal


def _second_pair():
    """Pooling encoder and up-sampling decoder: built in notebook 03, and nowhere else."""
    (path,) = (course.ROOT / "notebooks").glob("03_*.ipynb")
    names = dict(ConvNet=networks.ConvNet, layers=keras.layers, register=networks.register)
    for cell in nbformat.read(path, 4).cells:
        if "class PoolEncoder" in cell.source or "class UpsampleDecoder" in cell.source:
            exec(cell.source, names)
    return names["PoolEncoder"], names["UpsampleDecoder"]


PoolEncoder, UpsampleDecoder = _second_pair()


@pytest.fixture(autouse=True)
def second_pair_by_name(monkeypatch):
    monkeypatch.setitem(networks.ENCODERS, "pool", PoolEncoder)
    monkeypatch.setitem(networks.DECODERS, "upsample", UpsampleDecoder)


RNG = np.random.default_rng(0)
SHAPES = [(28, 28, 1), (32, 32, 3)]
PAIRS = [  # encoder, decoder, filters, likelihood, protocol
    ("conv", "conv", (4, 8), "bernoulli", "threshold"),
    ("pool", "upsample", (4, 8), "bernoulli", "dynamic"),
    ("gaussian_mlp", "residual", (4, 6, 8), "bernoulli", "static"),
    ("pyramid", "pyramid", (4, 6, 2, 8), "bernoulli", "dynamic"),
    ("conv", "conv_gaussian", (4, 8), "gaussian", "dequantised"),
    ("pool", "conv_gaussian", (4, 8), "discretised_logistic", "grey"),
]


def images(shape, n=12):
    return RNG.integers(0, 256, (n, *shape), dtype=np.uint8)


def make(encoder="conv", decoder="conv", filters=(4, 8), shape=(28, 28, 1), cls=VAE, **options):
    training.set_seed(3)
    kind = dict(encoder=encoder, decoder=decoder, hidden_dim=filters, activation="relu")
    return cls(3, shape, **(kind | options))


def sizes(network, x):
    found = []
    for layer in (*network.body, network.head):
        x = layer(x)
        found.append(tuple(x.shape[1:]))
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(pair[:2]))
def test_every_pair_trains_saves_and_loads(pair, shape, tmp_path):
    encoder, decoder, filters, likelihood, protocol = pair
    vae = make(encoder, decoder, filters, shape, likelihood=likelihood)
    before = [w.numpy() for w in vae.trainable_variables]
    history = training.fit(
        vae, images(shape), epochs=1, batch_size=6, protocol=protocol, seed=0, verbose=0
    )
    assert np.isfinite(history["loss"]).all()
    moved = [not np.array_equal(a, b) for a, b in zip(before, vae.trainable_variables, strict=True)]
    assert all(moved), "every weight has a gradient"
    x = data.prepare(images(shape, 5), protocol)
    assert vae.elbo(x, seed=(0, 1)).shape == (5,)
    assert vae.reconstruct(x).shape == (5, *shape) == vae.sample(5, seed=1).shape
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.elbo(x, seed=(0, 1)), vae.elbo(x, seed=(0, 1)))
    again = VAE.from_config(vae.get_config())
    again.set_weights(vae.get_weights())
    np.testing.assert_array_equal(again.elbo(x, seed=(0, 1)), vae.elbo(x, seed=(0, 1)))


@pytest.mark.parametrize(
    "network",
    [
        ConvEncoder((3, 5), 4, context_dim=6, activation="gelu", kernel_size=5),
        PoolEncoder((3, 5), 4, kernel_size=2),
        ConvDecoder((5, 3), (28, 28, 1), kernel_size=2),
        GaussianConvDecoder((5, 3), (28, 28, 1)),
        UpsampleDecoder((5, 3), (28, 28, 1), kernel_size=5),
        ResidualDecoder((7, 5, 3), (28, 28, 1), activation="tanh"),
        ResidualDecoder((7, 6, 5, 3), (28, 28, 1), blocks=1, kernel_size=1),
        PyramidEncoder((3, 5, 2, 7), 4, context_dim=6, blocks=1),
        PyramidDecoder((7, 2, 5, 3), (28, 28, 1), blocks=3, activation="gelu"),
    ],
    ids=lambda network: type(network).__name__,
)
def test_a_configuration_holds_every_argument(network):
    config = network.get_config()
    own = {"blocks"} if isinstance(network, ResidualDecoder | networks.Pyramid) else set()
    assert set(config) - own == {
        "filters", "output_shape", "context_dim", "activation", "kernel_size"
    }  # fmt: skip
    assert type(network).from_config(config).get_config() == config
    x = tf.zeros((2, 28, 28, 1) if "Encoder" in type(network).__name__ else (2, 4))
    network.build(x.shape)
    mean, log_var, context = network(x)
    assert mean.shape[1:] == tuple(config["output_shape"])
    assert (log_var is None) == (network.values == 1)
    assert (context is None) == (config["context_dim"] == 0)
    assert context is None or context.shape == (2, 6)


def test_the_tutorial_s_layers():
    vae = make(filters=(32, 64))
    assert sizes(vae.encoder, tf.zeros((1, 28, 28, 1))) == [
        (14, 14, 32), (7, 7, 64), (3136,), (6,)
    ]  # fmt: skip
    assert sizes(vae.decoder, tf.zeros((1, 3))) == [
        (1568,), (7, 7, 32), (14, 14, 64), (28, 28, 32), (28, 28, 1)
    ]  # fmt: skip
    # convolutions 3 x 3 x in x out + out; a mutant with 5 x 5 kernels or other filters differs
    wanted = (9 * 32 + 32) + (9 * 32 * 64 + 64) + (3136 * 6 + 6)
    assert vae.encoder.count_params() == wanted
    wanted = (3 * 1568 + 1568) + (9 * 32 * 64 + 64) + (9 * 64 * 32 + 32) + (9 * 32 + 1)
    assert vae.decoder.count_params() == wanted


def test_the_blog_post_s_layers():
    vae = make("pool", "upsample", (32, 64))
    assert sizes(vae.encoder, tf.zeros((1, 28, 28, 1))) == [
        (26, 26, 32), (13, 13, 32), (11, 11, 64), (5, 5, 64), (1600,), (1600,), (6,)
    ]  # fmt: skip
    assert sizes(vae.decoder, tf.zeros((1, 3))) == [
        (1600,), (5, 5, 64), (10, 10, 64), (12, 12, 64), (24, 24, 64), (26, 26, 32), (28, 28, 1)
    ]  # fmt: skip
    assert vae.encoder.body[-1].rate == 0.5


def test_dense_layers_and_residual_blocks_share_the_widths():
    for blocks, wanted in ((None, [1, 2]), (1, [2, 1]), (0, [3, 0])):
        names = [type(layer).__name__ for layer in ResidualDecoder(
            (7, 6, 5, 3), (28, 28, 1), blocks=blocks).body]  # fmt: skip
        assert [names.count("Dense") - 1, names.count("Residual")] == wanted  # one makes the image


def test_the_pyramids_mirror_each_other():
    vae = make("pyramid", "pyramid", (4, 6, 2, 8))
    images_only = [s for s in sizes(vae.encoder, tf.zeros((1, 28, 28, 1))) if len(s) == 3]
    assert images_only[0] == (14, 14, 4) and set(images_only[1:-1]) == {(7, 7, 6)}
    assert images_only[-1] == (7, 7, 2)
    found = [s for s in sizes(vae.decoder, tf.zeros((1, 3))) if len(s) in (1, 3)]
    assert [s for i, s in enumerate(found) if s not in found[:i]] == [
        (8,), (98,), (7, 7, 2), (7, 7, 6), (7, 7, 16), (14, 14, 4), (28, 28, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("factor", [2, 4])
def test_subpixels_are_those_of_tensorflow(factor):
    decoder = PyramidDecoder((4, 2, 3, 2), (28, 28, 1))
    conv, *rest = decoder.subpixels((5, 3), factor, 2)
    x = tf.random.stateless_normal((2, 5, 3, 7), (0, factor))
    wanted = tf.nn.depth_to_space(conv(x), factor)
    got = conv(x)
    for layer in rest:
        got = layer(got)
    np.testing.assert_array_equal(got, wanted)


def test_a_residual_block_adds():
    block = networks.Residual(5, 3, "relu")
    block.build((None, 4, 4, 2))
    h = tf.random.stateless_normal((2, 4, 4, 2), (0, 1))
    assert block.inner.filters == 5 and block(h).shape == h.shape
    for weight in block.outer.weights:
        weight.assign(tf.zeros_like(weight))
    np.testing.assert_array_equal(block(h), h)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConvDecoder((8, 4), (30, 28, 1)), r"\(30, 28, 1\).*multiples of 4"),
        (lambda: ConvDecoder((8, 4), 784), r"\(784,\).*height, width"),
        (lambda: UpsampleDecoder((8, 4), (8, 8, 1)), r"\(8, 8, 1\).*> 8"),
        (lambda: ResidualDecoder((8, 4), (28, 30, 1)), "multiples of 4"),
        (lambda: ConvEncoder((), 2), r"filters=\(\)"),
        (lambda: PyramidEncoder((8, 4, 2), 2), r"filters=\(8, 4, 2\): give four"),
        (lambda: PyramidDecoder((8, 4, 2, 2), (28, 28, 1), blocks=0), "blocks=0"),
        (lambda: PyramidDecoder((8, 4, 2, 2), (30, 28, 1)), "multiples of 4"),
        (lambda: ConvEncoder((8, 0), 2), r"filters=\(8, 0\)"),
        (lambda: ConvEncoder((8,), 2, kernel_size=0), "kernel_size=0"),
        (lambda: make(encoder="resnet"), "encoder must be .*'conv'.*got 'resnet'"),
        (lambda: make(likelihood="gaussian"), "likelihood='gaussian'"),
    ],
)
def test_bad_networks_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.zeros((2, 32, 32, 1), np.float32), ValueError),
        (np.zeros((2, 28, 28), np.float32), ValueError),
        (np.full((2, 28, 28, 1), 2.0, np.float32), ValueError),
        (np.zeros((2, 28, 28, 1), np.uint8), TypeError),
    ],
)
def test_bad_images_are_refused(x, error):
    with pytest.raises(error):
        make().check_images(x)


# --- Dropout -----------------------------------------------------------------------------------


def test_dropout_acts_in_training_steps_alone():
    vae = make("pool", "upsample")
    x = data.prepare(images((28, 28, 1), 8), "threshold")
    np.testing.assert_array_equal(vae.encode(x)[0], vae.encode(x)[0])
    assert not np.array_equal(vae.encoder(x, training=True)[0], vae.encoder(x)[0])
    seen, encode = [], vae.encoder.call

    def spy(inputs, training=False):
        seen.append(training)
        return encode(inputs, training)

    vae.encoder.call = spy
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False, run_eagerly=True)
    vae.train_step(x)
    vae.test_step(x)
    assert seen == [True, False] and vae.dropout is False


def test_a_failed_step_leaves_dropout_off():
    vae = make("pool", "upsample")
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False, run_eagerly=True)
    with pytest.raises(Exception, match=r"shape|dimension|compatible|Dimensions|inputs"):
        vae.train_step(tf.zeros((2, 5, 5, 1)))
    x = data.prepare(images((28, 28, 1), 8), "threshold")
    np.testing.assert_array_equal(vae.encode(x)[0], vae.encode(x)[0])


def test_a_run_with_dropout_resumes_to_the_same_weights(tmp_path):
    common = dict(batch_size=4, protocol="dynamic", seed=1, verbose=0)
    pictures = images((28, 28, 1), 8)
    whole, resumed = make("pool", "upsample"), make("pool", "upsample")
    training.fit(whole, pictures, epochs=3, **common)

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.fit(resumed, pictures, epochs=3, run_dir=tmp_path, callbacks=[Stop()], **common)
    again = make("pool", "upsample")
    training.fit(again, pictures, epochs=3, run_dir=tmp_path, **common)
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# --- The Monte Carlo bound, and its mutants ------------------------------------------------------


def gap(bound, draws=4_000):
    """Mean of bound - closed form over draws, in standard errors: shape (images,).

    log p(x|z) stands in both and is left out.
    """
    vae = make()
    vae.encoder.head.bias.assign([0.6, -0.3, 0.2, -0.5, 0.3, -0.7])  # off the prior
    x = data.prepare(images((28, 28, 1), 4), "threshold")
    z_mean, z_log_var, _ = vae.encode(x)
    eps = tf.random.stateless_normal((draws, 4, 3), (5, 6))
    difference = bound(vae, z_mean, z_log_var, eps) + kl_to_standard_normal(z_mean, z_log_var)
    difference = difference.numpy()
    return np.abs(difference.mean(0)) / (difference.std(0, ddof=1) / np.sqrt(draws) + 1e-12)


def bound(vae, z_mean, z_log_var, eps, noise=1.0, sign=-1.0, change=tf.identity):
    """log p(z) - log q(z|x), shape (draws, images), or a mutant of it."""
    z = z_mean + tf.exp(0.5 * z_log_var) * noise * eps
    q = tfp.distributions.MultivariateNormalDiag(z_mean, tf.exp(0.5 * z_log_var))
    return change(vae.prior().log_prob(z) + sign * q.log_prob(z))


MUTANTS = {
    "KL averaged over dimensions": dict(change=lambda minus_kl: minus_kl / 3),
    "noise of 1e-4": dict(noise=1e-4),
    "KL clipped at zero": dict(change=lambda minus_kl: tf.minimum(minus_kl, 0.0)),
    "wrong sign": dict(sign=1.0),
}


def test_the_monte_carlo_bound_is_unbiased():
    assert (gap(bound) < 5).all()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_biased_bound_is_seen(mutant):
    assert (gap(functools.partial(bound, **MUTANTS[mutant])) > 5).all()


class QuietVAE(VAE):
    """The posterior's noise scaled by 1e-4."""

    def elbo_terms(self, x, *, seed):
        z_mean, z_log_var, _ = self.encode(x)
        eps = 1e-4 * tf.random.stateless_normal(tf.shape(z_mean), seed)
        z = z_mean + tf.exp(0.5 * z_log_var) * eps
        return self.likelihood(z).log_prob(x), kl_to_standard_normal(z_mean, z_log_var)


def test_quiet_noise_is_seen_by_the_spread_of_its_draws():
    """The draws behind the ELBO must spread as widely as the posterior says they do."""
    x = data.prepare(images((28, 28, 1), 4), "threshold")

    def spread(cls):
        vae = make(cls=cls)
        for weight in vae.decoder.trainable_variables:
            weight.assign(3 * weight)  # a decoder that answers to its z
        draws = [vae.elbo_terms(x, seed=(s, 0))[0].numpy() for s in range(30)]
        z = vae.posterior(x).sample(30, seed=(1, 2))
        return np.std(draws, axis=0) / np.std(vae.likelihood(z).log_prob(x), axis=0)

    assert (np.abs(np.log(spread(VAE))) < np.log(2)).all()
    assert (spread(QuietVAE) < 0.01).all()


# --- The decoded plane -----------------------------------------------------------------------


def test_the_plane_lies_as_its_axes_say():
    training.set_seed(0)
    vae = VAE(2, encoder="conv", decoder="conv", hidden_dim=(2, 4), activation="relu")
    for weight in vae.decoder.trainable_variables:
        weight.assign(3 * weight)
    values = [-2.0, 0.5, 3.0]
    plane = plots.decode_plane(vae, values)
    assert plane.shape == (84, 84, 1)
    for row, z2 in enumerate(reversed(values)):
        for column, z1 in enumerate(values):
            part = plane[28 * row : 28 * row + 28, 28 * column : 28 * column + 28]
            want = vae.likelihood(tf.constant([[z1, z2]])).mean()[0]
            np.testing.assert_allclose(part, want, atol=1e-5)


def test_the_manifold_uses_the_quantiles_of_the_prior(monkeypatch):
    seen = []
    monkeypatch.setattr(plots, "decode_plane", lambda vae, v: seen.append(v) or np.zeros((8, 8, 1)))
    fig = plots.manifold(make(), 4, title="a title")
    np.testing.assert_allclose(seen[0], [-1.15035, -0.31864, 0.31864, 1.15035], atol=1e-4)
    ax = fig.axes[0]
    assert ax.get_title() == "a title" and ax.images[0].get_clim() == (0, 1)
    labels = [float(t.get_text().replace("−", "-")) for t in ax.get_yticklabels()]
    heights = ax.get_yticks()
    assert labels == sorted(labels) and list(heights) == sorted(heights, reverse=True)
    plots.plt.close(fig)


def test_the_manifold_in_colour():
    vae = make("conv", "conv_gaussian", shape=(32, 32, 3), likelihood="gaussian")
    vae.latent_dim = 3
    with pytest.raises(ValueError, match="latent_dim=3"):
        plots.manifold(vae)
    flat = VAE(2, (32, 32, 3), hidden_dim=4)
    fig = plots.manifold(flat, 3)
    assert fig.axes[0].images[0].get_array().shape == (96, 96, 3)
    plots.plt.close(fig)


@pytest.mark.parametrize("n", [1, 0, 2.5, "20"])
def test_the_manifold_refuses_a_bad_size(n):
    with pytest.raises(ValueError, match="n="):
        plots.manifold(VAE(2, hidden_dim=4), n)


def test_a_gif_needs_frames():
    with pytest.raises(ValueError, match="one or more frames"):
        plots.gif([])
