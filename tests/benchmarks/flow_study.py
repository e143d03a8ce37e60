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

from study import train_and_score

from helpers import data, evaluation
from helpers.networks import ResidualDecoder
from helpers.vae import VAE

SEED = 42
BEST_STEPS = 2
BATCH, LEARNING_RATE = 256, 3e-3
# Filters of the decoder, epochs, seconds (which leave room to finish the epoch under way).
HEADLINES = {"iaf_15": ((32, 32, 32), 48, 880), "iaf_60": ((64, 64, 64), 85, 3570)}
STUDY = dict(filters=(32, 32, 32), epochs=18)


def build(steps, filters, warmup_steps, seed):
    """Dense encoder, residual decoder on 7 x 7 places, and `steps` gated steps between."""
    decoder = ResidualDecoder((512, *filters), (28, 28, 1), activation="silu")
    return VAE(
        40, encoder="gaussian_mlp", decoder=decoder, hidden_dim=(512, 512), activation="silu",
        iaf_steps=steps, iaf_hidden=(512,), beta_warmup=warmup_steps, seed=seed,
    )  # fmt: skip


def train(name, protocol="dynamic", steps=BEST_STEPS, seed=SEED, **settings):
    """Run one training of `epochs` with `filters`; return its score."""
    dataset = data.load_mnist()
    filters, epochs = settings.pop("filters"), settings["epochs"]
    warmup_steps = epochs * (60_000 // BATCH) // 7
    return train_and_score(
        evaluation.Results("04", dataset), dataset,
        lambda: build(steps, filters, warmup_steps, seed), name=name, protocol=protocol, seed=seed,
        joined=True, batch_size=BATCH, learning_rate=LEARNING_RATE, ema_momentum=0.999,
        steps_per_execution=5, validation_freq=10, **settings,
    )  # fmt: skip


def headline(name):
    filters, epochs, seconds = HEADLINES[name]
    train(name, filters=filters, epochs=epochs, seconds=seconds)


def steps(counts=(0, 1, 2, 4), seed=SEED):
    """The number of gated steps alone differs; 1,000 test images are scored."""
    for count in counts:
        name = f"iaf_t{count}_seed{seed}"
        train(name, steps=count, seed=seed, keep=False, test_images=1_000, **STUDY)


def gain():
    for seed in (SEED + 1, SEED + 2):
        steps((0, BEST_STEPS), seed)


def static():
    train("iaf_static", "static", keep=False, **STUDY)


STUDIES = {"steps": steps, "gain": gain, "static": static}


def main(names: list[str]) -> int:
    known = [*HEADLINES, *STUDIES]
    unknown = sorted(set(names) - set(known))
    if unknown:
        sys.exit(f"error: no study {', '.join(unknown)}; choose from {', '.join(known)}")
    for name in names or known:
        STUDIES[name]() if name in STUDIES else headline(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
