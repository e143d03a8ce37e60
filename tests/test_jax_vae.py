"""The VAE on JAX: several devices end where one ends, and what is done wrong on them is seen.

Each case runs in a process of its own, as `keras` has one backend in each; the tests judge what it
printed. Where JAX is missing, only its being missing is tested.
"""

import importlib.util
import json
import os
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

import course

STUDIES = course.ROOT / "tools" / "studies"
FLAGS = "--xla_force_host_platform_device_count=4"
SIZES = "--batch-size 32 --epochs 3 --latent-dim 4 --hidden-dim 32 16".split()
IMPORTS = "import jax_vae\nimport keras\n"  # this order: jax_vae says what is missing
CALL = "\njax_vae.main(sys.argv[1:])"
IS_OLD = tuple(map(int, version("keras").split(".")[:2])) < (3, 10)
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None or IS_OLD,
    reason='needs Keras 3.10 and JAX: pip install -e ".[jax]"',
)

# On one device, where there is no distribution, both mistakes change nothing.
OWN_NOISE = """
def normal(shape, seed, draw=keras.random.normal):
    parallel = keras.distribution.distribution()
    count = 1 if parallel is None else parallel.device_mesh.shape[0]
    if shape[0] % count:  # the one image that creates the weights
        return draw(shape, seed=seed)
    return keras.ops.tile(draw((shape[0] // count, shape[1]), seed=seed), (count, 1))

keras.random.normal = normal
"""
SUMMED = """
def scale_loss(self, loss):
    parallel = keras.distribution.distribution()
    return loss * (1 if parallel is None else parallel.device_mesh.shape[0])

keras.optimizers.SGD.scale_loss = scale_loss
"""
NOT_SPLIT = """
def layout_map(device_mesh):
    layouts = keras.distribution.LayoutMap(device_mesh)
    layouts["nowhere"] = (None, "model")
    return layouts

jax_vae.layout_map = layout_map
"""


def run(*arguments, code=IMPORTS + CALL, backend="jax"):
    """Run code in a process that can import the study."""
    environment = {
        "KERAS_BACKEND": backend,
        "XLA_FLAGS": FLAGS,
        "PYTHONPATH": os.pathsep.join([str(STUDIES), os.environ.get("PYTHONPATH", "")]),
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A file of binary images: 100, so that the last batch would be ragged."""
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 2, (100, 6, 6, 1), dtype=np.uint8))
    return path


def compare(images, *devices, code=""):
    """The runs that the study compared, by number of devices and kind."""
    done = run(images, *SIZES, "--devices", *devices, code=IMPORTS + code + CALL)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.strip().split("\n")[-1])
    assert (told["steps"], told["images"]) == (9, 96)
    return {(one["devices"], one["parallel"]): one for one in told["runs"]}


@pytest.fixture(scope="module")
def found(images):
    return compare(images, 2, 4)


def agree(one):
    """Whether losses and weights are those of one device, to the accuracy of float32."""
    return one["loss_difference"] < 1e-5 and one["weight_difference"] < 1e-4


SEVERAL = [(2, "data"), (4, "data"), (4, "model")]


@needs_jax
def test_several_devices_end_where_one_ends(found):
    assert set(found) == {(1, "none"), *SEVERAL}
    assert all(agree(found[case]) for case in SEVERAL)
    for one in found.values():
        assert one["losses"][-1] < one["losses"][0] and one["images_per_second"] > 0


@needs_jax
def test_model_parallel_devices_hold_half_of_the_weights(found):
    assert found[4, "data"]["share_of_weights"] == 1
    assert found[4, "model"]["share_of_weights"] == pytest.approx(0.5, abs=0.01)


@needs_jax
@pytest.mark.parametrize("mistake", [OWN_NOISE, SUMMED], ids=["own noise", "summed"])
def test_a_mistake_on_several_devices_is_noticed(images, mistake):
    wrong = compare(images, 4, code=mistake)
    assert agree(wrong[1, "none"])
    assert not agree(wrong[4, "data"]) and not agree(wrong[4, "model"])


@needs_jax
def test_a_layout_that_fits_no_weight_is_noticed(images):
    assert compare(images, 2, code=NOT_SPLIT)[2, "model"]["share_of_weights"] == 1


REFUSED = {  # the last one by a Keras that says it is 3.9.2
    "--devices 8": "8 devices are asked for, and 4 are there",
    "--batch-size 30": "a batch of 30 cannot be dealt out to [2, 4]",
    "--epochs 1": "1 epochs: give two, since the first epoch compiles",
    "": "Keras 3.9.2 draws other noise on several devices: take 3.10",
}


@needs_jax
def test_what_cannot_be_compared_is_refused(images):
    code = """
for given in sys.argv[2:]:
    if not given:
        keras.__version__ = "3.9.2"
    try:
        jax_vae.main([sys.argv[1], *given.split()])
    except SystemExit as error:
        assert error.code == 2
"""
    done = run(images, *REFUSED, code=IMPORTS + code)
    errors = [line for line in done.stderr.split("\n") if "error: " in line]
    assert len(errors) == len(REFUSED)
    for error, message in zip(errors, REFUSED.values(), strict=True):
        assert message in error


def test_without_jax_one_sentence_says_what_to_install(images):
    done = run(images, code="sys.modules['jax'] = None\n" + IMPORTS + CALL)
    assert done.returncode == 3
    assert done.stderr.strip() == 'JAX is not installed here: pip install -e ".[jax]" brings it.'


def test_the_same_model_trains_by_fit_on_tensorflow(images):
    """It refuses to compare devices there; the model itself needs no JAX."""
    code = """
import numpy as np
one = np.load(sys.argv[1])[0].reshape(1, -1).astype("float32")
x = np.tile(one, (100, 1))  # the same image: that can be learned
vae = jax_vae.VAE(36, 4, [32, 16], 1)
vae.compile(keras.optimizers.Adam(0.01))
print(vae.fit(x, epochs=5, verbose=0).history["loss"])
"""
    done = run(images, code=IMPORTS + code + CALL, backend="tensorflow")
    losses = json.loads(done.stdout.strip().split("\n")[-1])
    assert np.all(np.diff(losses) < 0)
    assert done.returncode == 2 and "set KERAS_BACKEND=jax" in done.stderr
