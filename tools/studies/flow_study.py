"""Train and score the VAEs with inverse autoregressive flows of notebook 04.

    VAE_PROFILE=full VAE_RECORD=1 python tests/benchmarks/flow_study.py [NAME ...]

iaf_15     dynamic protocol, at most 15 minutes of training; the model is committed
iaf_60     at most 60 minutes; the model is committed
steps      T = 0, 1, 2, 4 with everything else equal, one seed, about 6 minutes each
gain       T = 0 and the best T of `steps`, two more seeds each
static     the model with the best T of `steps` under the static protocol, as long as those

All resume: the same command goes on after an interruption (`build/runs/`). Models that are not
committed stand in no file; their numbers do.
"""

import sys
from functools import cache, partial

from study import run, train_and_score

from helpers import data, evaluation
from helpers.networks import PyramidDecoder, PyramidEncoder, ResidualDecoder
from helpers.vae import CONTEXT_DIM, VAE

SEED = 42
BEST_STEPS = 2
BATCH = 256


def dense():
    """Dense encoder, residual decoder on 7 x 7 places: it learns most in a quarter of an hour."""
    decoder = ResidualDecoder((512, 32, 32, 32), (28, 28, 1), activation="silu")
    return dict(encoder="gaussian_mlp", decoder=decoder, hidden_dim=(512, 512), activation="silu")


def pyramid():
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
    # bfloat16 products gain speed where the processor has units for them (Intel's AMX)
    "iaf_60": dict(networks=pyramid, iaf_hidden=1024, learning_rate=2e-3, epochs=160, seconds=3560,
                   precision="mixed_bfloat16"),
}  # fmt: skip
STUDY = SHORT | dict(epochs=18, keep=False, test_images=1_000)


def build(networks, steps, iaf_hidden, warmup_steps, seed):
    """These networks, and `steps` gated steps between them."""
    return VAE(
        40, **networks(), iaf_steps=steps, iaf_hidden=iaf_hidden, beta_warmup=warmup_steps,
        seed=seed,
    )  # fmt: skip


@cache
def mnist():
    """The images and the one record of this call's numbers."""
    dataset = data.load_mnist()
    return evaluation.Results("04", dataset), dataset


def train(name, protocol="dynamic", steps=BEST_STEPS, seed=SEED, *, networks, iaf_hidden, **fit):
    """Train one VAE, score it, record its numbers; `fit` goes to `study.train_and_score`."""
    warmup_steps = fit["epochs"] * (60_000 // BATCH) // 7
    train_and_score(
        *mnist(), lambda: build(networks, steps, iaf_hidden, warmup_steps, seed), name=name,
        protocol=protocol, seed=seed, joined=True, batch_size=BATCH, ema_momentum=0.999,
        steps_per_execution=5, validation_freq=10, **fit,
    )  # fmt: skip


def steps(counts=(0, 1, 2, 4), seed=SEED):
    """The number of gated steps alone differs."""
    for count in counts:
        train(f"iaf_t{count}_seed{seed}", steps=count, seed=seed, **STUDY)


def gain():
    for seed in (SEED + 1, SEED + 2):
        steps((0, BEST_STEPS), seed)


def static():
    train("iaf_static", "static", **STUDY)


STUDIES = {name: partial(train, name, **settings) for name, settings in HEADLINES.items()}
STUDIES |= {"steps": steps, "gain": gain, "static": static}

if __name__ == "__main__":
    sys.exit(run(STUDIES, sys.argv[1:]))
