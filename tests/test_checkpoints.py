"""Every committed model: on record by its digest, small, and as good as its record says."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import helpers.vae  # noqa: F401  registers the classes that a file names
from helpers import data, evaluation

FOLDER = evaluation.ROOT / "data" / "checkpoints"
FILES = sorted(path.name for path in FOLDER.glob("*.keras"))
RECORDS = {
    entry["checkpoint"]: (key, entry)
    for key, entry in evaluation.read_results(evaluation.ROOT / "data" / "results.json").items()
    if "checkpoint" in entry
}


def test_files_and_records_name_each_other():
    assert FILES == sorted(RECORDS)


@pytest.mark.parametrize("name", FILES)
def test_file_is_small_and_the_recorded_one(name):
    content = (FOLDER / name).read_bytes()
    assert len(content) <= 10e6
    assert hashlib.sha256(content).hexdigest() == RECORDS[name][1]["sha256"]


@pytest.mark.parametrize("name", FILES)
def test_file_loads_without_an_optimizer(name):
    model = evaluation.load_recorded(name.removesuffix(".keras"))
    model.check_weights()
    assert getattr(model, "optimizer", None) is None


def test_a_file_that_is_not_on_record_is_not_opened(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "data" / "checkpoints"
    folder.mkdir(parents=True)
    shutil.copy(FOLDER.parent / "results.json", tmp_path / "data")
    monkeypatch.setattr(evaluation, "ROOT", tmp_path)
    assert evaluation.load_recorded("mlp_best") is None
    assert capsys.readouterr().out == "no file mlp_best.keras: this part is skipped\n"
    path = shutil.copy(FOLDER / "mlp_best.keras", folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"other bytes, the same weights"
    keras.saving.load_model(path)
    with pytest.raises(ValueError, match=r"mlp_best.keras is not the recorded .*[0-9a-f]{64}"):
        evaluation.load_recorded("mlp_best")


@pytest.mark.real_data
@pytest.mark.skipif(
    not Path(os.environ.get("VAE_DATA_DIR") or "-", "mnist.npz").exists(),
    reason="needs the real MNIST: VAE_DATA_DIR names no folder with mnist.npz",
)
@pytest.mark.parametrize("name", FILES)
def test_model_scores_as_recorded_on_200_real_images(name, monkeypatch):
    monkeypatch.setenv("VAE_DATA", "real")
    key, entry = RECORDS[name]
    protocol = key.split("/")[2]
    images = data.load_mnist().test.images[: entry["test_images"]]
    x = np.asarray(data.prepare(images, protocol, seed=data.TEST_SEED))
    model = keras.saving.load_model(FOLDER / name)
    score = evaluation.log_likelihood(model, x, entry["samples"], seed=entry["score_seed"])
    assert abs(score.mean - entry["value"]) < 0.1, (score.mean, entry["value"])
