"""What a lesson teaches is what helpers call: each taught definition, made wrong, changes a number.

The names come from the cells' metadata, so that a cell which teaches something new fails here until
it has a row: a probe, a training step or a score that has to change.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import course
import generate
from helpers import (
    bounds,
    clinic,
    data,
    evaluation,
    flows,
    likelihoods,
    networks,
    plots,
    priors,
    vae,
)

SHAPE = (12, 12, 1)
BYTES = np.random.default_rng(0).integers(0, 256, (6, *SHAPE), dtype=np.uint8)
BINARY = (BYTES > 127).astype("f4")
MODULES = {
    f"helpers.{module.__name__.split('.')[-1]}": module
    for module in (
        bounds,
        clinic,
        data,
        evaluation,
        flows,
        likelihoods,
        networks,
        plots,
        priors,
        vae,
    )
}
TAUGHT = sorted(
    {
        name
        for path in course.notebook_paths()
        for name, _ in generate.taught_cells(course.read(path))
        if ":" in name  # whole scripts are started: test_workers.py
    }
)


def model(**changes):
    keras.utils.set_random_seed(0)
    return vae.VAE(**{"latent_dim": 2, "image_shape": SHAPE, "hidden_dim": (4, 6)} | changes)


# --- probes: one number or several ----------------------------------------------------------------


def elbo(x=BINARY, **changes):
    """The bound of six images."""
    return model(**changes).elbo_terms(x, seed=(0, 1))


def step(**changes):
    """The weights after one training step on a batch of the pipeline."""
    trained = model(**changes)
    trained.compile(keras.optimizers.SGD(0.1), jit_compile=False, run_eagerly=True)
    pipeline = data.pipeline(
        BYTES, protocol="dynamic", batch_size=4, seed=0, epochs=1, shuffle=True
    )
    trained.train_step(next(iter(pipeline)))
    return trained.get_weights()


def dequantised_elbo():
    x = data.prepare(BYTES, "dequantised")
    return elbo(x, decoder="gaussian_mlp", likelihood="gaussian")


def grey_elbo():
    x = data.prepare(BYTES, "grey")
    return elbo(x, decoder="gaussian_mlp", likelihood="discretised_logistic")


def log_likelihood():
    return evaluation.log_likelihood(model(), BINARY, 4).values


def density_of_a_foreign_point():
    """log q(z|x), which walks through the flow backwards."""
    return model(iaf_steps=2, iaf_hidden=5).posterior(BINARY).log_prob(np.ones((6, 2), "f4"))


def flow_elbo():
    return elbo(iaf_steps=2, iaf_hidden=5)


def iwae_step():
    """The weights after one step on the importance-weighted bound."""
    return step(bound="iwae", num_samples=3)


def vamp_elbo():
    return elbo(prior="vamp")


def plane():
    return plots.manifold(model(), 3).axes[0].images[0].get_array()


def unmasked_elbo():
    return clinic.take_masks_away(model(iaf_steps=2, iaf_hidden=5)).elbo_terms(BINARY, seed=(0, 1))


def twin(name, **changes):
    """What the loss of a sick twin says; lesson, study and exercise call it."""

    def call():
        keras.utils.set_random_seed(0)
        sick = getattr(clinic, name)(2, SHAPE, hidden_dim=(4, 6), **changes)
        return sick.elbo_terms(BINARY, seed=(0, 1))

    return call


def score(name, *arguments):
    """A taught score is called by lessons alone: the number that they print."""

    def call():
        return getattr(evaluation, name)(*arguments)

    return call


def toward_two(z):
    """log p(x|z) of three images, each of which is 2, up to a constant."""
    return -0.5 * tf.reduce_sum((2.0 - z) ** 2, axis=-1)


PRIOR = tf.zeros((3, 1)), tf.zeros((3, 1))  # mean and log-variance
POINTS = np.random.default_rng(1).normal(size=(40, 2))
LABELS = (POINTS[:, 0] > 0).astype(int)

# name: the probe; in a class, the method that is made wrong stands behind it.
PROBES = {
    "helpers.bounds:importance_bound": (iwae_step,),
    "helpers.clinic:MeanKL": (twin("MeanKL"), "elbo_terms"),
    "helpers.clinic:MeanPixels": (twin("MeanPixels"), "elbo_terms"),
    "helpers.clinic:QuietNoise": (twin("QuietNoise"), "elbo_terms"),
    "helpers.clinic:SigmoidTwice": (twin("SigmoidTwice"), "decode"),
    "helpers.clinic:SummedLogDet": (twin("SummedLogDet", iaf_steps=2, iaf_hidden=5), "elbo_terms"),
    "helpers.clinic:take_masks_away": (unmasked_elbo,),
    "helpers.data:binarise": (step,),
    "helpers.data:dequantise": (dequantised_elbo,),
    "helpers.data:epoch_order": (step,),
    "helpers.data:noise_key": (step,),
    "helpers.evaluation:fit_posterior": (score("fit_posterior", toward_two, *PRIOR),),
    "helpers.evaluation:held_out_scores": (
        score("held_out_scores", POINTS, LABELS, POINTS, LABELS),
    ),
    "helpers.evaluation:leave_one_out_accuracy": (score("leave_one_out_accuracy", POINTS, LABELS),),
    "helpers.evaluation:local_log_prob": (score("local_log_prob", BINARY, BINARY),),
    "helpers.evaluation:log_importance_weights": (log_likelihood,),
    "helpers.flows:FlowPosterior": (flow_elbo, "_sample_and_log_prob"),
    "helpers.flows:IAF": (flow_elbo, "call"),
    "helpers.flows:MADE": (flow_elbo, "call"),
    "helpers.flows:gated_step": (flow_elbo,),
    "helpers.flows:made_masks": (flow_elbo,),
    "helpers.flows:undo_step": (density_of_a_foreign_point,),
    "helpers.likelihoods:discretised_logistic_log_prob": (grey_elbo,),
    "helpers.networks:BernoulliMLP": (elbo, "call"),
    "helpers.networks:ConvDecoder": (lambda: elbo(decoder="conv"), "make_layers"),
    "helpers.networks:ConvEncoder": (lambda: elbo(encoder="conv"), "make_layers"),
    "helpers.networks:GaussianMLP": (elbo, "call"),
    "helpers.networks:PoolEncoder": (
        lambda: elbo(encoder="pool", hidden_dim=(4,), decoder="bernoulli_mlp"),
        "make_layers",
    ),
    "helpers.networks:UpsampleDecoder": (
        lambda: elbo(decoder="upsample", hidden_dim=(4,)),
        "make_layers",
    ),
    "helpers.networks:bounded_log_var": (elbo,),
    "helpers.plots:decode_plane": (plane,),
    "helpers.priors:mixture_of_posteriors": (vamp_elbo,),
    "helpers.priors:kl_to_standard_normal": (lambda: elbo(kl="analytic"),),
    "helpers.priors:standard_normal": (elbo,),
    "helpers.vae:VAE": (elbo, "elbo_terms"),
    "helpers.vae:VAE.elbo": (lambda: model().elbo(BINARY, seed=(0, 1)),),
    "helpers.vae:VAE.elbo_terms": (step,),
    "helpers.vae:VAE.step_seed": (step,),
    "helpers.vae:VAE.train_step": (step,),
    "helpers.vae:reparameterise": (step,),
}


# --- garbage --------------------------------------------------------------------------------------


def spoilt(value):
    """Another value of the same shape and type: numbers moved, layers with other biases."""
    if isinstance(value, list) and value and isinstance(value[-1], keras.layers.Layer):
        value[-1].bias_initializer = keras.initializers.Constant(0.7)
        return value
    if isinstance(value, dict):
        return {key: spoilt(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(spoilt(item) for item in value)
    if value is None:
        return None
    if hasattr(value, "batch_shape"):  # a distribution
        return value.copy(distribution=value.distribution.copy(scale=3.0))
    if tf.as_dtype(getattr(value, "dtype", type(value))).is_integer:
        return value[::-1]
    return 0.8 * value + 0.3


def made_wrong(function):
    @functools.wraps(function)
    def wrong(*args, **kwargs):
        return spoilt(function(*args, **kwargs))

    return wrong


def no_step(self, data):
    return {}


def nothing_taken_away(vae):
    return vae


def no_mixture(posterior, images):
    return priors.standard_normal(2)


WRONG = {
    "train_step": no_step,
    "take_masks_away": nothing_taken_away,
    "mixture_of_posteriors": no_mixture,
}


def target(name, method):
    """Return the object and the attribute that are to be patched."""
    module, path = name.split(":")
    *owners, attribute = [*path.split("."), *([method] if method else [])]
    owner = MODULES[module]
    for part in owners:
        owner = getattr(owner, part)
    return owner, attribute


def numbers(value):
    return [np.asarray(leaf, dtype=float) for leaf in tf.nest.flatten(value)]


def same(one, other):
    pairs = zip(numbers(one), numbers(other), strict=True)
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)


@functools.cache
def right_numbers(probe):
    right = probe()
    assert same(right, probe()), "the probe gives the same numbers twice"
    return right


def test_every_taught_definition_has_a_probe():
    assert len(TAUGHT) > 10
    assert set(TAUGHT) <= set(PROBES)


@pytest.mark.parametrize("name", PROBES)
def test_a_taught_definition_made_wrong_changes_a_number(name, monkeypatch):
    probe, *method = PROBES[name]
    owner, attribute = target(name, *(method or [None]))
    right = right_numbers(probe)
    wrong = WRONG.get(attribute) or made_wrong(getattr(owner, attribute))
    monkeypatch.setattr(owner, attribute, wrong)
    assert not same(right, probe())


def test_a_probe_can_fail(monkeypatch):
    """What nobody calls changes nothing."""
    right = right_numbers(elbo)
    monkeypatch.setattr(flows, "undo_step", made_wrong(flows.undo_step))
    assert same(right, elbo())
