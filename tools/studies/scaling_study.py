"""The measurements of lesson 09: batch and learning rate, 16 bits, and the cost of a step.

batch_B_seedS      the MLP VAE with batches of B images, B 64, 256, 1024 or 4096: three learning
                   rates with seed 42, the best of them for longer; the best with seeds 43 and 44
noise_seedS        gradient noise scale along the training with batches of 256
calm_seedS         the same after one more epoch, in which the rate falls to zero
bfloat16_seedS     lesson 03's pyramids, trained in float32 and in mixed_bfloat16
bfloat16_speed     the time of a step of either
cost               the time of a step of 1, 2 and 3 processes, and what a model of it predicts

The last two are timed, with nothing else on the machine; the others may share it. A part that needs
another one's model trains it, or takes it from build/runs/. Validation images judge.
"""

import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import study
from conv_study import pyramids

from helpers import cluster, data, evaluation, scaling, training  # isort: skip  (first: imports quietly)

import keras
import numpy as np
import tensorflow as tf

from helpers.vae import VAE

LESSON, SEED, SEEDS = "09", 42, (42, 43, 44)

# --- Batch and learning rate ----------------------------------------------------------------------

LATENT_DIM, HIDDEN_DIM = 40, (512, 512)
EPOCHS = {64: 8, 256: 12, 1024: 20, 4096: 32}  # enough to compare rates
LONG = {64: 16, 256: 24, 1024: 36, 4096: 60}  # until the loss hardly falls any more
FACTORS = {"half": 0.5, "root": 1.0, "twice": 2.0}  # of the rate by the square-root rule
BEST = {64: "root", 256: "root", 1024: "root", 4096: "half"}  # on validation images, seed 42


def build(seed: int) -> VAE:
    """The MLP VAE of lesson 02, with closed-form KL."""
    options = dict(hidden_dim=HIDDEN_DIM, activation="silu", kl="analytic")
    return VAE(LATENT_DIM, seed=seed, **options)


class KeepWeights(keras.callbacks.Callback):
    """Keep the weights after some epochs, for the noise scale."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 in NOISE_EPOCHS:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.model.save_weights(weights_file(self.folder, epoch + 1))


def weights_file(folder: Path, epoch: int) -> Path:
    """Where the weights after an epoch are kept."""
    return folder / f"epoch_{epoch}.weights.h5"


def weights_folder(seed: int) -> Path:
    """Where those of the training that `noise` looks at are kept."""
    return study.runs_dir() / f"batch_{NOISE_BATCH}_{BEST[NOISE_BATCH]}_seed{seed}_weights"


def learning_rate(batch_size: int, which: str) -> float:
    """The rate grows with the root of the batch, from 2e-3 at 256; FACTORS go around it."""
    return FACTORS[which] * 2e-3 * (batch_size / 256) ** 0.5


def train(batch_size: int, which: str, seed: int) -> tuple:
    """Train at one rate, or load it where it is trained: the model, its history, how many images.

    At a constant rate after the first epoch, so that no step knows how many will follow.
    """
    is_best = which == BEST[batch_size]
    is_kept = is_best and batch_size == NOISE_BATCH
    epochs = (LONG if is_best else EPOCHS)[batch_size]
    return study.train(
        data.load_mnist(),
        partial(build, seed),
        name=f"batch_{batch_size}_{which}_seed{seed}",
        protocol="dynamic",
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate(batch_size, which),
        warmup=1 / epochs,
        schedule="constant",
        callbacks=[KeepWeights(weights_folder(seed))] if is_kept else [],
    )


def batch(batch_size: int, seed: int) -> None:
    """Record the validation losses of a batch size."""
    for which in FACTORS if seed == SEED else [BEST[batch_size]]:
        vae, history, images = train(batch_size, which, seed)
        losses = [round(loss, 3) for loss in history["val_loss"].tolist()]
        key = f"mnist/dynamic/batch_{batch_size}_{which}_seed{seed}/validation_loss"
        study.results(LESSON, data.load_mnist()).record(
            key,
            losses[-1],
            seed=seed,
            unit="nats",
            validation_losses=losses,
            steps_per_epoch=data.steps_per_epoch(images, batch_size),
            batch_size=batch_size,
            learning_rate=learning_rate(batch_size, which),
            epochs=len(losses),
            images=images,
            weights=vae.count_params(),
        )
        print(f"{key}: {losses[-1]:.2f}, least {min(losses):.2f}")


# --- Noise of the gradient ------------------------------------------------------------------------

# A small batch is the smallest of the trainings; so many of them make a large one that |G|² stands
# out of the noise. Eight repeats tell the error; they take 51,200 images, about one epoch.
NOISE_BATCH, NOISE_EPOCHS, CALM_AFTER = 256, (1, 2, 4, 8, 16, 24), 8
SMALL_BATCH, SMALL_IN_LARGE, REPEATS = 64, 100, 8


@tf.function
def gradient(vae: VAE, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The gradient of the mean loss of a batch, as one vector."""
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(vae.elbo(x, seed=seed))
    parts = tape.gradient(loss, vae.trainable_variables)
    return tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)


def squared_lengths(vae: VAE, images: np.ndarray, repeat: int) -> tuple[float, float]:
    """Squared length of the gradient of a small batch, a mean over many, and of the large batch.

    Images are drawn with replacement: independent draws, which batches of an epoch are not.
    """
    rng = np.random.default_rng([study.SCORE_SEED, repeat])
    count, small, total = study.size(SMALL_IN_LARGE, 2), 0.0, 0.0
    for i in range(count):
        rows = rng.integers(0, len(images), SMALL_BATCH)
        x = data.binarise(images[rows], data.noise_key(study.SCORE_SEED, repeat, i))
        found = gradient(vae, x, data.noise_seed(study.SCORE_SEED, repeat, i))
        small += float(tf.reduce_sum(found**2)) / count
        total += found / count
    return small, float(tf.reduce_sum(total**2))


def record_noise(vae: VAE, name: str, seed: int, **facts) -> None:
    """Measure and record the noise scale of a model."""
    images, results = data.load_mnist().train.images, study.results(LESSON, data.load_mnist())
    pairs = [squared_lengths(vae, images, i) for i in range(REPEATS)]
    sizes = (SMALL_BATCH, SMALL_BATCH * study.size(SMALL_IN_LARGE, 2))
    found = scaling.noise_scale(*zip(*pairs, strict=True), *sizes)
    facts |= dict(small_batch=sizes[0], large_batch=sizes[1], repeats=REPEATS)
    key = f"mnist/dynamic/{name}_seed{seed}/noise_scale"
    results.record(
        key,
        found.scale,
        seed=seed,
        unit="images",
        error=float(f"{found.error:.4g}"),
        trace=float(f"{found.trace:.5g}"),
        signal=float(f"{found.signal:.5g}"),
        **facts,
    )
    print(f"{key}: {found.scale:.0f} ± {found.error:.0f} images")


def load_trained(seed: int, epoch: int) -> VAE:
    """The model before the training with batches of 256, or after one of its NOISE_EPOCHS."""
    keras.utils.set_random_seed(seed)
    vae = build(seed)
    if epoch:
        vae.load_weights(weights_file(weights_folder(seed), epoch))
    return vae


def noise(seed: int) -> None:
    """Record the noise scale before the training and after some of its epochs."""
    train(NOISE_BATCH, BEST[NOISE_BATCH], seed)
    for epoch in study.size((0, *NOISE_EPOCHS), (0, 1)):
        record_noise(load_trained(seed, epoch), f"noise_epoch{epoch}", seed, epoch=epoch)


def calm(seed: int) -> None:
    """Record the noise scale where one more epoch has let the rate fall to zero.

    A constant rate keeps the weights bouncing across the steep directions of the loss, and there
    the gradient is long. What is left of it without the bouncing is another noise scale.
    """
    train(NOISE_BATCH, BEST[NOISE_BATCH], seed)
    epoch = study.size(CALM_AFTER, 1)
    vae = load_trained(seed, epoch)
    batch_size = study.size(NOISE_BATCH, study.QUICK_BATCH)
    options = dict(batch_size=batch_size, protocol="dynamic", warmup=0.1, verbose=0)
    rate = learning_rate(NOISE_BATCH, BEST[NOISE_BATCH])
    images = data.load_mnist().train.images[: study.size(None, 2 * study.QUICK_BATCH)]
    # Another order and other noise than those of the epochs before.
    training.fit(vae, images, epochs=1, learning_rate=rate, seed=seed + 1000, **options)
    record_noise(vae, f"calm_epoch{epoch + 1}", seed, epoch=epoch + 1)


# --- 16 bits --------------------------------------------------------------------------------------

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
POLICY_EPOCHS, ELBO_DRAWS = 12, 10
PYRAMIDS = dict(protocol="dynamic", batch_size=256, learning_rate=3e-3, ema_momentum=0.999)


def build_pyramids(seed: int) -> VAE:
    """The network of lesson 03's recorded model."""
    return VAE(**pyramids(), kl="analytic", seed=seed)


def bfloat16(seed: int) -> None:
    """Record the validation ELBO of the same training in 32 and in 16 bits."""
    dataset, elbos = data.load_mnist(), {}
    results = study.results(LESSON, dataset)
    few = dataset.validation.images[: study.size(None, study.QUICK_BATCH)]
    x = data.prepare(few, "dynamic", seed=data.TEST_SEED)
    for name, policy in POLICIES.items():
        options = dict(PYRAMIDS, epochs=POLICY_EPOCHS, seed=seed, validation_freq=POLICY_EPOCHS)
        make = partial(build_pyramids, seed)
        vae, history, images = study.train(
            dataset, make, name=f"{name}_seed{seed}", precision=policy, **options
        )
        draws = study.size(ELBO_DRAWS, 2)
        elbos[name] = evaluation.log_likelihood(vae, x, draws, seed=study.SCORE_SEED).elbo
        facts = dict(seed=seed, unit="nats", precision=policy, draws=draws)
        facts |= dict(epochs=len(history.epochs), images=images, validation_images=len(x))
        facts |= dict(weights=vae.count_params())
        results.record(f"mnist/dynamic/{name}_seed{seed}/validation_elbo", elbos[name], **facts)
    difference = elbos["bfloat16"] - elbos["float32"]
    key = f"mnist/dynamic/bfloat16_seed{seed}/elbo_difference"
    results.record(key, difference, seed=seed, unit="nats")
    print(f"{key}: {elbos['bfloat16']:.3f} - {elbos['float32']:.3f} = {difference:.3f}")


def bfloat16_speed(rounds: int = 3) -> None:
    """Record how much faster a step is in 16 bits; in turns."""
    found = {name: [] for name in POLICIES}
    images = data.load_mnist().train.images[: 30 * PYRAMIDS["batch_size"]]
    build, options = partial(build_pyramids, SEED), dict(seed=SEED, **PYRAMIDS)
    for _ in range(study.size(rounds, 1)):
        for name, policy in POLICIES.items():
            step = study.step_milliseconds(build, images, precision=policy, **options)
            found[name].append(step)
    steps = {name: float(np.median(values)) for name, values in found.items()}
    study.results(LESSON, data.load_mnist()).record(
        "mnist/dynamic/bfloat16_speed/step_ratio",
        steps["float32"] / steps["bfloat16"],
        seed=SEED,
        timing=True,
        milliseconds={name: round(step, 2) for name, step in steps.items()},
    )
    print(", ".join(f"{name} {step:.1f} ms a step" for name, step in steps.items()))


# --- The cost of a step ---------------------------------------------------------------------------

WORKER = Path(__file__).with_name("worker.py")
SIZES = {"narrow": (256, 256), "wide": (512, 512)}  # different weights, so that bytes differ
CASES = [
    (size, images, processes)
    for size in SIZES
    for images in (240, 960)  # of a step, all processes together
    for processes in (1, 2, 3)
]
LEFT_OUT = ("wide", 960, 2)  # is predicted
COST_STEPS, WARM_UP = 30, 5


def step_seconds(size: str, images: int, processes: int) -> tuple[float, int]:
    """Median time of a step of so many processes on this machine, and the model's weights."""
    model = dict(latent_dim=LATENT_DIM, hidden_dim=SIZES[size], kl="analytic", seed=SEED)
    images, steps = study.size(images, 8), study.size(COST_STEPS, 4)
    fit = dict(epochs=1, batch_size=images, protocol="dynamic", seed=SEED, learning_rate=1e-3)
    settings = {"images": images * steps, "model": model, "fit": fit}
    with TemporaryDirectory() as folder:
        cluster.rehearse(WORKER, settings, folder, count=processes)
        ends = cluster.read_progress(folder)[study.size(WARM_UP, 1) :, 1]
    return float(np.median(np.diff(ends))), VAE(**model).count_params()


def cost() -> None:
    """Measure steps, fit their cost to all but one of them, and predict that one."""
    results = study.results(LESSON, data.load_mnist())
    rows = []
    for size, images, processes in study.size(CASES, [LEFT_OUT, ("wide", 960, 1)]):
        seconds, weights = step_seconds(size, images, processes)
        # What the processes compute and send together: they share cores and loopback. An image
        # takes three passes over the weights, a product and a sum at each.
        operations = 6.0 * weights * images
        sent = processes * scaling.ring_bytes(weights, processes)
        rows.append((operations, sent, seconds))
        key = f"mnist/dynamic/cost_{size}_{images}_images_{processes}_processes/step_seconds"
        facts = dict(unit="s", weights=weights, operations=operations, sent=sent)
        facts |= dict(images_of_a_step=images, processes=processes)
        results.record(key, seconds, seed=SEED, timing=True, **facts)
        print(f"{key}: {1000 * seconds:.1f} ms")
    fit_and_predict(results, np.array(rows))


def fit_and_predict(results, rows: np.ndarray) -> None:
    """Record the parts of the cost, and how far it is from the step that was left out."""
    left_out = study.size(CASES, [LEFT_OUT]).index(LEFT_OUT)
    found = scaling.fit_step_cost(*np.delete(rows, left_out, axis=0).T)
    operations, sent, seconds = rows[left_out]
    error = float(found.seconds(operations, sent)) / seconds - 1
    parts = found._asdict() | {"left_out_error": error}
    for name, value in parts.items():
        key = f"mnist/dynamic/cost/{name}"
        results.record(key, value, seed=SEED, timing=True, measurements=len(rows) - 1)
    print(", ".join(f"{name} {value:.3g}" for name, value in parts.items()))


PARTS = {
    f"batch_{size}_seed{seed}": partial(batch, size, seed) for size in EPOCHS for seed in SEEDS
}
for seed in SEEDS:
    PARTS[f"noise_seed{seed}"] = partial(noise, seed)
    PARTS[f"calm_seed{seed}"] = partial(calm, seed)
    PARTS[f"bfloat16_seed{seed}"] = partial(bfloat16, seed)
PARTS |= {"bfloat16_speed": bfloat16_speed, "cost": cost}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
