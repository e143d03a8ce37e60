"""Cost of importance sampling, as a ratio to as many bare decoder passes, in one run.

    VAE_RECORD=1 python tests/benchmarks/log_likelihood_cost.py

Two nets: that of Burda et al. (two layers of 200), whose decoder is so small that drawing the noise
and scoring 784 pixels weigh beside it, and the better one of notebook 02 (two layers of 512).
"""

import sys
import time

import numpy as np
import tensorflow as tf

from helpers import evaluation
from helpers.vae import VAE

ROWS, IMAGES, SAMPLES, ROUNDS = 2048, 512, 512, 5


def main() -> int:
    results = evaluation.Results("02")
    x = np.random.default_rng(0).integers(0, 2, (IMAGES, 28, 28, 1)).astype(np.float32)
    for name, width, latent in (("mlp_200_200_k50", 200, 50), ("mlp_512_512_k40", 512, 40)):
        vae = VAE(latent, hidden_dim=(width, width))
        z = tf.random.stateless_normal((ROWS, latent), (0, 0))
        decode = tf.function(lambda z, vae=vae: vae.decode(z)[0])
        np.asarray(decode(z))
        ratios = []
        for seed in range(ROUNDS):
            start = time.perf_counter()
            for _ in range(IMAGES * SAMPLES // ROWS):
                logits = decode(z)
            np.asarray(logits)
            bare = time.perf_counter() - start
            ratios.append(evaluation.log_likelihood(vae, x, SAMPLES, seed=seed).seconds / bare)
        ratio = float(np.median(ratios))
        print(f"{name}: {ratio:.2f} times the bare passes (median of {ROUNDS})")
        results.record(f"random/binary/{name}/log_px_cost_ratio", ratio, seed=0, timing=True,
                       rounds=[round(r, 3) for r in ratios])  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
