"""Train and score the best MLP VAE of notebook 02: five minutes, all 10,000 test images.

    VAE_PROFILE=full VAE_RECORD=1 python tests/benchmarks/mlp_study.py [NAME ...]

Resumable: the same command goes on after an interruption (`build/runs/`).
"""

import sys
from functools import partial

from study import run, train_and_score

from helpers import data, evaluation
from helpers.vae import VAE

SEED = 42
MODELS = {
    "mlp_best": (
        dict(latent_dim=40, hidden_dim=(512, 512), activation="gelu", kl="analytic"),
        dict(epochs=46, batch_size=320, learning_rate=3e-3),
    ),
}


def train(name: str) -> None:
    """Train on train + validation for five minutes, save the model, score it."""
    model, fit = MODELS[name]
    dataset = data.load_mnist()
    train_and_score(
        evaluation.Results("02", dataset), dataset, lambda: VAE(**model, seed=SEED), name=name,
        protocol="dynamic", seed=SEED, seconds=300, joined=True, steps_per_execution=10,
        validation_freq=10, **fit,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(run({name: partial(train, name) for name in MODELS}, sys.argv[1:]))
