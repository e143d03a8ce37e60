"""Trainings of several workers that are killed: they go on, and end as if nobody had touched them.

All that trains runs in a process of its own; the tests judge what it found.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import killed_workers
from helpers import cluster
from helpers.course.runs import RunFolder
from helpers.vae import VAE
from killed_workers import EPOCHS, STEPS
from tiny_model import run

HERE = Path(__file__).parent
several = pytest.mark.skipif(sys.platform == "win32", reason="copies of a process, signals")


@pytest.fixture(scope="module", params=killed_workers.KILLS)
def runs(request, tmp_path_factory):
    """Of two and of three workers: a run that nobody touches, and one that is killed repeatedly.

    Around them are a proxy that nobody can reach, and a PYTHONPATH of somebody's own.
    """
    folder, count = tmp_path_factory.mktemp("run"), request.param
    environment = os.environ | dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    environment |= {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]), "no_proxy": ""}
    environment |= {"VAE_DATA": "embedded"}
    environment.pop("no_grpc_proxy", None)
    done = subprocess.run(
        [sys.executable, HERE / "killed_workers.py", folder, str(count)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().split("\n")[-1])
    return SimpleNamespace(count=count, folder=folder, **found)


def last_state(folder):
    """All that the last checkpoint of a run holds: of the model, and of its optimizer."""
    with np.load(max(folder.glob("run/epoch-*.npz"))) as saved:
        return [saved[name] for name in saved.files if name != "record"]


@several
def test_all_workers_end_with_one_model(runs):
    for results in (runs.whole, runs.resumed):
        assert [result["worker"] for result in results] == list(range(runs.count))
        assert {result["replicas"] for result in results} == {runs.count}
        assert len({result["weights"] for result in results}) == 1
        assert all(result["loss"] == results[0]["loss"] for result in results)
    assert runs.whole[0]["loss"][-1] < runs.whole[0]["loss"][0]


@several
def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(runs):
    assert runs.resumed[0]["weights"] == runs.whole[0]["weights"]
    assert runs.resumed[0]["loss"] == runs.whole[0]["loss"]
    one, other = (last_state(runs.folder / name) for name in ("whole", "killed"))
    assert len(one) == len(other) and all(map(np.array_equal, one, other))


@several
def test_every_kill_hit_and_every_start_went_on_from_the_newest_checkpoint(runs):
    for kill in runs.kills:
        assert [kill["codes"][worker] for worker in kill["kill"]] == [-9] * len(kill["kill"])
        assert kill["first"] == kill["before"] * STEPS + 1
        reached = max(kill["steps"][worker] for worker in kill["kill"])
        assert kill["step"] <= reached < EPOCHS * STEPS
    assert runs.kills[-1]["before"] > 0, "some training was resumed"


@several
def test_those_that_were_not_killed_notice_and_fail(runs):
    if runs.count > 2:
        pytest.skip("that of two workers is enough")
    for kill in runs.kills[: killed_workers.NOTICED]:
        assert sorted(kill["codes"]) == [-9, 1], kill


@several
def test_the_chief_alone_writes(runs):
    folder = runs.folder / "whole"
    model = keras.saving.load_model(folder / "model.keras")
    assert isinstance(model, VAE) and cluster.fingerprint(model) == runs.whole[0]["weights"]
    assert json.loads((folder / "result.json").read_text()) == runs.whole[0]
    names = sorted(path.name.split(".")[0] for path in folder.glob("run/*.npz"))
    assert names == ["epoch-00005", "epoch-00006", "final-00006"]


@several
def test_another_number_of_workers_is_another_run(runs):
    if runs.count > 2:
        pytest.skip("that of two workers is enough")
    assert "other settings: replicas was 2, is 1" in runs.alone


# --- What they agree on, in one process ----------------------------------------------------------


def state(value):
    return [keras.Variable(np.float32(value))]


def write(folder, *values):
    """Write a run whose epoch k ends with the k-th of these values."""
    with RunFolder(folder) as opened:
        opened.agree({"epochs": 2}, may_extend=True)
        for epoch, value in enumerate(values, start=1):
            opened.save(state(value), [{"epoch": k + 1} for k in range(epoch)])
    return folder


def go_on(folders, settings=({}, {})):
    """Let a worker go on in each of these folders: (planned, epochs, value), or what it raised."""
    barrier, told = threading.Barrier(len(folders)), {}

    def one(worker):
        def share(text):
            told[worker] = text
            barrier.wait(30)
            return [told[other] for other in range(len(folders))]

        with RunFolder(folders[worker], worker=worker, share=share) as opened:
            planned = opened.agree({"epochs": 2} | settings[worker], may_extend=True)
            variables = state(-1)
            return planned, len(opened.restore(variables)), float(variables[0].numpy())

    with ThreadPoolExecutor() as pool:
        futures = [pool.submit(one, worker) for worker in range(len(folders))]
    return [future.exception() or future.result() for future in futures]


@pytest.fixture
def two(tmp_path):
    """The folder of a run of two epochs, and a copy of it that another worker sees."""
    write(tmp_path / "a", 1.0, 2.0)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return [tmp_path / "a", tmp_path / "b"]


def second(folder):
    (path,) = folder.glob("epoch-00002.*")
    return path


def test_workers_go_on_from_the_newest_checkpoint(two):
    assert go_on(two) == go_on([two[0], two[0]]) == [(2, 2, 2.0)] * 2


@pytest.mark.parametrize("unlucky", [0, 1])
def test_a_checkpoint_that_one_worker_cannot_load_is_used_by_none(two, unlucky, capsys):
    path = second(two[unlucky])
    path.write_bytes(path.read_bytes()[:-1])
    assert go_on(two) == [(2, 1, 1.0)] * 2
    assert capsys.readouterr().out.count(f"{path.name} cannot be loaded by every worker") == 2
    path.unlink()
    assert go_on(two) == [(2, 1, 1.0)] * 2


def test_a_checkpoint_of_another_content_is_another_one(two, tmp_path):
    second(two[1]).unlink()
    shutil.copy(second(write(tmp_path / "c", 1.0, 3.0)), two[1])
    assert go_on(two) == [(2, 1, 1.0)] * 2


def test_without_a_common_checkpoint_all_start_anew(two, tmp_path):
    assert go_on([two[0], tmp_path / "empty"]) == [(2, 0, -1.0)] * 2


def test_workers_that_were_started_with_other_settings_are_named(tmp_path):
    found = go_on([tmp_path, tmp_path], settings=({"rate": 1}, {"rate": 2}))
    assert [type(error) for error in found] == [ValueError] * 2
    assert str(found[0]) == "worker 1 has other settings than worker 0: rate was 1, is 2"
    assert str(found[1]) == "worker 0 has other settings than worker 1: rate was 2, is 1"


def test_another_worker_than_the_chief_writes_nothing(tmp_path):
    with RunFolder(tmp_path) as chief, RunFolder(tmp_path, worker=1) as other:
        assert chief.agree({"epochs": 1}, may_extend=True) == 1
        before = sorted(tmp_path.iterdir())
        other.save(state(1.0), [{}])
        other.finish(state(1.0), 1, None)
        assert sorted(tmp_path.iterdir()) == before
        chief.save(state(1.0), [{}])
        assert killed_workers.newest(tmp_path) == 1


def test_seconds_are_refused_with_several_workers(monkeypatch):
    monkeypatch.setattr(cluster, "worker_count", lambda strategy: 2)
    with pytest.raises(ValueError, match="clocks of several workers differ: give epochs, and no"):
        run(seconds=1.0)
