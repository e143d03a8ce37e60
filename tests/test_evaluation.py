"""Importance-weighted likelihood, active units, bits per dimension."""

import numpy as np
import pytest
from linear_gaussian import exact_log_px, images, linear_vae

from helpers import evaluation
from helpers.evaluation import (
    active_units,
    bits_per_dim,
    held_out_scores,
    kl_per_dimension,
    leave_one_out_accuracy,
    local_log_prob,
    log_likelihood,
    posterior_moments,
)
from helpers.vae import VAE, kl_to_standard_normal


def test_exact_posterior_gives_log_p_with_one_sample():
    x = images(33)
    result = log_likelihood(linear_vae(), x, 1)
    np.testing.assert_allclose(result.values, exact_log_px(x), atol=2e-3)


def check_bound_tightens(vae):
    """ELBO < bound with more samples < ... -> log p(x), and never above it in expectation."""
    x = images(300)
    exact = exact_log_px(x).mean()
    means = [log_likelihood(vae, x, k, seed=k).mean for k in (1, 5, 50, 2000)]
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


def test_streamed_log_sum_exp_equals_one_chunk_and_handles_ragged_ends():
    x, vae = images(21), linear_vae(0.3, 0.6)
    for rows in (5, 16 * 7, 16 * 100):
        result = log_likelihood(vae, x, 100, seed=1, max_rows=rows)
        assert result.values.shape == result.elbos.shape == (21,)
        assert np.all(result.values > result.elbos)
        np.testing.assert_allclose(result.mean, exact_log_px(x).mean(), atol=0.12)
    again = log_likelihood(vae, x, 100, seed=1)
    np.testing.assert_array_equal(again.values, result.values)
    assert not np.array_equal(log_likelihood(vae, x, 100, seed=2).values, result.values)


def test_very_small_probabilities_do_not_underflow(monkeypatch):
    right = evaluation.log_importance_weights
    shift = lambda *args: right(*args) - 5000.0  # noqa: E731  exp(-5000) is 0 in any float
    x, vae = images(5), linear_vae(0.3, 0.6)
    expected = log_likelihood(vae, x, 64, max_rows=160).values
    monkeypatch.setattr(evaluation, "log_importance_weights", shift)
    values = log_likelihood(vae, x, 64, max_rows=160).values
    np.testing.assert_allclose(values, expected - 5000.0, atol=1e-2)


def test_monte_carlo_error_is_the_spread_of_repeated_estimates():
    repeated = np.tile(images(8), (60, 1, 1, 1))
    result = log_likelihood(linear_vae(0.3, 0.6), repeated, 60)
    spread = np.std(result.values.reshape(60, 8).mean(axis=1), ddof=1)
    assert 0.7 < result.monte_carlo_error * np.sqrt(60) / spread < 1.4
    assert result.standard_error > result.monte_carlo_error


def test_latent_measures():
    x = np.random.default_rng(0).integers(0, 2, (40, 28, 28, 1)).astype("f4")
    vae = VAE(3, hidden_dim=8)
    vae.encoder.mean_head.kernel.assign(vae.encoder.mean_head.kernel * [1.0, 0.0, 1.0])
    z_mean, z_log_var = posterior_moments(vae, x, batch_size=7)
    np.testing.assert_allclose(z_mean, vae.encode(x)[0], rtol=1e-5, atol=1e-6)
    assert active_units(z_mean) == 2 and active_units(z_mean, threshold=1e9) == 0
    per_dim = kl_per_dimension(z_mean, z_log_var)
    total = np.mean(kl_to_standard_normal(z_mean, z_log_var))
    np.testing.assert_allclose(per_dim.sum(), total, rtol=1e-5)


def test_moments_of_grey_values_have_to_be_asked_for():
    rng, vae = np.random.default_rng(0), VAE(2, hidden_dim=4)
    grey = rng.uniform(size=(3, 28, 28, 1)).astype(np.float32)
    with pytest.raises(ValueError, match="0 and 1 only"):
        posterior_moments(vae, grey)
    z_mean, z_log_var = posterior_moments(vae, grey, grey=True)
    np.testing.assert_allclose(z_mean, vae.encode(grey)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(z_log_var, vae.encode(grey)[1], rtol=1e-5, atol=1e-6)


def test_moments_of_a_flow_are_what_it_makes_of_the_mean():
    x = np.random.default_rng(0).integers(0, 2, (5, 28, 28, 1)).astype("f4")
    vae = VAE(3, hidden_dim=8, iaf_steps=2, iaf_hidden=(6,), seed=0)
    z_mean, z_log_var = posterior_moments(vae, x, batch_size=2)
    base_mean, base_log_var, _ = vae.encode(x)
    np.testing.assert_allclose(z_mean, vae.code(x), rtol=1e-5, atol=1e-6)
    assert not np.allclose(z_mean, base_mean, atol=1e-3)
    np.testing.assert_allclose(z_log_var, base_log_var, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1, 4, 10])
def test_leave_one_out_is_the_vote_of_the_others(k):
    rng = np.random.default_rng(k)
    labels = rng.integers(0, 3, size=80)
    points = rng.normal(size=(80, 3)) + labels[:, None]
    right = 0
    for i in range(80):
        far = np.linalg.norm(points - points[i], axis=1)
        votes = labels[[j for j in np.argsort(far) if j != i][:k]].tolist()
        right += max(sorted(set(votes)), key=votes.count) == labels[i]
    assert 0.4 < right / 80 < 1
    assert leave_one_out_accuracy(points, labels.astype(np.uint8), k) == pytest.approx(right / 80)


def test_leave_one_out_among_equal_points():
    points = np.repeat([[0.0], [5.0], [9.0]], 2, axis=0)  # each place twice
    assert leave_one_out_accuracy(points, [0, 1, 0, 1, 0, 1], k=1) == 0
    assert leave_one_out_accuracy(points, [0, 0, 1, 1, 2, 2], k=1) == 1


def test_leave_one_out_refuses_what_it_cannot_score():
    with pytest.raises(ValueError, match=r"labels \(2,\) for points \(3, 1\)"):
        leave_one_out_accuracy(np.zeros((3, 1)), [0, 1])
    with pytest.raises(ValueError, match="n_neighbors"):
        leave_one_out_accuracy(np.zeros((3, 1)), [0, 1, 0], k=3)


def test_the_probe_is_linear_and_the_neighbours_see_raw_distances():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    points = np.stack([labels + 0.1 * rng.normal(size=400), rng.normal(size=400)], axis=1)
    train, test = points[:300], points[300:]
    sets = labels[:300], labels[300:]

    def scores(scale, **how):
        return held_out_scores(train * scale, sets[0], test * scale, sets[1], **how)

    assert scores([1, 1]) == {"knn": 1.0, "probe": 1.0}
    loud = scores([1, 1000])  # the second column means nothing
    assert loud["knn"] < 0.7 and loud["probe"] == 1
    assert scores([1e-3, 1])["probe"] == 1
    assert scores([1e-3, 1], standardise=False)["probe"] < 0.8  # its penalty forbids large weights
    ring = [(np.abs(x[:, 1]) < 0.7).astype(int) for x in (train, test)]  # between two borders
    bent = held_out_scores(train, ring[0], test, ring[1])
    assert bent["knn"] > 0.8 > bent["probe"]
    line, kinds = np.array([[0.0], [1.0], [1.2]]), [0, 1, 1]  # seen from 0.1
    votes = [held_out_scores(line, kinds, [[0.1]], [0], k)["knn"] for k in (1, 3)]
    assert votes == [1.0, 0.0]


def test_bits_per_dim():
    uniform = -3072 * np.log(256)  # every one of the 256 levels equally likely
    assert bits_per_dim(uniform, 3072, dequantised=False) == pytest.approx(8)
    assert bits_per_dim([0.0, 0.0], 3072, dequantised=True) == pytest.approx(8)
    assert bits_per_dim(-2129.35, 3072, dequantised=False) == pytest.approx(1, abs=1e-4)


# ------------------------------------------------------------------ the coder of local strokes


def all_images(height, width):
    """Every binary image of this size."""
    bits = np.arange(2 ** (height * width))[:, None] >> np.arange(height * width) & 1
    return bits.reshape(-1, height, width, 1).astype("f4")


@pytest.mark.parametrize("size", [(1, 8), (4, 3), (3, 4)])
def test_the_local_coder_is_a_density(size):
    counted = np.random.default_rng(0).binomial(1, 0.3, (30, *size, 1))
    log_p = local_log_prob(all_images(*size), counted)
    assert log_p.shape == (2 ** np.prod(size),) and np.exp(log_p).sum() == pytest.approx(1)


def test_the_local_coder_counts():
    counted = np.ones((1, 1, 3, 1))  # seen after nothing: 1; after one 1: 1; after two: 1
    log_p = local_log_prob([[[[1], [1], [1]]], [[[0], [0], [0]]]], counted)
    # Each of the three pixels has another context; in the second image all have the first one.
    np.testing.assert_allclose(log_p, [3 * np.log(1.5 / 2), 3 * np.log(0.5 / 2)])


def copies(row, column, seed):
    """Random images in which each pixel repeats the one `row` rows up, `column` to the right."""
    x = np.random.default_rng(seed).binomial(1, 0.5, (20, 30, 40, 1))
    for r, c in np.ndindex(30, 40):
        if r >= row and 0 <= c + column < 40:
            x[:, r, c] = x[:, r - row, c + column]
    return x


@pytest.mark.parametrize("row", [0, 1, 2, 3])
def test_the_local_coder_sees_ten_neighbours_and_no_others(row):
    inside = {0: (-2, -1), 1: (-2, -1, 0, 1, 2), 2: (-1, 0, 1), 3: ()}[row]
    for column in range(-3, 4 if row else 0):
        log_p = local_log_prob(copies(row, column, 0), copies(row, column, 1)).mean() / (30 * 40)
        assert (log_p > -0.35) if column in inside else (log_p < -0.6), (row, column, log_p)


@pytest.mark.parametrize(
    "bad", [np.full((2, 3, 3, 1), 0.5), np.zeros((3, 3, 1)), np.zeros((2, 3, 3, 3))]
)
def test_the_local_coder_refuses(bad):
    for pair in ((bad, np.zeros((2, 3, 3, 1))), (np.zeros((2, 3, 3, 1)), bad)):
        with pytest.raises(ValueError, match="give pixels 0 and 1"):
            local_log_prob(*pair)


@pytest.mark.parametrize("bad", [0, -1, 2.5])
def test_bad_counts_are_named(bad):
    error = TypeError if bad == 2.5 else ValueError
    with pytest.raises(error, match="num_samples"):
        log_likelihood(linear_vae(), images(2), bad)
    with pytest.raises(error, match="max_rows"):
        log_likelihood(linear_vae(), images(2), 1, max_rows=bad)
    with pytest.raises(error, match="num_dims"):
        bits_per_dim(0.0, bad, dequantised=False)


def test_bad_images_and_weights_are_refused_before_any_work():
    with pytest.raises(ValueError, match="pixels from"):
        log_likelihood(linear_vae(), images(2) * 255, 1)
    vae = VAE(2, hidden_dim=4)
    vae.decoder.logits_head.bias.assign(np.full(784, np.inf))
    with pytest.raises(ValueError, match="NaN or infinity"):
        log_likelihood(vae, np.zeros((2, 28, 28, 1), "f4"), 3)
