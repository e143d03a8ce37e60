"""Cost of importance sampling, as a ratio to as many bare decoder passes, in one run.

Two nets: that of Burda et al. (two layers of 200), whose decoder is so small that drawing the noise
and scoring 784 pixels weigh beside it, and the better one of lesson 02 (two layers of 512).
"""

import sys
import time

import study

from helpers import evaluation  # isort: skip  (first: imports TensorFlow quietly)

import numpy as np
import tensorflow as tf

from helpers.vae import VAE

ROWS, IMAGES, SAMPLES, ROUNDS = 2048, 512, 512, 5
NETWORKS = {"mlp_200_200_k50": (200, 50), "mlp_512_512_k40": (512, 40)}  # width, latents


def cost_ratios(vae, x, rounds: int) -> list[float]:
    """Return the seconds of the score over those of as many bare passes, for each round."""
    samples, rows = study.size(SAMPLES, 8), study.size(ROWS, 16)
    z = tf.random.stateless_normal((rows, vae.latent_dim), (0, 0))
    decode = tf.function(vae.decode)
    np.asarray(decode(z))
    found = []
    for seed in range(rounds):
        start = time.perf_counter()
        for _ in range(len(x) * samples // rows):
            logits = decode(z)
        np.asarray(logits)
        bare = time.perf_counter() - start
        found.append(evaluation.log_likelihood(vae, x, samples, seed=seed).seconds / bare)
    return found


def measure() -> None:
    """Record the ratio for each network."""
    results = study.results("02")
    images = study.size(IMAGES, 8)
    x = np.random.default_rng(0).integers(0, 2, (images, 28, 28, 1)).astype(np.float32)
    for name, (width, latent_dim) in NETWORKS.items():
        vae = VAE(latent_dim, hidden_dim=(width, width))
        found = cost_ratios(vae, x, study.size(ROUNDS, 1))
        ratio = float(np.median(found))
        print(f"{name}: {ratio:.2f} times the bare passes (median of {len(found)})")
        rounds = [round(value, 3) for value in found]
        key = f"random/binary/{name}/log_px_cost_ratio"
        results.record(key, ratio, seed=0, timing=True, rounds=rounds)


PARTS = {"measure": measure}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
