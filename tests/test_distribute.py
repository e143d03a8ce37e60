"""Several replicas: a step is that of the whole batch, noise differs, and runs resume.

All that runs under a strategy runs in one process of its own, once; the tests judge what it
measured. Several workers: lesson 09.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, HERE / "two_replicas.py", str(tmp_path_factory.mktemp("run"))],
        env=os.environ | {"PYTHONPATH": str(HERE.parent), "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().split("\n")[-1])


def check_steps(alone, together):
    """Steps on shares are the steps on the whole batch."""
    alone, together = np.array(alone), np.array(together)
    assert np.abs(alone).max() > 1e-3
    np.testing.assert_allclose(together, alone, atol=1e-4 * np.abs(alone).max())


@pytest.mark.parametrize("prior", ["standard_normal", "vamp", "flow"])
def test_steps_of_two_replicas_are_steps_on_the_whole_batch(found, prior):
    """Of all weights, and of the prior's own, which learn more slowly."""
    every, own = zip(found["alone"][prior], found["together"][prior], strict=True)
    check_steps(*every)
    if prior != "standard_normal":  # it has no weights
        check_steps(*own)


def test_a_gradient_that_is_not_divided_by_the_replicas_is_noticed(found):
    with pytest.raises(AssertionError):
        check_steps(found["alone"]["standard_normal"][0], found["undivided"][0])


def test_dreg_trains_on_two_replicas(found):
    assert np.isfinite(found["dreg"]).all() and found["dreg"][-1] < found["dreg"][0]


def test_replicas_draw_different_noise(found):
    assert found["seeds"][0] != found["seeds"][1]
    assert found["evaluated"][0] != found["evaluated"][1]


def test_a_run_on_two_replicas_resumes_to_the_last_bit(found):
    assert found["kept"] == 1
    assert found["resumed"] == found["whole"]
    assert np.all(np.isfinite(found["whole"][1]))


def test_nan_stops_a_run_on_two_replicas(found):
    assert "nan at step 1, epoch 1" in found["diverged"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("batch", "20 images in batches of 7"), ("validation", "5 images in batches of 8")],
)
def test_what_cannot_be_dealt_out_is_refused(found, name, text):
    assert text in found[name] and "dealt out equally to 2 replicas" in found[name]
