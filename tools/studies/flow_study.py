"""Train and score the VAEs with inverse autoregressive flows of lesson 04.

iaf_15     dynamic protocol, at most 15 minutes of training; the model is committed
iaf_60     at most 60 minutes; the model is committed
steps      T = 0, 1, 2, 4 with everything else equal, one seed, about 6 minutes each
gain       T = 0 and the best T of `steps`, two more seeds each
static     the model with the best T of `steps` under the static protocol, as long as those

Models that are not committed stand in no file; their numbers do.
"""

import sys
from functools import partial

import study

from helpers import data
from helpers.networks import PyramidDecoder, PyramidEncoder, ResidualDecoder
from helpers.vae import CONTEXT_DIM, VAE

SEED = 42
BEST_STEPS = 2
BATCH = 256


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
STUDY = SHORT | dict(epochs=18, keep=False, test_images=1_000)


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


def steps(counts=(0, 1, 2, 4), seed=SEED) -> None:
    """The number of gated steps alone differs."""
    for count in counts:
        train(f"iaf_t{count}_seed{seed}", steps=count, seed=seed, **STUDY)


def gain() -> None:
    """What the best number of steps gains, with two more seeds."""
    for seed in (SEED + 1, SEED + 2):
        steps((0, BEST_STEPS), seed)


def static() -> None:
    """The best number of steps, on pixels drawn once."""
    train("iaf_static", "static", **STUDY)


PARTS = {name: partial(train, name, **options) for name, options in HEADLINES.items()}
PARTS |= {"steps": steps, "gain": gain, "static": static}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
