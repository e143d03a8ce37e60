"""Masks, gated steps, their densities, and a VAE with a flow: properties and their mutants."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from helpers import evaluation
from helpers.flows import IAF, MADE, FlowPosterior, gated_step, made_masks, undo_step
from helpers.vae import VAE
from linear_gaussian import LinearDecoder, LinearEncoder, exact_log_px, images

tfb, tfd = tfp.bijectors, tfp.distributions
ORDERS = [(1, 2, 3, 4, 5), (5, 4, 3, 2, 1), (3, 1, 5, 2, 4)]


@pytest.fixture(autouse=True)
def same_first_weights():
    """A layer's first weights come from the global generator: the same in any order of tests."""
    keras.utils.set_random_seed(0)


def shaken(layer, scale=0.5, seed=0):
    """Noise on every weight, biases too, so that no property holds by a zero."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign_add(rng.normal(0, scale, weight.shape))
    return layer


def noise(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def jacobian(function, z):
    """d function(z)_i / d z_j of each example, (batch, i, j)."""
    z = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        out = function(z)
    return tape.batch_jacobian(out, z).numpy()


# --- masks ----------------------------------------------------------------------------------------


def check_masks(masks, degrees):
    """Paths lead from input j to output i exactly where degree j < degree i."""
    paths = masks[0]
    for mask in masks[1:]:
        paths = paths @ mask
    degrees = np.asarray(degrees)
    np.testing.assert_array_equal(paths > 0, degrees[:, None] < degrees)


@pytest.mark.parametrize("degrees", ORDERS)
@pytest.mark.parametrize("hidden", [5, 8, (9, 7), (5, 6, 30)])
def test_each_output_sees_the_inputs_before_it_and_no_others(degrees, hidden):
    check_masks(made_masks(degrees, hidden), degrees)


def ones(masks, degrees):
    return [np.ones_like(mask) for mask in masks]


def sees_itself(masks, degrees):
    """The last layer with <= where < belongs."""
    degrees = np.asarray(degrees)
    before = np.arange(masks[-1].shape[0]) * len(degrees) // masks[-1].shape[0]
    return [*masks[:-1], (before[:, None] <= degrees).astype("f4")]


def strict_hidden(masks, degrees):
    """< in the first layer: outputs lose the input just before them."""
    after = np.arange(masks[0].shape[1]) * len(degrees) // masks[0].shape[1]
    return [(np.asarray(degrees)[:, None] < after).astype("f4"), *masks[1:]]


@pytest.mark.parametrize("mutant", [ones, sees_itself, strict_hidden])
def test_wrong_masks_are_rejected(mutant):
    for degrees in ORDERS:
        with pytest.raises(AssertionError):
            check_masks(mutant(made_masks(degrees, 10), degrees), degrees)


def test_a_narrow_layer_loses_inputs_but_never_looks_ahead():
    masks = made_masks(range(1, 9), 3)
    paths = masks[0] @ masks[1] > 0
    allowed = np.triu(np.ones((8, 8), bool), 1)
    assert not (paths & ~allowed).any() and (allowed & ~paths).any()


def check_triangular(made, degrees):
    """Autodiff's Jacobian of m and of s is strictly lower triangular in the order of `degrees`."""
    order = np.argsort(degrees)
    context = noise(4, 3, seed=2)
    for part in range(2):
        rows = jacobian(lambda z, part=part: made(z, context)[part], noise(4, len(degrees)))
        rows = np.abs(rows[:, order][:, :, order]).max(axis=0)
        assert rows[np.tril_indices(len(order), -1)].min() > 0, "an input that it may see is lost"
        assert rows[np.triu_indices(len(order))].max() == 0, "an output sees itself or later inputs"


@pytest.mark.parametrize("degrees", ORDERS)
@pytest.mark.parametrize("hidden", [12, (11, 13)])
def test_jacobian_is_strictly_triangular_in_its_order(degrees, hidden):
    check_triangular(shaken(MADE(degrees, hidden, context_dim=3)), degrees)


def test_masks_of_ones_are_rejected():
    made = shaken(MADE(ORDERS[0], 12, context_dim=3))
    made.masks = [np.ones_like(mask) for mask in made.masks]
    with pytest.raises(AssertionError, match="sees itself"):
        check_triangular(made, ORDERS[0])


def test_one_dimension_depends_on_context_and_bias_alone():
    made = shaken(MADE([1], 6, context_dim=2))
    z, context = noise(5, 1), noise(5, 2)
    np.testing.assert_array_equal(made(z, context)[0], made(z + 1, context)[0])
    assert np.ptp(made(z, context)[0]) > 0.01
    assert made(z[:1], context[:1])[0].shape == (1, 1)
    assert np.ptp(shaken(MADE([1], 6))(z)[0]) == 0


def test_every_output_hears_the_context():
    made = shaken(MADE(range(1, 6), 10, context_dim=3))
    rows = jacobian(lambda context: tf.concat(made(noise(4, 5), context), -1), noise(4, 3))
    assert np.abs(rows).max(axis=(0, 2)).min() > 1e-3


# --- one step -------------------------------------------------------------------------------------


def check_log_det(step, made):
    """Claimed log-determinant of each example against autodiff's."""
    z, context = noise(6, 5), noise(6, 3, seed=2)
    claimed = step(made, z, context)[1]
    assert claimed.shape == (6,), "one log-determinant for each example"
    rows = jacobian(lambda z: step(made, z, context)[0], z)
    np.testing.assert_allclose(claimed, np.linalg.slogdet(rows)[1], atol=1e-4)


@pytest.fixture(params=ORDERS)
def made(request):
    return shaken(MADE(request.param, 16, context_dim=3), 0.3)


def test_log_determinant_is_autodiffs(made):
    check_log_det(gated_step, made)


def unmasked(made, z, context):
    made.masks = [np.ones_like(mask) for mask in made.masks]
    return gated_step(made, z, context)


MUTANTS = {
    "summed over the batch": lambda *a: (gated_step(*a)[0], tf.reduce_sum(gated_step(*a)[1])),
    "the same for all": lambda *a: (
        gated_step(*a)[0],
        0 * gated_step(*a)[1] + tf.reduce_mean(gated_step(*a)[1]),
    ),
    "wrong sign": lambda *a: (gated_step(*a)[0], -gated_step(*a)[1]),
    "averaged over dimensions": lambda *a: (gated_step(*a)[0], gated_step(*a)[1] / 5),
    "unmasked": unmasked,
    "ungated": lambda made, z, c: (
        z + (1 - tf.sigmoid(made(z, c)[1])) * made(z, c)[0],
        gated_step(made, z, c)[1],
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_log_determinant_is_rejected(name):
    with pytest.raises(AssertionError):
        check_log_det(MUTANTS[name], shaken(MADE(ORDERS[0], 16, context_dim=3)))


def check_inverse(undo, made):
    z, context = noise(6, 5), noise(6, 3, seed=2)
    np.testing.assert_allclose(undo(made, gated_step(made, z, context)[0], context), z, atol=1e-4)


def test_a_step_is_undone(made):
    check_inverse(undo_step, made)


def test_an_inverse_that_takes_one_pass_is_rejected(made):
    def hasty(made, z_next, context):
        m, s = made(z_next, context)
        return m + (z_next - m) / tf.sigmoid(s)

    with pytest.raises(AssertionError):
        check_inverse(hasty, made)


def test_a_step_is_tfps_inverted_masked_autoregressive_flow(made):
    """In MAF's terms: log_scale = softplus(-s), shift = -m exp(-s)."""
    z, context = noise(6, 5), noise(6, 3, seed=2)

    def shift_and_log_scale(u):
        m, s = made(u, context)
        return -m * tf.exp(-s), tf.nn.softplus(-s)

    maf = tfb.Invert(tfb.MaskedAutoregressiveFlow(shift_and_log_scale))
    ours, log_det = gated_step(made, z, context)
    np.testing.assert_allclose(ours, maf.forward(z), atol=1e-5)
    np.testing.assert_allclose(log_det, maf.forward_log_det_jacobian(z, 1), atol=1e-5)


def test_a_closed_gate_stays_finite():
    made = MADE([1, 2], 4)
    made.biases[-1].assign([1.0, 2.0, -200.0, 200.0])
    z, log_det = gated_step(made, tf.constant([[3.0, 3.0]]))
    np.testing.assert_allclose(z, [[1.0, 3.0]], atol=1e-6)
    assert float(log_det[0]) == pytest.approx(-200, abs=1e-3)


# --- the flow and its density ---------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_flow_inverts_and_its_log_determinant_is_autodiffs(steps):
    flow = shaken(IAF(5, steps, 16, context_dim=3), 0.2)
    z, context = noise(6, 5), noise(6, 3, seed=2)
    z_t, log_det = flow(z, context)
    rows = jacobian(lambda z: flow(z, context)[0], z)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(rows)[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(flow.inverse(z_t, context), z, atol=1e-4)


def test_order_is_reversed_from_step_to_step():
    flow = shaken(IAF(4, 2, 8))
    first = jacobian(lambda z: gated_step(flow.steps[0], z)[0], noise(3, 4))
    second = jacobian(lambda z: gated_step(flow.steps[1], z)[0], noise(3, 4))
    assert np.abs(np.triu(first, 1)).max() == 0 == np.abs(np.tril(second, -1)).max()
    both = jacobian(lambda z: flow(z)[0], noise(3, 4))
    assert np.abs(np.triu(both, 1)).max() > 0 < np.abs(np.tril(both, -1)).max()


def posterior(flow, context=None, latent=2, batch=1):
    loc = np.linspace(-0.5, 0.5, batch * latent, dtype="f4").reshape(batch, latent)
    base = tfd.MultivariateNormalDiag(loc, tf.fill((latent,), 0.8))
    return FlowPosterior(base, flow, context)


def integral(q, width=9.0, cells=220):
    axis = np.linspace(-width, width, cells, dtype="f4")
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2)
    return float(np.exp(q.log_prob(points)).sum() * (axis[1] - axis[0]) ** 2)


def test_two_dimensional_density_integrates_to_one():
    q = posterior(shaken(IAF(2, 3, 8), 0.35))
    assert integral(q) == pytest.approx(1, abs=5e-3)


def test_density_of_a_flow_with_a_wrong_log_determinant_does_not(monkeypatch):
    flow = shaken(IAF(2, 3, 8), 0.35)

    def silent(z, context):
        return IAF.call(flow, z, context)[0], tf.zeros(z.shape[:-1])

    monkeypatch.setattr(flow, "call", silent)
    assert abs(integral(posterior(flow)) - 1) > 0.05


def test_a_point_out_of_reach_has_density_zero():
    """With gates closed to e^-60 nothing lands far from m: the density there is 0 and no NaN."""
    flow = IAF(2, 2, 4)
    for made in flow.steps:
        made.biases[-1].assign([0.0, 0.0, -60.0, -60.0])
    log_q = posterior(flow).log_prob(np.full((1, 1, 2), 9, "f4")).numpy()
    assert np.isfinite(log_q).all() and np.exp(log_q) == 0


def test_drawn_density_is_the_density_asked_for_later():
    q = posterior(shaken(IAF(5, 2, 16, 3), 0.4), noise(4, 3), latent=5, batch=4)
    z, log_q = q.experimental_sample_and_log_prob(7, seed=(1, 2))
    assert z.shape == (7, 4, 5) and log_q.shape == (7, 4)
    assert q.batch_shape == (4,) and q.event_shape == (5,)
    np.testing.assert_allclose(q.log_prob(tf.constant(z.numpy())), log_q, atol=1e-4)
    np.testing.assert_allclose(q.sample(7, seed=(1, 2)), z, atol=1e-6)


SLICES = [
    np.s_[0],
    np.s_[2:4],
    np.s_[::2],
    np.s_[..., -1],
    np.s_[tf.newaxis, 1:],
]


@pytest.mark.parametrize("rows", SLICES, ids=str)
@pytest.mark.parametrize("kind", ["with a context", "without a context", "no flow"])
def test_a_posterior_is_sliced_like_any_distribution(kind, rows):
    flow = shaken(IAF(5, 2, 16, 3 if kind == "with a context" else 0), 0.4)
    q = posterior(flow, noise(4, 3) if flow.steps[0].context_dim else None, latent=5, batch=4)
    if kind == "no flow":
        q = VAE(5, (2, 2, 1), hidden_dim=4).posterior(binary(4, (2, 2, 1)))
    z = q.sample(seed=(3, 4)).numpy()
    here = (*rows, slice(None)) if isinstance(rows, tuple) else rows
    np.testing.assert_allclose(q[rows].log_prob(z[here]), q.log_prob(z)[rows], rtol=1e-4)
    assert q[rows].batch_shape == q.log_prob(z)[rows].shape and q[rows].event_shape == (5,)
    draws, log_q = q[rows].experimental_sample_and_log_prob(3, seed=(1, 2))
    assert draws.shape == (3, *q[rows].batch_shape, 5) == q[rows].sample(3, seed=(1, 2)).shape
    np.testing.assert_allclose(log_q, q[rows].log_prob(draws), atol=1e-3)


def test_slices_of_slices_and_copies():
    q = posterior(shaken(IAF(5, 2, 16, 3), 0.4), noise(6, 3), latent=5, batch=6)
    z = q.sample(seed=(3, 4)).numpy()
    np.testing.assert_allclose(q[1:5][2].log_prob(z[3]), q.log_prob(z)[3], rtol=1e-4)
    np.testing.assert_allclose(q.copy().log_prob(z), q.log_prob(z), rtol=1e-4)


def test_a_context_that_is_not_sliced_is_rejected(monkeypatch):
    """The mutant: the context of all images beside the base of one."""
    properties = {"base": tfp.util.BatchedComponentProperties()}
    monkeypatch.setattr(FlowPosterior, "_parameter_properties", lambda *a, **k: properties)
    q = posterior(shaken(IAF(5, 2, 16, 3), 0.4), noise(4, 3), latent=5, batch=4)
    z = noise(4, 5, seed=3)
    assert q[2].log_prob(z[2]).shape != ()


def test_a_draw_costs_one_pass_a_foreign_point_one_for_each_dimension(monkeypatch):
    passes, call = [], MADE.call
    monkeypatch.setattr(MADE, "call", lambda *a, **k: passes.append(1) or call(*a, **k))
    q = posterior(IAF(5, 2, 16), latent=5)
    q.experimental_sample_and_log_prob(seed=(1, 2))
    assert len(passes) == 2  # one for each of the two steps
    passes.clear()
    q.log_prob(noise(1, 5))
    assert len(passes) >= 2 * 5


# --- a VAE with a flow ----------------------------------------------------------------------------


def small(steps=2, **kwargs):
    keras.utils.set_random_seed(0)
    return VAE(4, (4, 4, 1), hidden_dim=(12, 10), iaf_steps=steps, iaf_hidden=(16,), **kwargs)


def binary(n=6, shape=(4, 4, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 2, (n, *shape)).astype("float32")


def check_importance_weights(flow):
    """log p(x) of the linear-Gaussian VAE is known; a flow's samples must find the same."""
    model = VAE(
        2,
        (2, 3, 1),
        encoder=LinearEncoder(log_var_shift=0.6),
        decoder=LinearDecoder(),
        likelihood="gaussian",
    )
    model.flow = flow
    x = images(8)
    score = evaluation.log_likelihood(model, x, 20_000)
    np.testing.assert_allclose(score.values, exact_log_px(x), atol=0.05)
    assert np.all(score.elbos < exact_log_px(x) - 0.03)


def test_importance_sampling_with_a_flow_finds_the_exact_likelihood():
    check_importance_weights(shaken(IAF(2, 2, 8), 0.2))


@pytest.mark.parametrize("factor", [0.0, 0.5, -1.0])
def test_wrong_density_of_the_flow_misses_the_exact_likelihood(monkeypatch, factor):
    flow = shaken(IAF(2, 2, 8), 0.2)

    def wrong(z, context=None):
        z, log_det = IAF.call(flow, z, context)
        return z, factor * log_det

    monkeypatch.setattr(flow, "call", wrong)
    with pytest.raises(AssertionError):
        check_importance_weights(flow)


@pytest.mark.parametrize("encoder", ["gaussian_mlp", "conv"])
def test_every_weight_of_the_flow_is_trained(encoder):
    if encoder == "conv":
        kwargs = dict(image_shape=(8, 8, 1), decoder="conv", hidden_dim=(4, 6), activation="relu")
    else:
        kwargs = dict(image_shape=(4, 4, 1), hidden_dim=(12, 10))
    model = VAE(4, encoder=encoder, iaf_steps=2, iaf_hidden=(16, 12), **kwargs)
    x = binary(8, model.image_shape)
    flow = {weight.path for weight in model.flow.trainable_variables}
    # Two steps of three layers: kernel and bias of each, and one kernel for the context.
    assert len(flow) == 2 * 7 and flow <= {weight.path for weight in model.trainable_variables}
    before = [weight.numpy() for weight in model.trainable_variables]
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False, run_eagerly=True)
    model.fit(x, epochs=2, verbose=0)
    for weight, old in zip(model.trainable_variables, before, strict=True):
        assert np.abs(weight.numpy() - old).max() > 0, weight.path


def test_keras_file_holds_the_flow(tmp_path):
    model = small(3, beta_warmup=7)
    shaken(model.flow, 0.2)
    x = binary(5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.elbo(x, seed=(5, 6)), again.elbo(x, seed=(5, 6)))
    np.testing.assert_array_equal(model(x), again(x))
    assert again.get_config()["iaf_steps"] == 3 and again.beta_warmup == 7


def test_code_of_an_image_goes_through_the_flow():
    model, x = small(), binary()
    shaken(model.flow, 0.4)
    z_mean, _, context = model.encode(x)
    np.testing.assert_allclose(model.code(x), model.flow(z_mean, context)[0], atol=1e-6)
    assert np.abs(model.code(x) - z_mean).max() > 0.1
    np.testing.assert_allclose(model(x), model.likelihood(model.code(x)).mean(), atol=1e-6)
    plain = small(0)
    np.testing.assert_array_equal(plain.code(x), plain.encode(x)[0])


def test_generation_uses_no_flow():
    model = small()
    before = model.sample(3, seed=1).numpy()
    shaken(model.flow, 2.0)
    np.testing.assert_array_equal(model.sample(3, seed=1), before)


def test_beta_rises_over_the_first_steps():
    """With plain gradient descent of rate 1 the first step's size tells the weight of the KL."""
    x = binary(8)

    def moved(**kwargs):
        model = small(0, **kwargs)
        model.compile(keras.optimizers.SGD(1.0), jit_compile=False, run_eagerly=True)
        bias, start = model.encoder.mean_head.bias, model.encoder.mean_head.bias.numpy()
        model.train_on_batch(x)
        return bias.numpy() - start

    quarter, plain = moved(beta_warmup=4), moved(beta=0.25)
    np.testing.assert_allclose(quarter, plain, rtol=1e-4)
    assert np.abs(quarter - moved()).max() > 1e-3
    np.testing.assert_allclose(moved(beta_warmup=1), moved(), rtol=1e-4)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [(), (0, 1), (1, 1), (1, 3), 3, (1.5, 2), (1, float("nan"))])
def test_wrong_degrees_are_refused(degrees):
    with pytest.raises(ValueError, match=r"degrees=.*give each of 1 … K once"):
        made_masks(degrees, 4)


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="hidden must be at least 1, got 0"):
        MADE([1, 2], 0)
    with pytest.raises(ValueError, match="context_dim must be at least 0, got -1"):
        MADE([1, 2], 4, context_dim=-1)


@pytest.mark.parametrize(
    ("z", "context", "message"),
    [
        (noise(3, 5), noise(3, 2), r"z of shape \(3, 5\): the last dimension must be 4"),
        (noise(3, 4), None, "context of shape None: the last dimension must be 2"),
        (noise(3, 4) * np.nan, noise(3, 2), "z holds NaN or infinity"),
        (noise(3, 4), noise(3, 2) * np.inf, "context holds NaN or infinity"),
    ],
)
def test_wrong_tensors_are_refused(z, context, message):
    flow = IAF(4, 2, 8, context_dim=2)
    for function in (flow.call, flow.inverse):
        with pytest.raises(ValueError, match=message):
            function(z, context)
