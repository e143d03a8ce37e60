"""Bad input to every public function: the right type of error, and a message that names the value.

One row of `CASES` for each: what is called, the call (with an empty folder), error, message.
"""

import re

import numpy as np
import pytest
import tensorflow as tf

from helpers import data, training, vae

BYTES = np.zeros((6, 4, 4, 1), np.uint8)
FLOATS = np.zeros((6, 4, 4, 1), np.float32)
NAN, INF = float("nan"), float("inf")


def small(*args, **kwargs):
    return vae.VAE(*(args or (2, (4, 4, 1))), **{"hidden_dim": 4} | kwargs)


MODEL = small()


def fit(model=MODEL, images=BYTES, **changes):
    settings = dict(epochs=1, batch_size=4, protocol="threshold", seed=0, verbose=0)
    return training.fit(model, images, **settings | changes)


def optimizer(peak=0.1, total_steps=10, **changes):
    return training.make_optimizer(peak, total_steps, **changes)


def written(path, content):
    path.write_text(content)
    return path


def broken_run(folder):
    written(folder / "settings.json", "{")
    return fit(run_dir=folder)


# What is called, the call, the error, and what its message says.
CASES = [
    # --- training
    ("make_optimizer", lambda t: optimizer(peak=0.0), ValueError, "peak=0.0"),
    ("make_optimizer", lambda t: optimizer(peak=NAN), ValueError, "peak=nan"),
    ("make_optimizer", lambda t: optimizer(peak=INF), ValueError, "peak=inf"),
    ("make_optimizer", lambda t: optimizer(peak="fast"), ValueError, "peak='fast'"),
    ("make_optimizer", lambda t: optimizer(total_steps=0), ValueError, "total_steps .*got 0"),
    ("make_optimizer", lambda t: optimizer(total_steps=2.5), TypeError, "total_steps .*got 2.5"),
    ("make_optimizer", lambda t: optimizer(warmup=1.0), ValueError, "warmup=1.0"),
    ("make_optimizer", lambda t: optimizer(clipnorm=-1), ValueError, "clipnorm=-1"),
    ("make_optimizer", lambda t: optimizer(ema_momentum=1.0), ValueError, "ema_momentum=1.0"),
    ("make_optimizer", lambda t: optimizer(schedule="step"), ValueError, "schedule='step'"),
    ("fit", lambda t: fit(model=None), ValueError, "model=None"),
    ("fit", lambda t: fit(images=None), ValueError, r"images must be uint8.*object \(\)"),
    ("fit", lambda t: fit(images=FLOATS), ValueError, "float32"),
    ("fit", lambda t: fit(images=BYTES[:0]), ValueError, r"\(0, 4, 4, 1\)"),
    ("fit", lambda t: fit(images=np.zeros((6, 5, 5, 1), np.uint8)), ValueError, r"\(4, 5, 5, 1\)"),
    ("fit", lambda t: fit(images=BYTES + 100, protocol="grey"), ValueError, "0 and 1 only"),
    ("fit", lambda t: fit(epochs=0), ValueError, "epochs .*got 0"),
    ("fit", lambda t: fit(epochs="1"), TypeError, "epochs .*got '1'"),
    ("fit", lambda t: fit(batch_size=2.5), TypeError, "batch_size .*got 2.5"),
    ("fit", lambda t: fit(steps_per_execution=None), TypeError, "steps_per_execution .*None"),
    ("fit", lambda t: fit(validation_freq=0), ValueError, "validation_freq .*got 0"),
    ("fit", lambda t: fit(protocol="binary"), ValueError, "protocol .*got 'binary'"),
    ("fit", lambda t: fit(seed=-1), ValueError, "seed .*got -1"),
    ("fit", lambda t: fit(seconds=NAN), ValueError, "seconds=nan"),
    ("fit", lambda t: fit(seconds="60"), ValueError, "seconds='60'"),
    ("fit", lambda t: fit(verbose=2), ValueError, "verbose=2"),
    ("fit", lambda t: fit(learning_rate=-1.0), ValueError, "peak=-1.0"),
    ("fit", lambda t: fit(optimizer="adam"), ValueError, "optimizer='adam'"),
    ("fit", lambda t: fit(validation=BYTES), TypeError, "dtype uint8"),
    ("fit", lambda t: fit(validation=FLOATS * NAN), ValueError, "pixels from nan"),
    ("fit", lambda t: fit(validation=FLOATS[:0]), ValueError, r"\(0, 4, 4, 1\)"),
    ("fit", lambda t: fit(run_dir=3), TypeError, "not int"),
    ("fit", lambda t: fit(run_dir=written(t / "file", "")), FileExistsError, "file"),
    ("fit", broken_run, ValueError, "settings.json is damaged"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "message"), [case[1:] for case in CASES],
    ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)],
)  # fmt: skip
def test_bad_input_is_named(call, error, message, tmp_path):
    with pytest.raises(error) as caught:
        call(tmp_path)
    assert caught.type is error or issubclass(caught.type, error)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


# --- Data that turn to NaN -----------------------------------------------------------------------


def test_data_that_turn_to_nan_stop_training_at_once(tmp_path, monkeypatch):
    """The batch of step 8 (epoch 3, place 2) holds NaN: step 8 is named, epoch 2 is kept."""
    images = np.random.default_rng(0).integers(0, 2, (12, 4, 4, 1), dtype=np.uint8) * 255
    settings = dict(images=images, epochs=4, run_dir=tmp_path)
    good = data.apply_protocol

    def turning(images, protocol, key):
        x = good(images, protocol, key)
        bad = tf.reduce_all(tf.equal(key, data.noise_key(0, 2, 1)))
        return tf.where(bad, x * NAN, x)

    with monkeypatch.context() as patch:
        patch.setattr(data, "apply_protocol", turning)
        with pytest.raises(training.TrainingDiverged, match="is nan at step 8, epoch 3") as caught:
            fit(small(), **settings)
    assert (caught.value.step, caught.value.epoch) == (8, 3)
    kept = sorted(path.name.split(".")[0] for path in tmp_path.glob("epoch-*.npz"))
    assert kept == ["epoch-00001", "epoch-00002"]
    model = small()
    history = fit(model, **settings)  # the data are mended: the same command goes on
    model.check_weights()
    assert len(history.epochs) == 4 and np.isfinite(history["loss"]).all()
