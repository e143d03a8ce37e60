"""Train and score the best MLP VAE of notebook 02: five minutes, all 10,000 test images.

    VAE_PROFILE=full VAE_RECORD=1 python tests/benchmarks/mlp_study.py [NAME ...]

Resumable: the same command goes on after an interruption (`build/runs/`).
"""

import sys

from study import train_and_score

from helpers import data, evaluation
from helpers.vae import VAE

SEED = 42
MODELS = {
    "mlp_best": (
        dict(latent_dim=40, hidden_dim=(512, 512), activation="gelu", kl="analytic"),
        dict(epochs=46, batch_size=320, learning_rate=3e-3),
    ),
}


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(MODELS))
    if unknown:
        sys.exit(f"error: no model {', '.join(unknown)}; choose from {', '.join(MODELS)}")
    dataset = data.load_mnist()
    results = evaluation.Results("02", dataset)
    for name in names or MODELS:
        model, fit = MODELS[name]
        train_and_score(
            results, dataset, lambda model=model: VAE(**model, seed=SEED), name=name,
            protocol="dynamic", seed=SEED, seconds=300, joined=True, steps_per_execution=10,
            validation_freq=10, **fit,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
