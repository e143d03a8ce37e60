"""Run folders: a run goes on after anything to the last bit, and nothing of a user's is lost."""

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import keras
import numpy as np
import pytest
import tensorflow as tf

import killed_run
from helpers import data, training
from helpers.course import files, runs
from helpers.course.runs import RunFolder
from tiny_model import IMAGES, STEPS, Interrupt, Tiny, run, same, weights

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


def saved(folder, kind="epoch"):
    """Names of the files of one kind, without their digests."""
    return sorted(path.name.split(".")[0] for path in folder.glob(f"{kind}-*.npz"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def state(*values):
    return [keras.Variable(np.float32(value)) for value in values]


def numbers(variables):
    return [variable.numpy().tolist() for variable in variables]


@pytest.fixture
def folder(tmp_path):
    """An open run folder with the checkpoints of epochs 1 and 2, whose weights are 1 and 2."""
    with RunFolder(tmp_path) as opened:
        opened.agree({"epochs": 9}, may_extend=False)
        for epoch in (1, 2):
            opened.save(state(epoch), [{"epoch": e} for e in range(1, epoch + 1)])
        yield opened


@pytest.fixture(scope="module")
def plain():
    """A model trained without interruption, without validation."""
    return run(validation=None)[0]


@pytest.fixture(scope="module", autouse=True)
def killed(tmp_path_factory):
    """A training that is killed at random steps, beside the other tests; and these steps."""
    last = killed_run.EPOCHS * killed_run.STEPS
    steps = np.random.default_rng().choice(np.arange(1, last), 2, replace=False)
    steps = [*sorted(steps.tolist()), last]
    command = "import sys, killed_run; killed_run.main(*sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", command, tmp_path_factory.mktemp("killed"), *map(str, steps)],
        env=os.environ | {"PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parent}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process, steps
        process.kill()


# --- patience -------------------------------------------------------------------------------------


class Sagging(Tiny):
    """Its validation loss falls for two epochs, then rises, by the number of steps taken."""

    def evaluate(self, *args, **kwargs):
        super().evaluate(*args, **kwargs)
        return {"loss": float(abs(training.steps_taken(self.optimizer) - 2 * STEPS))}


def test_a_run_with_patience_goes_on_with_the_best_weights_it_had(tmp_path):
    settings = dict(epochs=9, patience=3, schedule="constant")
    whole, history = run(Sagging(), **settings)
    assert len(history.epochs) == 5 and history.best_epoch == 2
    with pytest.raises(KeyboardInterrupt):
        run(Sagging(), run_dir=tmp_path, callbacks=[Interrupt(3 * STEPS + 1)], **settings)
    resumed, again = run(Sagging(), run_dir=tmp_path, **settings)
    assert same(weights(resumed), weights(whole))
    assert again["val_loss"].tolist() == history["val_loss"].tolist()
    loaded, _ = run(Sagging(), run_dir=tmp_path, **settings)  # the run is over
    assert same(weights(loaded), weights(whole))
    with pytest.raises(ValueError, match="other settings: patience was 3, is 4"):
        run(Sagging(), run_dir=tmp_path, **settings | dict(patience=4))


# --- checkpoints ----------------------------------------------------------------------------------


def test_the_newest_two_checkpoints_stay(folder):
    folder.save(state(3.0), [{}] * 3)
    assert saved(folder.path) == ["epoch-00002", "epoch-00003"]
    variables = state(0.0)
    assert len(folder.restore(variables)) == 3 and numbers(variables) == [3.0]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named_and_left(folder, capsys, damage):
    newest = max(folder.path.glob("epoch-*.npz"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= damage == "flipped"
    newest.write_bytes({"cut": content[:-100], "flipped": content, "empty": b""}[damage])
    before = contents(folder.path)
    variables = state(0.0)
    assert len(folder.restore(variables)) == 1 and numbers(variables) == [1.0]
    assert capsys.readouterr().out.startswith(f"{newest.name} is damaged: it is left")
    for epochs in range(2, 6):  # nor do later checkpoints take it away
        folder.save(state(epochs), [{}] * epochs)
    assert newest.read_bytes() == before[newest.name]
    assert saved(folder.path) == ["epoch-00002", "epoch-00004", "epoch-00005"]


def test_what_a_user_put_there_stays(folder, capsys):
    names = ["epoch-00002.best.npz", "epoch-00001.npz", "epoch-0.npz", "notes.txt", ".notes.tmp"]
    names += ["epoch-00001.0123456789abcdef.npz", "final-00001.0123456789abcdef.npz"]  # like ours
    names += [".epoch-00001.best.npz.1.unfinished"]
    for name in names:
        (folder.path / name).write_bytes(b"mine")
    for epochs in range(3, 7):
        folder.save(state(epochs), [{}] * epochs)
        folder.finish(state(epochs), epochs, None)
    assert len(folder.restore(state(0.0))) == 6
    assert all((folder.path / name).read_bytes() == b"mine" for name in names)


def check_survives(folder):
    """Checkpoint 2 is there and whole, and no other that is not."""
    variables = state(np.zeros(()))
    assert len(folder.restore(variables)) == 2 and numbers(variables) == [2.0]
    assert saved(folder.path) == ["epoch-00001", "epoch-00002"]


@contextlib.contextmanager
def file_size_limit(size):
    """No file above `size` bytes: a write stops short there, and the next one is an error."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_write_that_stops_short_is_an_error(folder):
    with file_size_limit(100_000), pytest.raises(OSError, match="File too large"):
        folder.save(state(np.zeros(50_000)), [{}] * 3)
    check_survives(folder)
    assert not list(folder.path.glob("*unfinished*"))


class Short(io.FileIO):
    """Takes at most a thousand bytes at a time, as Linux takes 2 GiB."""

    def write(self, payload):
        return super().write(memoryview(payload)[:1000])


def open_short(path, mode, buffering=-1):
    raw = Short(path, mode.replace("b", ""))
    return raw if buffering == 0 else io.BufferedWriter(raw)


def test_what_one_write_does_not_take_follows(folder, monkeypatch):
    monkeypatch.setattr(files, "open", open_short, raising=False)
    folder.save(state(np.arange(5_000)), [{}] * 3)
    variables = state(np.zeros(5_000))
    assert len(folder.restore(variables)) == 3 and numbers(variables) == [list(range(5_000))]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", disk]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_leaves_the_last_good_checkpoint(small_disk, plain):
    """A training whose checkpoints outgrow the disk stops; with room it goes on from there."""
    settings = dict(run_dir=small_disk / "run", validation=None)
    padding = small_disk / "padding"

    class Fill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                padding.write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096 - 4096))

    with pytest.raises(OSError, match="No space left"):
        run(callbacks=[Fill()], **settings)
    assert saved(small_disk / "run") == ["epoch-00001", "epoch-00002"]
    padding.unlink()
    resumed, _ = run(**settings)
    assert same(weights(resumed), weights(plain))


def test_all_types_of_weights_come_back(folder):
    values = {"bfloat16": 1.5, "float16": 0.25, "float32": 0.1, "int64": 2**40, "bool": True}
    variables = [keras.Variable(value, dtype=dtype) for dtype, value in values.items()]
    folder.save(variables, [{}] * 3)
    others = [keras.Variable(0, dtype=dtype) for dtype in values]
    folder.restore(others)
    assert [str(v.dtype) for v in others] == list(values)
    assert numbers(others) == numbers(variables)


def test_checkpoints_of_another_model_are_refused(folder):
    with pytest.raises(ValueError, match="holds 1 arrays, the model and its optimizer 2"):
        folder.restore(state(0.0, 0.0))


def test_a_folder_in_use_is_refused(tmp_path):
    with RunFolder(tmp_path), pytest.raises(filelock.Timeout):
        run(run_dir=tmp_path)


def test_the_home_folder_is_meant_by_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with RunFolder("~/runs/a"):
        assert (tmp_path / "runs" / "a").is_dir() and not (tmp_path / "~").exists()


# --- settings -------------------------------------------------------------------------------------


def agree(folder, settings, may_extend=False):
    """Compare settings with those of a run in `folder`; with none, begin one."""
    with RunFolder(folder) as opened:
        planned = opened.agree({"epochs": 1} | settings, may_extend=may_extend)
        if not saved(folder):
            opened.save(state(0.0), [{}])
        return planned


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (0, np.int64(0)),
        (0.5, np.float64(0.5)),
        ([1, 2], (1, np.int64(2))),
        ([1.0, 2.0], np.array([1.0, 2.0])),
        ({"name": "adam", "layers": [{"name": "dense_1", "units": 2}]},
         {"name": "adam_7", "layers": [{"name": "dense_9", "units": 2}]}),
    ],
)  # fmt: skip
def test_what_means_the_same_is_the_same(tmp_path, old, new):
    agree(tmp_path, {"setting": old})
    agree(tmp_path, {"setting": new})


def functional(hidden, session):
    """An encoder of two branches; `session` layers were made before it."""
    for _ in range(session):
        keras.layers.Dense(1)
        keras.Input((1,))
    x = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(x)
    left = keras.layers.Dense(hidden, "relu")(flat)
    right = keras.layers.Dense(hidden, "tanh")(flat)
    z = keras.layers.Subtract()([left, right])
    return keras.Model(x, [keras.layers.Dense(2)(z), keras.layers.Dense(2)(z)])


def test_a_functional_model_of_a_later_session_is_the_same(tmp_path):
    configs = [functional(*sizes).get_config() for sizes in ((3, 0), (3, 2), (5, 1))]
    assert configs[0] != configs[1]
    agree(tmp_path, {"encoder": configs[0]})
    agree(tmp_path, {"encoder": configs[1]})
    with pytest.raises(ValueError, match="other settings: encoder layers"):
        agree(tmp_path, {"encoder": configs[2]})


def test_layers_joined_in_another_way_are_another_model(tmp_path):
    def joined(order):
        x = keras.Input((4,))
        first = keras.layers.Dense(2)(x)
        outputs = [first, keras.layers.Dense(2)(first)]
        return keras.Model(x, keras.layers.Subtract()([outputs[i] for i in order])).get_config()

    agree(tmp_path, {"encoder": joined((0, 1))})
    with pytest.raises(ValueError, match="other settings: encoder"):
        agree(tmp_path, {"encoder": joined((1, 0))})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"epochs": ', "settings.json is damaged"),
        ("[1, 2]", "settings.json is not the settings of a run"),
        (None, "settings.json is missing beside its checkpoints"),
    ],
)
def test_settings_that_are_not_ours_are_refused_and_left(tmp_path, text, message):
    agree(tmp_path, {})
    (tmp_path / "settings.json").unlink()
    if text is not None:
        (tmp_path / "settings.json").write_text(text)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=message):
        agree(tmp_path, {})
    assert contents(tmp_path) == before


def test_a_run_that_failed_before_its_first_checkpoint_binds_nobody(tmp_path):
    for rate in (0.5, 0.1):
        with RunFolder(tmp_path) as opened:
            opened.agree({"epochs": 1, "rate": rate}, may_extend=False)
    agree(tmp_path, {"rate": 0.01})
    with pytest.raises(ValueError, match=r"rate was 0\.01, is 0\.1"):
        agree(tmp_path, {"rate": 0.1})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    run(run_dir=folder, epochs=2)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        dict(batch_size=4),
        dict(protocol="static"),
        dict(seed=8),
        dict(learning_rate=0.01),
        dict(warmup=0.5),
        dict(schedule="constant"),
        dict(clipnorm=1.0),
        dict(ema_momentum=0.5),
        dict(optimizer=keras.optimizers.SGD()),
        dict(images=IMAGES[:16]),
        dict(validation=None),
        dict(model=Tiny(units=2)),
        dict(epochs=1),
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_folder_of_other_settings_is_refused(finished, change):
    before = contents(finished)
    with pytest.raises(ValueError, match=f"other settings: {next(iter(change))}.* was") as caught:
        run(run_dir=finished, **dict(epochs=2) | change)
    assert str(caught.value).count(" was ") == 1
    assert contents(finished) == before


def test_other_weights_to_train_are_another_run(finished):
    frozen = Tiny()
    frozen.down.trainable = False
    with pytest.raises(ValueError, match=r"settings: frozen weights was \[\], is \[0, 1\]$"):
        run(frozen, run_dir=finished, epochs=2)


class Edited(Tiny):
    def train_step(self, x):
        return super().train_step(tf.round(x))


def test_an_edited_train_step_is_another_run(finished, monkeypatch):
    monkeypatch.setattr(Tiny, "train_step", Edited.train_step)
    with pytest.raises(ValueError, match=r"settings: the code of train_step has changed$"):
        run(run_dir=finished, epochs=2)


def defined(source):
    """Return the class `A` of some source, and what its methods' digests are."""
    names = {"__name__": "lesson"}
    exec(source, names)
    return runs.method_digests(names["A"])


def test_the_code_of_a_class_is_what_it_does():
    one = defined("class A:\n  def f(self, x):\n    'Say.'\n    return x in {0, 8} or 2")
    layout = "\n\nclass A:\n  # no more\n  def f(self, x):\n    'Other.'\n    return (\n\n x in"
    assert defined(layout + " {8, 0} or 2)") == one
    for old, new in (("or 2", "or 3"), ("x in", "self in"), ("8", "16")):
        changed = layout.replace(old, new) + " {8, 0} or 2)".replace(old, new)
        assert defined(changed)["f"] != one["f"]


def test_another_python_is_no_other_code():
    old, new = {"Python": "3.11", "train_step": "a"}, {"Python": "3.12", "train_step": "b"}
    assert runs.differences({"code": old}, {"code": new}) == []
    assert runs.differences({"code": old}, {"code": new | {"Python": "3.11"}}) != []


# --- runs that go on ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def averaged():
    return run(ema_momentum=0.9)


@pytest.mark.parametrize("step", [2, 8])  # in the first epoch, and later
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, averaged, step):
    whole, history = averaged
    with pytest.raises(KeyboardInterrupt):
        run(ema_momentum=0.9, run_dir=tmp_path, callbacks=[Interrupt(step)])
    assert len(saved(tmp_path)) == (step - 1) // STEPS and not saved(tmp_path, "final")
    resumed, rest = run(ema_momentum=0.9, run_dir=tmp_path)
    assert same(weights(whole), weights(resumed))
    for key in ("epoch", "loss", "val_loss"):
        assert rest[key].tolist() == history[key].tolist()
    assert saved(tmp_path) == ["epoch-00003", "epoch-00004"]


def test_data_that_turn_to_nan_leave_the_epochs_before(tmp_path, monkeypatch):
    """The batch of step 8 (epoch 3, place 2) holds NaN; mended, the same command goes on."""
    settings = dict(images=IMAGES, seed=7, validation=None, run_dir=tmp_path)
    good = data.apply_protocol

    def turning(images, protocol, key):
        x = good(images, protocol, key)
        is_bad = tf.reduce_all(tf.equal(key, data.noise_key(7, 2, 1)))
        return tf.where(is_bad, x * np.nan, x)

    with monkeypatch.context() as patch:
        patch.setattr(data, "apply_protocol", turning)
        with pytest.raises(training.TrainingDiverged, match="is nan at step 8, epoch 3"):
            run(**settings)
    assert saved(tmp_path) == ["epoch-00001", "epoch-00002"]
    model, history = run(**settings)
    assert len(history.epochs) == 4 and np.isfinite(history["loss"]).all()
    assert all(np.isfinite(weight).all() for weight in weights(model))


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16"])
def test_a_run_of_another_precision_goes_on(tmp_path, policy):
    settings = dict(epochs=2, validation=None)
    keras.config.set_dtype_policy(policy)
    try:
        whole, _ = run(**settings)
        with pytest.raises(KeyboardInterrupt):
            run(**settings, run_dir=tmp_path, callbacks=[Interrupt(STEPS + 1)])
        resumed, _ = run(**settings, run_dir=tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    assert same(weights(whole), weights(resumed))
    with pytest.raises(ValueError, match=f"precision was {policy!r}, is 'float32'"):
        run(**settings, run_dir=tmp_path)


def test_a_finished_run_is_only_loaded(tmp_path, capsys):
    first, history = run(run_dir=tmp_path, ema_momentum=0.9, validation=None)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    second, again = run(run_dir=str(tmp_path), ema_momentum=0.9, validation=None, verbose=1)
    assert capsys.readouterr().out == "resumed after epoch 4/4: the run is over\n"
    assert same(weights(first), weights(second)) and again.epochs == history.epochs
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")} == files
    next(tmp_path.glob("final-*.npz")).unlink()  # as if killed before it was written
    third, _ = run(run_dir=tmp_path, ema_momentum=0.9, validation=None)
    assert same(weights(first), weights(third))


def stop_after(epochs, best=1):
    """Return a callback that stops a run, as the loss on validation images would."""

    class Worse(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["worse"] = abs(epoch + 1 - best)

    early = keras.callbacks.EarlyStopping(
        "worse", mode="min", patience=epochs - best, restore_best_weights=True
    )
    return [Worse(), early]


def test_a_run_that_a_callback_stopped_is_finished(tmp_path):
    settings = dict(run_dir=tmp_path, validation=None, schedule="constant")
    first, history = run(callbacks=stop_after(2), **settings)
    assert len(history.epochs) == 2
    for _ in range(3):  # the same cell again and again
        again, same_history = run(callbacks=stop_after(2), **settings)
        assert same(weights(first), weights(again))
        assert same_history.epochs == history.epochs
    _, longer = run(**settings, epochs=5)
    assert len(longer.epochs) == 5 and saved(tmp_path, "final") == ["final-00005"]


def test_what_a_callback_restored_at_the_end_is_loaded_again(tmp_path, plain):
    settings = dict(run_dir=tmp_path, validation=None)
    first, _ = run(callbacks=stop_after(9, best=2), **settings)  # not stopped, but restored
    again, _ = run(callbacks=stop_after(9, best=2), **settings)
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(plain))


def test_a_run_at_a_constant_rate_can_be_extended(tmp_path):
    settings = dict(schedule="constant", warmup=0.0, ema_momentum=0.9, validation=None)
    whole, history = run(**settings)
    run(**settings, epochs=2, run_dir=tmp_path)
    extended, longer = run(**settings, run_dir=tmp_path)
    assert same(weights(whole), weights(extended))
    assert longer["loss"].tolist() == history["loss"].tolist()
    with pytest.raises(ValueError, match="holds 4 epochs by now: ask for at least as many, not 2"):
        run(**settings, epochs=2, run_dir=tmp_path)


def test_an_extended_run_does_not_rise_again(tmp_path):
    settings = dict(schedule="constant", warmup=0.9, validation=None, run_dir=tmp_path)
    run(**settings, epochs=1)
    model, _ = run(**settings, epochs=3)
    rate = model.optimizer._learning_rate
    assert [float(rate(step)) for step in (STEPS, 3 * STEPS)] == pytest.approx([0.02] * 2)


def test_a_run_with_an_own_optimizer_can_be_extended(tmp_path):
    for epochs in (1, 2):
        optimizer = keras.optimizers.SGD(0.01)
        _, history = run(optimizer=optimizer, epochs=epochs, validation=None, run_dir=tmp_path)
        assert len(history.epochs) == epochs


def test_a_run_that_ended_in_a_cosine_says_how_to_go_on(finished):
    with pytest.raises(
        ValueError, match=r"a run of 2 epochs, at whose end the cosine .*'constant'"
    ):
        run(run_dir=finished, epochs=3)


def test_a_budget_of_seconds_counts_all_runs(tmp_path, capsys):
    rest = dict(epochs=40, validation=None, run_dir=tmp_path)
    _, history = run(seconds=1e-3, verbose="auto", **rest)
    assert len(history.epochs) == 1
    assert capsys.readouterr().out.startswith("epoch 1/40")
    _, history = run(seconds=1e-3, **rest)
    assert len(history.epochs) == 1  # used up already
    _, history = run(seconds=history.seconds + 1e-6, **rest)
    assert len(history.epochs) == 2


# --- SIGKILL --------------------------------------------------------------------------------------


def test_three_kills_change_no_bit(killed):
    """Each kill loses the epoch under way and no other; then the run ends as if never killed."""
    process, steps = killed
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, (steps, output, errors)
    found = json.loads(output.strip().split("\n")[-1])
    assert [code for code, _ in found] == [-signal.SIGKILL] * 3 + [0], (steps, output)
    for (_, names), step in zip(found, steps, strict=False):
        complete = (step - 1) // killed_run.STEPS
        left = ["unfinished"] if step == killed_run.EPOCHS * killed_run.STEPS else []
        assert names == [f"epoch-{e:05d}" for e in range(max(1, complete - 1), complete + 1)] + left
    assert found[-1][1] == [f"epoch-{e:05d}" for e in (killed_run.EPOCHS - 1, killed_run.EPOCHS)]
    assert f"resumed after epoch {killed_run.EPOCHS - 1}/" in output
