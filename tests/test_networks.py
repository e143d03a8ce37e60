"""Networks: shapes, bounds, formulas, errors."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.networks import BernoulliMLP, GaussianMLP, as_sizes, bounded_log_var


@pytest.mark.parametrize("hidden_dim", [7, (7, 5), [7, 5, 3]])
def test_mlps_return_the_same_triple(hidden_dim):
    x = np.zeros((3, 4, 5, 1), "float32")
    mean, log_var, context = GaussianMLP(hidden_dim, 2)(x)
    assert mean.shape == log_var.shape == (3, 2) and context is None
    *_, context = GaussianMLP(hidden_dim, 2, context_dim=6)(x)
    assert context.shape == (3, 6)
    z = np.zeros((3, 2), "float32")
    logits, no_log_var, no_context = BernoulliMLP(hidden_dim, (4, 5, 1))(z)
    assert logits.shape == (3, 4, 5, 1) and no_log_var is None and no_context is None
    mean, log_var, _ = GaussianMLP(hidden_dim, (4, 5, 1))(z)
    assert mean.shape == log_var.shape == (3, 4, 5, 1)


def test_bernoulli_mlp_is_its_formula():
    net = BernoulliMLP(3, (2, 1, 1))
    z = np.array([[0.5, -1.0]], "float32")
    net(z)
    (w1, b1), (w2, b2) = (layer.get_weights() for layer in (net.hidden[0], net.logits_head))
    expected = np.tanh(z @ w1 + b1) @ w2 + b2  # logits: no sigmoid
    np.testing.assert_allclose(np.ravel(net(z)[0]), expected[0], rtol=1e-5)


def test_log_variance_stays_inside_its_bound_and_keeps_a_gradient():
    raw = tf.Variable([-1e30, -50.0, -1.0, 0.0, 1.0, 50.0, 1e30])
    bounded = bounded_log_var(raw).numpy()
    assert np.all(np.abs(bounded) <= 10) and np.all(np.diff(bounded) >= 0)
    np.testing.assert_allclose(bounded[2:5], [-0.9967, 0, 0.9967], atol=1e-4)
    net = GaussianMLP(4, 2)
    net(np.zeros((1, 3), "float32"))
    net.log_var_head.bias.assign([1e9, -1e9])
    np.testing.assert_allclose(net(np.zeros((1, 3), "float32"))[1], [[10, -10]], rtol=1e-6)


def test_networks_keep_their_arguments_through_config():
    for net in (GaussianMLP((6, 4), (2,), 3, "gelu"), BernoulliMLP(6, (2, 2, 1), "relu")):
        again = type(net).from_config(net.get_config())
        assert again.get_config() == net.get_config()


@pytest.mark.parametrize("bad", [0, -3, (), (4, 0), (4, 2.5), "wide"])
def test_bad_widths_and_shapes_are_named(bad):
    with pytest.raises(ValueError, match=re.escape(f"sizes={bad!r}")):
        as_sizes(bad, "sizes")
    with pytest.raises(ValueError):
        BernoulliMLP(bad, (2, 2, 1))


def test_the_same_seed_builds_the_same_weights():
    nets = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        net = GaussianMLP(4, 2)
        net.build((None, 5))
        nets.append(net.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*nets, strict=True))
