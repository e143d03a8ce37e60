"""Train and score the best MLP VAE of lesson 02: five minutes, all 10,000 test images."""

import sys
from functools import partial

import study

from helpers import data
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
    model, options = MODELS[name]
    dataset = data.load_mnist()
    study.train_and_score(
        "02",
        dataset,
        lambda: VAE(**model, seed=SEED),
        name=name,
        protocol="dynamic",
        seed=SEED,
        seconds=300,
        joined=True,
        steps_per_execution=10,
        validation_freq=10,
        **options,
    )


PARTS = {name: partial(train, name) for name in MODELS}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
