"""Train and score the VAEs with inverse autoregressive flows of lesson 04.

iaf_15          dynamic protocol, at most 15 minutes of training; the model is committed
iaf_60          at most 60 minutes; the model is committed
KIND_seedSEED   what a flow gains at equal seconds: KIND is diagonal, control or flow, SEED 42, 43
                or 44. All have the same networks but for two gated steps (flow), or a wider
                encoder of as many weights (control)
speed           time of a training step of each kind against the flow's: EPOCHS comes from it
score_128       ELBO and log p(x) of the committed models, 128 samples, as papers have it

Models that are not committed stand in no file; their numbers do.
"""

import statistics
import sys
from functools import partial

import study

from helpers import data  # isort: skip  (first: imports TensorFlow quietly)

from helpers.networks import PyramidDecoder, PyramidEncoder, ResidualDecoder
from helpers.vae import CONTEXT_DIM, VAE

SEED, SEEDS = 42, (42, 43, 44)
BEST_STEPS = 2
BATCH = 256
PAPERS_SAMPLES = 128  # Kingma et al. 2016
COMMITTED = ("mlp_best", "conv_k40", "iaf_15", "iaf_60")


def dense() -> dict:
    """Dense encoder, residual decoder on 7 x 7 places: it learns most in a quarter of an hour."""
    decoder = ResidualDecoder((512, 32, 32, 32), (28, 28, 1), activation="silu")
    return dict(encoder="gaussian_mlp", decoder=decoder, hidden_dim=(512, 512), activation="silu")


def pyramid() -> dict:
    """Convolutions both ways and few dense weights: slower to learn, and slower to overfit."""
    return dict(
        encoder=PyramidEncoder(
            (32, 64, 16, 512), 40, blocks=1, context_dim=CONTEXT_DIM, activation="relu"
        ),
        decoder=PyramidDecoder((512, 32, 64, 32), (28, 28, 1), blocks=2, activation="relu"),
    )


# The epoch under way is finished when the seconds are over: they leave room for one.
SHORT = dict(networks=dense, iaf_hidden=512, learning_rate=3e-3)
HEADLINES = {
    "iaf_15": SHORT | dict(epochs=48, seconds=880),
    "iaf_60": dict(
        networks=pyramid,
        iaf_hidden=1024,
        learning_rate=2e-3,
        epochs=160,
        seconds=3560,
        # bfloat16 products gain speed where the processor has units for them (Intel's AMX)
        precision="mixed_bfloat16",
    ),
}

# What a flow gains. Epochs in proportion to the speed of a step, so that the seconds are equal.
KINDS = {  # gated steps, width of the encoder
    "diagonal": (0, 512),
    "control": (0, 669),  # as many weights as the flow, to 0.1 %
    "flow": (BEST_STEPS, 512),
}
EPOCHS = {"diagonal": 45, "control": 40, "flow": 40}


def train(
    name,
    protocol="dynamic",
    steps=BEST_STEPS,
    seed=SEED,
    *,
    networks,
    iaf_hidden,
    epochs,
    **options,
) -> None:
    """Train one VAE, score it, record its numbers; `options` go to `study.train_and_score`."""

    def build():
        """These networks, and `steps` gated steps between them."""
        return VAE(
            40,
            **networks(),
            iaf_steps=steps,
            iaf_hidden=iaf_hidden,
            beta_warmup=epochs * (60_000 // BATCH) // 7,
            seed=seed,
        )

    study.train_and_score(
        "04",
        data.load_mnist(),
        build,
        name=name,
        protocol=protocol,
        seed=seed,
        joined=True,
        epochs=epochs,
        batch_size=BATCH,
        ema_momentum=0.999,
        steps_per_execution=5,
        validation_freq=10,
        **options,
    )


def residual(width: int) -> dict:
    """Dense encoder of two layers, residual decoder."""
    decoder = ResidualDecoder((512, 32, 32, 32), (28, 28, 1), activation="relu")
    return dict(
        encoder="gaussian_mlp", decoder=decoder, hidden_dim=(width, width), activation="relu"
    )


def make(steps: int, width: int) -> VAE:
    """A model of the comparison, without its warm-up of the KL."""
    return VAE(40, **residual(width), iaf_steps=steps, iaf_hidden=512)


def gain(kind: str, seed: int) -> None:
    """Train and score one model of the comparison at equal seconds."""
    steps, width = KINDS[kind]
    train(
        f"gain_{kind}_seed{seed}",
        steps=steps,
        seed=seed,
        networks=partial(residual, width),
        iaf_hidden=512,
        learning_rate=2e-3,
        epochs=EPOCHS[kind],
        keep=False,
        timed=False,  # equal seconds rest on `speed`: these may share the machine
        num_samples=PAPERS_SAMPLES,
    )


def speed(rounds: int = 3) -> None:
    """Time a training step of each kind, in turns; record the ratios, print the epochs that fit."""
    dataset, found = data.load_mnist(), {kind: [] for kind in KINDS}
    images, results = dataset.train.images[: 60 * BATCH], study.results("04", dataset)
    for _ in range(study.size(rounds, 1)):
        for kind, (steps, width) in KINDS.items():
            build = partial(make, steps, width)
            options = dict(precision="float32", batch_size=BATCH, protocol="dynamic", seed=SEED)
            found[kind].append(study.step_milliseconds(build, images, **options))
    for kind, values in found.items():
        step, flow = statistics.median(values), statistics.median(found["flow"])
        key = f"mnist/dynamic/gain_{kind}/step_ratio"
        results.record(key, step / flow, seed=SEED, batch_size=BATCH, timing=True)
        print(
            f"{kind}: {step:.1f} ms a step, {EPOCHS['flow'] * flow / step:.1f} epochs in the time"
        )


def score_128() -> None:
    """Score the committed models on all test images, with as many samples as the paper."""
    study.score_committed("04", data.load_mnist(), COMMITTED, PAPERS_SAMPLES, seed=SEED)


PARTS = {name: partial(train, name, **options) for name, options in HEADLINES.items()}
PARTS |= {f"{kind}_seed{seed}": partial(gain, kind, seed) for seed in SEEDS for kind in KINDS}
PARTS |= {"speed": speed, "score_128": score_128}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
