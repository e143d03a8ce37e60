"""Train and score the MLP VAEs of notebook 02: five minutes each, all 10,000 test images.

    VAE_PROFILE=full VAE_RECORD=1 python tests/benchmarks/mlp_study.py [NAME ...]

Resumable: the same command goes on after an interruption (`build/runs/`).
"""

import sys

from study import train_and_score

from helpers import data, evaluation
from helpers.vae import VAE

SEED = 42
MODELS = {
    # Burda et al. 2015, section 5: 784-200-200-50, tanh.
    "mlp_burda_k50": (
        dict(latent_dim=50, hidden_dim=(200, 200), activation="tanh"),
        dict(epochs=100, batch_size=128, learning_rate=1e-3),
    ),
    "mlp_best_k40": (
        dict(latent_dim=40, hidden_dim=(512, 512), activation="gelu"),
        dict(epochs=60, batch_size=256, learning_rate=2e-3, ema_momentum=0.999),
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
