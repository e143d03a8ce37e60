"""Properties that hold for whatever hypothesis invents: flows, likelihoods, checks of data."""

import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers import data, flows
from helpers.vae import Bernoulli, discretised_logistic_log_prob, kl_to_standard_normal

# The same examples in every run, and no limit on a machine that is busy.
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**31 - 1)
finite = st.floats(-20, 20, width=32)


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
@given(hnp.arrays("f4", (2, 3), elements=finite),
       hnp.arrays("f4", (2, 3), elements=st.floats(-9, 9, width=32)))  # fmt: skip
def test_a_kl_is_tfps_and_never_negative(z_mean, z_log_var):
    kl = np.asarray(kl_to_standard_normal(z_mean, z_log_var))
    q = tfp.distributions.MultivariateNormalDiag(z_mean, np.exp(0.5 * z_log_var))
    p = tfp.distributions.MultivariateNormalDiag(tf.zeros(3), tf.ones(3))
    np.testing.assert_allclose(kl, q.kl_divergence(p), rtol=1e-3, atol=1e-3)
    assert (kl >= -1e-4).all()


# --- data -----------------------------------------------------------------------------------------

SPEC = data.MNIST._replace(shape=(2, 2, 1), sizes=(4, 3))
kinds = st.sampled_from(["u1", "i8", "f4", "f8", "?", "u2", "S3"])
shapes = st.one_of(
    st.sampled_from([(4, 2, 2), (3, 2, 2), (4, 2, 2, 1), (4,), (3,), (3, 1)]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@few
@given(st.sampled_from(data._KEYS), kinds, shapes, st.integers(0, 12))
def test_an_array_of_a_file_is_right_or_refused(key, kind, shape, value):
    array = np.full(shape, value).astype(kind)
    image, n = key[0] == "x", SPEC.sizes[key.endswith("test")]
    right = kind == "u1" if image else kind in ("u1", "i8", "u2")
    size = 4 * n if image else n
    right = right and array.size == size and array.shape[:1] == (n,)
    right = right and array.shape in ((n, 2, 2), (n, 2, 2, 1), (n,), (n, 1))
    if right and (image or value < 10):
        checked = data._checked(key, array, SPEC)
        assert checked.dtype == np.uint8
        assert checked.shape == ((n, 2, 2, 1) if image else (n,)) and (checked == value).all()
    else:
        with pytest.raises(ValueError, match=key):
            data._checked(key, array, SPEC)


def good_file():
    arrays = {"x_train": np.zeros((4, 2, 2), np.uint8), "y_train": np.zeros(4, np.uint8),
              "x_test": np.zeros((3, 2, 2), np.uint8), "y_test": np.zeros(3, np.uint8)}  # fmt: skip
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


GOOD = good_file()


@settings(few, max_examples=100)
@given(st.data())
def test_a_damaged_file_is_refused_or_as_good_as_before(tmp_path_factory, draw):
    """Cut, changed or invented bytes: `DatasetInvalid` or arrays that pass every check."""
    content = bytearray(GOOD)
    for place, value in draw.draw(st.lists(
        st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4
    )):  # fmt: skip
        content[place] = value
    content = content[: draw.draw(st.sampled_from([None, *range(len(GOOD))]))]
    invented = draw.draw(st.one_of(st.none(), st.binary(max_size=64)))
    path = tmp_path_factory.mktemp("file") / "mnist.npz"
    path.write_bytes(content if invented is None else invented)
    before = path.read_bytes()
    try:
        arrays, source, official = data._read(path, SPEC)
    except data.DatasetInvalid as error:
        assert str(path) in str(error) and "left as it is" in str(error)
    else:
        assert [a.shape for a in arrays] == [(4, 2, 2, 1), (4,), (3, 2, 2, 1), (3,)]
        assert not official and source.startswith("unknown file")
    assert path.read_bytes() == before


@few
@given(st.integers(1, 40), st.integers(1, 12), seeds, st.integers(0, 3), st.booleans())
def test_every_epoch_holds_every_image_once(n, batch_size, seed, epoch, shuffle):
    images = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    settings = dict(protocol="grey", batch_size=batch_size, seed=seed, shuffle=shuffle)
    batches = list(data.pipeline(images, epochs=epoch + 1, initial_epoch=epoch, **settings))
    seen = np.rint(255 * np.concatenate([batch[:, 0, 0, 0] for batch in batches])).astype(int)
    assert sorted(seen) == list(range(n)) and len(batches) == data.steps_per_epoch(n, batch_size)
    assert shuffle or (seen == np.arange(n)).all()


@few
@given(hnp.arrays("u1", (2, 3, 3, 1)), seeds, st.integers(0, 5))
def test_prepared_pixels_are_in_range(images, seed, epoch):
    grey = data.prepare(images, "grey")
    np.testing.assert_array_equal(np.rint(255 * grey), images)
    for protocol in ("static", "dynamic"):
        x = data.prepare(images, protocol, seed=seed, epoch=epoch)
        assert np.isin(x, (0, 1)).all()
        assert not x[images == 0].any() and x[images == 255].all()
    y = data.prepare(images, "dequantised", seed=seed, epoch=epoch)
    np.testing.assert_array_equal(np.floor(256 * y), images)
