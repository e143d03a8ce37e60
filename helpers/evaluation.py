"""Importance-weighted likelihood, what the latents do, and the recording of results."""

import hashlib
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from filelock import FileLock
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers.data import check_whole

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")


def _provenance() -> dict:
    """Return what a recorded number needs to be repeated; never a path or the host's name."""
    script = os.path.relpath(sys.argv[0], ROOT)
    git = subprocess.getoutput(f"git -C {shlex.quote(str(ROOT))} rev-parse --short HEAD")
    cpu = Path("/proc/cpuinfo")
    models = re.findall("model name.*?: (.*)", cpu.read_text() if cpu.exists() else "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "profile": os.environ.get("VAE_PROFILE") or "class",
        "command": os.environ.get("VAE_COMMAND") or shlex.join(["python", script, *sys.argv[1:]]),
        "commit": git if git.isalnum() else "unknown",
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "machine": f"{models[0] if models else platform.machine()}, {cores} cores",
    }


def data_source(dataset) -> str:
    """Return "official", "embedded", "other", or "none" where a number depends on no data set."""
    if dataset is None or dataset.official:
        return "none" if dataset is None else "official"
    return "embedded" if "embedded" in f"{dataset.source} {dataset.label}" else "other"


def read_results(path: Path) -> dict:
    """Return the entries of a results file; none where there is no file."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path.name} is not a file of results: {error}") from error


def merge_results(path: Path, entries: dict, stale=lambda key, entry: False) -> None:
    """Add entries to a results file, sorted, one a line, under a lock; drop its stale ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        old = {key: entry for key, entry in read_results(path).items() if not stale(key, entry)}
        lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted((old | entries).items())]
        part = path.with_suffix(".part")
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        part.replace(path)


def load_recorded(name: str):
    """Load the model ``data/checkpoints/<name>.keras``, or return None where there is no such file.

    A model file can hold what its writer wished, so one whose SHA-256 is not among the recorded
    results is a ValueError. `helpers.vae` has to be imported.
    """
    path = ROOT / "data" / "checkpoints" / f"{name}.keras"
    if not path.exists():
        return print(f"no file {path.name}: this part is skipped")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    recorded = read_results(ROOT / "data" / "results.json").values()
    if digest not in {entry.get("sha256") for entry in recorded}:
        raise ValueError(f"{path.name} is not the recorded file: its digest is {digest}")
    return keras.saving.load_model(path)


class Results:
    """The numbers of one notebook ("01") or study, by name, with what is needed to repeat them.

    They go to ``data/results.json`` under ``VAE_RECORD=1``, else to
    ``build/results/<profile>/<notebook>.json`` (``VAE_BUILD`` names another folder than build).
    """

    def __init__(self, notebook: str, dataset=None):
        self.notebook, self.dataset, self.entries = notebook, dataset, {}
        self.run, self.published = _provenance(), ROOT / "data" / "results.json"
        build = Path(os.environ.get("VAE_BUILD") or ROOT / "build")
        self.path = build / "results" / self.run["profile"] / f"{notebook}.json"

    def record(self, key: str, value: float, *, seed: int, seconds: float | None = None, **extra):
        """Record a finite number as "<dataset>/<protocol>/<model>/<metric>"; else ValueError.

        Known extras: ``dataset`` (an ImageDataset other than the notebook's), ``timing=True``
        (depends on the machine: no range), ``headline=True`` (in the README's table), ``unit``.
        """
        if len(str(key).split("/")) != 4 or not all(part.strip() for part in key.split("/")):
            raise ValueError(f"key {key!r} is not <dataset>/<protocol>/<model>/<metric>")
        if not math.isfinite(value):
            raise ValueError(f"{key} is {value}: only finite numbers are recorded")
        entry = {"value": float(f"{value:.7g}"), "seed": int(seed), "seconds": seconds}
        entry |= {"source": data_source(extra.pop("dataset", self.dataset))} | extra | self.run
        self.entries[f"{self.notebook}/{key}"] = entry
        if os.environ.get("VAE_RECORD") == "1":
            merge_results(self.published, self.entries)
        else:
            merge_results(self.path, self.entries, stale=lambda *_: True)

    def check(self) -> None:
        """Print one line: how many numbers lie in their range of ``tests/expected.toml``.

        Under ``VAE_STRICT=1`` raise AssertionError with a table where one does not, where a range
        has no number and, in the quick profile, where a number has no range.
        """
        ranges = tomllib.loads((ROOT / "tests" / "expected.toml").read_text(encoding="utf-8"))
        ranges = ranges.get(self.notebook, {}).get(self.run["profile"], {})
        found = {(e["source"], k.split("/", 1)[1]): e["value"] for k, e in self.entries.items()
                 if not e.get("timing")}
        sources = {data_source(self.dataset), *(source for source, _ in found)}
        wanted = {(s, key): r for s in sources for key, r in ranges.get(s, {}).items()}
        rows, published = [("metric", "value", "range", "recorded")], read_results(self.published)
        for name in sorted(found.keys() | wanted.keys()):
            value, span = found.get(name), wanted.get(name)
            if span is None and self.run["profile"] != "quick":
                continue  # only the quick profile has a range for every number
            if span is None or value is None or not span["low"] <= value <= span["high"]:
                known = published.get(f"{self.notebook}/{name[1]}", {}).get("value")
                known = known if known is not None else span and span["values"]
                span = span and f"{span['low']:g} to {span['high']:g}"
                rows.append((name[1], *(str(item) for item in (value, span, known))))
        if len(rows) > 1 and os.environ.get("VAE_STRICT") == "1":
            table = "\n".join("  ".join(f"{cell:<24}" for cell in row) for row in rows)
            raise AssertionError(f"outside the ranges\n{table}\n{self.run['versions']}")
        names = "".join(f"; outside: {row[0]}" for row in rows[1:])
        print(f"{len(found)} numbers recorded, {len(wanted)} of them have a published range{names}")


@dataclass(frozen=True)
class LogLikelihood:
    """Importance-weighted estimate of log p(x) for a set of images, in nats.

    `values` (images,) are the estimates, `elbos` (images,) the mean log-weights of the same draws;
    `monte_carlo_error` is the standard error of `mean` that the finite number of samples leaves
    (delta method).
    """

    values: np.ndarray
    elbos: np.ndarray
    seconds: float
    monte_carlo_error: float

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def elbo(self) -> float:
        return float(self.elbos.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `mean` over the images: what another test set would change."""
        n = len(self.values)
        return float(self.values.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0


def log_importance_weights(vae, x, num_samples: int, seed) -> tf.Tensor:
    """Return log p(x|z) + log p(z) - log q(z|x) for draws z ~ q(z|x).

    Burda et al. 2015, eq. 8. Built in notebook 02.

    Parameters
    ----------
    vae : helpers.vae.VAE
    x : tf.Tensor
        Shape (batch, height, width, channels).
    num_samples : int
        Draws for each image.
    seed : pair of int

    Returns
    -------
    tf.Tensor
        Shape (num_samples, batch), nats.
    """
    q = vae.posterior(x)
    z, log_qz_x = q.experimental_sample_and_log_prob(num_samples, seed=seed)
    log_px_z = vae.likelihood(z).log_prob(x)  # (samples, batch)
    return log_px_z + vae.prior().log_prob(z) - log_qz_x


def log_likelihood(vae, x, num_samples: int, *, seed: int = 0, max_rows=2048) -> LogLikelihood:
    """Estimate log p(x) of each image with S = `num_samples` >= 1 importance samples.

    ``log 1/S sum_s w_s`` (Burda et al. 2015, eq. 8), a lower bound in expectation that tightens
    with S. `x` has shape (images, height, width, channels); the same `seed` gives the same draws.
    The log-sum-exp is streamed over chunks of `max_rows` decoder rows, so that memory grows neither
    with S nor with the images.
    """
    check_whole(num_samples=(num_samples, 1), max_rows=(max_rows, 1), seed=(seed, 0))
    vae.check_images(x)
    vae.check_weights()
    x = np.asarray(x, np.float32)
    batch = min(len(x), 16, max_rows)
    chunk = min(num_samples, max(1, max_rows // batch))

    @tf.function
    def update(images, draws, draw_seed, top, total, squares, log_total):
        log_w = log_importance_weights(vae, images, draws, draw_seed)
        new_top = tf.maximum(top, tf.reduce_max(log_w, axis=0))
        w, shrink = tf.exp(log_w - new_top), tf.exp(top - new_top)
        total = total * shrink + tf.reduce_sum(w, axis=0)
        squares = squares * tf.square(shrink) + tf.reduce_sum(tf.square(w), axis=0)
        return new_top, total, squares, log_total + tf.reduce_sum(log_w, axis=0)

    values, elbos, variances, start = [], [], [], time.perf_counter()
    for first in range(0, len(x), batch):
        images = x[first : first + batch]
        images = tf.constant(np.resize(images, (batch, *images.shape[1:])))  # one shape, one trace
        state = tf.fill((batch,), -np.inf), *(tf.zeros(batch) for _ in range(3))
        for done in range(0, num_samples, chunk):
            # Tensors, not numbers: a Python number would trace the function anew for each value.
            draw_seed = tf.constant([seed, first * 100_003 + done])
            state = update(images, min(chunk, num_samples - done), draw_seed, *state)
        top, total, squares, log_total = (s.numpy()[: len(x) - first] for s in state)
        values.append(top + np.log(total / num_samples))
        elbos.append(log_total / num_samples)
        variances.append(np.maximum(squares / total**2 - 1 / num_samples, 0.0))
    error = float(np.sqrt(np.concatenate(variances).sum()) / len(x))
    seconds = time.perf_counter() - start
    return LogLikelihood(np.concatenate(values), np.concatenate(elbos), seconds, error)


def posterior_moments(vae, x, batch_size: int = 1000, *, grey: bool = False):
    """Return the posterior means and log-variances, each an array of shape (images, latent).

    With a flow: what it makes of the mean of its base, and the log-variances of the base. `grey`:
    `x` holds grey values in [0, 1], the means of coin tosses, where the model learnt from tosses.
    """
    if not grey:
        vae.check_images(x)
    check_whole(batch_size=(batch_size, 1))
    triples = [vae.encode(x[i : i + batch_size]) for i in range(0, len(x), batch_size)]
    parts = [(vae.carry(z_mean, context), z_log_var) for z_mean, z_log_var, context in triples]
    return tuple(np.concatenate([np.asarray(p[k]) for p in parts]) for k in (0, 1))


def kl_per_dimension(z_mean, z_log_var) -> np.ndarray:
    """Mean KL of each latent dimension to N(0, 1) over the images, nats, shape (latent,)."""
    z_mean, z_log_var = np.asarray(z_mean, np.float64), np.asarray(z_log_var, np.float64)
    return 0.5 * np.mean(z_mean**2 + np.exp(z_log_var) - z_log_var - 1.0, axis=0)


def active_units(z_mean, threshold: float = 0.01) -> int:
    """Count the columns of z_mean (images, latent) of Var > threshold (Burda et al. 2015, 5.3)."""
    if np.ndim(z_mean) != 2 or not np.size(z_mean) or not np.isfinite(z_mean).all():
        raise ValueError(f"z_mean={z_mean!r}: give finite numbers (images, latent)")
    return int((np.var(np.asarray(z_mean), axis=0) > threshold).sum())


def leave_one_out_accuracy(points, labels, k: int = 10) -> float:
    """Share of the points (n, d) whose class is that of most of their k nearest others.

    `labels` (n,): whole numbers from 0. Euclidean; the lowest of classes with equal votes wins.
    Built in notebook 05.
    """
    labels = np.asarray(labels, np.int64)
    if labels.shape != np.shape(points)[:1]:
        raise ValueError(f"labels {labels.shape} for points {np.shape(points)}: give (n,)")
    nearest = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)
    votes = np.apply_along_axis(np.bincount, 1, labels[nearest], minlength=labels.max() + 1)
    return float(np.mean(votes.argmax(axis=1) == labels))


def held_out_scores(train, train_labels, test, test_labels, k: int = 10, *, standardise=True):
    """Accuracies on `test` (m, d) of what was fitted to `train` (n, d), as {"knn": …, "probe": …}.

    The probe is linear (Alain & Bengio 2016), on columns of variance 1 if `standardise`; k-NN takes
    the points as they are. Built in notebook 05.
    """
    neighbours = KNeighborsClassifier(k).fit(train, train_labels)
    steps = [StandardScaler()] * standardise + [LogisticRegression(max_iter=1000)]
    probe = make_pipeline(*steps).fit(train, train_labels)
    return {"knn": float(neighbours.score(test, test_labels)),
            "probe": float(probe.score(test, test_labels))}


def bits_per_dim(log_p, num_dims: int, *, dequantised: bool) -> float:
    """Turn nats per image (a number, or an array to average) into bits per dimension.

    ``-log p / (D ln 2)`` with D = `num_dims` numbers per image (3,072 for CIFAR-10). A density of
    pixels dequantised to ``(x + u) / 256`` gets 8 added, a probability of 8-bit pixels does not.
    """
    check_whole(num_dims=(num_dims, 1))
    return 8.0 * dequantised - float(np.mean(log_p)) / (num_dims * np.log(2.0))


def local_log_prob(x, counted) -> np.ndarray:
    """log p of binary images (n, h, w, 1), nats, (n,), by a coder that knows strokes, no digits.

    p(pixel | ten pixels before it: two to the left, five in the row above, three two rows up) is
    what the images `counted` hold: the template of JBIG, a standard for scanned pages (ITU-T T.82).
    Over all images of one size p sums to 1. Built in notebook 06.
    """
    places = [(2, 2), (2, 1), (2, 0), *((1, c) for c in range(5)), (0, 1), (0, 2), (0, 3)]

    def codes(images):  # the pixel is the lowest bit, its neighbours are the others
        if not np.isin(images, (0, 1)).all() or np.ndim(images) != 4 or np.shape(images)[3] != 1:
            raise ValueError(f"images {np.shape(images)}: give pixels 0 and 1, (n, h, w, 1)")
        h, w = np.shape(images)[1:3]
        padded = np.pad(np.asarray(images, np.int16)[..., 0], ((0, 0), (2, 0), (2, 2)))
        return sum(padded[:, r : r + h, c : c + w] << bit for bit, (r, c) in enumerate(places))

    # Half a sighting of each case beforehand, so that nothing is impossible.
    seen = 0.5 + np.bincount(codes(counted).ravel(), minlength=2048).reshape(1024, 2)
    log_p = np.log(seen / seen.sum(axis=1, keepdims=True)).ravel()
    return log_p[codes(x)].sum(axis=(1, 2))
