"""Recording, ranges and strict mode, and the scripts that read what was recorded."""

import json
import types

import pytest

import ranges
import readme_table
import verify_results
from helpers.course import records as evaluation
from helpers.course.records import Results

KEY = "digits/dynamic/mlp/elbo"
Data = types.SimpleNamespace
EMBEDDED = Data(source="embedded sample", label="digits (embedded)", official=False)
OFFICIAL = Data(source="file", label="MNIST", official=True)
OTHER = Data(source="file", label="MNIST (unknown file 1a2b3c4d)", official=False)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A repository of its own: nothing of ours is written."""
    (tmp_path / "tests").mkdir()
    monkeypatch.setattr(evaluation, "ROOT", tmp_path)
    for name in ("VAE_RECORD", "VAE_BUILD", "VAE_STRICT", "VAE_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAE_PROFILE", "quick")
    expect(tmp_path, "")
    return tmp_path


def expect(house, text):
    (house / "tests" / "expected.toml").write_text(text)


def table(low, high, source="embedded", key=KEY):
    return f'["01".quick.{source}]\n"{key}" = {{low = {low}, high = {high}, values = [1, 2, 3]}}\n'


def test_a_run_records_under_build(house):
    Results("01", EMBEDDED).record(KEY, -100.123456789, seed=7, seconds=1.5, unit="nats")
    assert not (house / "data").exists()
    entries = json.loads((house / "build/results/quick/01.json").read_text())
    entry = entries[f"01/{KEY}"]
    assert entry["value"] == -100.1235 and entry["seed"] == 7 and entry["seconds"] == 1.5
    assert entry["source"] == "embedded" and entry["unit"] == "nats"
    assert entry["profile"] == "quick" and entry["machine"].endswith("cores")
    assert entry["versions"].keys() == {"python", *evaluation.PACKAGES}
    assert {"command", "commit"} <= entry.keys()


def test_recording_merges_sorted_one_a_line(house, monkeypatch):
    monkeypatch.setenv("VAE_RECORD", "1")
    Results("02", OFFICIAL).record("b/p/m/elbo", 2, seed=1)
    Results("01", OFFICIAL).record("a/p/m/elbo", 1, seed=1)
    lines = (house / "data/results.json").read_text().splitlines()
    assert lines[0] == "{" and lines[-1] == "}" and len(lines) == 4
    assert lines[1].startswith('"01/a') and lines[2].startswith('"02/b')
    assert not (house / "build").exists()
    evaluation.merge_results(house / "data/results.json", {}, lambda key, entry: key > "02")
    assert list(evaluation.read_results(house / "data/results.json")) == ["01/a/p/m/elbo"]


@pytest.mark.parametrize("key", ["elbo", "a/b/c", "a/b/c/d/e", "a//c/d", "a/ /c/d"])
def test_a_bad_key_is_refused(house, key):
    with pytest.raises(ValueError, match="is not <dataset>/"):
        Results("01").record(key, 1, seed=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused(house, value):
    with pytest.raises(ValueError, match="only finite"):
        Results("01").record(KEY, value, seed=1)


@pytest.mark.parametrize(
    ("dataset", "source"),
    [(None, "none"), (EMBEDDED, "embedded"), (OFFICIAL, "official"), (OTHER, "other")],
)
def test_the_source_of_the_data(dataset, source):
    assert evaluation.data_source(dataset) == source


def test_inside_its_range_passes_with_one_line(house, monkeypatch, capsys):
    monkeypatch.setenv("VAE_STRICT", "1")
    expect(house, table(-101, -99))
    results = Results("01", EMBEDDED)
    results.record(KEY, -100, seed=1)
    results.record("digits/dynamic/mlp/images_per_s", 5000, seed=1, timing=True)
    results.check()
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "in_message"),
    [
        (table(-90, -80), "-90 to -80"),
        (table(-101, -99, source="official"), "None"),
        (table(-101, -99) + '"digits/dynamic/mlp/kl" = {low=1, high=2, values=[1]}', "mlp/kl"),
        ("", "None"),
    ],
    ids=["outside", "range of other data", "range without number", "number without range"],
)
def test_strict_mode_raises_with_a_table(house, monkeypatch, capsys, text, in_message):
    expect(house, text)
    results = Results("01", EMBEDDED)
    results.record(KEY, -100, seed=1)
    results.check()
    assert capsys.readouterr().out.count("\n") == 1  # a reader sees one line
    monkeypatch.setenv("VAE_STRICT", "1")
    with pytest.raises(AssertionError) as error:
        results.check()
    for word in ("metric", "value", "range", "recorded", "tensorflow", in_message):
        assert word in str(error.value)


def test_the_table_shows_the_recorded_value(house, monkeypatch):
    monkeypatch.setenv("VAE_RECORD", "1")
    monkeypatch.setenv("VAE_STRICT", "1")
    expect(house, table(-90, -80))
    results = Results("01", EMBEDDED)
    results.record(KEY, -85.25, seed=1)
    monkeypatch.setenv("VAE_RECORD", "0")
    results.record(KEY, -100, seed=1)
    with pytest.raises(AssertionError, match=r"-100\.0 .* -90 to -80 .* -85\.25"):
        results.check()


def test_a_dataset_of_its_own_for_one_number(house, monkeypatch):
    monkeypatch.setenv("VAE_STRICT", "1")
    expect(house, table(-101, -99, source="other"))
    results = Results("01", OFFICIAL)
    results.record(KEY, -100, seed=1, dataset=OTHER)
    results.check()


def test_interval():
    found = ranges.interval([1.0, 2.0, 3.0])
    assert (found["low"], found["high"], found["values"]) == (-2.0, 6.0, [1.0, 2.0, 3.0])
    found = ranges.interval([200.0, 200.0, 200.0])
    assert (found["low"], found["high"]) == (199.8, 200.2)
    found = ranges.interval([0.0, 0.0, 0.0])
    assert found["low"] < 0 < found["high"]
    share = [ranges.interval([0.9] * 3, metric) for metric in ("knn_draws", "silhouette")]
    assert [r["high"] - r["low"] for r in share] == pytest.approx([3 / 300, 0.0018])
    with pytest.raises(ValueError, match="three or more"):
        ranges.interval([1.0, 2.0])


def test_ranges_of_runs():
    def run(value):
        entry = {"value": value, "source": "embedded"}
        return {f"01/{KEY}": entry, "01/a/b/c/s": entry | {"timing": True}}

    found = ranges.tables([run(1), run(2), run(3)])
    assert found == {"embedded": {KEY: ranges.interval([1, 2, 3])}}
    assert evaluation.tomllib.loads(ranges.dump({"01": {"quick": found}}))["01"]["quick"] == found
    with pytest.raises(ValueError, match="different numbers"):
        ranges.tables([run(1), run(2), {}])


ENTRY = {
    "value": -90.123, "seed": 1, "seconds": 1200, "machine": "A CPU, 2 cores", "headline": True,
    "unit": "nats", "profile": "full", "source": "official", "command": "true",
}  # fmt: skip


def test_the_readme_table():
    entries = {f"02/{KEY}": ENTRY, "02/a/b/c/d": ENTRY | {"headline": False}}
    text = "head\n<!-- results:begin -->\nold\n<!-- results:end -->\ntail\n"
    new = readme_table.updated(text, entries)
    assert "| 02 | digits | dynamic | mlp | elbo | -90.12 nats |  | 1 | 20 min | A CPU" in new
    published = next(iter(readme_table.PUBLISHED))
    assert "| -90.12 nats | -86.76 (VAE)" in readme_table.updated(text, {published: ENTRY})
    assert new.startswith("head\n") and new.endswith("\ntail\n") and "old" not in new
    assert readme_table.updated(new, entries) == new and "| a |" not in new
    assert "No results" in readme_table.updated(text, {})
    with pytest.raises(ValueError, match="needs one"):
        readme_table.updated("no marks", {})


@pytest.mark.parametrize(
    ("value", "extra", "code"),
    [(-90.5, {}, 0), (-95.0, {}, 1), (-95.0, {"timing": True}, 0), (None, {}, 1)],
)
def test_verify_results(house, monkeypatch, capsys, value, extra, code):
    path = house / "results.json"
    evaluation.merge_results(path, {f"02/{KEY}": ENTRY | extra})
    monkeypatch.setattr(verify_results, "RESULTS", path)
    monkeypatch.setattr(verify_results, "EXPECTED", house / "tests" / "expected.toml")
    again = {} if value is None else {f"02/{KEY}": ENTRY | extra | {"value": value}}
    monkeypatch.setattr(verify_results, "rerun", lambda command, folder: again)
    assert verify_results.main(["elbo"]) == code
    assert "±1.00%" in capsys.readouterr().out or extra
    expect(house, table(-95.5, -94.5, "official").replace("quick", "full").replace("01", "02"))
    assert verify_results.main([]) == (0 if value == -95.0 or extra else 1)


def test_verify_runs_the_recorded_command_and_publishes_nothing(tmp_path):
    script = 'import os; assert os.environ["VAE_RECORD"] == "0"; print(os.environ["VAE_BUILD"])'
    folder = tmp_path / "out"
    command = f"python -c '{script}' && mkdir -p {folder}/results/full && " + (
        f"echo '{{\"k\": {{\"value\": 1}}}}' > {folder}/results/full/01.json"
    )
    assert verify_results.rerun(command, folder) == {"k": {"value": 1}}
    with pytest.raises(SystemExit, match="no recorded key"):
        verify_results.main(["no such key"])
