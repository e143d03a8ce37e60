"""tools/published.py: from measured runs to what is published, and recorded studies run again."""

import argparse
import json
import os
import tomllib
from unittest import mock

import nbformat
import pytest

import course
import fake_notebook
import published
from helpers.course import records

KEY = "mnist/dynamic/mlp/elbo"
RUNS = [
    {"seed": seed, "threads": threads, "versions": {"keras": "3.15"}, "machine": "a"}
    for seed, threads in ((42, 2), (43, 2), (44, 2), (42, 1))
]


def measured(values, key=KEY, runs=RUNS):
    """Return the entry of a number from its values."""
    return published.measured(key, "MNIST", values, runs)


# --- Tolerances and ranges -----------------------------------------------------------------------


def test_the_first_run_gives_the_value_the_seeds_the_range_and_the_threads_the_tolerance():
    entry = measured([-90.0, -91.0, -92.0, -90.5])
    assert entry["value"] == -90.0 and entry["tolerance"] == published.SAFETY * 0.5
    assert (entry["low"], entry["high"]) == (-95.0, -87.0)  # -91 ± 4 standard deviations of 1
    assert entry["values"] == [-90.0, -91.0, -92.0, -90.5] and entry["data"] == "MNIST"


@pytest.mark.parametrize(
    ("metric", "value", "tolerance"),
    [
        ("elbo", -90.0, 9e-3),
        ("accuracy", 0.9, 2e-3),
        ("knn_draws", 0.9, 2e-3),
        ("active_units", 7.0, 1.0),
        ("cost", 2.0, 2e-2),
        ("kl_gain", 2.0, 2e-2),
        ("kl", 2.0, 2e-4),
        ("kl", 0.0, 1e-6),
    ],
)
def test_equal_runs_leave_the_floor_of_the_metric(metric, value, tolerance):
    entry = measured([value] * 4, f"mnist/dynamic/mlp/{metric}")
    assert entry["tolerance"] == pytest.approx(tolerance)
    assert entry["low"] < value < entry["high"] or value == 0.0


@pytest.mark.parametrize(
    ("metric", "values", "low", "high"),
    [
        ("accuracy", [0.98, 0.97, 0.99, 0.98], None, 1.0),
        ("knn", [0.02, 0.01, 0.03, 0.02], 0.0, None),
        ("kl", [1.0, 1.1, 0.9, 1.0], None, None),
        ("active_units", [0.0, 0.0, 0.0, 0.0], 0.0, 1.0),
        ("correlation", [0.98, 0.97, 0.99, 0.98], None, 1.0),
    ],
)
def test_a_range_stays_among_possible_values(metric, values, low, high):
    entry = measured(values, f"mnist/dynamic/mlp/{metric}")
    assert low is None or entry["low"] == low
    assert high is None or entry["high"] == high
    assert entry["low"] <= min(values) and max(values) <= entry["high"]


@pytest.mark.parametrize(("metric", "half"), [("knn", 8e-3), ("active_units", 1.0), ("kl", 2e-4)])
def test_other_versions_may_move_what_no_seed_moves(metric, half):
    entry = measured([0.5] * 4, f"mnist/dynamic/mlp/{metric}")
    low = max(0.0, 0.5 - half)
    assert (entry["low"], entry["high"]) == pytest.approx((low, 0.5 + half))


def test_threads_widen_the_tolerance_and_with_it_the_range():
    other = RUNS[0] | {"threads": 4}
    entry = measured([-90.0, -91.0, -92.0, -90.0, -88.0], runs=[*RUNS, other])
    assert entry["tolerance"] == published.SAFETY * 2.0
    assert (entry["low"], entry["high"]) == (-99.0, -83.0)  # mean of the seeds ± the tolerance
    with pytest.raises(ValueError, match="would see no mistake"):
        measured([-90.0, -91.0, -92.0, -90.0, -60.0], runs=[*RUNS, other])


@pytest.mark.parametrize(
    ("metric", "values", "complaint"),
    [
        ("kl", [1.0, 2.0, 3.0, 1.0], "would see no mistake"),
        ("accuracy", [0.5, 0.6, 0.7, 0.5], "would see no mistake"),
        ("elbo", [-300.0, -200.0, -250.0, -300.0], "would see no mistake"),
        ("cost", [1.0, 2.0, 3.0, 1.0], None),
    ],
)
def test_a_level_that_the_seeds_do_not_fix_is_refused(metric, values, complaint):
    if complaint is None:
        measured(values, f"mnist/dynamic/mlp/{metric}")
        return
    with pytest.raises(ValueError, match=complaint):
        measured(values, f"mnist/dynamic/mlp/{metric}")


def test_a_range_needs_three_seeds():
    with pytest.raises(ValueError, match="2 seeds"):
        measured([1.0, 1.0, 1.0], runs=[RUNS[0], RUNS[1], RUNS[3]])


# --- Publishing ----------------------------------------------------------------------------------

LESSON = """import json, os, pathlib
seed, threads = int(os.environ["VAE_SEED"]), int(os.environ["TF_NUM_INTRAOP_THREADS"])
elbo = -90.0 - seed / 100 + threads / 1000
numbers = {"mnist/dynamic/mlp/elbo": {"value": elbo, "data": "MNIST"}}
if seed == 43 and EXTRA:
    numbers["mnist/dynamic/mlp/kl"] = {"value": 1.0, "data": "MNIST"}
told = {"seed": seed, "numbers": numbers, "claims": {"it_learns": seed != FALSE_FOR}}
folder = pathlib.Path(os.environ["VAE_BUILD"], "lessons", os.environ["VAE_PROFILE"])
folder.mkdir(parents=True)
(folder / "01.json").write_text(json.dumps(told))"""


def run_here(nb, folder, environment):
    """Stand for `course.run` without a kernel."""
    with mock.patch.dict(os.environ, environment):
        exec(course.source_of(nb["cells"][0]), {})
    return course.Run(1.0, 100, "")


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """Return a function that writes a lesson, and publishes it into a file of its own."""
    facts = {"commit": "abc", "machine": "a", "versions": {"keras": "3.15"}}
    monkeypatch.setattr(records, "provenance", facts.copy)
    monkeypatch.setattr(course, "run", run_here)

    def publish(false_for=0, extra=False, **options):
        first = f"FALSE_FOR, EXTRA = {false_for}, {extra}\n"
        nb = nbformat.v4.new_notebook(cells=[fake_notebook.code(first + LESSON)])
        path = tmp_path / "01_toy.ipynb"
        nbformat.write(nb, path)
        monkeypatch.setattr(course, "notebook_paths", lambda number: [path])
        settings = {"number": "01", "profile": "lesson"}
        settings |= {"seeds": [42, 43, 44], "threads": [2, 1]}
        code = published.publish(
            argparse.Namespace(**settings | options), target=tmp_path / "published.toml"
        )
        assert code == 0
        return tomllib.loads((tmp_path / "published.toml").read_text())["01"]

    return publish


def test_runs_are_published(lesson):
    entry = lesson()["lesson"]
    assert [(run["seed"], run["threads"]) for run in entry["runs"]] == [
        (42, 2), (43, 2), (44, 2), (42, 1)
    ]  # fmt: skip
    assert entry["claims"] == ["it_learns"]
    assert entry["numbers"][KEY]["value"] == -90.418
    assert entry["numbers"][KEY]["tolerance"] == pytest.approx(9.0418e-3)  # the floor
    assert len(entry["numbers"][KEY]["values"]) == 4


def test_profiles_stand_side_by_side(lesson):
    lesson(threads=[2])
    assert lesson(threads=[2], profile="quick").keys() == {"lesson", "quick"}


def test_a_claim_that_fails_once_or_numbers_that_differ_publish_nothing(lesson, tmp_path):
    with pytest.raises(SystemExit, match="seed 44, 2 threads: it_learns is false"):
        lesson(false_for=44)
    with pytest.raises(SystemExit, match=r"seed 43: not every run gives .*/kl on MNIST"):
        lesson(extra=True, threads=[2])
    assert not (tmp_path / "published.toml").exists()
    lesson(false_for=44, profile="quick", threads=[2])  # hardly trained: claims are not judged


def test_what_is_written_reads_back():
    entry = {
        "claims": ["a", "b"],
        "runs": [
            {"seed": 42, "versions": {"tensorflow-probability": "0.25"}, "machine": 'x "y" ü'}
        ],
        "numbers": {KEY: {"value": 1e-7, "data": "MNIST (6,500)", "values": [1.0, 1e30]}},
    }
    table = {"01": {"quick": entry}, "02": {"lesson": entry, "quick": entry}}
    assert tomllib.loads(published.dump(table)) == table


# --- verify --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "python tools/studies/mlp_study.py; rm -rf data",
        "python tools/studies/../execute.py",
        "python tools/execute.py",
        "python -c 'import os'",
        "sh tools/studies/mlp_study.py",
        "python",
        "",
    ],
)
def test_only_studies_are_run(command):
    with pytest.raises(ValueError, match="is no study"):
        published.study_command(command)


STUDY = """import json, os, pathlib, sys
folder = pathlib.Path(os.environ["VAE_BUILD"], "results")
folder.mkdir(parents=True)
told = {"a/elbo": {"value": -90.0}, "a/speed": {"value": 5.0, "timing": True}}
if "--recorded-epochs" not in sys.argv:  # cut off by seconds
    told["a/elbo"]["value"] = -95.0
(folder / "02.json").write_text(json.dumps(told))"""


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """Return a function that verifies recorded entries against a study of ours."""
    (tmp_path / "tools" / "studies").mkdir(parents=True)
    (tmp_path / "tools" / "studies" / "toy.py").write_text(STUDY)
    monkeypatch.setattr(course, "ROOT", tmp_path)

    def verify(recorded, key=""):
        command = {"command": "python tools/studies/toy.py 'one name'"}
        entries = {name: command | entry for name, entry in recorded.items()}
        monkeypatch.setattr(course, "read_results", lambda *path: read(entries, *path))
        return published.main(["verify", key])

    def read(entries, *path):
        return json.loads(path[0].read_text()) if path else entries

    return verify


def test_verify_compares_what_a_study_records_again(studies, capsys):
    timing = {"value": 50.0, "timing": True}
    assert studies({"a/elbo": {"value": -90.01}, "a/speed": timing}) == 0
    assert "$ python tools/studies/toy.py 'one name' --recorded-epochs\n" in capsys.readouterr().out
    assert studies({"a/elbo": {"value": -89.5}}) == 1
    assert "DISAGREES" in capsys.readouterr().out
    assert studies({"a/elbo": {"value": -89.5, "monte_carlo_error": 0.2}}) == 0
    assert studies({"c/elbo": {"value": -89.5}}) == 1
    assert "MISSING" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no recorded key"):
        studies({"a/elbo": {"value": -90.0}}, key="z/")


def test_verify_writes_where_vae_build_says(studies, tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_BUILD", str(tmp_path / "elsewhere"))
    assert studies({"a/elbo": {"value": -90.0}}) == 0
    assert (tmp_path / "elsewhere" / "verify" / "results" / "02.json").exists()


def test_every_recorded_command_is_a_study():
    for entry in course.read_results().values():
        published.study_command(entry["command"])
