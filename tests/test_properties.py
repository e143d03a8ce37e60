"""Properties that hold for whatever hypothesis invents: flows, likelihoods."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers import flows
from helpers.likelihoods import Bernoulli, discretised_logistic_log_prob
from helpers.priors import kl_to_standard_normal
from helpers.vae import reparameterise

# The same examples in every run, and no limit on a machine that is busy.
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**31 - 1)
means = hnp.arrays("f4", (2, 3), elements=st.floats(-20, 20, width=32))
log_vars = hnp.arrays("f4", (2, 3), elements=st.floats(-9, 9, width=32))


def shaken(layer, seed, scale=0.5):
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign_add(rng.normal(0, scale, weight.shape))
    return layer


# --- flows ----------------------------------------------------------------------------------------


@few
@given(st.permutations(range(1, 8)), st.lists(st.integers(1, 20), min_size=1, max_size=3))
def test_no_mask_looks_ahead(degrees, hidden):
    paths = np.eye(7)
    for mask in flows.made_masks(degrees, hidden):
        assert set(np.unique(mask)) <= {0.0, 1.0}
        paths = paths @ mask
    ahead = np.asarray(degrees)[:, None] >= np.asarray(degrees)
    assert not paths[ahead].any()
    if min(hidden) >= 7:
        assert paths[~ahead].all()


@few
@given(st.integers(1, 5), st.integers(0, 3), seeds)
def test_a_flow_inverts_and_its_log_determinant_is_autodiffs(latent_dim, steps, seed):
    flow = shaken(flows.IAF(latent_dim, steps, 6, context_dim=2), seed)
    rng = np.random.default_rng(seed)
    z = tf.constant(rng.normal(0, 2, (4, latent_dim)).astype("f4"))
    context = tf.constant(rng.normal(size=(4, 2)).astype("f4"))
    with tf.GradientTape() as tape:
        tape.watch(z)
        z_next, log_det = flow(z, context)
    matrices = tape.batch_jacobian(z_next, z) if steps else np.eye(latent_dim)[None].repeat(4, 0)
    sign, expected = np.linalg.slogdet(matrices)
    assert (sign == 1).all() and (np.asarray(log_det) <= 0).all()  # log-gates
    np.testing.assert_allclose(log_det, expected, atol=2e-3)
    np.testing.assert_allclose(flow.inverse(z_next, context), z, atol=0.02, rtol=0.02)


@few
@given(hnp.arrays("f4", (3, 2), elements=st.floats(width=32)))
def test_a_flow_takes_finite_numbers_alone(z):
    made = flows.MADE([2, 1], 4)
    if np.isfinite(z).all():
        z_next, log_det = flows.gated_step(made, np.clip(z, -1e6, 1e6))
        assert np.isfinite(z_next).all() and np.isfinite(log_det).all()
    else:
        with pytest.raises(ValueError, match="z holds NaN or infinity"):
            flows.gated_step(made, z)


# --- likelihoods ----------------------------------------------------------------------------------


@few
@given(st.floats(-3, 4), st.floats(-6, 2))
def test_a_discretised_logistic_sums_to_one(mean, log_scale):
    levels = np.arange(256, dtype="f4") / 255
    log_p = discretised_logistic_log_prob(levels, np.float32(mean), np.float32(log_scale))
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(np.exp(np.float64(log_p)).sum(), 1, atol=5e-4)


@few
@given(hnp.arrays("f4", 6, elements=st.floats(-1e4, 1e4, width=32)))
def test_a_bernoulli_is_tfps_at_any_logit(logits):
    for x in (0.0, 1.0, 0.25):
        ours = Bernoulli(logits=logits, dtype=tf.float32).log_prob(np.full(6, x, "f4"))
        exact = np.float64(x) * logits - np.logaddexp(0.0, np.float64(logits))
        np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-6)


@few
@given(means, log_vars)
def test_a_kl_is_tfps_and_never_negative(z_mean, z_log_var):
    kl = np.asarray(kl_to_standard_normal(z_mean, z_log_var))
    q = tfp.distributions.MultivariateNormalDiag(z_mean, np.exp(0.5 * z_log_var))
    p = tfp.distributions.MultivariateNormalDiag(tf.zeros(3), tf.ones(3))
    np.testing.assert_allclose(kl, q.kl_divergence(p), rtol=1e-3, atol=1e-3)
    assert (kl >= -1e-4).all()


@few
@given(means, log_vars, seeds)
def test_a_draw_moves_with_its_mean_and_scales_with_its_deviation(z_mean, z_log_var, seed):
    z = reparameterise(z_mean, z_log_var, (seed, 1))
    eps = reparameterise(np.zeros_like(z_mean), np.zeros_like(z_mean), (seed, 1))
    np.testing.assert_allclose(z, z_mean + np.exp(0.5 * z_log_var) * eps, rtol=1e-4, atol=1e-4)
