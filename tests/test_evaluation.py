"""What the latents do, what codes tell of classes, bits per dimension, and the local coder."""

import numpy as np
import pytest
import tensorflow as tf

from helpers import data, evaluation
from helpers.evaluation import (
    active_units,
    bits_per_dim,
    fit_posterior,
    held_out_scores,
    independent_pixels,
    kl_per_dimension,
    leave_one_out_accuracy,
    local_log_prob,
    noise_floor,
    posterior_moments,
)
from helpers.priors import kl_to_standard_normal
from helpers.vae import VAE

# --- What a likelihood is measured by ----------------------------------------------------------

BYTES = np.random.default_rng(3).integers(0, 256, (300, 2, 3, 1), dtype=np.uint8)


def test_the_noise_floor_is_minus_the_entropy_of_the_tosses():
    images = np.uint8([[0, 255], [51, 102]]).reshape(2, 1, 2, 1)  # p = 0, 1 and 0.2, 0.4
    p = np.array([0.2, 0.4])
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
    assert noise_floor(images) == pytest.approx(-entropy / 2)
    assert noise_floor(images[:1]) == 0
    tosses = data.prepare(np.repeat(images[1:], 5000, axis=0), "dynamic")[:, 0, :, 0]

    def score(guess):
        return np.mean(np.sum(tosses * np.log(guess) + (1 - tosses) * np.log1p(-guess), axis=1))

    # With the right probabilities a model reaches the floor, and with others it stays below.
    assert score(p) == pytest.approx(-entropy, abs=0.04) and score(p) > score(
        np.add(p, [0.05, 0.0])
    )


@pytest.mark.parametrize("protocol", ["threshold", "static", "dynamic"])
def test_independent_binary_pixels_are_those_of_lesson_01(protocol):
    of_train = "threshold" if protocol == "threshold" else "grey"
    p = (data.prepare(BYTES[:200], of_train).sum(axis=0, dtype=np.float64) + 1) / 202
    b = data.prepare(BYTES[200:], protocol, seed=5)
    expected = (b * np.log(p) + (1 - b) * np.log(1 - p)).sum(axis=(1, 2, 3))
    found = independent_pixels(BYTES[:200], BYTES[200:], protocol, seed=5)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_independent_levels_are_a_distribution_over_256_levels():
    probabilities = evaluation._level_probabilities(BYTES)
    assert probabilities.shape == (2, 3, 1, 256) and probabilities.min() > 0
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1)
    test = BYTES[:50]
    found = independent_pixels(BYTES, test, "grey")
    places = np.indices((2, 3, 1))
    expected = [np.log(probabilities[(*places, image)]).sum() for image in test]
    np.testing.assert_allclose(found, expected)
    density = independent_pixels(BYTES, test, "dequantised")
    np.testing.assert_allclose(density, found + 6 * np.log(256))
    for name, values in {"discretised_logistic": found, "gaussian": density}.items():
        assert bits_per_dim(values, 6, name) == pytest.approx(bits_per_dim(found, 6, "bernoulli"))


def test_a_pixel_that_never_changes_is_cheaper_than_one_that_does():
    images = BYTES.copy()
    images[:, 0, 0] = 9
    log_p = np.log(evaluation._level_probabilities(images))
    assert log_p[0, 0, 0].argmax() == 9 and log_p[0, 0, 0, 9] > log_p[1, 1, 0].max() + 1


def test_reference_lines_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"train .* and test .*: give images of one shape"):
        independent_pixels(BYTES, BYTES[:, :1], "grey")
    with pytest.raises(ValueError, match="images must be uint8"):
        noise_floor(BYTES / 255)
    with pytest.raises(ValueError, match="protocol must be one of"):
        independent_pixels(BYTES, BYTES, "tossed")


# --- What the latents do ----------------------------------------------------------------------


def test_moments_are_those_of_the_encoder():
    x = np.random.default_rng(0).integers(0, 2, (40, 28, 28, 1)).astype("f4")
    vae = VAE(3, hidden_dim=8)
    z_mean, z_log_var = posterior_moments(vae, x, batch_size=7)
    want_mean, want_log_var, _ = vae.encode(x)
    np.testing.assert_allclose(z_mean, want_mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(z_log_var, want_log_var, rtol=1e-5, atol=1e-6)
    per_dim = kl_per_dimension(z_mean, z_log_var)
    assert per_dim.shape == (3,)
    total = np.mean(kl_to_standard_normal(z_mean, z_log_var))
    np.testing.assert_allclose(per_dim.sum(), total, rtol=1e-5)


def test_the_kl_of_one_dimension():
    z_mean, z_log_var = np.array([[1.0, 0.0], [3.0, 0.0]]), np.log([[1.0, 4.0], [1.0, 4.0]])
    want = [(0.5 + 4.5) / 2, 0.5 * (4 - np.log(4) - 1)]
    np.testing.assert_allclose(kl_per_dimension(z_mean, z_log_var), want)


def test_active_units_go_by_the_variance_of_the_means_over_the_images():
    """0.05 is a standard deviation above, and a variance below, the threshold of 0.01."""
    wave = np.array([-1.0, 1.0] * 50)  # of variance 1
    columns = [0 * wave + 5, 0.05 * wave, 0.099 * wave, 0.101 * wave, 10 * wave]
    z_mean = np.stack(columns, axis=1)
    assert active_units(z_mean) == 2
    assert active_units(z_mean[:, :3]) == 0
    assert active_units(z_mean, threshold=0.0024) == 4
    assert active_units(z_mean, threshold=99.0) == 1


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 2)), np.full((2, 2), np.nan)])
def test_active_units_refuse(bad):
    with pytest.raises(ValueError, match="z_mean must hold finite numbers"):
        active_units(bad)


def test_moments_of_grey_values_have_to_be_asked_for():
    rng, vae = np.random.default_rng(0), VAE(2, hidden_dim=4)
    grey = rng.uniform(size=(3, 28, 28, 1)).astype(np.float32)
    with pytest.raises(ValueError, match="0 and 1"):
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


# --- A posterior for single images ---------------------------------------------------------------


def fitted(x, steps=400):
    """The q found for images x (n, 1) of z ~ N(0, 1), x|z ~ N(z, 1)."""
    start = tf.zeros(x.shape)
    return fit_posterior(
        lambda z: -0.5 * tf.reduce_sum((x - z) ** 2, -1), start, start, steps=steps
    )


def test_the_search_finds_a_posterior_that_is_known():
    x = np.repeat([[2.0], [-4.0]], 500, axis=0).astype("f4")
    z_mean, z_log_var = (part.numpy().reshape(2, 500).mean(axis=1) for part in fitted(x))
    np.testing.assert_allclose(z_mean, [1.0, -2.0], atol=0.02)  # x / 2, with variance 1/2
    np.testing.assert_allclose(z_log_var, np.log([0.5, 0.5]), atol=0.05)


def test_no_image_has_a_part_in_the_posterior_of_another():
    x = np.ones((5, 1), "f4")
    other = x.copy()
    other[1:] = 1000.0
    for one, two in zip(fitted(x, steps=20), fitted(other, steps=20), strict=True):
        np.testing.assert_array_equal(one[0], two[0])


# --- What codes tell of classes ----------------------------------------------------------------


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


def test_held_out_scores_are_those_of_the_test_points():
    points, labels = np.array([[0.0], [1.0]] * 20), np.array([0, 1] * 20)
    wrong = held_out_scores(points, labels, points, 1 - labels, k=1)
    assert wrong == {"knn": 0.0, "probe": 0.0}


def test_bits_per_dim():
    uniform = -3072 * np.log(256)  # every one of the 256 levels equally likely
    assert bits_per_dim(uniform, 3072, "discretised_logistic") == pytest.approx(8)
    assert bits_per_dim([0.0, 0.0], 3072, "gaussian") == pytest.approx(8)
    assert bits_per_dim(-784 * np.log(2), 784, "bernoulli") == pytest.approx(1)
    assert bits_per_dim([-2000.0, -2258.7], 3072, "bernoulli") == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("num_dims", "likelihood", "message"),
    [
        (0, "gaussian", "num_dims must be at least 1"),
        (784, "poisson", "likelihood must be one of .*got 'poisson'"),
        (784, "grey_bernoulli", "'grey_bernoulli' is no probability"),
    ],
)
def test_bits_per_dim_refuses(num_dims, likelihood, message):
    with pytest.raises(ValueError, match=message):
        bits_per_dim(0.0, num_dims, likelihood)


# --- The coder of local strokes ---------------------------------------------------------------


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
