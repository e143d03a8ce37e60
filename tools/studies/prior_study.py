"""The likelihood record of lesson 07, and the comparisons behind it.

speed                         time of a training step of each model; records the ratios, and prints
                              the tables of epochs that belong below
prior_5, prior_15, prior_60   dynamic protocol, at most so many minutes of training; committed
prior_5_float32, …            the same recipes in float32, not committed: what a processor without
                              bfloat16 units reaches with the epochs that fit these minutes
KIND_seedSEED                 where a flow sits: KIND is none, prior, posterior or both, SEED 42, 43
                              or 44. Equal epochs, all else equal
KIND_time_seedSEED            none and posterior for the epochs that fit prior's seconds; those of
                              both are as many as at equal epochs, since its step takes 2 % more
tail_BOUND_seedSEED           prior_seedSEED trained on, for equal seconds: BOUND is elbo, or iwae
                              or dreg with k = 5
snr_seedSEED                  signal-to-noise ratios of the gradients of prior_seedSEED
trial_NAME_seedSEED           one change of a five-minute model, scored on validation images
score_128                     the committed models with 128 samples, as papers have it

Only the trainings of prior_5, prior_15 and prior_60 are timed, with nothing else on the machine.
Elsewhere equal seconds rest on `speed`. A part that needs another one's model trains it, or takes
it from build/runs/.
"""

import sys
from functools import partial

import study

from helpers import bounds, data, evaluation, training  # isort: skip  (first: imports quietly)

import keras
import numpy as np
import tensorflow as tf

from helpers.networks import PyramidDecoder, PyramidEncoder
from helpers.priors import FlowPrior
from helpers.vae import CONTEXT_DIM, VAE

LESSON, SEED, SEEDS = "07", 42, (42, 43, 44)
LATENT_DIM, BATCH, PAPERS_SAMPLES, TRAIN_IMAGES = 40, 256, 128, 1_000
STEPS_PER_EPOCH = data.steps_per_epoch(60_000, BATCH)  # training and validation

# --- Models ---------------------------------------------------------------------------------------

PYRAMIDS = {  # filters of the encoder, and of the decoder
    "thin": ((16, 32, 16, 512), (512, 32, 32, 16)),
    "large": ((32, 64, 16, 512), (512, 32, 64, 32)),
}
LANDING = dict(bound="dreg", num_samples=1)  # the gradient of Roeder et al. 2017


def make(
    size: str = "thin",
    activation: str = "relu",
    prior_width: int = 1024,
    iaf_steps: int = 0,
    **options,
) -> VAE:
    """Pyramids, a flow of two steps in the prior (width 0: N(0, I)), and one in the posterior."""
    filters, mirrored = PYRAMIDS[size]
    context = dict(context_dim=CONTEXT_DIM) if iaf_steps else {}
    encoder = PyramidEncoder(filters, LATENT_DIM, blocks=1, activation=activation, **context)
    decoder = PyramidDecoder(mirrored, (28, 28, 1), blocks=2, activation=activation)
    prior = FlowPrior(LATENT_DIM, hidden=prior_width) if prior_width else "standard_normal"
    options |= dict(encoder=encoder, decoder=decoder, prior=prior)
    return VAE(LATENT_DIM, iaf_steps=iaf_steps, iaf_hidden=512, **options)


# bfloat16 products gain speed where the processor has units for them (Intel's AMX).
COMMON = dict(
    batch_size=BATCH,
    protocol="dynamic",
    weight_decay=0.1,
    ema_momentum=0.999,
    precision="mixed_bfloat16",
    steps_per_execution=5,
)


def build(seed: int, epochs: int, model: dict) -> VAE:
    """`make` with the KL warmed up over the first seventh of so many epochs."""
    return make(**model, seed=seed, beta_warmup=epochs * STEPS_PER_EPOCH // 7)


def muon(peak: float, total_steps: int) -> keras.optimizers.Optimizer:
    """Muon for the dense kernels, Adam for convolutions, masks and biases; else as `COMMON`.

    Recent versions of Keras have it. The schedule of the rate is that of `training.make_optimizer`.
    """
    decay, momentum = COMMON["weight_decay"], COMMON["ema_momentum"]
    schedule = training.make_optimizer(peak, total_steps).get_config()["learning_rate"]
    optimizer = keras.optimizers.Muon(
        keras.optimizers.schedules.deserialize(schedule),
        weight_decay=decay,
        adam_weight_decay=decay,
        use_ema=True,
        ema_momentum=momentum,
        exclude_layers=["made"],
        adam_lr_ratio=0.75,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    training.raise_momentum(optimizer)
    return optimizer


# --- The record -----------------------------------------------------------------------------------

# Found by a search on validation images, on a GPU; the trials repeat a part of it. The epochs are
# by `speed`, with 5 % to spare (prior_60's by the time of its first six epochs): the seconds only
# end a training on a slower machine.
SILU_LANDING = dict(activation="silu", **LANDING)
HEADLINES = {
    "prior_5": dict(model=SILU_LANDING, epochs=15, seconds=280, learning_rate=4.5e-3),
    "prior_15": dict(model=SILU_LANDING, epochs=47, seconds=880, learning_rate=4.5e-3),
    "prior_60": dict(
        model=dict(size="large", **SILU_LANDING), epochs=84, seconds=3560, learning_rate=3e-3
    ),
}
# By `speed`: a step of the thin networks takes 1.07 times as long in float32, one of the large
# networks 1.36 times. Both are rounded down, prior_5 and prior_15 by one epoch more.
FLOAT32_EPOCHS = {"prior_5": 13, "prior_15": 43, "prior_60": 61}


def headline(name: str, model: dict, epochs: int, **options) -> None:
    """Train a model of HEADLINES on train + validation, score it, record it."""
    study.train_and_score(
        LESSON,
        data.load_mnist(),
        partial(build, SEED, epochs, model),
        name=name,
        seed=SEED,
        joined=True,
        epochs=epochs,
        validation_freq=epochs,
        **COMMON | options,
    )


def score_128() -> None:
    """Score the committed models on test and on training images, with the samples of papers."""
    options = dict(seed=SEED, training_images=TRAIN_IMAGES)
    study.score_committed(LESSON, data.load_mnist(), HEADLINES, PAPERS_SAMPLES, **options)


# --- Where the flow sits --------------------------------------------------------------------------

KINDS = {
    "prior": dict(prior_width=512),
    "none": dict(prior_width=0),
    "posterior": dict(prior_width=0, iaf_steps=2),
    "both": dict(prior_width=512, iaf_steps=2),
}
EPOCHS = 16
TIME_EPOCHS = {"none": 18, "posterior": 17}  # by `speed`, for the seconds of prior
PLACES = dict(learning_rate=3e-3, joined=True, validation_freq=EPOCHS, **COMMON)


def place(kind: str, seed: int, *, equal_seconds: bool = False) -> None:
    """Train and score one model of the comparison."""
    epochs = TIME_EPOCHS[kind] if equal_seconds else EPOCHS
    study.train_and_score(
        LESSON,
        data.load_mnist(),
        partial(build, seed, epochs, KINDS[kind]),
        name=f"{kind}_time_seed{seed}" if equal_seconds else f"{kind}_seed{seed}",
        seed=seed,
        epochs=epochs,
        keep=False,
        timed=False,
        num_samples=PAPERS_SAMPLES,
        **PLACES,
    )


def trained_prior(seed: int) -> VAE:
    """The model of the part prior_seedSEED, from build/runs/ where it has been trained."""
    name = f"prior_seed{seed}"
    make_it = partial(build, seed, EPOCHS, KINDS["prior"])
    key = f"{LESSON}/mnist/dynamic/{name}/log_px"
    options = dict(name=name, seed=seed, epochs=EPOCHS, key=key, **PLACES)
    return study.train(data.load_mnist(), make_it, **options)[0]


# --- A tighter bound at the end -------------------------------------------------------------------

TAIL_DRAWS = 5
TAIL_EPOCHS = {"elbo": 7, "iwae": 2, "dreg": 2}  # by `speed`, for equal seconds


def tail(bound: str, seed: int) -> None:
    """Train a model of the comparison on, with a bound, and score it.

    With ``seed + 100``, so that it sees other coin tosses and another order than before.
    """
    weights = trained_prior(seed).get_weights()
    draws = 1 if bound == "elbo" else TAIL_DRAWS

    def go_on() -> VAE:
        """The same networks and weights, trained by this bound."""
        vae = make(**KINDS["prior"], bound=bound, num_samples=draws, seed=seed + 100)
        vae.set_weights(weights)
        return vae

    study.train_and_score(
        LESSON,
        data.load_mnist(),
        go_on,
        name=f"tail_{bound}_seed{seed}",
        seed=seed + 100,
        epochs=TAIL_EPOCHS[bound],
        keep=False,
        timed=False,
        num_samples=PAPERS_SAMPLES,
        **PLACES | dict(learning_rate=1e-3),
    )


# --- Signal and noise -----------------------------------------------------------------------------

SNR_DRAWS, SNR_IMAGES, SNR_REPEATS = (1, 4, 16, 64), 20, 100


def signal_to_noise(vae: VAE, x: np.ndarray, repeats: int) -> tuple[float, float]:
    """Signal-to-noise ratios of the gradients of encoder and decoder.

    The squared signal is the product of the mean gradients of two halves of the repeats, whose
    noise is independent; lesson 07 does the same.
    """
    networks = (vae.encoder.trainable_variables, vae.decoder.trainable_variables)

    @tf.function
    def gradients(seed: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape(persistent=True) as tape:
            terms = vae.bound_terms(x, seed=seed, tape=tape)
            loss = -tf.reduce_mean(vae.bound_of(terms, 1.0))
        if vae.bound == "dreg":
            seen = (tape, loss, terms.log_px_z - terms.kl, terms.drawn, terms.z)
            parts = [bounds.doubly_reparameterised(*seen, network) for network in networks]
        else:
            parts = tape.gradient(loss, networks)
        return [tf.concat([tf.reshape(g, [-1]) for g in part], axis=0) for part in parts]

    halves, squares = [[0.0, 0.0], [0.0, 0.0]], np.zeros(2)
    for i in range(repeats):
        for part, gradient in enumerate(gradients(tf.constant([study.SCORE_SEED, i]))):
            halves[part][i % 2] += gradient.numpy() / (repeats // 2)
            squares[part] += np.sum(gradient.numpy() ** 2) / repeats
    signal = np.array([np.dot(first, second) for first, second in halves])
    encoder, decoder = np.sqrt(np.maximum(signal, 0.0) / (squares - signal))
    return float(encoder), float(decoder)


def snr(seed: int) -> None:
    """Record the ratios of a model of the comparison, for both gradients and several k."""
    dataset = data.load_mnist()
    results = study.results(LESSON, dataset)
    trained = study.under_policy(trained_prior(seed), "float32")
    test = data.random_subset(dataset.test.images, study.size(SNR_IMAGES, 2))
    x, repeats = data.prepare(test, "dynamic", seed=data.TEST_SEED), study.size(SNR_REPEATS, 2)
    for bound in ("iwae", "dreg"):
        for k in study.size(SNR_DRAWS, (1, 2)):
            vae = make(**KINDS["prior"], bound=bound, num_samples=k, seed=seed)
            vae.set_weights(trained.get_weights())
            encoder, decoder = signal_to_noise(vae, x, repeats)
            key = f"mnist/dynamic/snr_{bound}_k{k}_seed{seed}"
            facts = dict(seed=seed, images=len(x), repeats=repeats)
            results.record(f"{key}/encoder_ratio", encoder, **facts)
            results.record(f"{key}/decoder_ratio", decoder, **facts)
            print(f"{bound}, k = {k}, seed {seed}: encoder {encoder:.3f}, decoder {decoder:.3f}")


# --- What helps -----------------------------------------------------------------------------------

# Each: what it changes of the model, and of the training, and the epochs that fit 280 seconds, by
# `speed`. On the training images alone, since validation images judge.
TRIALS = {
    "base": (dict(), dict(), 23),
    "landing": (LANDING, dict(), 22),
    "silu": (dict(activation="silu"), dict(), 17),
    "silu_landing": (SILU_LANDING, dict(), 18),
    "muon": (SILU_LANDING, dict(muon=True, learning_rate=6e-3), 9),
    "narrow": (dict(prior_width=256), dict(), 23),
}
TRIAL = dict(learning_rate=4.5e-3, **COMMON)
TRIAL_IMAGES = 1_000


def trial(name: str, seed: int) -> None:
    """Train the five-minute model with one change; score it on validation images."""
    model, changes, epochs = TRIALS[name]
    dataset, options = data.load_mnist(), TRIAL | changes
    if options.pop("muon", False):
        steps = data.steps_per_epoch(study.size(len(dataset.train), 16), BATCH)
        options["optimizer"] = muon(options["learning_rate"], epochs * steps)
    key = f"mnist/dynamic/trial_{name}_seed{seed}/validation_log_px"
    options |= dict(name=f"trial_{name}_seed{seed}", seed=seed, epochs=epochs)
    options |= dict(validation_freq=epochs)
    make_it = partial(build, seed, epochs, model)
    trained, history, images = study.train(dataset, make_it, key=f"{LESSON}/{key}", **options)
    vae = study.under_policy(trained, options["precision"])
    few = dataset.validation.images[: study.size(TRIAL_IMAGES, study.QUICK_BATCH)]
    x = data.prepare(few, "dynamic", seed=data.TEST_SEED)
    samples = study.size(PAPERS_SAMPLES, 2)
    score = evaluation.log_likelihood(vae, x, samples, seed=study.SCORE_SEED)
    facts = dict(seed=seed, epochs=len(history.epochs), images=images, unit="nats")
    facts |= dict(validation_images=len(x), samples=samples, weights=vae.count_params())
    study.results(LESSON, dataset).record(key, score.mean, **facts)
    print(f"{name}, seed {seed}: validation log p {score.mean:.2f} after {epochs} epochs")


# --- Speed ----------------------------------------------------------------------------------------


def timed_models() -> dict[str, dict]:
    """The arguments of `milliseconds` by name; the first of each kind is what others refer to."""
    found = {f"place_{kind}": dict(model=KINDS[kind]) for kind in KINDS}
    for bound, draws in (("elbo", 1), ("iwae", TAIL_DRAWS), ("dreg", TAIL_DRAWS)):
        model = KINDS["prior"] | dict(bound=bound, num_samples=draws)
        found[f"tail_{bound}"] = dict(model=model)
    for name, (model, changes, _) in TRIALS.items():
        found[f"trial_{name}"] = dict(model=model, with_muon="muon" in changes)
    for name in ("prior_15", "prior_60"):
        model = HEADLINES[name]["model"]
        found[name] = dict(model=model)
        found[f"{name}_float32"] = dict(model=model, precision="float32")
    return found


def milliseconds(
    model: dict, *, with_muon: bool = False, precision: str = COMMON["precision"]
) -> float:
    """Median time of a training step, on a few batches."""
    images = data.load_mnist().train.images[: 60 * BATCH]
    options = dict(protocol="dynamic", learning_rate=1e-3, batch_size=BATCH)
    if with_muon:
        options["optimizer"] = muon(1e-3, 60)
    else:
        options |= {name: COMMON[name] for name in ("weight_decay", "ema_momentum")}
    build = partial(make, **model)
    return study.step_milliseconds(build, images, precision=precision, seed=SEED, **options)


def speed(rounds: int = 3) -> None:
    """Time a step of each model, in turns; record the ratios, print the epochs that fit."""
    cases = timed_models()
    if study.settings.is_quick():  # two of a kind are enough
        cases = {name: cases[name] for name in ("tail_elbo", "tail_dreg")}
    found = {name: [] for name in cases}
    for _ in range(study.size(rounds, 1)):
        for name, case in cases.items():
            found[name].append(milliseconds(**case))
    results = study.results(LESSON, data.load_mnist())
    first = {}  # of each kind
    for name, values in found.items():
        step, kind = float(np.median(values)), kind_of(name)
        ratio = step / first.setdefault(kind, step)
        print(f"{name}: {step:.1f} ms a step, {epochs_of(name, step, ratio):.1f} epochs")
        if name not in HEADLINES:
            results.record(f"mnist/dynamic/{name}/step_ratio", ratio, seed=SEED, timing=True)


def kind_of(name: str) -> str:
    """What the steps of this name are compared with: the first of the same kind."""
    return name.removesuffix("_float32") if name.startswith("prior") else name.split("_")[0]


def epochs_of(name: str, step: float, ratio: float) -> float:
    """The epochs of a model with such a step (ms, and against the first of its kind)."""
    if name.startswith("place"):
        return EPOCHS / ratio
    if name.startswith("tail"):
        return TAIL_EPOCHS["elbo"] / ratio
    if name.startswith("trial"):
        return 280e3 / step / data.steps_per_epoch(55_000, BATCH)  # training images alone
    if name.endswith("float32"):
        return HEADLINES[kind_of(name)]["epochs"] / ratio
    return 950 * HEADLINES[name]["seconds"] / step / STEPS_PER_EPOCH  # 5 % to spare


PARTS = {"speed": speed}
PARTS |= {name: partial(headline, name, **recipe) for name, recipe in HEADLINES.items()}
for name, recipe in HEADLINES.items():
    plain = recipe | dict(epochs=FLOAT32_EPOCHS[name], seconds=None, timed=False)
    plain |= dict(precision="float32", keep=False, num_samples=PAPERS_SAMPLES)
    PARTS[f"{name}_float32"] = partial(headline, f"{name}_float32", **plain)
for seed in SEEDS:
    PARTS |= {f"{kind}_seed{seed}": partial(place, kind, seed) for kind in KINDS}
    PARTS |= {
        f"{kind}_time_seed{seed}": partial(place, kind, seed, equal_seconds=True)
        for kind in TIME_EPOCHS
    }
    PARTS |= {f"tail_{bound}_seed{seed}": partial(tail, bound, seed) for bound in TAIL_EPOCHS}
    PARTS[f"snr_seed{seed}"] = partial(snr, seed)
    PARTS |= {f"trial_{name}_seed{seed}": partial(trial, name, seed) for name in TRIALS}
PARTS |= {"score_128": score_128}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
