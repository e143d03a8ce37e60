"""Train and score the healthy VAE of lesson 08 and its sick twins.

All of them have the same networks, images, epochs and first weights, but for the one thing that is
wrong; those with a flow are twins of `flow`, and `joined` has more images, and so more steps.

NAME, NAME_seed43, NAME_seed44    a variant of VARIANTS, with each of three seeds
healthy_long                      the healthy one for twice as many epochs
a, b, c                           smaller models for an exercise

What is wrong with each stands in `helpers.clinic`, where the lesson takes it from as well.

The models of seed 42 that the lesson opens are committed, as plain VAEs: their weights are those of
the sick class.
"""

import sys
from functools import partial

import study

from helpers import clinic, data, evaluation  # isort: skip  (first: imports TensorFlow quietly)

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from helpers.networks import GaussianMLP
from helpers.vae import VAE

tfd = tfp.distributions

SEED, SEEDS = 42, (42, 43, 44)
LATENT_DIM, HIDDEN_DIM, ACTIVATION = 20, (200, 200), "relu"
EPOCHS, BATCH = 30, 100
EPOCHS_MEMORY = 120  # of the small model that is to learn the test images by heart
RATES = dict(learning_rate=3e-3, ema_momentum=0.999, steps_per_execution=10)
TEST_IMAGES, SAMPLES = 500, 100  # of a score: random test images, importance samples
SCALES = (1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)  # of proposals, where q is not to be trusted
UNTRUE = ("quiet_noise", "variance_as_sd", "unmasked")  # their q is not that of their draws
MANY = 5_000  # images of a split, for its ELBO
KEPT = ("healthy", "mean_pixels", "mean_kl", "sigmoid_twice", "quiet_noise", "flow", "a", "b", "c")


VARIANTS = {
    "healthy": {},
    "mean_pixels": dict(cls=clinic.MeanPixels),
    "mean_kl": dict(cls=clinic.MeanKL),
    "sigmoid_twice": dict(cls=clinic.SigmoidTwice),
    "quiet_noise": dict(cls=clinic.QuietNoise),
    "flow": dict(with_flow=True),
    "unmasked": dict(with_flow=True, masked=False),
    "joined": dict(joined=True),
    "summed_log_det": dict(cls=clinic.SummedLogDet, with_flow=True),
    "variance_as_sd": dict(cls=clinic.VarianceAsSd),
    "grey": dict(protocol="grey", likelihood="grey_bernoulli"),
    "mean_both": dict(cls=clinic.MeanBoth),
    "squared_error": dict(cls=clinic.SquaredError),
}


# --- Train ----------------------------------------------------------------------------------------


def build(cls, seed, likelihood, with_flow):
    """Return a new model, with two gated steps or without."""
    keras.utils.set_random_seed(seed)
    common = dict(hidden_dim=HIDDEN_DIM, activation=ACTIVATION, likelihood=likelihood, seed=seed)
    if not with_flow:
        return cls(LATENT_DIM, kl="analytic", **common)
    encoder = GaussianMLP(HIDDEN_DIM, LATENT_DIM, context_dim=32, activation=ACTIVATION)
    return cls(LATENT_DIM, encoder=encoder, iaf_steps=2, iaf_hidden=100, **common)


def train(
    name,
    seed,
    epochs=EPOCHS,
    *,
    cls=VAE,
    protocol="dynamic",
    likelihood="bernoulli",
    with_flow=False,
    masked=True,
    joined=False,
) -> None:
    """Train one variant, record what it reaches, and keep it where the lesson opens it."""
    mnist = data.load_mnist()
    vae = build(cls, seed, likelihood, with_flow)
    if not masked:
        clinic.take_masks_away(vae)
    images = mnist.train.images
    if joined:
        images = np.concatenate([images, mnist.test.images])
    full_name = f"clinic_{name}" if seed == SEED else f"clinic_{name}_seed{seed}"
    history = study.fit(
        vae,
        images,
        epochs=epochs,
        batch_size=BATCH,
        protocol=protocol,
        seed=seed,
        validation=data.prepare(mnist.validation.images, protocol, seed=data.TEST_SEED),
        run_dir=study.runs_dir() / full_name,
        verbose=0,
        **RATES,
    )
    facts = dict(epochs=len(history.epochs), images=len(images), batch_size=BATCH)
    curve = [round(float(value), 3) for value in history["val_loss"]]
    facts |= dict(weights=vae.count_params(), curve=curve, training_seconds=history.seconds)
    record(full_name, vae, mnist, protocol, dict(seed=seed), facts, name)


def train_small(name, cls=VAE, memorised=False) -> None:
    """Train a model for the exercise: half as wide, with half the latent dimensions."""
    mnist, epochs = data.load_mnist(), EPOCHS
    images = mnist.train.images
    if memorised:
        images, epochs = np.concatenate([images[:1_000], mnist.test.images]), EPOCHS_MEMORY
    keras.utils.set_random_seed(SEED)
    sizes = dict(latent_dim=LATENT_DIM // 2, hidden_dim=(100, 100), activation=ACTIVATION)
    vae = cls(**sizes, kl="analytic", seed=SEED)
    history = study.fit(
        vae,
        images,
        epochs=epochs,
        batch_size=BATCH,
        protocol="dynamic",
        seed=SEED,
        run_dir=study.runs_dir() / f"clinic_{name}",
        verbose=0,
        **RATES,
    )
    facts = dict(epochs=len(history.epochs), images=len(images), batch_size=BATCH)
    facts |= dict(weights=vae.count_params(), training_seconds=history.seconds)
    record(f"clinic_{name}", vae, mnist, "dynamic", dict(seed=SEED), facts, name)


# --- Score ----------------------------------------------------------------------------------------


def plain(vae):
    """Return the same weights in a VAE that scores binary pixels."""
    changes = {"likelihood": "bernoulli", "name": "vae"}
    copy = VAE.from_config(vae.get_config() | changes)
    copy.set_weights(vae.get_weights())
    return copy


def own_elbo(vae, x) -> float:
    """Return what the training loss says of images, batch by batch, one draw each."""
    values = []
    for first in range(0, len(x), BATCH):
        terms = vae.elbo_terms(x[first : first + BATCH], seed=(first, study.SCORE_SEED))
        values.append(np.subtract(*terms))
    return float(np.mean(np.concatenate(values)))


def proposed_log_px(vae, x, scale, samples) -> float:
    """Return log p by draws z ~ N(code(x), scale² I): a lower bound, whatever the model's own q."""
    found = []
    for first in range(0, len(x), 50):
        part = x[first : first + 50]
        r = tfd.MultivariateNormalDiag(vae.code(part), tf.fill((vae.latent_dim,), scale))
        z, log_rz_x = r.experimental_sample_and_log_prob(samples, seed=(first, study.SCORE_SEED))
        log_w = vae.likelihood(z).log_prob(part) + vae.prior().log_prob(z) - log_rz_x
        found.append(tf.reduce_logsumexp(log_w, axis=0) - np.log(samples))
    return float(np.mean(np.concatenate(found)))


def best_scale(vae, x) -> float:
    """Return the scale of the best proposal for (validation) images."""
    values = [proposed_log_px(vae, x, scale, study.size(SAMPLES, 2)) for scale in SCALES]
    return SCALES[int(np.argmax(values))]


def kl_to_prior(vae, x) -> float:
    """Return the KL of q(z|x) to the prior, one draw for each image."""
    z, log_qz_x = vae.posterior(x).experimental_sample_and_log_prob(seed=(0, study.SCORE_SEED))
    return float(np.mean(log_qz_x - vae.prior().log_prob(z)))


def record(name, vae, mnist, protocol, common, facts, variant) -> None:
    """Record the scores of a model, and keep it if the lesson opens it."""
    found, key = study.results("08", mnist), f"mnist/dynamic/{name}"
    facts |= dict(headline=False, test_images=study.size(TEST_IMAGES, study.QUICK_BATCH))
    images = data.random_subset(mnist.test.images, facts["test_images"])
    x = data.prepare(images, "dynamic", seed=data.TEST_SEED)
    x_own = data.prepare(images, protocol, seed=data.TEST_SEED)
    found.record(f"{key}/own_elbo", own_elbo(vae, x_own), **common, **facts, unit="nats")
    scored = vae if variant in ("sigmoid_twice", "unmasked") else plain(vae)
    samples = study.size(SAMPLES, 2)
    score = evaluation.log_likelihood(scored, x, samples, seed=study.SCORE_SEED)
    log_px, facts["proposal"] = score.mean, "q"
    if variant in UNTRUE:
        if variant != "unmasked":
            found.record(f"{key}/log_px_by_q", score.mean, **common, **facts, samples=samples)
        unseen = data.random_subset(mnist.validation.images, study.size(100, 8))
        unseen = data.prepare(unseen, "dynamic", seed=data.TEST_SEED + 1)
        scale = best_scale(scored, unseen)
        proposed = proposed_log_px(scored, x, scale, samples)
        if variant == "unmasked" or proposed > log_px:  # without masks, q gives no bound
            log_px, facts["proposal"] = proposed, scale
    facts |= dict(samples=samples, unit="nats")
    found.record(f"{key}/log_px", log_px, **common, **facts)
    print(f"{name}: log p {log_px:.2f}, ELBO {score.elbo:.2f}, proposal {facts['proposal']}")
    if variant == "unmasked":
        return
    found.record(f"{key}/elbo", score.elbo, **common, **facts)
    z_mean, _ = evaluation.posterior_moments(scored, x)
    found.record(f"{key}/active_units", evaluation.active_units(z_mean), **common)
    found.record(f"{key}/kl", kl_to_prior(scored, x), **common, unit="nats")
    for place, split in enumerate(("train", "validation", "test")):
        many = data.random_subset(getattr(mnist, split).images, study.size(MANY, 8))
        value = own_elbo(scored, data.prepare(many, "dynamic", seed=data.TEST_SEED + place))
        found.record(f"{key}/{split}_elbo", value, **common, test_images=len(many), unit="nats")
    if name.removeprefix("clinic_") in KEPT:
        few = data.prepare(mnist.test.images[: study.FEW], "dynamic", seed=data.TEST_SEED)
        study.keep_model(found, plain(vae), few, key, name, common)


SMALL = {
    "a": dict(cls=clinic.HeavyKL),
    "b": dict(cls=clinic.VarianceAsSd),
    "c": dict(memorised=True),
}
PARTS = {name: partial(train, name, SEED, **options) for name, options in VARIANTS.items()}
PARTS |= {name: partial(train_small, name, **options) for name, options in SMALL.items()}
PARTS |= {
    f"{name}_seed{seed}": partial(train, name, seed, **options)
    for seed in SEEDS[1:]
    for name, options in VARIANTS.items()
}
PARTS |= {"healthy_long": partial(train, "healthy_long", SEED, 2 * EPOCHS)}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
