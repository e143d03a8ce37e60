"""Score the recorded models' latent spaces for lesson 05, on all 10,000 test images.

train_k10             conv_k10: ten latents, a dense encoder and a decoder on 7 x 7 places, at most
                      5 minutes
pixels, pca           grey values, and 40 principal components of them
conv_k2 … iaf_60      codes: posterior means of grey images, where the model is at hand
…_posterior           the same with the posterior's log-variances beside the means
along                 the small VAE of the lesson, trained for 100 epochs with a constant rate: ELBO
                      and codes on validation images after 1, 3, 10, 30 and 100 epochs

Each row is recorded as soon as it is done: an interrupted study goes on with the names that are
missing.

k-NN (k = 10) and the linear probe are fitted to the 55,000 training images. What was to choose was
chosen on the validation images: grey values rather than coin tosses as input, log-variances beside
the means, standardised columns for the probe except for pixels. (The models themselves were trained
on train + validation, without labels.) t-SNE sees the test images alone.
"""

import sys
import time
from functools import partial

import study

from helpers import data, evaluation  # isort: skip  (first: imports TensorFlow quietly)

import conv_study
import flow_study
import keras
import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from sklearn.metrics import silhouette_score

from helpers.course import records
from helpers.vae import VAE

SEED = 42
ALONG = (1, 3, 10, 30, 100)  # epochs after which one model's codes are scored
MODELS = ("conv_k2", "conv_k10", "conv_k40", "iaf_15", "iaf_60")
# What goes to the README's table.
HEADLINES = {
    "conv_k40": ("knn",),
    "conv_k40_posterior": ("probe", "tsne_knn"),
    "iaf_60_posterior": ("knn", "probe", "tsne_knn"),
}
TRUSTED = 5_000  # images whose trustworthiness is measured: it takes all pairs' ranks


def few_of(split: data.Split, quick: int) -> tuple:
    """Images and labels of a split; in the quick profile so many of them."""
    some = slice(study.size(None, quick))
    return split.images[some], split.labels[some]


def networks_k10() -> dict:
    """The networks of iaf_15, with ten latents and no flow."""
    return flow_study.dense() | {"latent_dim": 10}


def train_k10() -> None:
    """Train a model of ten latents."""
    options = dict(protocol="dynamic", epochs=14, seconds=280, ema_momentum=0.999)
    conv_study.headline("conv_k10", networks_k10, options | {"num_samples": 1000}, "05")


def grey_rows(images):
    """Grey values, one row for each image."""
    return data.rescale(images).reshape(len(images), -1)


def points_of(name: str, *sets) -> list | None:
    """Return the points of a row for each set of images, or None where its model is missing."""
    if name == "pixels":
        return [grey_rows(images) for images in sets]
    if name == "pca":
        model = PCA(40, random_state=SEED).fit(grey_rows(sets[0]))
        return [model.transform(grey_rows(images)) for images in sets]
    model_name = name.removesuffix("_posterior")
    vae = records.load_recorded_model(model_name)
    if vae is None:
        return None
    points = []
    for images in sets:
        moments = evaluation.posterior_moments(vae, data.prepare(images, "grey"), grey=True)
        points.append(np.concatenate(moments, axis=1) if name != model_name else moments[0])
    return points


def tsne_scores(points, labels) -> dict[str, float]:
    """Scores of a picture of the points, and the seconds that it took."""
    start = time.perf_counter()
    picture = TSNE(2, init="pca", random_state=SEED).fit_transform(points)
    seconds = time.perf_counter() - start
    few = slice(TRUSTED)
    return {
        "tsne_knn": evaluation.leave_one_out_accuracy(picture, labels),
        "tsne_silhouette": silhouette_score(picture, labels),
        "tsne_trustworthiness": trustworthiness(points[few], picture[few], n_neighbors=10),
        "tsne_seconds": seconds,
    }


def row(name: str) -> None:
    """Record one row of the table."""
    dataset = data.load_mnist()
    images, train_labels = few_of(dataset.train, 60)
    test_images, labels = few_of(dataset.test, 60)
    start = time.perf_counter()
    sets = points_of(name, images, test_images)
    if sets is None:
        return
    fitted, points = sets
    scores = evaluation.held_out_scores(
        fitted, train_labels, points, labels, standardise=name != "pixels"
    )
    scores["leave_one_out_knn"] = evaluation.leave_one_out_accuracy(points, labels)
    scores["silhouette"] = silhouette_score(points, labels)
    scores |= tsne_scores(points, labels)
    seconds = {
        "tsne_seconds": scores.pop("tsne_seconds"),
        "seconds": round(time.perf_counter() - start, 1),
    }
    results, key = study.results("05", dataset), f"mnist/grey/{name}"
    for metric, value in scores.items():
        results.record(
            f"{key}/{metric}",
            value,
            seed=SEED,
            seconds=seconds["seconds"],
            test_images=len(points),
            fitted_images=len(fitted),
            numbers=points.shape[1],
            headline=metric in HEADLINES.get(name, ()),
        )
    for metric, value in seconds.items():
        results.record(f"{key}/{metric}", value, seed=SEED, timing=True)
    print(f"{name}: " + ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items()))


class ScoreCodes(keras.callbacks.Callback):
    """After some epochs, record the bound and the scores of the codes on validation images."""

    def __init__(self, dataset):
        super().__init__()
        self.results, self.fitted = study.results("05", dataset), few_of(dataset.train, 60)
        self.scored = few_of(dataset.validation, 60)
        self.x = data.prepare(self.scored[0], "dynamic", seed=data.TEST_SEED + 1)

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 not in ALONG:
            return
        sets = [data.prepare(images, "grey") for images, _ in (self.fitted, self.scored)]
        codes = [evaluation.posterior_moments(self.model, x, grey=True)[0] for x in sets]
        labels = self.fitted[1], self.scored[1]
        values = evaluation.held_out_scores(codes[0], labels[0], codes[1], labels[1])
        values["leave_one_out_knn"] = evaluation.leave_one_out_accuracy(codes[1], labels[1])
        values["elbo"] = float(np.mean(self.model.elbo(self.x, seed=(SEED, epoch))))
        name = f"mnist/dynamic/along_{epoch + 1}"
        for metric, value in values.items():
            facts = dict(epochs=epoch + 1, validation_images=len(self.x))
            self.results.record(f"{name}/{metric}", value, seed=SEED, **facts)
        print(f"{epoch + 1} epochs: {values}")


def along() -> None:
    """Record how codes of one run change, epoch by epoch."""
    dataset = data.load_mnist()
    keras.utils.set_random_seed(SEED)
    vae = VAE(20, hidden_dim=(200, 200), activation="silu", kl="analytic", seed=SEED)
    options = dict(protocol="dynamic", seed=SEED, learning_rate=1e-3, schedule="constant")
    study.fit(
        vae,
        dataset.train.images,
        epochs=ALONG[-1],
        batch_size=128,
        callbacks=[ScoreCodes(dataset)],
        verbose=0,
        **options,
    )


ROWS = ["pixels", "pca", *MODELS, *(f"{name}_posterior" for name in MODELS[1:])]
PARTS = {"train_k10": train_k10, "along": along} | {name: partial(row, name) for name in ROWS}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
