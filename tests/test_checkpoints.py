"""Every committed model: on record by its digest, small, and as good as its record says."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from helpers import data, evaluation
from helpers.course import records, settings

FOLDER = settings.data_file("checkpoints")
FILES = sorted(path.name for path in FOLDER.glob("*.keras"))
RECORDS = {
    entry["checkpoint"]: (key, entry)
    for key, entry in json.loads(settings.data_file("results.json").read_text("utf-8")).items()
    if "checkpoint" in entry
}
# What the code that trained them gave for `some_images`: the mean absolute z_mean and z_log_var,
# and the mean pixel of the reconstructions.
AS_TRAINED = {
    "conv_k10.keras": (1.450415, 4.229712, 0.3059791),
    "conv_k2.keras": (0.4833106, 7.538144, 0.1734992),
    "iaf_15.keras": (1.828815, 1.131974, 0.2182604),
    "iaf_60.keras": (1.28549, 1.721404, 0.1651874),
    "mlp_best.keras": (0.5817947, 1.819714, 0.2653113),
}


def some_images():
    return np.random.default_rng(0).integers(0, 2, (8, 28, 28, 1)).astype("float32")


def load(name):
    return records.load_recorded_model(name.removesuffix(".keras"))


def test_files_and_records_name_each_other():
    assert FILES and FILES == sorted(RECORDS)


@pytest.mark.parametrize("name", FILES)
def test_file_is_small_and_the_recorded_one(name):
    content = (FOLDER / name).read_bytes()
    assert len(content) <= 10e6
    assert hashlib.sha256(content).hexdigest() == RECORDS[name][1]["sha256"]


@pytest.mark.parametrize("name", FILES)
def test_file_loads_without_an_optimizer(name):
    model = load(name)
    model.check_weights()
    assert getattr(model, "optimizer", None) is None


@pytest.mark.parametrize("name", sorted(AS_TRAINED))
def test_a_file_of_the_first_edition_gives_what_it_gave(name):
    model, x = load(name), some_images()
    z_mean, z_log_var, _ = model.encode(x)
    found = np.abs(z_mean).mean(), np.abs(z_log_var).mean(), np.mean(model.reconstruct(x))
    np.testing.assert_allclose(found, AS_TRAINED[name], rtol=1e-4)


@pytest.mark.real_data
@pytest.mark.skipif(
    not Path(os.environ.get("VAE_DATA_DIR") or "-", "mnist.npz").exists(),
    reason="needs the real MNIST: VAE_DATA_DIR names no folder with mnist.npz",
)
@pytest.mark.parametrize("name", FILES)
def test_model_scores_as_recorded_on_real_images(name, monkeypatch):
    """The draws need not be those of the record: both carry their Monte Carlo error."""
    monkeypatch.setenv("VAE_DATA", "real")
    key, entry = RECORDS[name]
    images = data.load_mnist().test.images[: entry["test_images"]]
    x = data.prepare(images, key.split("/")[2], seed=data.TEST_SEED)
    score = evaluation.log_likelihood(load(name), x, entry["samples"], seed=entry["score_seed"])
    assert score.monte_carlo_error < 0.1
    assert abs(score.mean - entry["value"]) < 4 * np.sqrt(2) * score.monte_carlo_error + 1e-3
