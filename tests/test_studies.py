"""The studies run: two steps of each training, in a temporary folder, on the embedded sample."""

import importlib
import json
import math
import sys

import keras
import numpy as np
import pytest

import course
from helpers import training
from helpers.course import records
from tiny_model import IMAGES, STEPS, Tiny

FOLDER = course.ROOT / "tools" / "studies"
sys.path.insert(0, str(FOLDER))
import study  # noqa: E402

MUON = ["trial_muon_seed44"] if hasattr(keras.optimizers, "Muon") else []  # not in Keras 3.8
PARTS = {  # what is called of each study, and numbers that it must record
    "application_study": (["left_out"], ["without_3/auroc_log_p", "without_each/mean_auroc_ratio"]),
    "clinic_study": (
        ["quiet_noise", "unmasked"],
        ["clinic_quiet_noise/log_px_200", "clinic_quiet_noise/own_elbo", "clinic_unmasked/log_px"],
    ),
    "conv_study": (
        ["conv_k2", "filters", "cifar10"],
        ["conv_k2/log_px", "conv_filters_x1/elbo", "conv_cifar10/elbo_bits_per_dim"],
    ),
    "determinism": (None, []),
    "flow_study": (
        ["flow_seed43", "speed"],
        ["gain_flow_seed43/log_px", "gain_flow_seed43/active_units", "gain_control/step_ratio"],
    ),
    "latent_study": (
        ["pixels", "pca", "along"],
        ["pixels/probe", "pca/tsne_trustworthiness", "along_1/elbo"],
    ),
    "log_likelihood_cost": ([], ["mlp_512_512_k40/log_px_cost_ratio"]),
    "memory_growth": ([], ["log_likelihood_10x_samples/seconds_ratio", "tsne_12/extra_memory"]),
    "mlp_study": ([], ["mlp_best/log_px", "mlp_best/log_px_200", "mlp_best/training_seconds"]),
    "onednn_speed": ([], ["mlp/onednn_speed_ratio"]),
    "prior_study": (
        ["speed", "prior_5", "tail_dreg_seed42", "snr_seed42", "trial_landing_seed43", *MUON],
        [
            "prior_5/log_px",
            "prior_5/log_px_200",
            "tail_dreg_seed42/active_units",
            "snr_iwae_k2_seed42/encoder_ratio",
            "trial_landing_seed43/validation_log_px",
            "tail_dreg/step_ratio",
            *(f"{part}/validation_log_px" for part in MUON),
        ],
    ),
    "scaling_study": (
        [
            "batch_256_seed43",
            "noise_seed43",
            "calm_seed42",
            "bfloat16_seed44",
            "bfloat16_speed",
            "cost",
        ],
        [
            "batch_256_root_seed43/validation_loss",
            "noise_epoch1_seed43/noise_scale",
            "calm_epoch2_seed42/noise_scale",
            "bfloat16_seed44/elbo_difference",
            "bfloat16_speed/step_ratio",
            "cost/left_out_error",
        ],
    ),
    "time_to_elbo": ([], ["time_to_elbo_conv/times_faster", "time_to_elbo_mlp/seconds"]),
    "tuning_thread": ([], ["mlp_200/tuning_thread_seconds_ratio_2_steps"]),
}
OTHERS = {"study", "jax_vae", "reader", "worker"}  # run by test_jax_vae, test_shards, test_workers
NAMES = sorted({path.stem for path in FOLDER.glob("*.py")} - OTHERS)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """The folder that a study writes to, in the quick profile, all in this process."""
    for name, value in {"PROFILE": "quick", "DATA": "embedded", "RECORD": ""}.items():
        monkeypatch.setenv(f"VAE_{name}", value)
    monkeypatch.setenv("VAE_BUILD", str(tmp_path))
    monkeypatch.setattr(study, "alone", lambda function, *sizes, **environment: function(*sizes))
    return tmp_path


@pytest.fixture
def steps(monkeypatch):
    """How many steps each training took."""
    found, fit = [], training.fit

    def counted(model, *args, **kwargs):
        history = fit(model, *args, **kwargs)
        found.append(int(model.optimizer.iterations))
        return history

    monkeypatch.setattr(training, "fit", counted)
    return found


def stored():
    """The files that studies may write in the checkout, with their times."""
    return {path: path.stat().st_mtime_ns for path in (course.ROOT / "data").rglob("*")}


def recorded(build):
    """The numbers of a study, by model and metric."""
    entries = {}
    for path in (build / "results").rglob("*.json"):
        entries |= json.loads(path.read_text())
    return {"/".join(key.split("/")[3:]): entry for key, entry in entries.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_study_runs(build, steps, name):
    parts, wanted = PARTS[name]
    if parts is None:
        pytest.skip("runs whole lessons; tested by its parts below")
    before = stored()
    module = importlib.import_module(name)
    assert study.call(module.PARTS, parts, module.__doc__) == 0
    assert stored() == before
    assert steps == [2] * len(steps) and (steps or not name.endswith("_study") or "latent" in name)
    found = recorded(build)
    assert set(wanted) <= found.keys()
    assert all(math.isfinite(entry["value"]) for entry in found.values())
    for key, entry in found.items():
        if key.endswith("/log_px"):
            assert entry["epochs"] == 1 and entry["samples"] and entry["weights"]
    for path in (build / "checkpoints").glob("*"):
        assert found[f"{path.stem}/log_px_200"]["checkpoint"] == path.name
        assert keras.saving.load_model(path).count_params() > 0


def test_a_study_is_told_what_it_does_not_know(build, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        study.call({"one": print, "two": print}, ["three"], "")
    assert "no part three; there are one, two" in capsys.readouterr().err
    monkeypatch.setenv("VAE_RECORD", "1")
    with pytest.raises(SystemExit):
        study.call({"one": print}, [], "")
    assert "the quick profile measures nothing" in capsys.readouterr().err


@pytest.fixture
def repeating(monkeypatch):
    """A call with --recorded-epochs, of these recorded numbers."""
    entries = {"02/a/b/c/log_px": {"epochs": 2}, "03/a/b/c/elbo": {"images_seen": 40}}
    monkeypatch.setattr(records, "read_results", lambda: entries)
    monkeypatch.setattr(study, "_options", study.argparse.Namespace())
    study.call({"nothing": lambda: None}, ["--recorded-epochs"], "")


def test_a_study_that_is_repeated_stops_by_its_recorded_epochs(repeating):
    model = Tiny()
    settings = dict(epochs=4, batch_size=8, protocol="dynamic", seed=7, verbose=0)
    history = study.fit(model, IMAGES, key="02/a/b/c/log_px", seconds=1e-9, **settings)
    assert len(history.epochs) == 2  # and not 1, by the seconds
    rate = model.optimizer._learning_rate
    assert float(rate(2 * STEPS)) > 1e-4  # the cosine still spans four epochs
    assert len(study.fit(Tiny(), IMAGES, key="", seconds=1e-9, **settings).epochs) == 1


def test_equal_seconds_are_repeated_by_the_recorded_images(repeating, monkeypatch):
    conv_study = importlib.import_module("conv_study")
    monkeypatch.setattr(conv_study.study, "fit", lambda vae, images, **settings: len(images))
    split = conv_study.data.Split(np.tile(IMAGES, (5, 1, 1, 1)), np.zeros(100, np.uint8))

    class Images:
        train, image_shape = split, (4, 4, 1)

    model = dict(latent_dim=2, hidden_dim=4)
    _, fitted, seen = conv_study.equal_seconds(Images, model, "threshold", "03/a/b/c/elbo")
    assert (fitted, seen) == (40, 40)


def test_a_function_in_a_process_of_its_own(tmp_path, monkeypatch):
    source = "import os\ndef told(text): return [text, os.environ['TOLD'], os.getpid()]\n"
    (tmp_path / "a_study.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    *found, process = study.alone(importlib.import_module("a_study").told, "é", TOLD="yes")
    assert found == ["é", "yes"] and process != study.os.getpid()


def test_a_system_that_tells_no_memory_records_none(build, monkeypatch):
    monkeypatch.setattr(study, "resource", None)
    assert study.peak_mib() is None
    memory_growth = importlib.import_module("memory_growth")
    with pytest.raises(SystemExit, match="does not tell"):
        memory_growth.tsne_grows()


@pytest.mark.parametrize(("second", "code"), [(1.0, 0), (1.0000001, 1)])
def test_determinism_compares_to_the_last_digit(build, monkeypatch, second, code, capsys):
    determinism = importlib.import_module("determinism")
    values = [1.0, second]

    def run(nb, folder, environment):
        kept = course.Path(environment["VAE_BUILD"]) / "lessons" / "quick" / "01.json"
        kept.parent.mkdir(parents=True)
        kept.write_text(json.dumps({"numbers": {"a/b/c/d": {"value": values.pop(0)}}}))
        return course.Run(0.0, 0, "")

    monkeypatch.setattr(course, "run", run)
    if code:
        with pytest.raises(SystemExit, match=r"a/b/c/d: 1.0 and 1.0000001"):
            study.call(determinism.PARTS, ["01"], "")
    else:
        assert study.call(determinism.PARTS, ["01"], "") == 0
    assert f"1 numbers, {code} differ" in capsys.readouterr().out
