"""Protocols, noise keys, the fixed subset and the pipeline."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers import data

# The same examples in every run, and no limit on a machine that is busy.
few = hypothesis_settings(max_examples=25, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**31 - 1)


# --- The subset that lessons compare on -----------------------------------------------------------


def test_the_random_subset_is_fixed_nested_and_pairs_images_with_labels():
    images = np.arange(1000).reshape(1000, 1, 1, 1) * np.ones((1, 2, 2, 1), int)
    rows = data.random_subset(images, 100)[:, 0, 0, 0]
    assert rows[:5].tolist() == [742, 123, 797, 734, 501]
    np.testing.assert_array_equal(data.random_subset(np.arange(1000), 100), rows)
    np.testing.assert_array_equal(data.random_subset(images, 40)[:, 0, 0, 0], rows[:40])
    assert len(set(rows)) == 100 and 400 < rows.mean() < 600
    assert sorted(data.random_subset(np.arange(1000), 1000)) == list(range(1000))


def test_a_subset_larger_than_the_whole_is_the_whole_and_says_so(capsys):
    assert sorted(data.random_subset(np.arange(10), 11)) == list(range(10))
    assert "11 images were asked for, and 10 are there" in capsys.readouterr().out
    data.random_subset(np.arange(10), 10)
    assert not capsys.readouterr().out


# --- Noise keys -----------------------------------------------------------------------------------


def test_no_two_places_share_a_key():
    """Different seeds, epochs, steps and purposes, large ones among them."""
    places = [
        (seed, epoch, step, purpose)
        for seed in (0, 1, 2**31 - 1)
        for epoch in (0, 1, 99_999)
        for step in (0, 1, 2**31)
        for purpose in data.PURPOSES
    ]
    for scheme in (data.noise_key, data.noise_seed):
        keys = {tuple(scheme(*place).numpy().tolist()) for place in places}
        assert len(keys) == len(places)
        np.testing.assert_array_equal(scheme(1, 2, 3, "order"), scheme(1, 2, 3, "order"))


def test_a_noise_seed_serves_the_distributions_of_tfp():
    normal = tfp.distributions.MultivariateNormalDiag(tf.zeros(500), tf.ones(500))
    draws = [normal.sample(seed=data.noise_seed(1, 0, 0, p)) for p in ("train", "validate")]
    assert abs(np.corrcoef(draws)[0, 1]) < 0.2 and 0.9 < np.std(draws) < 1.1


def test_prepared_images_and_batches_of_one_seed_share_no_noise():
    """Validation images may be prepared by the seed of the training."""
    images = np.full((10, 6, 6, 1), 128, np.uint8)
    settings = dict(protocol="dequantised", batch_size=10, seed=1, shuffle=False)
    (batch,) = data.pipeline(images, **settings).as_numpy_iterator()
    prepared = data.prepare(images, "dequantised", seed=1)
    noise = [256 * x.ravel() - 128 for x in (batch, prepared)]
    assert abs(np.corrcoef(noise)[0, 1]) < 0.2


# --- Protocols ------------------------------------------------------------------------------------


def greys(n=400):
    """Images (n, 16, 16, 1) that hold every grey value once."""
    return np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (n, 1, 1, 1))


@pytest.mark.parametrize("protocol", data.PROTOCOLS)
def test_prepare_returns_float32_of_the_same_shape(protocol):
    images = greys(3)
    x = data.prepare(images, protocol)
    assert isinstance(x, np.ndarray) and x.dtype == np.float32 and x.shape == images.shape
    assert x.min() >= 0 and x.max() <= 1
    assert images.dtype == np.uint8
    binary = set(np.unique(x)) == {0.0, 1.0}
    assert binary == (protocol in ("threshold", "static", "dynamic"))


def test_threshold_is_above_one_half():
    x = data.prepare(greys(1), "threshold").ravel()
    assert x[127] == 0 and x[128] == 1 and x.sum() == 128


def test_bernoulli_draws_have_the_right_mean_and_keep_black_and_white():
    images = greys()
    for protocol in ("static", "dynamic"):
        x = data.prepare(images, protocol, seed=3).reshape(len(images), 256)
        assert not x[:, 0].any() and x[:, 255].all()
        p = np.arange(256) / 255
        sigma = np.sqrt(p * (1 - p) / len(images))
        assert np.all(abs(x.mean(0) - p) <= 5 * sigma)
        pairs = x[:, 100:155] - p[100:155]  # neighbouring pixels are drawn independently
        assert abs(np.mean(pairs[:, 1:] * pairs[:, :-1])) < 0.01
        assert abs(np.mean(pairs[1:] * pairs[:-1])) < 0.01


def test_static_is_drawn_once_and_dynamic_in_every_epoch():
    images = greys(5)

    def draw(protocol, seed, epoch):
        return data.prepare(images, protocol, seed=seed, epoch=epoch)

    np.testing.assert_array_equal(draw("static", 1, 0), draw("static", 1, 7))
    np.testing.assert_array_equal(draw("dynamic", 1, 7), draw("dynamic", 1, 7))
    for other in (draw("dynamic", 1, 8), draw("dynamic", 2, 7), draw("dynamic", 7, 1)):
        assert np.mean(draw("dynamic", 1, 7) != other) > 0.2
    assert np.mean(draw("static", 1, 0) != draw("static", 2, 0)) > 0.2


def test_dequantised_values_stay_in_their_bin_and_fill_it():
    images = greys(2000)
    y = data.prepare(images, "dequantised", seed=1)
    assert y.max() < 1
    np.testing.assert_array_equal(np.floor(y * 256), images)
    u = y.astype(np.float64) * 256 - images
    assert abs(u.mean() - 0.5) < 0.002 and abs(u.var() - 1 / 12) < 0.001
    counts = np.histogram(u, 16, (0, 1))[0] / u.size
    assert np.all(abs(counts - 1 / 16) < 0.002)
    assert not np.array_equal(y, data.prepare(images, "dequantised", seed=1, epoch=1))


def test_extreme_draws_stay_in_range(monkeypatch):
    """The largest draw below 1 must not round a pixel up, and a draw of 0 must not paint one."""
    top = np.float32(1 - 2.0**-23)
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda s, *a, **k: tf.fill(s, top))
    y = data.dequantise(greys(1), [0, 0]).numpy()
    np.testing.assert_array_equal(np.floor(y * 256), greys(1))
    assert data.binarise(greys(1), [0, 0]).numpy().sum() == 1  # white stays white, 254 goes black
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda s, *a, **k: tf.fill(s, 0.0))
    assert data.binarise(greys(1), [0, 0]).numpy().sum() == 255  # black stays black


def test_the_first_images_keep_their_draw():
    images = np.full((2500, 5, 5, 3), 100, np.uint8)
    for protocol in ("static", "dynamic", "dequantised"):
        whole = data.prepare(images, protocol, seed=4)
        np.testing.assert_array_equal(whole[:1100], data.prepare(images[:1100], protocol, seed=4))
        assert not np.array_equal(whole[:1024], whole[1024:2048])  # no block repeats


def test_draws_are_the_same_with_every_version():
    """Recorded draws: published numbers depend on them."""
    x = data.prepare(greys(8), "dynamic", seed=data.TEST_SEED)
    order = data.epoch_order(1000, 7, 3).numpy()
    digest = hashlib.sha256(np.packbits(x.astype(bool)).tobytes()).hexdigest()
    assert digest.startswith("e9ee7832a468b296")
    assert order[:5].tolist() == [595, 299, 910, 879, 298]


def test_rescale():
    images = greys(2)
    x = data.rescale(images)
    assert x.dtype == np.float32 and x.max() == 1 and x.min() == 0 and x.shape == images.shape
    np.testing.assert_allclose(x, images / 255, atol=1e-7)
    np.testing.assert_allclose(data.prepare(images, "grey"), x, atol=1e-7)


# --- Pipeline -------------------------------------------------------------------------------------


def batches(n=10, batch_size=4, protocol="grey", seed=1, images=None, **options):
    """Lists of the batches x and y; the labels number the images."""
    images = np.full((n, 6, 6, 1), 128, np.uint8) if images is None else images
    settings = dict(protocol=protocol, batch_size=batch_size, seed=seed)
    dataset = data.pipeline(images, **settings, labels=np.arange(len(images)), **options)
    pairs = list(dataset.as_numpy_iterator())
    return [x for x, _ in pairs], [y for _, y in pairs]


def test_every_epoch_holds_every_image_once_with_a_ragged_last_batch():
    x, y = batches(n=10, batch_size=4, epochs=3)
    assert [len(part) for part in y] == [4, 4, 2] * 3 and [len(part) for part in x] == [4, 4, 2] * 3
    for epoch in range(3):
        assert sorted(np.concatenate(y[3 * epoch : 3 * epoch + 3])) == list(range(10))
    assert x[0].dtype == np.float32 and x[0].shape == (4, 6, 6, 1)
    assert data.steps_per_epoch(10, 4) == 3 and data.steps_per_epoch(8, 4) == 2
    assert [len(part) for part in batches(n=3, batch_size=100)[1]] == [3]


def test_length_is_known():
    images = np.zeros((10, 2, 2, 1), np.uint8)
    options = {"protocol": "grey", "batch_size": 4, "seed": 0}
    assert len(data.pipeline(images, epochs=5, initial_epoch=2, **options)) == 9
    assert list(data.pipeline(images, epochs=2, initial_epoch=2, **options)) == []
    element = data.pipeline(images, **options).element_spec
    assert element.shape.as_list() == [None, 2, 2, 1] and element.dtype == tf.float32


def test_labels_follow_their_images():
    images = np.arange(200, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    x, y = batches(images=images, batch_size=7, epochs=2)
    for part, labels in zip(x, y, strict=True):
        np.testing.assert_allclose(part[:, 0, 0, 0], labels / 255, atol=1e-6)


def test_order_depends_on_seed_and_epoch_and_can_be_switched_off():
    n = 50
    orders = [
        np.concatenate(batches(n, n, seed=s, epochs=e + 1, initial_epoch=e)[1])
        for s, e in ((1, 0), (1, 1), (2, 0), (0, 1))
    ]
    assert len({order.tobytes() for order in orders}) == 4
    assert all(np.mean(order == np.arange(n)) < 0.3 for order in orders)
    np.testing.assert_array_equal(orders[1], data.epoch_order(n, 1, 1))
    plain = np.concatenate(batches(n, 8, shuffle=False, epochs=2)[1])
    np.testing.assert_array_equal(plain, np.tile(np.arange(n), 2))


@pytest.mark.parametrize("protocol", data.PROTOCOLS)
def test_an_epoch_is_a_function_of_seed_and_epoch_alone(protocol):
    whole = batches(protocol=protocol, epochs=4)
    resumed = batches(protocol=protocol, epochs=4, initial_epoch=2)
    shorter = batches(protocol=protocol, epochs=3, initial_epoch=2)
    for full, rest, part in zip(whole, resumed, shorter, strict=True):
        assert len(full) == 12 and len(rest) == 6 and len(part) == 3
        for a, b in zip(full[6:], rest, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(rest, part, strict=False):
            np.testing.assert_array_equal(a, b)


def by_image(protocol, **options):
    """Images of each epoch, put back into the order of the data set: (epoch, n, h, w, c)."""
    x, y = batches(protocol=protocol, epochs=3, **options)
    x, y = np.concatenate(x).reshape(3, 10, 6, 6, 1), np.concatenate(y).reshape(3, 10)
    return np.stack([x[e][np.argsort(y[e])] for e in range(3)])


def test_static_is_the_same_in_every_epoch_and_dynamic_is_not():
    static, dynamic = by_image("static"), by_image("dynamic")
    np.testing.assert_array_equal(static[0], static[1])
    np.testing.assert_array_equal(static[0], static[2])
    np.testing.assert_array_equal(
        static[0], data.prepare(np.full((10, 6, 6, 1), 128, np.uint8), "static", seed=1)
    )
    np.testing.assert_array_equal(static, by_image("static", batch_size=3))
    for protocol in (dynamic, by_image("dequantised")):
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert np.mean(protocol[a] != protocol[b]) > 0.3
    assert np.mean(static[0] != by_image("static", seed=2)[0]) > 0.3


@pytest.mark.parametrize("protocol", ["static", "dynamic", "dequantised"])
def test_no_two_batches_share_their_noise(protocol):
    x, _ = batches(n=40, batch_size=4, protocol=protocol, shuffle=False, epochs=2)
    seen = x[:10] if protocol == "static" else x
    assert len({part.tobytes() for part in seen}) == len(seen)
    assert len({image.tobytes() for part in seen for image in part}) == 4 * len(seen)


def test_draws_of_the_pipeline_have_the_right_mean():
    images = np.full((500, 8, 8, 1), 51, np.uint8)  # p = 0.2
    for protocol in ("static", "dynamic"):
        x, _ = batches(images=images, protocol=protocol, batch_size=128)
        assert abs(np.concatenate(x).mean() - 0.2) < 5 * np.sqrt(0.16 / 32_000)


def test_no_iterator_waits_for_a_tuning_thread():
    images = np.full((10, 6, 6, 1), 128, np.uint8)
    dataset = data.pipeline(images, protocol="dynamic", batch_size=4, seed=0)
    assert dataset.options().autotune.enabled is False


def test_pipeline_can_be_iterated_twice_and_without_labels():
    images = np.full((10, 6, 6, 1), 128, np.uint8)
    dataset = data.pipeline(images, protocol="dynamic", batch_size=4, seed=0)
    first, second = list(dataset.as_numpy_iterator()), list(dataset.as_numpy_iterator())
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"protocol": "binary"}, ValueError, "protocol must be one of 'threshold', 'static'"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"seed": 2**31}, ValueError, "seed must be below"),
        ({"epochs": 1, "initial_epoch": 2}, ValueError, "epochs must be at least 2, got 1"),
        ({"initial_epoch": -1}, ValueError, "initial_epoch must be at least 0, got -1"),
        ({"labels": np.zeros(4)}, ValueError, r"labels must have shape \(3,\), got \(4,\)"),
        ({"images": np.zeros((3, 4, 4, 1))}, ValueError, "must be uint8 .*float64"),
    ],
)
def test_wrong_arguments_of_the_pipeline(change, error, match):
    options = {"images": np.zeros((3, 4, 4, 1), np.uint8), "protocol": "grey", "batch_size": 2}
    options = options | {"seed": 0} | change
    with pytest.raises(error, match=match):
        data.pipeline(options.pop("images"), **options)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"protocol": "gray"}, "protocol must be one of .*'grey', got 'gray'"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"epoch": -1}, "epoch must be at least 0, got -1"),
        ({"images": greys(1) / 255}, "images must be uint8 .*from_arrays"),
        ({"images": np.eye(4, dtype=np.uint8)[None, :, :, None]}, "only 0 and 1, but white is 255"),
    ],
)
def test_wrong_arguments_of_prepare(change, match):
    options = {"images": greys(1), "protocol": "dynamic"} | change
    with pytest.raises(ValueError, match=match):
        data.prepare(options.pop("images"), options.pop("protocol"), **options)


def test_an_unknown_protocol_is_refused_where_a_batch_is_made():
    with pytest.raises(ValueError, match=r"protocol must be one of .*'grey', got 'gray'"):
        data.apply_protocol(greys(1), "gray", [0, 0])


@hypothesis_settings(few, max_examples=8)
@given(st.integers(1, 40), st.integers(1, 12), seeds, st.integers(0, 3), st.booleans())
def test_every_epoch_holds_every_image_once(n, batch_size, seed, epoch, shuffle):
    images = np.arange(100, 100 + n, dtype=np.uint8).reshape(n, 1, 1, 1)
    settings = dict(protocol="grey", batch_size=batch_size, seed=seed, shuffle=shuffle)
    batches = list(data.pipeline(images, epochs=epoch + 1, initial_epoch=epoch, **settings))
    seen = np.concatenate([batch[:, 0, 0, 0] for batch in batches])
    seen = np.rint(255 * seen).astype(int) - 100
    assert sorted(seen) == list(range(n)) and len(batches) == data.steps_per_epoch(n, batch_size)
    assert shuffle or (seen == np.arange(n)).all()


@few
@given(hnp.arrays("u1", (2, 3, 3, 1), elements=st.integers(0, 255)), seeds, st.integers(0, 5))
def test_prepared_pixels_are_in_range(images, seed, epoch):
    images[0, 0, 0] = 255
    grey = data.prepare(images, "grey")
    np.testing.assert_array_equal(np.rint(255 * grey), images)
    for protocol in ("static", "dynamic"):
        x = data.prepare(images, protocol, seed=seed, epoch=epoch)
        assert np.isin(x, (0, 1)).all()
        assert not x[images == 0].any() and x[images == 255].all()
    y = data.prepare(images, "dequantised", seed=seed, epoch=epoch)
    np.testing.assert_array_equal(np.floor(256 * y), images)
