"""A lesson's opening, and how its closing compares with the published run."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import course
from helpers.course import settings
from helpers.course.lesson import VERSIONS, Disagreement, Lesson

MNIST = types.SimpleNamespace(display_name="MNIST")
JPEG = types.SimpleNamespace(display_name="CIFAR-10 (from JPEG copies)")
OFFICIAL = types.SimpleNamespace(display_name="CIFAR-10")
ELBO, BITS, EXACT = (
    "mnist/dynamic/mlp/elbo",
    "cifar10/grey/mlp/bits_per_dim",
    "none/exact/normal/kl",
)
PUBLISHED = """
["02".lesson]
claims = ["beats_baseline"]
runs = [{ versions = { python = "3.11", tensorflow = "2.0", keras = "2.0", numpy = "2.0" } }]

["02".lesson.numbers."mnist/dynamic/mlp/elbo"]
value = -90.0
tolerance = 0.1
low = -92.0
high = -88.0
data = "MNIST"

["02".lesson.numbers."cifar10/grey/mlp/bits_per_dim"]
value = 5.0
tolerance = 0.1
low = 4.0
high = 6.0
data = "CIFAR-10 (from JPEG copies)"

["02".lesson.numbers."none/exact/normal/kl"]
value = 1.0
tolerance = 0.1
low = 0.9
high = 1.1
data = ""
"""


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch):
    """A published run of its own, a build folder of its own, and no setting of the caller's."""
    for name in ("VAE_STRICT", "VAE_SEED", "VAE_PROFILE", "VAE_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAE_BUILD", str(tmp_path / "build"))
    (tmp_path / "published.toml").write_text(PUBLISHED)
    monkeypatch.setattr(settings, "data_file", tmp_path.joinpath)
    monkeypatch.setattr(tf.config, "list_physical_devices", no_devices)
    for name in VERSIONS:
        monkeypatch.setitem(VERSIONS, name, "2.0")
    return tmp_path


def no_devices(kind):
    """Stand for a machine without a GPU."""
    return []


def one_device(kind):
    """Stand for a machine with a GPU."""
    return [kind]


def close(elbo=-90.05, bits=5.05, exact=1.0, cifar=JPEG, mnist=MNIST, claims=None, more=None):
    """Close a lesson that gives these numbers; None leaves one out."""
    lesson = course.lesson("02", mnist)
    given = {ELBO: elbo, EXACT: exact, **(more or {})}
    lesson.numbers({key: value for key, value in given.items() if value is not None})
    lesson.numbers({BITS: bits}, dataset=cifar)
    lesson.claims({"beats_baseline": True} if claims is None else claims)
    lesson.close()


def test_an_agreeing_run_says_so_in_one_line(house, monkeypatch, capsys):
    monkeypatch.setenv("VAE_STRICT", "1")
    close(elbo=tf.constant(-90.05))
    line = "3 of 3 numbers and 1 of 1 claims agree with the published run.\n"
    assert capsys.readouterr().out == line
    kept = json.loads((house / "build/lessons/lesson/02.json").read_text())
    assert kept["numbers"][ELBO] == {"value": -90.05, "data": "MNIST"}
    assert kept["numbers"][EXACT]["data"] == ""
    assert kept["seed"] == 42 and kept["claims"] == {"beats_baseline": True}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"elbo": -90.2}, ["2 of 3 numbers", "-90.2", "-90.1 to -89.9"]),
        ({"claims": {"beats_baseline": np.False_}}, ["0 of 1 claims", "beats_baseline"]),
        ({"claims": {}}, ["beats_baseline"]),
        ({"claims": {"beats_baseline": True, "new": True}}, ["Not published: new"]),
        ({"exact": None}, [f"Not given: {EXACT}"]),
        ({"more": {"mnist/a/b/elbo": 1.0}}, ["Not published: mnist/a/b/elbo"]),
    ],
    ids=["value", "claim", "claim lost", "claim new", "number lost", "number new"],
)
def test_what_disagrees_is_said_and_fails_a_strict_run(monkeypatch, capsys, change, told):
    close(**change)
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and all(part in line for part in told), line
    monkeypatch.setenv("VAE_STRICT", "1")
    with pytest.raises(Disagreement) as error:
        close(**change)
    for part in ("value", "accepted", "published", *told):
        assert part in str(error.value)


def test_an_empty_comparison_fails_a_strict_run(house, monkeypatch, capsys):
    (house / "published.toml").write_text("")
    close()
    assert capsys.readouterr().out.startswith("0 of 3 numbers are compared.")
    monkeypatch.setenv("VAE_STRICT", "1")
    with pytest.raises(Disagreement, match="0 of 3"):
        close()
    (house / "published.toml").unlink()
    with pytest.raises(Disagreement, match="0 of 3"):
        close()
    (house / "published.toml").write_text('["02".lesson]\nclaims = []\nnumbers = {}')
    lesson = Lesson("02", MNIST)
    with pytest.raises(Disagreement, match="0 of 0"):
        lesson.close()


def test_other_seeds_and_gpus_are_compared_with_the_range(monkeypatch, capsys):
    monkeypatch.setenv("VAE_STRICT", "1")
    monkeypatch.setenv("VAE_SEED", "7")
    close(elbo=-91.9)
    assert "3 of 3 numbers" in capsys.readouterr().out
    with pytest.raises(Disagreement, match="-92 to -88"):
        close(elbo=-92.1)
    monkeypatch.delenv("VAE_SEED")
    with pytest.raises(Disagreement, match=r"-90\.1 to -89\.9"):
        close(elbo=-91.9)
    monkeypatch.setattr(tf.config, "list_physical_devices", one_device)
    close(elbo=-91.9)


@pytest.mark.parametrize("name", ["tensorflow", "keras", "numpy"])
def test_other_versions_are_compared_with_the_range(name, monkeypatch, capsys):
    monkeypatch.setenv("VAE_STRICT", "1")
    monkeypatch.setitem(VERSIONS, name, "2.1")
    close(elbo=-91.9)
    assert "agree with the range of the published seeds" in capsys.readouterr().out
    with pytest.raises(Disagreement, match="-92 to -88"):
        close(elbo=-92.1)


def test_numbers_on_other_data_are_not_compared(monkeypatch, capsys):
    monkeypatch.setenv("VAE_STRICT", "1")
    close(bits=50.0, cifar=OFFICIAL)
    line = capsys.readouterr().out
    assert line.startswith("2 of 2 numbers and 1 of 1 claims agree")
    assert (
        "Not compared: 1 that depend on CIFAR-10; the published ones depend on CIFAR-10 (" in line
    )
    with pytest.raises(Disagreement, match="1 of 2 numbers"):
        close(elbo=-80.0, cifar=OFFICIAL)


def test_claims_are_judged_in_the_lesson_profile_only(house, monkeypatch, capsys):
    quick = PUBLISHED.replace('["02".lesson', '["02".quick')
    (house / "published.toml").write_text(quick)
    monkeypatch.setenv("VAE_STRICT", "1")
    monkeypatch.setenv("VAE_PROFILE", "quick")
    close(claims={"beats_baseline": False})
    assert capsys.readouterr().out == "3 of 3 numbers agree with the published run.\n"
    assert (house / "build/lessons/quick/02.json").exists()


def test_a_folder_that_cannot_be_written_is_said_once(house, monkeypatch, capsys):
    (house / "file").write_text("")
    monkeypatch.setenv("VAE_BUILD", str(house / "file" / "build"))
    close()
    first, second = capsys.readouterr().out.splitlines()
    assert "not kept" in first and "VAE_BUILD" in first and second.startswith("3 of 3")


def test_opening_a_lesson_seeds_the_run(monkeypatch):
    def draw():
        keras.utils.clear_session()  # as in a new kernel: Keras 3.8 goes on with the old generator
        lesson = course.lesson("02")
        return lesson.seed, float(keras.random.uniform(())), float(tf.random.normal(()))

    first = draw()
    assert first == draw() and first[0] == 42
    monkeypatch.setenv("VAE_SEED", "43")
    other = draw()
    assert other == draw() and other[0] == 43
    assert first[1] != other[1] and first[2] != other[2]


@pytest.mark.parametrize("key", ["elbo", "a/b/c", "a/b/c/d/e", "a//c/d", "a/ /c/d"])
def test_a_bad_name_is_refused(key):
    with pytest.raises(ValueError, match="is not <data>/"):
        course.lesson("02").numbers({key: 1.0})


def test_what_cannot_be_compared_is_refused():
    lesson = course.lesson("02", MNIST)
    with pytest.raises(ValueError, match="only finite"):
        lesson.numbers({ELBO: float("nan")})
    with pytest.raises(TypeError, match="one comparison"):
        lesson.claims({"a": 3.0})
    with pytest.raises(TypeError, match="one comparison"):
        lesson.claims({"a": np.array([True, False])})
    with pytest.raises(ValueError, match="small letters"):
        lesson.claims({"A claim": True})
    with pytest.raises(ValueError, match="two digits"):
        course.lesson("2")
