"""Recorded numbers and models: what stands beside them, and where they go."""

import json
import math
import re
import shutil
import subprocess
import sys
import types
import zipfile

import keras
import pytest

from helpers.course import records, settings
from helpers.course.records import Results

KEY = "digits/dynamic/mlp/elbo"
SAMPLE = types.SimpleNamespace(official=False, display_name="MNIST sample (6,500 of 70,000)")
OFFICIAL = types.SimpleNamespace(official=True, display_name="MNIST")


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A checkout of its own: nothing of ours is written."""
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    for name in ("VAE_RECORD", "VAE_BUILD", "VAE_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(house):
    (house / "data").mkdir()
    for name in ("code.py", "data/results.json"):
        (house / name).write_text("{}")
    git(house, "init", "-q")
    git(house, "add", ".")
    git(house, "commit", "-q", "-m", "all")
    return house


# --- Provenance ------------------------------------------------------------------------------


def test_a_number_says_what_repeats_it(repository, monkeypatch):
    script = str(repository / "tools" / "studies" / "study.py")
    monkeypatch.setattr(sys, "argv", [script, "gain", "/somewhere/else/images.npz"])
    said = records.provenance()
    assert said["command"] == "python tools/studies/study.py gain images.npz"
    assert said["versions"].keys() == {"python", *records.PACKAGES}
    assert re.search(r", \d+ cores?$", said["machine"])
    monkeypatch.setenv("VAE_COMMAND", "make execute NB=02")
    assert records.provenance()["command"] == "make execute NB=02"


def test_a_changed_tree_is_marked(repository):
    clean = records.provenance()["commit"]
    assert clean.isalnum() and len(clean) >= 7
    (repository / "data" / "results.json").write_text("[]")  # what a study itself writes
    assert records.provenance()["commit"] == clean
    (repository / "code.py").write_text("other")
    assert records.provenance()["commit"] == f"{clean}+"


@pytest.mark.parametrize(
    "argv",
    [
        ["{root}/.venv/lib/site-packages/ipykernel_launcher.py", "-f", "/root/share/kernel-1.json"],
        ["/usr/bin/pytest", "/root/tests"],
        [""],
    ],
)
def test_no_path_is_recorded_outside_a_script(house, monkeypatch, argv):
    """In a kernel the command would be that of the kernel, with its connection file."""
    monkeypatch.setattr(sys, "argv", [part.format(root=house) for part in argv])
    said = records.provenance()
    assert said["command"] == "interactive" and said["commit"] == "unknown"
    said["machine"] = ""  # may hold a slash of its own
    assert "/" not in json.dumps(said)


def test_numbers_can_be_read_and_written_without_loading_keras():
    """What is imported at the top is light; `import helpers` itself is not."""
    code = (
        "import sys, types; sys.modules['helpers'] = package = types.ModuleType('helpers');"
        f"package.__path__ = [{str(settings.ROOT / 'helpers')!r}];"
        "import helpers.course.records as r; r.read_results();"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- Where numbers go --------------------------------------------------------------------------


def test_a_run_keeps_its_numbers_under_build(house):
    study = Results("02", OFFICIAL)
    study.record(KEY, -100.123456789, seed=7, seconds=1.5, unit="nats")
    study.record("sample/dynamic/mlp/elbo", -90, seed=7, dataset=SAMPLE)
    study.record("none/exact/gaussian/kl", 1, seed=7, dataset=None)
    assert not (house / "data").exists()
    entries = json.loads((house / "build" / "results" / "02.json").read_text())
    entry = entries[f"02/{KEY}"]
    assert (entry["value"], entry["seed"], entry["seconds"]) == (-100.1235, 7, 1.5)
    assert entry["unit"] == "nats" and {"command", "commit", "versions", "machine"} <= entry.keys()
    sources = [entry["source"] for entry in entries.values()]
    assert sorted(sources) == ["MNIST sample (6,500 of 70,000)", "none", "official"]


def test_recording_merges_sorted_one_a_line(house, monkeypatch):
    monkeypatch.setenv("VAE_RECORD", "1")
    Results("02", OFFICIAL).record("b/p/m/elbo", 2, seed=1)
    Results("02", OFFICIAL).record("b/p/m/elbo", 3, seed=1)
    Results("01", OFFICIAL).record("a/p/m/elbo", 1, seed=1)
    lines = (house / "data" / "results.json").read_text().splitlines()
    assert lines[0] == "{" and lines[-1] == "}" and len(lines) == 4
    assert lines[1].startswith('"01/a') and lines[2].startswith('"02/b')
    assert records.read_results()["02/b/p/m/elbo"]["value"] == 3
    assert not (house / "build").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("elbo", 1, "is not <data>/"),
        ("a//c/d", 1, "is not <data>/"),
        (KEY, float("nan"), "only finite"),
        (KEY, float("inf"), "only finite"),
    ],
)
def test_what_is_no_number_of_a_study_is_refused(house, key, value, message):
    with pytest.raises(ValueError, match=message):
        Results("01").record(key, value, seed=1)


def test_a_folder_that_cannot_be_written_is_named_once(house, monkeypatch, capsys):
    (house / "file").write_text("")
    monkeypatch.setenv("VAE_BUILD", str(house / "file" / "build"))
    study = Results("01")
    for value in (1, 2):
        study.record(KEY, value, seed=1)
    assert capsys.readouterr().out.count("The numbers are not kept") == 1
    assert study.entries[f"01/{KEY}"]["value"] == 2


def test_a_file_of_something_else_is_named(house):
    (house / "results.json").write_text("[")
    with pytest.raises(ValueError, match=r"results\.json is not a file of results"):
        records.merge_results(house / "results.json", {})


# --- An installed package, without a checkout ----------------------------------------------------


@pytest.fixture
def installed(house, monkeypatch):
    monkeypatch.setattr(settings, "ROOT", None)
    monkeypatch.chdir(house)
    records._say_once.cache_clear()
    return house


def test_an_installed_package_says_that_nothing_is_recorded(installed, capsys):
    assert math.isnan(records.recorded_number("02/a/b/c/d"))
    assert math.isnan(records.recorded_number("02/a/b/c/d"))
    assert records.load_recorded_model("mlp_best") is None
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("installed package" in line for line in lines)


def test_an_installed_package_records_nothing_beside_itself(installed, monkeypatch):
    Results("01").record(KEY, 1, seed=1)
    assert [path.name for path in installed.rglob("*.json")] == ["01.json"]
    monkeypatch.setenv("VAE_RECORD", "1")
    with pytest.raises(ValueError, match="VAE_RECORD"):
        Results("01")


# --- What lessons show ---------------------------------------------------------------------------


def test_a_recorded_number_and_the_facts_beside_it(house):
    entry = {"value": -85.5, "seconds": 300.0}
    records.write_results(house / "data" / "results.json", {f"02/{KEY}": entry})
    assert records.recorded_number(f"02/{KEY}") == -85.5
    assert records.recorded_number(f"02/{KEY}", "seconds") == 300.0
    with pytest.raises(KeyError, match="02/other is not recorded"):
        records.recorded_number("02/other")
    with pytest.raises(KeyError, match=r"'epochs' is not recorded of .* value, seconds"):
        records.recorded_number(f"02/{KEY}", "epochs")


def test_a_recorded_model_says_how_it_was_trained(capsys, monkeypatch):
    monkeypatch.setattr(keras.saving, "load_model", lambda path, **_: path.name)  # to be quick
    assert records.load_recorded_model("mlp_best") == "mlp_best.keras"
    said = capsys.readouterr().out
    assert said.startswith("Recorded model mlp_best: 40 epochs of 60,000 images, 5 minutes on ")
    assert said.endswith(", 1,391,456 weights.\n") and said.count("\n") == 1


def test_a_file_that_is_not_on_record_is_not_opened(house, capsys, request):
    real = request.config.rootpath / "data"
    (house / "data" / "checkpoints").mkdir(parents=True)
    shutil.copy(real / "results.json", house / "data")
    assert records.load_recorded_model("mlp_best") is None
    assert "there is no file mlp_best.keras" in capsys.readouterr().out
    path = shutil.copy(real / "checkpoints" / "mlp_best.keras", house / "data" / "checkpoints")
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"other bytes, the same weights"
    with pytest.raises(ValueError, match=r"mlp_best.keras is not the recorded .*[0-9a-f]{64}"):
        records.load_recorded_model("mlp_best")


def test_the_committed_numbers_are_those_of_studies():
    entries = records.read_results()
    assert len(entries) > 300
    for key, entry in entries.items():
        assert len(key.split("/")) == 5 and math.isfinite(entry["value"]), key
        script = entry["command"].split()[1]
        assert script.startswith("tools/studies/") and (settings.ROOT / script).is_file(), key
        assert {"seed", "source", "commit", "versions", "machine"} <= entry.keys(), key
        assert "/" not in f"{entry['commit']}{entry['source']}{entry['versions']}", key
