"""Networks: outputs and their shapes, bounds, formulas, what Keras' users do with them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.networks import DECODERS, ENCODERS, BernoulliMLP, GaussianMLP, bounded_log_var

IMAGES = np.zeros((3, 4, 5, 1), "float32")
CODES = np.zeros((3, 2), "float32")


@pytest.mark.parametrize("hidden_dim", [7, (7, 5), [7, 5, 3]])
def test_mlps_return_pairs_and_logits(hidden_dim):
    mean, log_var = GaussianMLP(hidden_dim, 2)(IMAGES)
    assert mean.shape == log_var.shape == (3, 2)
    *_, context = GaussianMLP(hidden_dim, 2, context_dim=6)(IMAGES)
    assert context.shape == (3, 6)
    assert BernoulliMLP(hidden_dim, (4, 5, 1))(CODES).shape == (3, 4, 5, 1)
    mean, log_var = GaussianMLP(hidden_dim, (4, 5, 1))(CODES)
    assert mean.shape == log_var.shape == (3, 4, 5, 1)


def test_a_context_takes_nothing_from_the_other_outputs():
    plain, with_context = GaussianMLP(4, 2), GaussianMLP(4, 2, context_dim=3)
    plain(IMAGES), with_context(IMAGES)
    with_context.set_weights([*plain.get_weights(), *with_context.get_weights()[-2:]])
    for output, same in zip(plain(IMAGES + 1), with_context(IMAGES + 1), strict=False):
        np.testing.assert_array_equal(output, same)


@pytest.mark.parametrize("context_dim", [0, 6])
def test_keras_predicts_with_a_network_alone(context_dim):
    outputs = GaussianMLP(4, 2, context_dim=context_dim).predict(IMAGES, verbose=0)
    assert [output.shape[-1] for output in outputs] == [2, 2, 6][: 3 if context_dim else 2]
    assert BernoulliMLP(4, (4, 5, 1)).predict(CODES, verbose=0).shape == (3, 4, 5, 1)


def test_bernoulli_mlp_is_its_formula():
    net = BernoulliMLP(3, (2, 1, 1))
    z = np.array([[0.5, -1.0]], "float32")
    net(z)
    (w1, b1), (w2, b2) = (layer.get_weights() for layer in (net.hidden[0], net.logits_head))
    expected = np.tanh(z @ w1 + b1) @ w2 + b2  # logits: no sigmoid
    np.testing.assert_allclose(np.ravel(net(z)), expected[0], rtol=1e-5)


def test_log_variance_stays_inside_its_bound_and_keeps_a_gradient():
    raw = tf.Variable([-1e30, -50.0, -1.0, 0.0, 1.0, 50.0, 1e30])
    with tf.GradientTape() as tape:
        bounded = bounded_log_var(raw)
    assert np.all(np.abs(bounded) <= 10) and np.all(np.diff(bounded) >= 0)
    np.testing.assert_allclose(bounded[2:5], [-0.9967, 0, 0.9967], atol=1e-4)
    assert np.all(tape.gradient(bounded, raw)[2:5] > 0.9)
    net = GaussianMLP(4, 2)
    net(np.zeros((1, 3), "float32"))
    net.log_var_head.bias.assign([1e9, -1e9])
    np.testing.assert_allclose(net(np.zeros((1, 3), "float32"))[1], [[10, -10]], rtol=1e-6)


@pytest.mark.parametrize(
    "net", [GaussianMLP((6, 4), (2,), 3, "gelu"), BernoulliMLP(6, (2, 2, 1), "relu")]
)
def test_mlps_keep_their_arguments_through_config(net):
    again = type(net).from_config(net.get_config())
    assert again.get_config() == net.get_config()


@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_every_name_is_built_as_the_registry_says(role):
    for name, network in (ENCODERS if role == "encoder" else DECODERS).items():
        filters = (4, 6, 2, 8) if name.startswith("pyramid") else (4, 6)
        if role == "encoder":
            net = network(filters, 2, activation="relu", context_dim=3)
            shapes = [tuple(output.shape) for output in net(np.zeros((1, 28, 28, 1), "f4"))]
            assert shapes == [(1, 2), (1, 2), (1, 3)], name
        else:
            outputs = network(filters, (28, 28, 1), activation="relu")(np.zeros((1, 2), "f4"))
            for output in tf.nest.flatten(outputs):
                assert output.shape == (1, 28, 28, 1), name


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: GaussianMLP(0, 2), "hidden_dim must be at least 1, got 0"),
        (lambda: GaussianMLP(4, (2, 0)), "output_shape must be at least 1, got 0"),
        (lambda: GaussianMLP(4, 2, context_dim=-1), "context_dim must be at least 0, got -1"),
        (lambda: BernoulliMLP("wide", 2), "hidden_dim must be a whole number, got 'wide'"),
    ],
)
def test_bad_sizes_are_named(build, words):
    with pytest.raises((ValueError, TypeError), match=words):
        build()


def test_the_same_seed_builds_the_same_weights():
    nets = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        net = GaussianMLP(4, 2)
        net(IMAGES)
        nets.append(net.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*nets, strict=True))
