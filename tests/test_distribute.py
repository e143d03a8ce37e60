"""Several replicas: a step is that of the whole batch, noise differs, and runs resume.

Logical devices have to exist before TensorFlow's first use, so all that runs under a strategy runs
in one process of its own, once; the tests judge what it measured. Several workers: notebook 07.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

HERE = Path(__file__).parent


def child(folder):
    """Everything under two replicas; prints one line of JSON."""
    import keras
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from helpers import training
    from helpers.vae import VAE, kl_to_standard_normal

    tf.config.experimental.enable_op_determinism()
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
    x, eps = (images[:8] > 127).astype("f4"), rng.normal(size=(8, 2)).astype("f4")

    class GivenNoise(VAE):
        def elbo_terms(self, x, *, seed):
            images, eps = x
            z_mean, z_log_var, _ = self.encode(images)
            z = z_mean + tf.exp(0.5 * z_log_var) * eps
            return self.likelihood(z).log_prob(images), kl_to_standard_normal(z_mean, z_log_var)

    def build(strategy, cls=VAE, **kwargs):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            return cls(2, (4, 4, 1), hidden_dim=5, seed=3, **kwargs)

    def step(strategy, undivided=False):
        model = build(strategy, GivenNoise)
        with strategy.scope():
            model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        if undivided:
            model.optimizer.scale_loss = lambda loss: loss * strategy.num_replicas_in_sync
        before = model.get_weights()
        model.fit(tf.data.Dataset.from_tensors(((x, eps),)), shuffle=False, verbose=0)
        parts = [np.ravel(b - a) for a, b in zip(before, model.get_weights(), strict=True)]
        return np.concatenate(parts).tolist()

    found = {"alone": step(one), "together": step(two), "undivided": step(two, undivided=True)}
    model = build(two)
    seeds = two.experimental_local_results(two.run(model.noise, args=(tf.constant(5),)))
    found["seeds"] = [seed.numpy().tolist() for seed in seeds]

    # One image on each replica, the same: only the noise can make their terms differ.
    # (What the trackers hold, Keras may have averaged over the replicas already.)
    model.trackers["loss"].reset_state()
    with mock.patch.object(model, "_track", lambda log_px_z, kl: log_px_z):
        drawn = two.run(model.test_step, args=(tf.constant(x[:1]),))
    found["evaluated"] = [float(v[0]) for v in two.experimental_local_results(drawn)]

    settings = dict(epochs=4, batch_size=8, protocol="dynamic", seed=7, verbose=0)
    settings |= dict(steps_per_execution=3, validation=x, ema_momentum=0.9)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.numpy() == 8:
                raise KeyboardInterrupt

    def train(strategy, **changes):
        model = build(strategy, iaf_steps=1, iaf_hidden=6)
        history = training.fit(model, images, **settings | changes)
        return [w.ravel().tolist() for w in model.get_weights()], history["loss"].tolist()

    found["whole"] = train(two)
    try:
        train(two, run_dir=folder, callbacks=[Stop()])
    except KeyboardInterrupt:
        found["kept"] = len(list(Path(folder).glob("epoch-*.npz")))
    found["resumed"] = train(two, run_dir=folder)
    broken = build(two)
    broken.decoder.logits_head.bias.assign(np.full(16, np.nan))
    try:
        training.fit(broken, images, **settings)
    except training.TrainingDiverged as error:
        found["diverged"] = str(error)
    found["refused"] = {}
    for name, change in {"batch": dict(batch_size=7), "validation": dict(validation=x[:5])}.items():
        try:
            train(two, **change)
        except ValueError as error:
            found["refused"][name] = str(error)
    print(json.dumps(found))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    command = "import sys, test_distribute as t; t.child(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", command, str(tmp_path_factory.mktemp("run"))],
        env=os.environ | {"PYTHONPATH": f"{HERE.parent}:{HERE}", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().split("\n")[-1])


def check_step(found, name):
    """A step on shares is the step on the whole batch."""
    alone, step = np.array(found["alone"]), np.array(found[name])
    assert np.abs(alone).max() > 1e-3
    np.testing.assert_allclose(step, alone, atol=1e-4 * np.abs(alone).max())


def test_one_step_of_two_replicas_is_one_step_on_the_whole_batch(found):
    check_step(found, "together")
    with pytest.raises(AssertionError):
        check_step(found, "undivided")


def test_replicas_draw_different_noise(found):
    assert found["seeds"][0] == [3, 5] and found["seeds"][1] != [3, 5]
    assert found["evaluated"][0] != found["evaluated"][1]


def test_a_run_on_two_replicas_resumes_to_the_last_bit(found):
    assert found["kept"] == 2
    assert found["resumed"] == found["whole"]
    assert np.all(np.isfinite(found["whole"][1]))


def test_nan_stops_a_run_on_two_replicas(found):
    assert "nan at step 1, epoch 1" in found["diverged"]


def test_what_cannot_be_dealt_out_is_refused(found):
    refused = found["refused"]
    assert "20 images in batches of 7" in refused["batch"]
    assert "5 images in batches of 8" in refused["validation"]
    assert all("dealt out equally to 2 replicas" in message for message in refused.values())
