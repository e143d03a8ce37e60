"""Seconds and peak memory of importance-weighted evaluation and of t-SNE, as their input grows.

Each case is a process of its own, since a peak never falls again. The peak of a process that does
next to nothing is taken off where t-SNE's growth is stated. Needs a system that tells the peak:
Linux or macOS.
Ten times the images, or samples, should take ten times as long and no more memory: `log_likelihood`
streams. t-SNE (scikit-learn, Barnes-Hut) keeps the neighbours of every point.
"""

import sys
import time

import study

from helpers import evaluation  # isort: skip  (first: imports TensorFlow quietly)

import numpy as np
from sklearn.manifold import TSNE

from helpers.vae import VAE

LATENT_DIM, HIDDEN = 40, (512, 512)
BASE = (500, 500)  # images, samples
POINTS = (1_250, 2_500, 5_000, 10_000)
ITERATIONS = 500  # of t-SNE


def likelihood(images: int, samples: int) -> dict:
    """Score random images."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (images, 28, 28, 1), dtype=np.uint8).astype(np.float32)
    score = evaluation.log_likelihood(VAE(LATENT_DIM, hidden_dim=HIDDEN, seed=0), x, samples)
    return {"seconds": score.seconds, "peak_mib": study.peak_mib()}


def tsne(points: int) -> dict:
    """Draw ten Gaussian clusters in 40 dimensions as a picture."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 3, (10, LATENT_DIM))
    z = (centres[rng.integers(0, 10, points)] + rng.normal(size=(points, LATENT_DIM))).astype("f4")
    start = time.perf_counter()
    perplexity, iterations = min(30.0, points / 4), study.size(ITERATIONS, 250)
    TSNE(init="pca", random_state=0, max_iter=iterations, perplexity=perplexity).fit_transform(z)
    return {"seconds": time.perf_counter() - start, "peak_mib": study.peak_mib()}


def results_here():
    """Begin a record; exit where the peak cannot be known."""
    if study.peak_mib() is None:
        sys.exit("error: this system does not tell how much memory a process has used")
    return study.results("09")


def likelihood_grows() -> None:
    """Record what ten times the images, or the samples, cost."""
    results = results_here()
    images, samples = study.size(BASE, (4, 4))
    base = study.alone(likelihood, images, samples)
    for name, sizes in (
        ("10x_images", (10 * images, samples)),
        ("10x_samples", (images, 10 * samples)),
    ):
        case = study.alone(likelihood, *sizes)
        seconds, peak = (case[k] / base[k] for k in ("seconds", "peak_mib"))
        extra = case["peak_mib"] - base["peak_mib"]
        print(f"log_likelihood, {name}: {seconds:.1f} times the seconds, ", end="")
        print(f"{peak:.2f} times the peak ({extra:+.0f} MiB)")
        key = f"random/binary/log_likelihood_{name}"
        results.record(f"{key}/seconds_ratio", seconds, seed=0, timing=True)
        facts = dict(peak_mib=round(case["peak_mib"]), extra_mib=round(extra))
        results.record(f"{key}/peak_memory_ratio", peak, seed=0, timing=True, **facts)


def tsne_grows() -> None:
    """Record what more and more points cost."""
    results = results_here()
    start = study.alone(tsne, 8)["peak_mib"]
    for points in study.size(POINTS, (12,)):
        case = study.alone(tsne, points)
        extra = case["peak_mib"] - start
        print(
            f"t-SNE of {points:,} points: {case['seconds']:.1f} s, {extra:.0f} MiB more, ", end=""
        )
        print(f"{1024 * extra / points:.1f} KiB a point")
        key = f"random/none/tsne_{points}"
        results.record(f"{key}/seconds", case["seconds"], seed=0, timing=True, unit="s")
        facts = dict(iterations=ITERATIONS, peak_mib=round(case["peak_mib"]))
        results.record(f"{key}/extra_memory", extra, seed=0, timing=True, unit="MiB", **facts)


PARTS = {"likelihood": likelihood_grows, "tsne": tsne_grows}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
