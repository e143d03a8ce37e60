"""Training: the optimizer, `fit`, and runs that resume after anything, to the last bit."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import filelock
import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import data, training
from helpers.course import runs

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
VALIDATION = (IMAGES[:10] > 127).astype("float32")


class Tiny(keras.Model):
    """An autoencoder with noise in the middle: what `fit` needs of a VAE, and no more."""

    def __init__(self, units=3, seed=0, bad_step=None):
        super().__init__()
        self.config = dict(units=units, seed=seed, bad_step=bad_step)
        start = keras.initializers.GlorotUniform
        self.down = keras.layers.Dense(units, "tanh", kernel_initializer=start(seed))
        self.up = keras.layers.Dense(16, kernel_initializer=start(seed + 1))
        self.tracker = keras.metrics.Mean("loss")
        self.checked = []
        self(np.zeros((1, 4, 4, 1), "float32"))

    def get_config(self):
        return self.config

    def check_images(self, x):
        self.checked.append(tuple(x.shape))

    @property
    def metrics(self):
        return [self.tracker]

    def call(self, x):
        return self.up(self.down(tf.reshape(x, (-1, 16))))

    def _loss(self, x, noise):
        logits = self.up(self.down(tf.reshape(x, (-1, 16))) + noise)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.reshape(x, (-1, 16)), logits)
        return tf.reduce_sum(losses, axis=1)

    def train_step(self, x):
        step = tf.cast(self.optimizer.iterations, tf.int32)
        noise = tf.random.stateless_normal(
            (tf.shape(x)[0], self.config["units"]), tf.stack([self.config["seed"], step])
        )
        with tf.GradientTape() as tape:
            losses = self._loss(x, noise)
            if self.config["bad_step"] is not None:
                losses = tf.where(step + 1 == self.config["bad_step"], np.nan, losses)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.tracker.update_state(losses)
        return {"loss": tf.reshape(self.tracker.result(), (1,))}

    def test_step(self, x):
        self.tracker.update_state(self._loss(x, 0.0))
        return {"loss": tf.reshape(self.tracker.result(), (1,))}


def run(model=None, images=IMAGES, **changes):
    model = Tiny() if model is None else model
    settings = dict(epochs=4, batch_size=8, protocol="dynamic", seed=7, learning_rate=0.02)
    settings |= dict(validation=VALIDATION, verbose=0) | changes
    return model, training.fit(model, images, **settings)


def weights(model):
    return [weight.numpy() for weight in model.weights]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def saved(folder):
    return sorted(path.name.split(".")[0] for path in folder.glob("epoch-*.npz"))


class Interrupt(keras.callbacks.Callback):
    """Stop as Ctrl-C does, after so many steps."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            raise KeyboardInterrupt


# ------------------------------------------------------------------------------------the optimizer


def test_learning_rate_rises_then_falls():
    rate = training.make_optimizer(0.01, 100, warmup=0.1)._learning_rate
    rates = np.array([float(rate(step)) for step in range(101)])
    assert rates[10] == pytest.approx(0.01) == rates.max()
    assert 0 < rates[0] <= 0.001 + 1e-9 and (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all() and rates[55] == pytest.approx(0.005)
    assert rates[100] == pytest.approx(0, abs=1e-8)
    rate = training.make_optimizer(0.01, 100, warmup=0.1, schedule="constant")._learning_rate
    assert [float(rate(step)) for step in (10, 50, 100)] == pytest.approx([0.01] * 3)
    for steps in (1, 2):  # no room for a warm-up
        rate = training.make_optimizer(0.01, steps, warmup=0.0)._learning_rate
        assert float(rate(0)) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "bad",
    [dict(schedule="step"), dict(warmup=1.0), dict(warmup=-0.1), dict(peak=0.0),
     dict(peak=float("nan")), dict(ema_momentum=1.0)],
)  # fmt: skip
def test_make_optimizer_refuses(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        training.make_optimizer(**{"peak": 0.1, "total_steps": 10, **bad})


# -------------------------------------------------------------------------------------------- fit


def test_fit_learns_and_measures(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, history = run(epochs=30, verbose="auto")
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == "" and "\r" not in out and 10 <= len(lines) <= 12
    assert lines[0].startswith("epoch 1/30  loss ") and lines[-1].startswith("epoch 30/30")
    assert history["epoch"].tolist() == list(range(1, 31))
    assert history["loss"][-1] < history["loss"][0] - 1
    assert set(history.epochs[0]) == {"epoch", "seconds", "loss", "val_loss"}
    assert history.seconds == pytest.approx(history["seconds"].sum()) and history.seconds > 0
    assert history["seconds"][0] > history["seconds"][1:].max()  # tracing counts
    assert model.checked == [(8, 4, 4, 1), (10, 4, 4, 1)]
    assert not model.jit_compile


class Paired(Tiny):
    """Sees that each image comes with its own label: image k is filled with the value k."""

    def train_step(self, data):
        x, y = data
        tf.debugging.assert_equal(tf.round(255.0 * x[:, 0, 0, 0]), tf.cast(y, tf.float32))
        return super().train_step(x)


def test_labels_stay_with_their_images(tmp_path):
    labels = np.arange(20, dtype=np.uint8)
    images = np.tile(labels[:, None, None, None], (1, 4, 4, 1))
    settings = dict(images=images, labels=labels, protocol="grey", validation=None)
    whole, _ = run(Paired(), **settings)
    with pytest.raises(KeyboardInterrupt):
        run(Paired(), callbacks=[Interrupt(8)], run_dir=tmp_path, **settings)
    again, _ = run(Paired(), run_dir=tmp_path, **settings)
    assert same(weights(again), weights(whole))
    with pytest.raises(ValueError, match="other settings: labels"):
        run(Paired(), run_dir=tmp_path, **settings | {"labels": labels[::-1].copy()})
    with pytest.raises(ValueError, match="labels and validation"):
        run(Paired(), **settings | {"validation": VALIDATION})


def test_fit_prints_what_is_asked(capsys):
    run(epochs=15, verbose=1, validation=None)
    assert len(capsys.readouterr().out.splitlines()) == 15


def test_seconds_leave_validation_and_checkpoints_out(tmp_path):
    class Slow(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            time.sleep(2.0)

        def on_epoch_end(self, epoch, logs=None):
            time.sleep(2.0)

    _, history = run(epochs=2, callbacks=[Slow()], run_dir=tmp_path)
    assert history["seconds"][1] < 1.9


def test_validation_every_other_epoch_in_silence(capsys):
    _, history = run(validation_freq=2, verbose=0)
    assert capsys.readouterr().out == ""
    assert np.isnan(history["val_loss"]).tolist() == [True, False, True, False]


@pytest.fixture(scope="module")
def plain():
    return run()


@pytest.fixture(scope="module")
def averaged():
    return run(ema_momentum=0.9)


def test_seed_shapes_the_result(plain):
    assert not same(weights(plain[0]), weights(run(seed=8, validation=None)[0]))


def test_groups_of_steps_change_nothing(plain):
    # 3 steps an epoch: groups of 2 would run into the next epoch's data
    one, history = plain
    for group, used in ((2, 1), (50, 3)):
        other, grouped = run(steps_per_execution=group)
        assert other.steps_per_execution == used
        np.testing.assert_allclose(grouped["loss"], history["loss"], rtol=1e-5)
        for a, b in zip(weights(one), weights(other), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_averaged_weights_serve_validation_and_the_end_only(plain, averaged):
    averaged, history = averaged
    assert not same(weights(averaged), weights(plain[0]))
    # the last epoch was validated with the averages, which are the final weights
    assert history["val_loss"][-1] == pytest.approx(
        float(np.mean(averaged.evaluate(VALIDATION, verbose=0)))
    )
    # by hand: an average with momentum 0.9 over the weights after each step
    steps = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(weights(self.model))

    unwatched, _ = run(ema_momentum=0.9, validation=None, callbacks=[Watch()])
    assert same(weights(averaged), weights(unwatched))  # validation leaves no trace
    average = steps[0]
    for step in steps[1:]:
        average = [0.9 * a + 0.1 * b for a, b in zip(average, step, strict=True)]
    for a, b in zip(average, weights(averaged), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_own_optimizer():
    sgd, _ = run(optimizer=keras.optimizers.SGD(0.0), epochs=1, validation=None)
    assert isinstance(sgd.optimizer, keras.optimizers.SGD)
    assert same(weights(sgd), weights(Tiny()))


@pytest.mark.parametrize(
    "bad",
    [dict(epochs=0), dict(batch_size=0), dict(steps_per_execution=0), dict(seconds=0),
     dict(verbose="loud"), dict(schedule="linear"), dict(protocol="bernoulli")],
)  # fmt: skip
def test_fit_refuses(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        run(**bad)


def test_fit_refuses_prepared_images():
    with pytest.raises(ValueError, match="float32"):
        run(images=IMAGES.astype("float32"))


# --------------------------------------------------------------------------------nan and resuming


@pytest.mark.parametrize("group, text", [(1, "step 8,"), (3, "one of the steps 7 to 9,")])
def test_nan_stops_at_the_step(tmp_path, group, text):
    with pytest.raises(training.TrainingDiverged, match=f"loss is nan at {text} epoch 3") as caught:
        run(Tiny(bad_step=8), run_dir=tmp_path, steps_per_execution=group)
    error = caught.value
    assert (error.metric, error.step, error.epoch) == ("loss", 8 if group == 1 else 7, 3)
    assert saved(tmp_path) == ["epoch-00001", "epoch-00002"]
    for path in tmp_path.glob("epoch-*.npz"):
        with np.load(path) as arrays:
            assert all(np.isfinite(arrays[k]).all() for k in arrays.files if k != "history")


@pytest.mark.parametrize("step", [2, 8])  # in the first epoch, and later
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, averaged, step):
    whole, history = averaged
    with pytest.raises(KeyboardInterrupt):
        run(ema_momentum=0.9, run_dir=tmp_path, callbacks=[Interrupt(step)])
    assert len(saved(tmp_path)) == (step - 1) // 3
    resumed, rest = run(ema_momentum=0.9, run_dir=tmp_path)
    assert same(weights(whole), weights(resumed))
    for key in ("epoch", "loss", "val_loss"):
        assert rest[key].tolist() == history[key].tolist()
    assert saved(tmp_path) == ["epoch-00003", "epoch-00004"]


def test_a_finished_run_is_only_loaded(tmp_path, capsys):
    first, history = run(run_dir=tmp_path, ema_momentum=0.9, validation=None)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("epoch-*")}
    second, again = run(run_dir=str(tmp_path), ema_momentum=0.9, validation=None, verbose=1)
    assert capsys.readouterr().out == "resumed after epoch 4/4\n"
    assert same(weights(first), weights(second)) and again.epochs == history.epochs
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("epoch-*")} == files


def test_a_damaged_checkpoint_is_not_used(tmp_path, plain, capsys):
    run(run_dir=tmp_path, validation=None)
    for damage in ("cut", "flipped"):
        newest = max(tmp_path.glob("epoch-*.npz"))
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= damage == "flipped"
        newest.write_bytes(content[:-100] if damage == "cut" else content)
        resumed, history = run(run_dir=tmp_path, validation=None, verbose=1)
        out = capsys.readouterr().out
        assert "epoch-00004" in out and "damaged" in out and "resumed after epoch 3/4" in out
        assert same(weights(plain[0]), weights(resumed)) and len(history.epochs) == 4
        assert saved(tmp_path) == ["epoch-00003", "epoch-00004"]


@pytest.mark.parametrize(
    "change",
    [dict(epochs=5), dict(batch_size=4), dict(protocol="static"), dict(seed=8),
     dict(learning_rate=0.01), dict(warmup=0.5), dict(schedule="constant"), dict(clipnorm=1.0),
     dict(ema_momentum=0.5), dict(optimizer=keras.optimizers.SGD()), dict(images=IMAGES[:16]),
     dict(validation=None), dict(model=Tiny(units=2))],
)  # fmt: skip
def test_a_folder_of_other_settings_is_refused(finished, change):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    name = next(iter(change))
    with pytest.raises(ValueError, match=f"other settings.*{name} was") as caught:
        run(run_dir=finished, **change)
    assert str(caught.value).count(" was ") == 1
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    run(run_dir=folder, epochs=1, warmup=0.0)
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps(settings | {"epochs": 4, "warmup": 0.05}))
    return folder


def test_automatic_names_are_no_setting(tmp_path):
    settings = {"optimizer": {"name": "adam", "layers": [{"name": "dense_1", "units": 2}]}}
    runs.RunFolder(tmp_path).check_settings(settings)
    settings = {"optimizer": {"name": "adam_7", "layers": [{"name": "dense_9", "units": 2}]}}
    runs.RunFolder(tmp_path).check_settings(settings)


def test_budget_of_seconds_counts_all_runs(tmp_path, capsys):
    rest = dict(epochs=40, validation=None)

    class Slow(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            time.sleep(1.0)

    _, history = run(run_dir=tmp_path, seconds=1, verbose="auto", callbacks=[Slow()], **rest)
    assert len(history.epochs) == 1
    assert capsys.readouterr().out.startswith("epoch 1/40")
    _, history = run(run_dir=tmp_path, seconds=1, **rest)
    assert len(history.epochs) == 1  # used up already
    _, history = run(run_dir=tmp_path, seconds=history.seconds + 1e-6, **rest)
    assert len(history.epochs) == 2


def test_a_folder_in_use_is_refused(tmp_path):
    with filelock.FileLock(tmp_path / ".lock"), pytest.raises(filelock.Timeout):
        run(run_dir=tmp_path)


# -----------------------------------------------------------------------SIGKILL, in own processes


def start(function, *arguments):
    """Call a function of this module in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys, test_training as t; t.{function}(*sys.argv[1:])",
         *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parent}"},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip


def child(folder, kill_epoch):
    """Train in `folder`; die while the checkpoint of an epoch is written, before its renaming."""
    tf.config.experimental.enable_op_determinism()
    replace = os.replace

    def deadly(source, target):
        if f"epoch-{int(kill_epoch):05d}" in str(target):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = deadly
    resumed, rest = run(run_dir=folder, ema_momentum=0.9, verbose=1)
    whole, history = run(ema_momentum=0.9)
    assert same(weights(resumed), weights(whole)), "the weights differ"
    one, other = (([v.numpy() for v in m.optimizer.variables]) for m in (resumed, whole))
    assert same(one, other), "the optimizers differ"
    assert rest["val_loss"].tolist() == history["val_loss"].tolist(), "the histories differ"
    print("identical")


def test_a_killed_run_loses_the_epoch_under_way_and_ends_identical(tmp_path):
    assert start("child", tmp_path, 3).returncode == -signal.SIGKILL
    assert saved(tmp_path) == ["epoch-00001", "epoch-00002"]
    assert (tmp_path / "unfinished.tmp").exists()
    second = start("child", tmp_path, 0)
    assert second.returncode == 0, second.stderr
    assert "resumed after epoch 2/4" in second.stdout and "identical" in second.stdout


class Kill(keras.callbacks.Callback):
    """Die, without a last word, after so many steps over all epochs."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def vae_child(folder, step, compare):
    """Train a VAE with a flow in `folder` until it is killed; or to its end, and compare."""
    from helpers.vae import VAE

    tf.config.experimental.enable_op_determinism()
    os.environ["VAE_DATA"] = "embedded"
    images = data.load_mnist().train.images[:130]
    settings = dict(epochs=VAE_EPOCHS, batch_size=32, protocol="dynamic", seed=3, verbose=1)
    settings |= dict(validation=data.prepare(images[:20], "dynamic"), ema_momentum=0.9)

    def train(**more):
        # Names count up through a process, and TensorFlow orders (and so rounds) sums by name.
        keras.backend.clear_session()
        keras.utils.set_random_seed(3)
        vae = VAE(3, hidden_dim=16, iaf_steps=1, iaf_hidden=8, beta_warmup=9, seed=3)
        return vae, training.fit(vae, images, **settings, **more)

    resumed, history = train(run_dir=folder, callbacks=[Kill(int(step))])
    if compare:
        whole, expected = train()
        assert same(weights(resumed), weights(whole)), "the weights differ"
        assert history["val_loss"].tolist() == expected["val_loss"].tolist(), "histories differ"
        print("identical")


VAE_EPOCHS, VAE_STEPS = 6, 5  # steps of an epoch


def test_three_kills_at_random_steps_change_no_bit(tmp_path):
    """Each kill loses the epoch under way and no other; then the run ends as if never killed."""
    rng = np.random.default_rng()
    kills = sorted(rng.choice(np.arange(1, VAE_EPOCHS * VAE_STEPS), 3, replace=False).tolist())
    done = 0
    for step in kills:
        killed = start("vae_child", tmp_path, step, "")
        assert killed.returncode == -signal.SIGKILL, (kills, killed.stderr)
        assert (f"resumed after epoch {done}/" in killed.stdout) == (done > 0), kills
        done = (step - 1) // VAE_STEPS  # complete epochs
        assert saved(tmp_path) == [f"epoch-{e:05d}" for e in range(max(1, done - 1), done + 1)]
    last = start("vae_child", tmp_path, 0, "compare")
    assert last.returncode == 0 and "identical" in last.stdout, (kills, last.stderr)


def test_damaged_settings_are_refused(tmp_path):
    run(run_dir=tmp_path, epochs=1, warmup=0.0, validation=None)
    (tmp_path / "settings.json").write_text('{"epochs": ')
    with pytest.raises(ValueError, match=r"settings\.json is damaged"):
        run(run_dir=tmp_path, epochs=1, warmup=0.0, validation=None)
