"""Score the recorded models' latent spaces for notebook 05, on all 10,000 test images.

    VAE_PROFILE=full VAE_RECORD=1 python tests/benchmarks/latent_study.py [NAME ...]

train_k10             conv_k10: the network of conv_k40 with ten latents, at most 5 minutes
pixels, pca           grey values, and 40 principal components of them
conv_k2 … iaf_60      codes: posterior means of grey images, where the model is at hand
…_posterior           the same with the posterior's log-variances beside the means

Training resumes (`build/runs/`). Each row is recorded as soon as it is done: an interrupted study
goes on with the names that are missing.

k-NN (k = 10) and the linear probe are fitted to the 55,000 training images. What was to choose was
chosen on the validation images: grey values rather than coin tosses as input, log-variances beside
the means, standardised columns for the probe except for pixels. (The models themselves were trained
on train + validation, without labels.) t-SNE sees the test images alone.
"""

import sys
import time
from functools import cache, partial

import conv_study
import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from sklearn.metrics import silhouette_score
from study import CHECKPOINTS, run

from helpers import data, evaluation

SEED = 42
MODELS = ("conv_k2", "conv_k10", "conv_k40", "iaf_15", "iaf_60")
HEADLINES = {  # what goes to the README's table
    "conv_k40": ("knn",), "conv_k40_posterior": ("probe", "tsne_knn"),
    "iaf_60_posterior": ("knn", "probe", "tsne_knn"),
}  # fmt: skip
TRUSTED = 5_000  # images whose trustworthiness is measured: it takes all pairs' ranks


@cache
def mnist():
    """The images and the one record of this call's numbers."""
    dataset = data.load_mnist()
    return evaluation.Results("05", dataset), dataset


def train_k10() -> None:
    model, decoder, fit = conv_study.HEADLINES["conv_k40"]
    recipe = model | {"latent_dim": 10}, decoder, fit | {"epochs": 14, "seconds": 280}
    conv_study.headline("conv_k10", recipe, "05")


def grey_rows(images):
    return data.rescale(images).reshape(len(images), -1)


def pca(*sets):
    model = PCA(40, random_state=SEED).fit(grey_rows(sets[0]))
    return [model.transform(grey_rows(images)) for images in sets]


def codes(name, *sets):
    """The points of a model, or None where it is not at hand."""
    model_name = name.removesuffix("_posterior")
    if not (CHECKPOINTS / f"{model_name}.keras").exists():
        return None
    vae, points = evaluation.load_recorded(model_name), []
    for images in sets:
        x = data.prepare(images, "grey")
        moments = evaluation.posterior_moments(vae, x, grey=True)
        points.append(np.concatenate(moments, axis=1) if name != model_name else moments[0])
    return points


def row(name: str) -> None:
    """Record one row of the table."""
    results, dataset = mnist()
    start, test = time.perf_counter(), dataset.test
    sets = dataset.train.images, test.images
    if name == "pixels":
        points = [grey_rows(images) for images in sets]
    else:
        points = pca(*sets) if name == "pca" else codes(name, *sets)
    if points is None:
        return print(f"{name}: no file, no row")
    fitted, points = points
    scores = evaluation.held_out_scores(
        fitted, dataset.train.labels, points, test.labels, standardise=name != "pixels"
    )
    scores["leave_one_out_knn"] = evaluation.leave_one_out_accuracy(points, test.labels)
    scores["silhouette"] = silhouette_score(points, test.labels)
    begun = time.perf_counter()
    picture = TSNE(2, init="pca", random_state=SEED).fit_transform(points)
    tsne_seconds = time.perf_counter() - begun
    scores["tsne_knn"] = evaluation.leave_one_out_accuracy(picture, test.labels)
    scores["tsne_silhouette"] = silhouette_score(picture, test.labels)
    few = slice(TRUSTED)
    scores["tsne_trustworthiness"] = trustworthiness(points[few], picture[few], n_neighbors=10)
    seconds = round(time.perf_counter() - start, 1)
    key = f"mnist/grey/{name}"
    for metric, value in scores.items():
        results.record(
            f"{key}/{metric}", value, seed=SEED, seconds=seconds, test_images=len(points),
            fitted_images=len(fitted), numbers=points.shape[1],
            headline=metric in HEADLINES.get(name, ()),
        )  # fmt: skip
    results.record(f"{key}/tsne_seconds", tsne_seconds, seed=SEED, timing=True)
    results.record(f"{key}/seconds", seconds, seed=SEED, timing=True)
    print(f"{name}: " + ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items()))


ROWS = ["pixels", "pca", *MODELS, *(f"{name}_posterior" for name in MODELS[1:])]
STUDIES = {"train_k10": train_k10} | {name: partial(row, name) for name in ROWS}

if __name__ == "__main__":
    sys.exit(run(STUDIES, sys.argv[1:]))
