"""Train and score the convolutional VAEs of notebook 03, on all 10,000 test images.

    VAE_PROFILE=full VAE_RECORD=1 python tests/benchmarks/conv_study.py [NAME ...]

conv_k2     two latents, threshold protocol, at most 5 minutes of training
conv_k40    forty latents, dynamic protocol, at most 15 minutes
filters     the tutorial's network with its filters times 1, 2 and 4, for equal seconds
cifar10     bits/dim of a convolutional VAE and of an MLP on CIFAR-10, for equal seconds

The first two resume: the same command goes on after an interruption (`build/runs/`).
"""

import sys
import time
from functools import partial

from study import SCORE_SEED, run, train_and_score

from helpers import data, evaluation, training  # isort: skip  (first: imports TensorFlow quietly)

import keras
import numpy as np

from helpers.networks import ResidualDecoder
from helpers.vae import VAE

SEED = 42
HEADLINES = {  # the epoch under way is finished: the seconds leave room for one
    "conv_k2": (
        dict(latent_dim=2, hidden_dim=(512, 512, 512)), dict(filters=(512, 512, 32, 32), blocks=1),
        dict(protocol="threshold", epochs=14, seconds=280, ema_momentum=0.99, num_samples=100),
    ),
    "conv_k40": (
        dict(latent_dim=40, hidden_dim=(512, 512)), dict(filters=(512, 32, 32, 32)),
        dict(protocol="dynamic", epochs=42, seconds=880, ema_momentum=0.999, num_samples=1000),
    ),
}
EQUAL_SECONDS, BATCH = 50, 128


def headline(name: str, recipe: tuple, notebook: str = "03") -> None:
    """Train a model of HEADLINES on train + validation, save it, score it.

    The encoder is dense: per second of training on two cores it gained more than a convolutional
    one. The decoder works on 7 x 7 places with residual blocks.
    """
    model, decoder, fit = recipe
    dataset = data.load_mnist()
    decoder = decoder | dict(output_shape=dataset.image_shape, activation="silu")
    train_and_score(
        evaluation.Results(notebook, dataset), dataset,
        lambda: VAE(
            **model, decoder=ResidualDecoder(**decoder), activation="silu", kl="analytic", seed=SEED
        ),
        name=name, seed=SEED, joined=True, batch_size=256, learning_rate=3e-3,
        steps_per_execution=5, validation_freq=7, **fit,
    )  # fmt: skip


def equal_seconds(dataset, model: dict, protocol: str) -> tuple:
    """Train on the training split for EQUAL_SECONDS; return the model, its history, the images.

    How many images that is a short run tells first, so that the cosine ends where the seconds end.
    """
    images, n = dataset.train.images, 8 * BATCH
    settings = dict(protocol=protocol, seed=SEED, batch_size=BATCH, learning_rate=1e-3, verbose=0)

    def build():
        training.set_seed(SEED)
        return VAE(image_shape=dataset.image_shape, **model, seed=SEED)

    ends = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    training.fit(build(), images[:n], epochs=2, callbacks=[clock], **settings)
    seen = int(EQUAL_SECONDS * BATCH / np.median(np.diff(ends)))
    epochs = -(-seen // len(images))
    vae = build()
    history = training.fit(vae, images[: seen // epochs], epochs=epochs, **settings)
    return vae, history, seen


def filters() -> None:
    """Record the test ELBO of the tutorial's network, wider and wider, after equal seconds."""
    dataset = data.load_mnist()
    results = evaluation.Results("03", dataset)
    test = data.prepare(dataset.test.images, "threshold", seed=data.TEST_SEED)
    for factor in (1, 2, 4):
        model = dict(latent_dim=2, encoder="conv", decoder="conv", activation="relu")
        model |= dict(hidden_dim=(32 * factor, 64 * factor))
        name = f"conv_filters_x{factor}"
        vae, history, seen = equal_seconds(dataset, model, "threshold")
        elbo = evaluation.log_likelihood(vae, test, 1, seed=SCORE_SEED).elbo
        results.record(
            f"mnist/threshold/{name}/elbo", elbo, seed=SEED, seconds=round(history.seconds, 1),
            images_seen=seen, weights=vae.count_params(), unit="nats",
        )  # fmt: skip
        print(f"{name}: test ELBO {elbo:.2f} after {history.seconds:.0f} s, {seen:,} images")


def cifar10() -> None:
    """Record bits/dim of a dense and a convolutional network after equal seconds."""
    dataset = data.load_cifar10()
    results = evaluation.Results("03", dataset)
    test = data.prepare(dataset.test.images, "grey")
    common = dict(latent_dim=128, likelihood="discretised_logistic", activation="gelu")
    models = {
        "mlp": dict(hidden_dim=(512, 512), decoder="gaussian_mlp"),
        "conv": dict(hidden_dim=(32, 64), encoder="conv", decoder="conv_gaussian"),
    }
    for kind, model in models.items():
        name = f"{kind}_cifar10"
        vae, history, seen = equal_seconds(dataset, common | model, "grey")
        score = evaluation.log_likelihood(vae, test, 1, seed=SCORE_SEED)
        bits = evaluation.bits_per_dim(score.elbo, test[0].size, dequantised=False)
        results.record(
            f"cifar10/grey/{name}/elbo_bits_per_dim", bits, seed=SEED, unit="bits/dim",
            seconds=round(history.seconds, 1), images_seen=seen, weights=vae.count_params(),
            images=dataset.label,
        )  # fmt: skip
        print(f"{dataset.label}, {name}: {bits:.3f} bits/dim, {history.seconds:.0f} s, {seen:,}")


STUDIES = {name: partial(headline, name, recipe) for name, recipe in HEADLINES.items()}
STUDIES |= {"filters": filters, "cifar10": cifar10}

if __name__ == "__main__":
    sys.exit(run(STUDIES, sys.argv[1:]))
