"""Profiles, seeds, and a `fit` that resumes: the plumbing around `keras.Model.fit`.

A run can be killed at any time and started again: order, binarisation and noise depend on
(seed, epoch, step) alone, and each epoch ends with a checkpoint of everything else.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import keras
import numpy as np
import tensorflow as tf

from helpers import data


class Profile(str):
    """How much work a notebook does: "quick" (checks), "class" (a lesson), "full" (published)."""

    def choose(self, *, quick, class_, full):
        return {"quick": quick, "class": class_, "full": full}[self]


def profile() -> Profile:
    """Read the profile from `VAE_PROFILE`; unset or empty means "class"."""
    name = os.environ.get("VAE_PROFILE") or "class"
    _need(name in ("quick", "class", "full"), f"VAE_PROFILE={name!r}: not quick, class or full")
    return Profile(name)


def course_seed(default: int = 42) -> int:
    """Read the seed of a notebook from `VAE_SEED`; unset or empty means `default`."""
    value = os.environ.get("VAE_SEED") or str(default)
    _need(value.isascii() and value.isdigit() and int(value) < 2**31,
          f"VAE_SEED={value!r}: not a whole number from 0 to 2**31 - 1")
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
        """One column, shape (epochs,); nan where an epoch has no such value."""
        return np.array([row.get(name, math.nan) for row in self.epochs])


class TrainingDiverged(RuntimeError):
    """`.metric` was not finite after `.step` (from 1, over all epochs), in `.epoch` (from 1)."""

    def __init__(self, metric, value, first, last, epoch):
        self.metric, self.step, self.epoch = metric, first, epoch
        where = f"step {last}" if first == last else f"one of the steps {first} to {last}"
        super().__init__(f"{metric} is {value} at {where}, epoch {epoch}: lower the learning rate?")


class StopOnNaN(keras.callbacks.Callback):
    """Raise `TrainingDiverged`, naming the steps since the last report, at a value not finite."""

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        for metric, value in (logs or {}).items():
            if not np.all(np.isfinite(value)):
                last = int(self.model.optimizer.iterations)
                first = last - self.model.steps_per_execution + 1
                raise TrainingDiverged(metric, np.mean(value), first, last, self._epoch)


def make_optimizer(peak, total_steps, *, warmup=0.05, schedule="cosine", clipnorm=None,
                   ema_momentum=None):
    """Adam whose rate rises linearly to `peak`, then falls to 0 by a cosine (or stays: "constant").

    `warmup` is a fraction of `total_steps`; `clipnorm` bounds the norm of the whole gradient;
    `ema_momentum` (such as 0.999) averages the weights over steps: the average is the final model.
    """
    data.check_whole(total_steps=(total_steps, 1))
    _need(schedule in ("cosine", "constant"), f"{schedule=}: not 'cosine' or 'constant'")
    numbers = np.array([peak, 1.0 if clipnorm is None else clipnorm, warmup, ema_momentum or 0.0])
    good = numbers.dtype.kind in "if" and all(numbers < [np.inf, np.inf, 1, 1])
    good = good and min(numbers[:2]) > 0 <= min(numbers[2:])
    _need(good, f"{peak=}, {clipnorm=}: finite and above 0; {warmup=}, {ema_momentum=}: in [0, 1)")
    rise = min(round(warmup * total_steps), total_steps - 1)
    rate = keras.optimizers.schedules.CosineDecay(  # alpha: where the cosine ends
        peak / max(rise, 1), total_steps - rise, alpha=float(schedule == "constant"),
        warmup_steps=rise, warmup_target=peak if rise else None)
    average = {"use_ema": True, "ema_momentum": ema_momentum} if ema_momentum else {}
    return keras.optimizers.Adam(rate, 0.9, 0.999, global_clipnorm=clipnorm, **average)


def fit(model, images, *, epochs, batch_size, protocol, seed, labels=None, validation=None,
        validation_freq=1, learning_rate=1e-3, warmup=0.05, schedule="cosine", clipnorm=None,
        ema_momentum=None, optimizer=None, run_dir=None, callbacks=(), seconds=None,
        steps_per_execution=1, verbose="auto") -> History:
    """Train on uint8 images (n, h, w, c) of `protocol`; with `run_dir`, resume where a run stopped.

    `labels` (n,) go to `train_step` beside the images: pairs (x, y), without validation.
    `validation`: float32 (m, h, w, c), prepared once. `learning_rate` … `ema_momentum`: for
    `make_optimizer`, unless an `optimizer` is given. Averaged weights serve for validation too.
    `callbacks` are not restored: let them depend on the epoch alone. `seconds`: training seconds,
    over all runs in `run_dir`, after which the epoch is the last; the cosine still spans `epochs`.
    `verbose`: 0 silent, 1 a line per epoch, "auto" at most twelve. Raises `ValueError` (argument,
    `run_dir` of other settings), `TrainingDiverged`, `filelock.Timeout` (`run_dir` in use).
    """
    budget = math.inf if seconds is None else seconds
    _need(isinstance(budget, int | float) and budget > 0, f"{seconds=}: not above 0, or None")
    data.check_whole(epochs=(epochs, 1), batch_size=(batch_size, 1), seed=(seed, 0))
    data.check_whole(steps_per_execution=(steps_per_execution, 1))
    data.check_whole(validation_freq=(validation_freq, 1))
    _need(isinstance(model, keras.Model), f"{model=}: not a keras.Model")
    _need(isinstance(optimizer, keras.optimizers.Optimizer | None), f"{optimizer=}: not Keras'")
    images = data.check_images(images)
    _need(verbose in ("auto", 0, 1), f"{verbose=}: not 'auto', 0 or 1")
    _need(labels is None or validation is None, "labels and validation: give one of them")
    batches = dict(protocol=protocol, batch_size=batch_size, seed=seed)
    rate = dict(warmup=warmup, schedule=schedule, clipnorm=clipnorm, ema_momentum=ema_momentum)
    first = data.prepare(images[:batch_size], protocol, seed=seed)
    for batch in (first,) if validation is None else (first, validation):
        getattr(model, "check_images", id)(batch)
    settings = dict(
        batches, **rate, epochs=epochs, learning_rate=learning_rate, images=_sha(images.tobytes()),
        optimizer=optimizer and optimizer.get_config(), validation_freq=validation_freq,
        validation=_sha(np.asarray([] if validation is None else validation).tobytes()),
        labels=None if labels is None else _sha(np.asarray(labels).tobytes()),
        model={"class": type(model).__name__, **model.get_config()})
    steps = data.steps_per_epoch(len(images), batch_size)
    replicas = model.distribute_strategy.num_replicas_in_sync
    for n in (len(images), 0 if validation is None else len(validation)):
        shares = batch_size % replicas or n % batch_size % replicas
        _need(not shares, f"{n} images in batches of {batch_size}: not every batch, the last "
              f"included, can be dealt out equally to {replicas} replicas")
    # A divisor of an epoch's steps: a group across two epochs would take data of the next one.
    # Keras' loop over the steps of a group fails (3.15) where there are several replicas.
    most = min(steps, steps_per_execution) if replicas == 1 else 1
    group = max(k for k in range(1, most + 1) if steps % k == 0)
    with model.distribute_strategy.scope(), contextlib.ExitStack() as stack:
        optimizer = optimizer or make_optimizer(learning_rate, epochs * steps, **rate)
        # XLA off: it slows convolutions down on a CPU, and Keras would choose by itself.
        model.compile(optimizer=optimizer, jit_compile=False, steps_per_execution=group)
        optimizer.build(model.trainable_variables)
        run = _Run(model, run_dir, epochs, budget, verbose)
        if run.folder:
            run.folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(filelock.FileLock(run.folder / ".lock", timeout=0))
            run.resume(settings)
        done = len(run.history.epochs)
        if done == epochs or run.history.seconds >= budget:
            optimizer.finalize_variable_values(model.trainable_variables)
            return run.history
        held_out = validation
        if validation is not None:
            held_out = tf.data.Dataset.from_tensor_slices(validation).batch(batch_size)
            held_out = data.untuned(held_out)
        model.fit(
            data.pipeline(images, **batches, labels=labels, epochs=epochs, initial_epoch=done),
            epochs=epochs, initial_epoch=done, steps_per_epoch=steps, shuffle=False, verbose=0,
            validation_data=held_out, validation_freq=validation_freq,
            callbacks=[StopOnNaN(), *callbacks, run])
    return run.history


class _Run(keras.callbacks.Callback):
    """Measures, saves and reports; last of the callbacks, so that it saves what they changed."""

    def __init__(self, model, folder, epochs, budget, verbose):
        super().__init__()
        self.set_model(model)
        self.state = [*model.variables, *model.optimizer.variables]
        self.folder = None if folder is None else Path(folder)
        self.epochs, self.budget, self.verbose, self.history = epochs, budget, verbose, History()
        self.lines = {round(x) for x in np.linspace(epochs, 1, epochs if verbose == 1 else 12)}

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.spent = time.perf_counter() - self.start

    def on_test_begin(self, logs=None):  # keras.callbacks.SwapEMAWeights would round the weights
        self.raw = [weight.numpy() for weight in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_test_end(self, logs=None):
        for weight, raw in zip(self.model.trainable_variables, self.raw, strict=True):
            weight.assign(raw)

    def on_epoch_end(self, epoch, logs=None):
        values = {name: float(np.mean(value)) for name, value in (logs or {}).items()}
        self.history.epochs.append({"epoch": epoch + 1, "seconds": self.spent, **values})
        if self.folder:
            self.save()
        self.model.stop_training |= self.history.seconds >= self.budget
        if self.verbose and (epoch + 1 in self.lines or self.model.stop_training):
            shown = "  ".join(f"{k} {v:.2f}" for k, v in values.items())
            print(f"epoch {epoch + 1}/{self.epochs}  {shown}  {self.spent:.1f} s")

    def save(self):
        """Write `epoch-<number>.<digest>.npz`; keep the newest two."""
        buffer = io.BytesIO()
        np.savez(buffer, *(v.numpy() for v in self.state), history=json.dumps(self.history.epochs))
        name = f"epoch-{len(self.history.epochs):05d}.{_sha(buffer.getvalue())}.npz"
        _write(self.folder / name, buffer.getvalue())
        for old in sorted(self.folder.glob("epoch-*.npz"))[:-2]:
            old.unlink()

    def resume(self, settings):
        """Refuse a folder of other settings; load its newest checkpoint whose digest is right."""
        path, text = self.folder / "settings.json", json.dumps(settings, indent=1, default=str)
        if not path.exists():
            _write(path, text.encode())
        # Keras numbers layers by the session in their names, so names say nothing.
        hook = {"object_pairs_hook": lambda pairs: {k: v for k, v in pairs if k != "name"}}
        try:
            old, new = json.loads(path.read_text(), **hook), json.loads(text, **hook)
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}): choose another folder") from error
        other = [f"{k} was {old.get(k)!r}, is {new[k]!r}" for k in new if old.get(k) != new[k]]
        _need(not other, f"{self.folder} holds a run of other settings: {'; '.join(other)}")
        for path in sorted(self.folder.glob("epoch-*.npz"), reverse=True):
            payload = path.read_bytes()
            if path.name.split(".")[1] == _sha(payload):
                with np.load(io.BytesIO(payload), allow_pickle=False) as saved:
                    for i, variable in enumerate(self.state):
                        variable.assign(saved[f"arr_{i}"])
                    self.history.epochs = json.loads(str(saved["history"]))
                if self.verbose:
                    print(f"resumed after epoch {len(self.history.epochs)}/{self.epochs}")
                return
            print(f"{path.name} is damaged: the checkpoint before it is used")
            path.unlink()


def _need(condition, message):
    if not condition:
        raise ValueError(message)


def _sha(content):
    return hashlib.sha256(content).hexdigest()[:16]


def _write(path, payload):
    """Write under a temporary name, then rename: the file is whole or not there."""
    temporary = path.with_name("unfinished.tmp")
    with open(temporary, "wb", buffering=0) as file:
        file.write(payload)
        os.fsync(file)
    os.replace(temporary, path)
