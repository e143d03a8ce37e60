"""Seconds and peak memory of importance-weighted evaluation and of t-SNE, as their input grows.

    VAE_RECORD=1 python tests/benchmarks/memory_growth.py

Each case is a process of its own, since a peak never falls again (`resource.getrusage`). The peak
of a process that does next to nothing is taken off where t-SNE's growth is stated.
Ten times the images, or samples, should take ten times as long and no more memory: `log_likelihood`
streams. t-SNE (scikit-learn, Barnes-Hut) keeps the neighbours of every point.
"""

import json
import resource
import subprocess
import sys
import time

from helpers import evaluation  # isort: skip  (first: imports TensorFlow quietly)

import numpy as np
from sklearn.manifold import TSNE

from helpers.vae import VAE

LATENT_DIM, HIDDEN = 40, (512, 512)
LIKELIHOOD = {  # name: images, samples
    "1x": (500, 500), "10x_images": (5_000, 500), "10x_samples": (500, 5_000),
}  # fmt: skip
POINTS = (1_250, 2_500, 5_000, 10_000)
ITERATIONS = 500  # of t-SNE


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def likelihood(images: int, samples: int) -> dict:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (images, 28, 28, 1), dtype=np.uint8).astype(np.float32)
    score = evaluation.log_likelihood(VAE(LATENT_DIM, hidden_dim=HIDDEN, seed=0), x, samples)
    return {"seconds": score.seconds, "peak_mib": peak_mib()}


def tsne(points: int) -> dict:
    """Ten Gaussian clusters in 40 dimensions."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 3, (10, LATENT_DIM))
    z = (centres[rng.integers(0, 10, points)] + rng.normal(size=(points, LATENT_DIM))).astype("f4")
    start = time.perf_counter()
    perplexity = min(30.0, points / 4)
    TSNE(init="pca", random_state=0, max_iter=ITERATIONS, perplexity=perplexity).fit_transform(z)
    return {"seconds": time.perf_counter() - start, "peak_mib": peak_mib()}


def measure(kind: str, *sizes: int) -> dict:
    command = [sys.executable, __file__, kind, *map(str, sizes)]
    return json.loads(subprocess.check_output(command, text=True))


def main(arguments: list[str]) -> int:
    if arguments:  # one case, in the process that the other call started
        kind, *sizes = arguments
        case = {"likelihood": likelihood, "tsne": tsne}[kind]
        print(json.dumps(case(*map(int, sizes))))
        return 0
    results = evaluation.Results("07")
    cases = {name: measure("likelihood", *sizes) for name, sizes in LIKELIHOOD.items()}
    base = cases["1x"]
    for name in ("10x_images", "10x_samples"):
        case = cases[name]
        ratios = {k: case[k] / base[k] for k in ("seconds", "peak_mib")}
        extra = case["peak_mib"] - base["peak_mib"]
        print(f"log_likelihood, {name}: {ratios['seconds']:.1f} times the seconds, "
              f"{ratios['peak_mib']:.2f} times the peak ({extra:+.0f} MiB)")  # fmt: skip
        key = f"random/binary/log_likelihood_{name}"
        results.record(f"{key}/seconds_ratio", ratios["seconds"], seed=0, timing=True)
        results.record(f"{key}/peak_memory_ratio", ratios["peak_mib"], seed=0, timing=True,
                       peak_mib=round(case["peak_mib"]), extra_mib=round(extra))  # fmt: skip
    start = measure("tsne", 8)["peak_mib"]
    for points in POINTS:
        case = measure("tsne", points)
        extra = case["peak_mib"] - start
        print(f"t-SNE of {points:,} points: {case['seconds']:.1f} s, {extra:.0f} MiB more, "
              f"{1024 * extra / points:.1f} KiB a point")  # fmt: skip
        key = f"random/none/tsne_{points}"
        results.record(f"{key}/seconds", case["seconds"], seed=0, timing=True, unit="s")
        results.record(f"{key}/extra_memory", extra, seed=0, timing=True, unit="MiB",
                       iterations=ITERATIONS, peak_mib=round(case["peak_mib"]))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
