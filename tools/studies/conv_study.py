"""Train and score the convolutional VAEs of lesson 03, on all 10,000 test images.

conv_k2     two latents, threshold protocol, at most 5 minutes of training
conv_k40    forty latents, dynamic protocol, at most 15 minutes
filters     the tutorial's network with its filters times 1, 2 and 4, for equal seconds
cifar10     bits/dim of a convolutional VAE and of an MLP on CIFAR-10, for equal seconds
"""

import sys
from collections.abc import Callable
from functools import partial

import study

from helpers import data, evaluation  # isort: skip  (first: imports TensorFlow quietly)

import keras

from helpers.networks import PyramidDecoder, PyramidEncoder, ResidualDecoder
from helpers.vae import VAE

SEED = 42


def plane() -> dict:
    """Dense layers at 28 x 28, a residual block on 7 x 7 places: quick to fill a plane."""
    decoder = ResidualDecoder((512, 512, 32, 32), (28, 28, 1), activation="silu", blocks=1)
    return dict(latent_dim=2, hidden_dim=(512, 512, 512), activation="silu", decoder=decoder)


def pyramids() -> dict:
    """Convolutions both ways, with few channels, and dense layers only at the ends."""
    return dict(
        latent_dim=40,
        encoder=PyramidEncoder((16, 32, 16, 512), 40, blocks=1),
        decoder=PyramidDecoder((512, 32, 32, 16), (28, 28, 1), blocks=2),
    )


# The epoch under way is finished when the seconds are over: they leave room for one.
HEADLINES = {
    "conv_k2": (
        plane,
        dict(protocol="threshold", epochs=14, seconds=280, ema_momentum=0.99, num_samples=100),
    ),
    "conv_k40": (
        pyramids,
        dict(
            protocol="dynamic",
            epochs=57,
            seconds=880,
            ema_momentum=0.999,
            weight_decay=0.1,
            # bfloat16 products gain speed where the processor has units for them
            precision="mixed_bfloat16",
            num_samples=1000,
        ),
    ),
}
EQUAL_SECONDS, BATCH = 50, 128


def headline(name: str, networks: Callable, options: dict, lesson: str = "03") -> None:
    """Train a model of HEADLINES on train + validation, save it, score it."""
    study.train_and_score(
        lesson,
        data.load_mnist(),
        lambda: VAE(**networks(), kl="analytic", seed=SEED),
        name=name,
        seed=SEED,
        joined=True,
        batch_size=256,
        learning_rate=3e-3,
        steps_per_execution=5,
        validation_freq=7,
        **options,
    )


def equal_seconds(dataset, model: dict, protocol: str, key: str) -> tuple:
    """Train on the training split for EQUAL_SECONDS; return the model, its history, the images.

    How many images that is a short run tells first, so that the cosine ends where the seconds end;
    or the recorded number `key`, where that is repeated.
    """
    images = dataset.train.images
    options = dict(protocol=protocol, seed=SEED, batch_size=BATCH, learning_rate=1e-3, verbose=0)

    def build():
        keras.utils.set_random_seed(SEED)
        return VAE(image_shape=dataset.image_shape, **model, seed=SEED)

    seen = study.recorded(key, "images_seen")
    if not seen:
        clock = study.Clock()
        study.fit(build(), images[: 8 * BATCH], epochs=2, callbacks=[clock], **options)
        seen = int(EQUAL_SECONDS * BATCH / clock.seconds)
    epochs = -(-seen // len(images))
    vae = build()
    history = study.fit(vae, images[: seen // epochs], epochs=epochs, **options)
    return vae, history, seen


def filters() -> None:
    """Record the test ELBO of the tutorial's network, wider and wider, after equal seconds."""
    dataset = data.load_mnist()
    results = study.results("03", dataset)
    test = data.prepare(dataset.test.images, "threshold", seed=data.TEST_SEED)
    test = test[: study.size(None, 8)]
    for factor in study.size((1, 2, 4), (1,)):
        model = dict(latent_dim=2, encoder="conv", decoder="conv", activation="relu")
        model |= dict(hidden_dim=(32 * factor, 64 * factor))
        key = f"mnist/threshold/conv_filters_x{factor}/elbo"
        vae, history, seen = equal_seconds(dataset, model, "threshold", f"03/{key}")
        elbo = evaluation.log_likelihood(vae, test, 1, seed=study.SCORE_SEED).elbo
        results.record(
            key,
            elbo,
            seed=SEED,
            seconds=round(history.seconds, 1),
            images_seen=seen,
            weights=vae.count_params(),
            unit="nats",
        )
        print(f"{key}: {elbo:.2f} after {history.seconds:.0f} s, {seen:,} images")


def cifar10() -> None:
    """Record bits/dim of a dense and a convolutional network after equal seconds."""
    dataset = data.load_cifar10()
    results = study.results("03", dataset)
    test = data.prepare(dataset.test.images, "grey")[: study.size(None, 8)]
    common = dict(latent_dim=128, likelihood="discretised_logistic", activation="gelu")
    models = {
        "mlp": dict(hidden_dim=(512, 512), decoder="gaussian_mlp"),
        "conv": dict(hidden_dim=(32, 64), encoder="conv", decoder="conv_gaussian"),
    }
    for kind in study.size(tuple(models), ("conv",)):
        key = f"cifar10/grey/{kind}_cifar10/elbo_bits_per_dim"
        vae, history, seen = equal_seconds(dataset, common | models[kind], "grey", f"03/{key}")
        score = evaluation.log_likelihood(vae, test, 1, seed=study.SCORE_SEED)
        bits = evaluation.bits_per_dim(score.elbo, test[0].size, vae.likelihood_name)
        results.record(
            key,
            bits,
            seed=SEED,
            unit="bits/dim",
            seconds=round(history.seconds, 1),
            images_seen=seen,
            weights=vae.count_params(),
            images=dataset.display_name,
        )
        print(f"{dataset.display_name}, {kind}: {bits:.3f} bits/dim after {seen:,} images")


PARTS = {name: partial(headline, name, *recipe) for name, recipe in HEADLINES.items()}
PARTS |= {"filters": filters, "cifar10": cifar10}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
