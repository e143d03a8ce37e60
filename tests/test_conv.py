"""Convolutional networks: layers, round trips, faults; the Monte Carlo bound and its mutants."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from helpers import data, networks, training
from helpers.networks import (
    ConvDecoder,
    ConvEncoder,
    GaussianConvDecoder,
    PoolEncoder,
    PyramidDecoder,
    PyramidEncoder,
    ResidualDecoder,
    UpsampleDecoder,
)
from helpers.priors import kl_to_standard_normal
from helpers.vae import VAE

RNG = np.random.default_rng(0)
PAIRS = [  # encoder, decoder, filters, likelihood, protocol, image shape
    ("conv", "conv", (4, 8), "bernoulli", "threshold", (8, 8, 1)),
    ("pool", "upsample", (4, 8), "bernoulli", "dynamic", (28, 28, 1)),
    ("gaussian_mlp", "residual", (4, 6, 8), "bernoulli", "static", (8, 12, 1)),
    ("pyramid", "pyramid", (4, 6, 2, 8), "bernoulli", "dynamic", (12, 8, 1)),
    ("conv", "conv_gaussian", (4, 8), "gaussian", "dequantised", (8, 8, 3)),
    ("pyramid", "gaussian_mlp", (4, 6, 2, 8), "discretised_logistic", "grey", (8, 8, 3)),
    ("gaussian_mlp", "bernoulli_mlp", (4, 6), "grey_bernoulli", "grey", (8, 8, 3)),
    ("conv", "residual_gaussian", (4, 6, 8), "gaussian", "dequantised", (9, 7, 2)),
    ("pyramid", "pyramid_gaussian", (4, 6, 2, 8), "discretised_logistic", "grey", (9, 11, 3)),
]


def images(shape, n=12):
    return RNG.integers(0, 256, (n, *shape), dtype=np.uint8)


def make(encoder="conv", decoder="conv", filters=(4, 8), shape=(28, 28, 1), cls=VAE, **options):
    keras.utils.set_random_seed(3)
    kind = dict(encoder=encoder, decoder=decoder, hidden_dim=filters, activation="relu")
    return cls(3, shape, **(kind | options))


def sizes(network, x):
    found = []
    for layer in (*network.body, network.head):
        x = layer(x)
        found.append(tuple(x.shape[1:]))
    return found


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(pair[:2]))
def test_every_pair_trains_saves_and_loads(pair, tmp_path):
    encoder, decoder, filters, likelihood, protocol, shape = pair
    vae = make(encoder, decoder, filters, shape, likelihood=likelihood)
    x = data.prepare(images(shape), protocol)
    before = [weight.numpy() for weight in vae.trainable_variables]
    vae.compile(keras.optimizers.Adam(1e-2), jit_compile=False, run_eagerly=True)
    loss = vae.fit(x, verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    for old, weight in zip(before, vae.trainable_variables, strict=True):
        assert not np.array_equal(old, weight), f"{weight.path} has no gradient"
    assert vae.elbo(x, seed=(0, 1)).shape == (12,)
    assert vae.reconstruct(x[:5]).shape == (5, *shape) == vae.sample(5, seed=1).shape
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.elbo(x, seed=(0, 1)), vae.elbo(x, seed=(0, 1)))


def test_the_pairs_use_every_name():
    assert {pair[0] for pair in PAIRS} == set(networks.ENCODERS)
    assert {pair[1] for pair in PAIRS} == set(networks.DECODERS)


@pytest.mark.parametrize(
    "network",
    [
        ConvEncoder((3, 5), 4, context_dim=6, activation="gelu", kernel_size=5),
        PoolEncoder((3, 5), 4, kernel_size=2),
        ConvDecoder((5, 3), (28, 28, 1), kernel_size=2),
        GaussianConvDecoder((5, 3), (28, 28, 1)),
        UpsampleDecoder((5, 3), (28, 28, 1), kernel_size=5),
        ResidualDecoder((7, 6, 5, 3), (28, 28, 1), blocks=1, kernel_size=1, activation="tanh"),
        PyramidEncoder((3, 5, 2, 7), 4, context_dim=6, blocks=1),
        PyramidDecoder((7, 2, 5, 3), (28, 28, 1), blocks=3, activation="gelu"),
    ],
    ids=lambda network: type(network).__name__,
)
def test_a_configuration_holds_every_argument(network):
    config = network.get_config()
    again = type(network).from_config(config)
    assert again.get_config() == config
    x = tf.random.stateless_normal(
        (2, 28, 28, 1) if "Encoder" in type(network).__name__ else (2, 4), (0, 1)
    )
    network(x), again(x)
    again.set_weights(network.get_weights())
    outputs = tf.nest.flatten(network(x))
    for output, same in zip(outputs, tf.nest.flatten(again(x)), strict=True):
        np.testing.assert_array_equal(output, same)
    assert len(outputs) == network.outputs_per_pixel + (config["context_dim"] > 0)
    assert outputs[0].shape[1:] == tuple(config["output_shape"])


def test_the_tutorial_s_layers():
    vae = make(filters=(32, 64))
    encoder = [(14, 14, 32), (7, 7, 64), (3136,), (6,)]
    assert sizes(vae.encoder, tf.zeros((1, 28, 28, 1))) == encoder
    decoder = [(1568,), (7, 7, 32), (14, 14, 64), (28, 28, 32), (28, 28, 1)]
    assert sizes(vae.decoder, tf.zeros((1, 3))) == decoder
    # convolutions 3 x 3 x in x out + out; a mutant with 5 x 5 kernels or other filters differs
    wanted = (9 * 32 + 32) + (9 * 32 * 64 + 64) + (3136 * 6 + 6)
    assert vae.encoder.count_params() == wanted
    wanted = (3 * 1568 + 1568) + (9 * 32 * 64 + 64) + (9 * 64 * 32 + 32) + (9 * 32 + 1)
    assert vae.decoder.count_params() == wanted


def test_the_blog_post_s_layers():
    vae = make("pool", "upsample", (32, 64))
    encoder = [(26, 26, 32), (13, 13, 32), (11, 11, 64), (5, 5, 64), (1600,), (1600,), (6,)]
    assert sizes(vae.encoder, tf.zeros((1, 28, 28, 1))) == encoder
    decoder = [(1600,), (5, 5, 64), (10, 10, 64), (12, 12, 64), (24, 24, 64), (26, 26, 32)]
    assert sizes(vae.decoder, tf.zeros((1, 3))) == [*decoder, (28, 28, 1)]
    assert vae.encoder.body[-1].rate == 0.5


@pytest.mark.parametrize(("blocks", "dense"), [(None, 1), (1, 2), (0, 3)])
def test_dense_layers_and_residual_blocks_share_the_widths(blocks, dense):
    names = [
        type(layer).__name__
        for layer in ResidualDecoder((7, 6, 5, 3), (28, 28, 1), blocks=blocks).body
    ]
    assert names.count("Dense") - 1 == dense  # one makes the image
    assert names.count("Residual") == 3 - dense


def test_the_pyramids_mirror_each_other():
    vae = make("pyramid", "pyramid", (4, 6, 2, 8))
    images_only = [s for s in sizes(vae.encoder, tf.zeros((1, 28, 28, 1))) if len(s) == 3]
    assert images_only[0] == (14, 14, 4) and set(images_only[1:-1]) == {(7, 7, 6)}
    assert images_only[-1] == (7, 7, 2)
    found = [s for s in sizes(vae.decoder, tf.zeros((1, 3))) if len(s) in (1, 3)]
    found = list(dict.fromkeys(found))  # each once, in order
    assert found == [(8,), (98,), (7, 7, 2), (7, 7, 6), (7, 7, 16), (14, 14, 4), (28, 28, 1)]


@pytest.mark.parametrize("factor", [2, 4])
def test_subpixels_are_those_of_tensorflow(factor):
    decoder = PyramidDecoder((4, 2, 3, 2), (28, 28, 1))
    conv, *rest = decoder.subpixels(5, 3, factor, 2)
    x = tf.random.stateless_normal((2, 5, 3, 7), (0, factor))
    wanted = tf.nn.depth_to_space(conv(x), factor)
    got = conv(x)
    for layer in rest:
        got = layer(got)
    np.testing.assert_array_equal(got, wanted)


def test_a_residual_block_adds():
    block = networks.Residual(2, 5, 3, "relu")
    h = tf.random.stateless_normal((2, 4, 4, 2), (0, 1))
    assert block(h).shape == h.shape and block.inner.filters == 5
    for weight in block.outer.weights:
        weight.assign(tf.zeros_like(weight))
    np.testing.assert_array_equal(block(h), h)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConvDecoder((8, 4), 784), r"\(784,\).*ConvDecoder.*\(height, width, channels\)"),
        (
            lambda: UpsampleDecoder((8, 4), (8, 20, 1)),
            r"\(8, 20, 1\): .*\(8, 4\) makes .* from 9 x 9, the nearest are \(9, 20, 1\)",
        ),
        (
            lambda: PoolEncoder((4, 8), 2)(tf.zeros((1, 20, 9, 1))),
            r"images of 20 x 9: .*\(4, 8\) takes .* from 10 x 10, the nearest are 20 x 10",
        ),
        (lambda: ResidualDecoder((4, 4), (4, 4, 1), blocks=7), r"blocks=7.*0 to 1"),
        (lambda: PyramidEncoder((8, 4, 2), 2), r"filters=\(8, 4, 2\).*four numbers"),
        (lambda: PyramidDecoder((8, 4, 2, 2), (28, 28, 1), blocks=0), "blocks must be at least 1"),
        (lambda: ConvEncoder((8,), 2, kernel_size=0), "kernel_size must be at least 1"),
    ],
)
def test_bad_networks_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# --- Any size -------------------------------------------------------------------------------------

NAMES = [
    ("conv", "conv", (4, 8)),
    ("pool", "upsample", (4, 8)),
    ("conv", "conv_gaussian", (4, 6, 8)),
    ("pyramid", "pyramid_gaussian", (4, 6, 2, 8)),
    ("gaussian_mlp", "residual_gaussian", (4, 6, 8)),
]


@pytest.mark.parametrize("shape", [(16, 16, 1), (17, 23, 3), (30, 18, 2), (33, 16, 4)])
@pytest.mark.parametrize("pair", NAMES, ids=lambda pair: "-".join(pair[:2]))
def test_a_pair_takes_any_size_and_any_channels(pair, shape):
    encoder, decoder, filters = pair
    z_mean, z_log_var = networks.ENCODERS[encoder](filters, 3)(tf.zeros((2, *shape)))
    assert z_mean.shape == z_log_var.shape == (2, 3)
    for name in {decoder, decoder.replace("_gaussian", "")}:
        outputs = networks.DECODERS[name](filters[::-1], shape)(tf.zeros((2, 3)))
        outputs = tf.nest.flatten(outputs)
        assert len(outputs) == (2 if "gaussian" in name else 1)
        assert all(tuple(output.shape) == (2, *shape) for output in outputs), name


@pytest.mark.parametrize(
    ("decoder", "filters"),
    [(ConvDecoder, (5, 3)), (ResidualDecoder, (4, 3)), (PyramidDecoder, (8, 2, 5, 3))],
)
def test_an_odd_image_is_the_middle_of_the_next_larger_one(decoder, filters):
    large, small = decoder(filters, (20, 24, 2)), decoder(filters, (18, 21, 2))
    z = tf.random.stateless_normal((3, 4), (0, 1))
    whole, _ = large(z), small(z)
    small.set_weights(large.get_weights())
    np.testing.assert_array_equal(small(z), whole[:, 1:19, 1:22])


def test_every_pixel_of_an_odd_image_reaches_the_encoder_and_learns():
    vae = make("conv", "conv", shape=(17, 19, 1))
    x = tf.Variable(tf.random.stateless_uniform((8, 17, 19, 1), (0, 1)))
    with tf.GradientTape() as tape:
        z_mean = vae.encode(x)[0]
    assert np.any(tape.gradient(z_mean, x).numpy() != 0, axis=0).all()
    x = data.prepare(images((17, 19, 1), 64), "threshold")
    vae.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    loss = vae.fit(x[:1].repeat(64, axis=0), epochs=20, verbose=0).history["loss"]
    assert loss[-1] < 0.5 * loss[0]


# --- Dropout --------------------------------------------------------------------------------------


def test_dropout_acts_in_training_steps_alone():
    vae = make("pool", "upsample")
    x = data.prepare(images((28, 28, 1), 8), "threshold")
    np.testing.assert_array_equal(vae.encode(x)[0], vae.encode(x)[0])
    assert not np.array_equal(vae.encode(x, training=True)[0], vae.encode(x)[0])
    seen, encode = [], vae.encoder.call

    def spy(inputs, training=False):
        seen.append(training)
        return encode(inputs, training)

    vae.encoder.call = spy
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False, run_eagerly=True)
    vae.train_step(x)
    vae.test_step(x)
    vae.elbo(x, seed=(0, 1))
    assert seen == [True, False, False]


class DropsPixels(networks.BernoulliMLP):
    """A decoder with dropout."""

    def call(self, z, training=False):
        return keras.layers.Dropout(0.5)(super().call(z), training=training)


def test_dropout_acts_in_a_decoder_too():
    vae = make(decoder=DropsPixels(4, (28, 28, 1)))
    z = np.ones((2, 3), "f4")
    np.testing.assert_array_equal(vae.decode(z), vae.decode(z))
    assert np.mean(np.asarray(vae.decode(z, training=True)) == 0) > 0.3


def test_a_run_with_dropout_resumes_to_the_same_weights(tmp_path):
    pictures = images((4, 4, 1), 8)

    def train(**settings):
        keras.utils.set_random_seed(3)
        image = keras.Input((4, 4, 1))
        h = keras.layers.Dropout(0.5)(keras.layers.Flatten()(image))
        encoder = keras.Model(image, [keras.layers.Dense(2)(h), keras.layers.Dense(2)(h)])
        vae = VAE(2, (4, 4, 1), encoder=encoder, hidden_dim=4)
        training.fit(
            vae, pictures, batch_size=4, protocol="dynamic", seed=1, verbose=0, epochs=2, **settings
        )
        return vae.get_weights()

    whole = train()
    train(run_dir=tmp_path, seconds=1e-9)  # stops after an epoch
    for a, b in zip(whole, train(run_dir=tmp_path), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# --- The Monte Carlo bound, and its mutants -------------------------------------------------------


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

    def elbo_terms(self, x, *, seed, training=False):
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
