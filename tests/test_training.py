"""Training: the optimizer, and what `fit` measures, prints, stops at and refuses."""

import time
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import training
from helpers.vae import VAE
from tiny_model import IMAGES, STEPS, VALIDATION, Tiny, run, same, weights

NAN = float("nan")

# --- the optimizer --------------------------------------------------------------------------------


def rates(steps, *args, **kwargs):
    rate = training.make_optimizer(*args, **kwargs)._learning_rate
    return np.array([float(rate(step)) for step in steps])


def test_learning_rate_rises_then_falls():
    found = rates(range(101), 0.01, 100, warmup=0.1)
    assert found[10] == pytest.approx(0.01) == found.max()
    assert 0 < found[0] <= 0.001 + 1e-9 and (np.diff(found[:11]) > 0).all()
    assert (np.diff(found[10:]) < 0).all() and found[55] == pytest.approx(0.005)
    assert found[100] == pytest.approx(0, abs=1e-8)


def test_a_constant_rate_stays_after_the_rise_and_after_the_end():
    found = rates((10, 50, 100, 1000), 0.01, 100, warmup=0.1, schedule="constant")
    assert found == pytest.approx([0.01] * 4)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_training_without_room_for_a_rise_starts_at_the_peak(steps):
    assert rates([0], 0.01, steps, warmup=0.0) == pytest.approx([0.01])


@pytest.mark.parametrize(
    ("error", "bad"),
    [
        (ValueError, dict(schedule="step")),
        (ValueError, dict(warmup=1.0)),
        (ValueError, dict(peak=0.0)),
        (ValueError, dict(peak=NAN)),
        (TypeError, dict(peak="fast")),
        (ValueError, dict(total_steps=0)),
        (ValueError, dict(clipnorm=-1)),
        (ValueError, dict(ema_momentum=1.0)),
        (ValueError, dict(weight_decay=-0.1)),
    ],
)
def test_make_optimizer_refuses(error, bad):
    with pytest.raises(error, match=f"{next(iter(bad))} must be"):
        training.make_optimizer(**{"peak": 0.1, "total_steps": 10, **bad})


@pytest.mark.parametrize("momentum", [0.999, 0.3])
def test_the_average_has_a_momentum_that_rises(momentum):
    """Against the recurrence in NumPy: 12 steps of a weight that moves by whole numbers."""
    weight, probe = keras.Variable([0.0, 5.0]), keras.Variable([0.0, 0.0])
    optimizer = training.make_optimizer(
        0.1, 12, warmup=0.0, schedule="constant", ema_momentum=momentum
    )
    optimizer.build([weight])
    step = tf.function(lambda: optimizer.apply([tf.ones(2)], [weight]))
    average = None
    for t in range(12):
        step()
        now = weight.numpy().astype(np.float64)
        kept = min(momentum, (1 + t) / (10 + t))
        average = now if t == 0 else kept * average + (1 - kept) * now
        optimizer.finalize_variable_values([probe])
        np.testing.assert_allclose(probe.numpy(), average, rtol=1e-5)
    assert np.abs(now - average).min() > 0.01  # an average, not the last weights
    assert optimizer.get_config()["ema_momentum"] == momentum


def test_weight_decay_shrinks_kernels_by_a_part_of_the_rate_and_no_bias():
    layer = keras.layers.Dense(3, bias_initializer="ones")
    layer.build((None, 2))
    kernel = layer.kernel.numpy()
    rate = dict(warmup=0.0, schedule="constant", weight_decay=0.2)
    optimizer = training.make_optimizer(0.1, 10, **rate)
    weights = layer.trainable_variables
    optimizer.apply([tf.zeros(w.shape) for w in weights], weights)
    np.testing.assert_allclose(layer.kernel, 0.98 * kernel, rtol=1e-6)
    np.testing.assert_array_equal(layer.bias, 1.0)


# --- fit ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain():
    return run()


@pytest.fixture(scope="module")
def averaged():
    return run(ema_momentum=0.9)


def test_fit_learns_and_measures(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, history = run(epochs=16, verbose="auto", learning_rate=0.05)
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == "" and "\r" not in out and len(lines) == 12
    assert lines[0].startswith("epoch 1/16  loss ") and lines[-1].startswith("epoch 16/16")
    assert history["loss"][-1] < history["loss"][0] - 1
    assert set(history.epochs[0]) == {"epoch", "seconds", "loss", "val_loss"}
    assert history.seconds == pytest.approx(history["seconds"].sum()) and history.seconds > 0
    assert history["seconds"][0] > history["seconds"][1:].max()  # tracing counts
    assert model.checked == [(8, 4, 4, 1), (10, 4, 4, 1)]
    assert not model.jit_compile


def test_the_history_looks_like_that_of_keras(plain):
    _, history = plain
    model = Tiny()
    model.compile(optimizer="sgd", jit_compile=False)
    batch = tf.data.Dataset.from_tensors(VALIDATION)
    theirs = model.fit(batch, epochs=4, validation_data=batch, shuffle=False, verbose=0)
    assert history.history.keys() == theirs.history.keys()
    assert history.epoch == theirs.epoch == [0, 1, 2, 3]
    assert history.history["loss"] == history["loss"].tolist()
    assert history["epoch"].tolist() == [1, 2, 3, 4]


def test_a_history_names_what_it_holds(plain):
    with pytest.raises(KeyError, match="'val_los': the history holds epoch, seconds, loss, val_lo"):
        plain[1]["val_los"]


class Paired(Tiny):
    """Sees that each image comes with its own label: image k is filled with the value k."""

    def train_step(self, data):
        x, y = data
        tf.debugging.assert_equal(tf.round(255.0 * x[:, 0, 0, 0]), tf.cast(y, tf.float32))
        return super().train_step(x)


def test_labels_stay_with_their_images(tmp_path):
    labels = np.arange(20, dtype=np.uint8)
    images = np.tile(labels[:, None, None, None], (1, 4, 4, 1))
    settings = dict(images=images, protocol="grey", validation=None)
    run(Paired(), labels=labels, run_dir=tmp_path, **settings)
    with pytest.raises(ValueError, match="other settings: labels was"):
        run(Paired(), labels=labels[::-1].copy(), run_dir=tmp_path, **settings)
    with pytest.raises(tf.errors.InvalidArgumentError):
        run(Paired(), labels=labels[::-1].copy(), **settings)


@pytest.mark.parametrize("total", [1, 2, 12, 13, 1000])
def test_lines_are_spread_from_the_first_epoch_to_the_last(total):
    epochs = sorted(training.report_epochs(total, 12))
    assert len(epochs) == min(total, 12) and epochs[0] == 1 and epochs[-1] == total
    assert total == 1 or np.ptp(np.diff(epochs)) <= 1


class Bar:
    """Stands in for the bar: notes what is done to it."""

    def __init__(self, total, label):
        self.total, self.seen, self.is_closed = total, [], False

    def update(self, steps):
        self.seen.append(steps)

    def clear(self):
        self.seen.append("clear")

    def close(self):
        self.is_closed = True


@pytest.fixture
def bars(monkeypatch):
    made = []

    def progress(*, total, label):
        made.append(Bar(total, label))
        return made[-1]

    monkeypatch.setattr(training, "progress", progress)
    return made


def test_a_bar_moves_with_the_steps_below_a_line_an_epoch(bars, capsys):
    run(epochs=2, verbose=1, validation=None, steps_per_execution=STEPS)
    (bar,) = bars
    assert [line[:9] for line in capsys.readouterr().out.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert bar.total == 2 * STEPS and bar.seen == [STEPS, "clear"] * 2 and bar.is_closed


def test_validation_every_other_epoch_in_silence(bars, capfd):
    _, history = run(validation_freq=2, verbose=0)
    assert capfd.readouterr() == ("", "") and not bars
    assert np.isnan(history["val_loss"]).tolist() == [True, False, True, False]
    assert len(history.history["val_loss"]) == 2


def test_seconds_leave_validation_and_checkpoints_out(tmp_path):
    class Slow(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            time.sleep(0.5)

        def on_epoch_end(self, epoch, logs=None):
            time.sleep(0.5)

    _, history = run(epochs=2, callbacks=[Slow()], run_dir=tmp_path)
    assert history["seconds"][1] < 0.45


def test_validation_of_float64_is_as_good(plain):
    _, history = run(validation=VALIDATION.astype(np.float64))
    assert history["val_loss"].tolist() == plain[1]["val_loss"].tolist()


def test_seed_shapes_the_result(plain):
    assert not same(weights(plain[0]), weights(run(seed=8, validation=None)[0]))


@pytest.mark.parametrize(("asked", "used"), [(2, 1), (50, 3)])
def test_groups_of_steps_change_nothing(averaged, asked, used):
    # 3 steps an epoch: groups of 2 would run into the next epoch's data
    one, history = averaged
    other, grouped = run(steps_per_execution=asked, ema_momentum=0.9)
    assert other.steps_per_execution == used
    np.testing.assert_allclose(grouped["loss"], history["loss"], rtol=1e-5)
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_averaged_weights_serve_validation_and_the_end_only(plain, averaged):
    model, history = averaged
    assert not same(weights(model), weights(plain[0]))
    # the last epoch was validated with the averages, which are the final weights
    last = float(np.mean(model.evaluate(VALIDATION, verbose=0)))
    assert history["val_loss"][-1] == pytest.approx(last)
    unwatched, _ = run(ema_momentum=0.9, validation=None)
    assert same(weights(model), weights(unwatched))  # validation leaves no trace


def test_own_optimizer():
    sgd, _ = run(optimizer=keras.optimizers.SGD(0.0), epochs=1, validation=None)
    assert isinstance(sgd.optimizer, keras.optimizers.SGD)
    assert same(weights(sgd), weights(Tiny()))


class Silent(Tiny):
    """Does not say what it was made of."""

    def get_config(self):
        return {"units": 3, "activation": object()}


def test_only_a_run_folder_needs_settings_and_digests(monkeypatch, tmp_path):
    def refuse(array):
        raise RuntimeError("digest")

    with pytest.raises(TypeError, match=r"Silent\.get_config\(\) does not give them"):
        run(Silent(), run_dir=tmp_path)
    monkeypatch.setattr(training, "array_digest", refuse)
    run(Silent(), epochs=1, validation=None)


# --- patience -------------------------------------------------------------------------------------


class Losses(Tiny):
    """Its validation losses are dictated; what it learns is not."""

    def __init__(self, *losses):
        super().__init__()
        self.to_come = list(losses)

    def evaluate(self, *args, **kwargs):
        super().evaluate(*args, **kwargs)
        return {"loss": self.to_come.pop(0)}


class See(keras.callbacks.Callback):
    """Keeps the weights that are validated, each time."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_test_end(self, logs=None):
        self.weights.append(self.model.get_weights())


def watched(*losses, **settings):
    """A run with dictated losses: its model, its history and the weights of each validation."""
    see = See()
    model, history = run(Losses(*losses), callbacks=[see], **settings)
    return weights(model), history, see.weights


def test_a_run_out_of_patience_stops_and_gives_the_best_weights_back(capsys):
    losses = (5.0, 4.0, 4.5, 3.0, 3.5, 3.2, 9.0, 9.0)
    final, history, seen = watched(*losses, epochs=8, patience=2, verbose=1)
    assert history["val_loss"].tolist() == [5.0, 4.0, 4.5, 3.0, 3.5, 3.2]
    assert history.best_epoch == 4
    assert same(final, seen[3]) and not same(seen[3], seen[5])
    assert capsys.readouterr().out.endswith("the weights are those of epoch 4, val_loss 3.00\n")


@pytest.mark.parametrize("ema_momentum", [None, 0.9])
def test_the_best_weights_come_back_where_all_epochs_were_needed(ema_momentum):
    options = dict(epochs=3, ema_momentum=ema_momentum)
    final, history, seen = watched(5.0, 2.0, 4.0, patience=3, **options)
    assert len(history.epochs) == 3 and same(final, seen[1])  # the averages, if there are such
    final, _, seen = watched(5.0, 2.0, 4.0, **options)
    assert same(final, seen[2])  # without patience: the last


def test_patience_counts_validations_and_a_loss_of_nan_is_none():
    final, history, seen = watched(5.0, NAN, NAN, 1.0, epochs=8, patience=2, validation_freq=2)
    assert len(history.epochs) == 6 and history.best_epoch == 2
    assert same(final, seen[0])


def test_runs_that_were_not_validated_have_no_best_epoch():
    model, history = run(epochs=1, patience=1, validation_freq=2)
    assert same(weights(model), weights(run(epochs=1, validation=None)[0]))
    with pytest.raises(ValueError, match="no epoch has a validation loss"):
        _ = history.best_epoch
    with pytest.raises(ValueError, match="patience needs validation images"):
        run(patience=1, validation=None)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "bad"),
    [
        (ValueError, dict(epochs=0)),
        (TypeError, dict(batch_size=2.5)),
        (ValueError, dict(steps_per_execution=0)),
        (ValueError, dict(validation_freq=0)),
        (ValueError, dict(patience=0)),
        (ValueError, dict(seed=2**31)),
        (ValueError, dict(seconds=NAN)),
        (ValueError, dict(verbose="loud")),
        (ValueError, dict(learning_rate=-1.0)),
        (ValueError, dict(schedule="linear")),
        (ValueError, dict(protocol="bernoulli")),
        (TypeError, dict(optimizer="adam")),
        (TypeError, dict(model="vae")),
        (ValueError, dict(images=IMAGES.astype("float32"))),
        (TypeError, dict(validation=IMAGES)),
    ],
)
def test_fit_refuses(error, bad, tmp_path):
    with pytest.raises(error, match=f"{next(iter(bad))} must be"):
        run(**bad, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fit_refuses_labels_beside_validation():
    with pytest.raises(ValueError, match="labels and validation: give one of them"):
        run(labels=np.zeros(20, np.uint8))


@pytest.mark.parametrize(
    ("likelihood", "decoder", "protocol"),
    [
        ("gaussian", "gaussian_mlp", "grey"),
        ("gaussian", "gaussian_mlp", "threshold"),
        ("discretised_logistic", "gaussian_mlp", "threshold"),
        ("bernoulli", "bernoulli_mlp", "grey"),
    ],
)
def test_fit_refuses_a_protocol_that_the_likelihood_does_not_fit(likelihood, decoder, protocol):
    vae = VAE(2, (4, 4, 1), hidden_dim=4, likelihood=likelihood, decoder=decoder)
    with pytest.raises(ValueError, match=f"{likelihood!r} is for .* not {protocol!r}"):
        run(vae, protocol=protocol, validation=None)


def test_the_model_checks_validation_images():
    vae = VAE(2, (4, 4, 1), hidden_dim=4)
    with pytest.raises(ValueError, match="nan"):
        run(vae, validation=VALIDATION * NAN)


# --- nan ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "text"), [(1, "step 8,"), (3, "one of the steps 7 to 9,")])
def test_nan_stops_at_the_step(bars, group, text):
    with pytest.raises(training.TrainingDiverged, match=f"loss is nan at {text} epoch 3") as caught:
        run(Tiny(bad_step=8), steps_per_execution=group, verbose=1)
    assert bars[0].is_closed and bars[0].seen[0] == group
    error = caught.value
    assert (error.metric, error.step, error.epoch) == ("loss", 8 if group == 1 else 7, 3)
