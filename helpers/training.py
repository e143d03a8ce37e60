"""Profiles, seeds, and a `fit` that resumes: the plumbing around `keras.Model.fit`.

A run can be stopped at any time and started again with the same command. For that, the order of
the images, their binarisation and the noise of epoch e depend on (seed, e) alone, and every epoch
ends with one checkpoint: weights, optimizer and history in one file.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock
import keras
import numpy as np

from helpers import data

_PROFILES = ("quick", "class", "full")
_SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class Profile:
    """How much work a notebook does: "quick" (checks), "class" (a lesson) or "full" (published)."""

    name: str

    def choose(self, *, quick: Any, class_: Any, full: Any) -> Any:
        """Return the value that belongs to this profile."""
        return {"quick": quick, "class": class_, "full": full}[self.name]


def profile() -> Profile:
    """Read the profile from `VAE_PROFILE` ("class" when unset or empty); else `ValueError`."""
    name = os.environ.get("VAE_PROFILE") or "class"
    if name not in _PROFILES:
        raise ValueError(f"VAE_PROFILE is {name!r}; allowed are {', '.join(_PROFILES)}")
    return Profile(name)


def course_seed(default: int = 42) -> int:
    """Read the seed of a notebook from `VAE_SEED`; `default` when it is unset or empty."""
    value = os.environ.get("VAE_SEED") or str(default)
    if not (value.isascii() and value.isdigit() and int(value) < 2**31):
        raise ValueError(f"VAE_SEED is {value!r}; allowed are whole numbers from 0 to 2**31 - 1")
    return int(value)


def set_seed(seed: int) -> None:
    """Seed Python's, NumPy's and TensorFlow's global generators."""
    keras.utils.set_random_seed(seed)


@dataclass
class History:
    """What `fit` measured: one dict per epoch with epoch (from 1), seconds, loss, val_loss, …"""

    epochs: list[dict[str, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Training seconds of all epochs: tracing included, validation and checkpoints not."""
        return sum(row["seconds"] for row in self.epochs)

    def __getitem__(self, name: str) -> np.ndarray:
        """One column as an array of shape (epochs,), nan where an epoch has no such value."""
        if not any(name in row for row in self.epochs):
            raise KeyError(f"{name!r}; recorded are {sorted({k for r in self.epochs for k in r})}")
        return np.array([row.get(name, math.nan) for row in self.epochs])


class TrainingDiverged(RuntimeError):
    """A metric stopped being finite: `.metric`, at `.step` (from 1, all epochs) of `.epoch`."""

    def __init__(self, metric: str, value: float, step: int, last: int, epoch: int):
        self.metric, self.step, self.epoch = metric, step, epoch
        where = f"step {step}" if step == last else f"one of the steps {step} to {last}"
        super().__init__(
            f"training diverged: {metric} is {value} at {where} (epoch {epoch}). "
            "Lower learning_rate, lengthen warmup or set clipnorm"
        )


class StopOnNaN(keras.callbacks.Callback):
    """Raise `TrainingDiverged` at the first step after which a metric is nan or infinite.

    Keras reports running means over the epoch, so they are finite up to the first bad step. With
    `steps_per_execution` > 1 Keras reports only every so many steps: the error names the range.
    """

    def on_train_batch_end(self, batch, logs=None):
        self._check(logs, self.model.steps_per_execution)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_epoch_end(self, epoch, logs=None):
        self._check(logs, 1)  # the validation metrics

    def _check(self, logs, steps):
        for name, value in (logs or {}).items():
            if not np.all(np.isfinite(value)):
                last = int(self.model.optimizer.iterations)
                value = float(np.mean(value))
                raise TrainingDiverged(name, value, last - steps + 1, last, self._epoch)


def make_optimizer(peak, total_steps, warmup=0.05, schedule="cosine", clipnorm=None, ema=None):
    """Adam (0.9, 0.999) whose rate rises linearly to `peak`, then falls by a cosine to 0.

    Parameters: `warmup` is a fraction of `total_steps` in [0, 1); `schedule="constant"` stays at
    the peak; `clipnorm` bounds the norm of the whole gradient; `ema` (a momentum in (0, 1), e.g.
    0.999) keeps a moving average of the weights, which replaces them at the end of training.
    """
    if schedule not in _SCHEDULES:
        raise ValueError(f"schedule is {schedule!r}; allowed are {', '.join(_SCHEDULES)}")
    if not peak > 0 or not 0 <= warmup < 1 or not (ema is None or 0 < ema < 1):
        raise ValueError(
            f"learning rate {peak!r}, warmup {warmup!r}, ema {ema!r}: the rate must be above 0, "
            "warmup in [0, 1), ema None or in (0, 1)"
        )
    rise = min(round(warmup * total_steps), total_steps - 1)
    rate = keras.optimizers.schedules.CosineDecay(
        peak / rise if rise else peak,
        decay_steps=total_steps - rise,
        alpha=1.0 if schedule == "constant" else 0.0,  # alpha: where the cosine ends, of the peak
        warmup_target=peak if rise else None,
        warmup_steps=rise,
    )
    averaging = {} if ema is None else {"use_ema": True, "ema_momentum": ema}
    return keras.optimizers.Adam(
        rate, beta_1=0.9, beta_2=0.999, global_clipnorm=clipnorm, **averaging
    )


def fit(
    model: keras.Model,
    images: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    protocol: str,
    seed: int,
    validation: np.ndarray | None = None,
    validation_freq: int = 1,
    learning_rate: float = 1e-3,
    warmup: float = 0.05,
    schedule: str = "cosine",
    clipnorm: float | None = None,
    ema_momentum: float | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    run_dir: str | os.PathLike | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seconds: float | None = None,
    steps_per_execution: int = 1,
    verbose: str | int = "auto",
) -> History:
    """Train `model` with `keras.Model.fit`; with `run_dir`, go on where the last run stopped.

    Parameters
    ----------
    images : uint8 (n, h, w, c), turned into batches of `protocol` by `helpers.data.pipeline`.
    validation : float32 (m, h, w, c), already prepared: one fixed draw, the same at every epoch.
    learning_rate, warmup, schedule, clipnorm, ema_momentum : see `make_optimizer`; not used when
        an `optimizer` is given. Averaged weights, if any, serve for validation and at the end.
    run_dir : folder for `settings.json` and the newest two checkpoints. A finished run is only
        loaded. Callbacks are run again, not restored: let them depend on the epoch alone.
    seconds : budget of training seconds, all runs in `run_dir` together; training stops after the
        epoch that uses it up. The cosine is laid out over all `epochs`: it does not end sooner.
    steps_per_execution : steps that Keras runs in one call, rounded down to a divisor of the
        steps of an epoch (a group that spans two epochs would take data of the next one).
    verbose : 0 prints nothing, 1 a line per epoch, "auto" at most twelve lines.

    Raises
    ------
    ValueError : a bad argument, or a `run_dir` made with other settings (the message names them).
    TrainingDiverged : a metric is nan or infinite; the last checkpoint is still good.
    """
    if epochs < 1 or not (seconds is None or seconds > 0) or steps_per_execution < 1:
        raise ValueError(
            f"epochs {epochs!r}, seconds {seconds!r}, steps_per_execution {steps_per_execution!r}: "
            "epochs and steps_per_execution must be at least 1, seconds None or above 0"
        )
    if verbose not in ("auto", 0, 1):
        raise ValueError(f"verbose is {verbose!r}; allowed are 'auto', 0, 1")
    batches = dict(protocol=protocol, batch_size=batch_size, seed=seed)
    first = next(iter(data.pipeline(images[:batch_size], **batches)))
    steps = data.steps_per_epoch(len(images), batch_size)
    group = max(k for k in range(1, min(steps, steps_per_execution) + 1) if steps % k == 0)
    for batch in (first, validation):
        if batch is not None and hasattr(model, "check_images"):
            model.check_images(batch)
    own = None if optimizer is None else keras.saving.serialize_keras_object(optimizer)
    with model.distribute_strategy.scope():
        optimizer = optimizer or make_optimizer(
            learning_rate, epochs * steps, warmup, schedule, clipnorm, ema_momentum
        )
        if not model.built:
            model(first)
        # Off, because XLA slows convolutions down on a CPU and Keras would choose by itself.
        model.compile(optimizer=optimizer, jit_compile=False, steps_per_execution=group)
        optimizer.build(model.trainable_variables)

    settings = dict(
        batches, epochs=epochs, learning_rate=learning_rate, warmup=warmup, schedule=schedule,
        clipnorm=clipnorm, ema_momentum=ema_momentum, optimizer=own,
        validation_freq=validation_freq, images=_digest(images), validation=_digest(validation),
        model={"class": type(model).__name__, **model.get_config()},
    )  # fmt: skip
    folder = None if run_dir is None else Path(run_dir)
    with contextlib.ExitStack() as stack:
        history = History()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(filelock.FileLock(folder / ".lock", timeout=0))
            _check_settings(folder / "settings.json", settings)
            history = _restore(folder, model)
        done = len(history.epochs)
        if done and verbose:
            print(f"resumed after epoch {done}/{epochs}")
        if done == epochs or history.seconds >= (seconds or math.inf):
            optimizer.finalize_variable_values(model.trainable_variables)
            return history
        keeper = _Keeper(history, folder, epochs, seconds, verbose)
        model.fit(
            data.pipeline(images, **batches, epochs=epochs, initial_epoch=done),
            epochs=epochs, initial_epoch=done, steps_per_epoch=steps, shuffle=False, verbose=0,
            validation_data=validation, validation_batch_size=batch_size,
            validation_freq=validation_freq,
            callbacks=[_Recorder(history), StopOnNaN(), *callbacks, keeper],
        )  # fmt: skip
    return history


class _Recorder(keras.callbacks.Callback):
    """Measures every epoch, and lends the model its averaged weights during validation."""

    def __init__(self, history):
        super().__init__()
        self._history = history

    def on_epoch_begin(self, epoch, logs=None):
        self._start, self._seconds = time.perf_counter(), None

    def on_test_begin(self, logs=None):
        self._seconds = time.perf_counter() - self._start
        if getattr(self.model.optimizer, "use_ema", False):
            weights = self.model.trainable_variables
            self._raw = [keras.ops.convert_to_numpy(weight) for weight in weights]
            self.model.optimizer.finalize_variable_values(weights)

    def on_test_end(self, logs=None):
        for weight, raw in zip(self.model.trainable_variables, self.__dict__.pop("_raw", ())):
            weight.assign(raw)

    def on_epoch_end(self, epoch, logs=None):
        spent = self._seconds or time.perf_counter() - self._start
        values = {name: float(np.mean(value)) for name, value in (logs or {}).items()}
        self._history.epochs.append({"epoch": epoch + 1, "seconds": spent, **values})


class _Keeper(keras.callbacks.Callback):
    """Last of the callbacks: writes the checkpoint, prints the line, stops when time is up."""

    def __init__(self, history, folder, epochs, seconds, verbose):
        super().__init__()
        self._history, self._folder, self._seconds = history, folder, seconds
        count = {"auto": min(epochs, 12), 0: 0, 1: epochs}[verbose]
        self._lines, self._total = set(np.linspace(epochs, 1, count).round().astype(int)), epochs

    def on_epoch_end(self, epoch, logs=None):
        if self._folder is not None:
            _save(self._folder, self.model, self._history)
        row = self._history.epochs[-1]
        if self._history.seconds >= (self._seconds or math.inf):
            self.model.stop_training = True
        if epoch + 1 in self._lines or (self._lines and self.model.stop_training):
            shown = [f"{k} {v:.2f}" for k, v in row.items() if k not in ("epoch", "seconds")]
            print(f"epoch {epoch + 1}/{self._total}", *shown, f"{row['seconds']:.1f} s", sep="  ")


def _digest(array: np.ndarray | None) -> str | None:
    if array is None:
        return None
    digest = hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]
    return f"{array.dtype} {array.shape} sha256 {digest}"


def _plain(value: Any, path: str = "") -> dict[str, Any]:
    """Flatten nested settings to {"model.latent_dim": 2, …}, without Keras's automatic names."""
    if isinstance(value, dict):
        items = [(str(k), v) for k, v in value.items() if k != "name"]
    elif isinstance(value, list | tuple):
        items = [(str(k), v) for k, v in enumerate(value)]
    elif isinstance(value, str | int | float | None):
        return {path: value}
    elif hasattr(value, "get_config"):
        items = list(keras.saving.serialize_keras_object(value).items())
    else:
        return {path: str(value)}
    return {k: v for key, sub in items for k, v in _plain(sub, f"{path}.{key}".strip(".")).items()}


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    new = _plain(settings)
    if not path.exists():
        return _write(path, json.dumps(new, indent=1).encode())
    old = json.loads(path.read_text())
    other = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
    if other:
        names = "; ".join(f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in other)
        raise ValueError(f"{path.parent} holds a run with other settings: {names}")


def _write(path: Path, payload: bytes) -> None:
    """Write under a temporary name, then rename: the file is whole or it is not there."""
    temporary = path.with_name("unfinished.tmp")
    with open(temporary, "wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _save(folder: Path, model: keras.Model, history: History) -> None:
    """Write `epoch-<number>.<sha256, 16 digits>.npz` and keep the newest two."""
    variables = [*model.variables, *model.optimizer.variables]
    arrays = {f"{i:04d}": keras.ops.convert_to_numpy(v) for i, v in enumerate(variables)}
    buffer = io.BytesIO()
    np.savez(buffer, history=json.dumps(history.epochs), **arrays)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    _write(folder / f"epoch-{len(history.epochs):05d}.{digest}.npz", buffer.getvalue())
    for old in sorted(folder.glob("epoch-*.npz"))[:-2]:
        old.unlink()


def _restore(folder: Path, model: keras.Model) -> History:
    """Load the newest checkpoint whose digest is right; none is an empty history."""
    for path in sorted(folder.glob("epoch-*.npz"), reverse=True):
        payload = path.read_bytes()
        if hashlib.sha256(payload).hexdigest()[:16] == path.name.split(".")[1]:
            variables = [*model.variables, *model.optimizer.variables]
            with np.load(io.BytesIO(payload), allow_pickle=False) as saved:
                for i, variable in enumerate(variables):
                    variable.assign(saved[f"{i:04d}"])
                return History(json.loads(str(saved["history"])))
        print(f"checkpoint {path.name} is damaged; the one before it is used")
        path.unlink()
    return History()
