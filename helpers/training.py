"""A `fit` that resumes: the plumbing around `keras.Model.fit`.

A run can be killed at any time and started again: order, binarisation and noise depend on
(seed, epoch, step) alone, and each epoch ends with a checkpoint of everything else.
"""

import contextlib
import math
import time
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from helpers import data
from helpers.course.runs import RunFolder, digest


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
                last = int(self.model.optimizer.iterations.numpy())  # mirrored ones are no int
                first = last - self.model.steps_per_execution + 1
                raise TrainingDiverged(metric, np.mean(value), first, last, self._epoch)


def make_optimizer(
    peak, total_steps, *, warmup=0.05, schedule="cosine", clipnorm=None, ema_momentum=None
):
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
        peak / max(rise, 1),
        total_steps - rise,
        alpha=float(schedule == "constant"),
        warmup_steps=rise,
        warmup_target=peak if rise else None,
    )
    average = {"use_ema": True, "ema_momentum": ema_momentum} if ema_momentum else {}
    return keras.optimizers.Adam(rate, 0.9, 0.999, global_clipnorm=clipnorm, **average)


def fit(
    model,
    images,
    *,
    epochs,
    batch_size,
    protocol,
    seed,
    labels=None,
    validation=None,
    validation_freq=1,
    learning_rate=1e-3,
    warmup=0.05,
    schedule="cosine",
    clipnorm=None,
    ema_momentum=None,
    optimizer=None,
    run_dir=None,
    callbacks=(),
    seconds=None,
    steps_per_execution=1,
    verbose="auto",
) -> History:
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
        batches,
        **rate,
        epochs=epochs,
        learning_rate=learning_rate,
        images=digest(images.tobytes()),
        optimizer=optimizer and optimizer.get_config(),
        validation_freq=validation_freq,
        validation=digest(np.asarray([] if validation is None else validation).tobytes()),
        labels=None if labels is None else digest(np.asarray(labels).tobytes()),
        model={"class": type(model).__name__, **model.get_config()},
    )
    steps = data.steps_per_epoch(len(images), batch_size)
    replicas = model.distribute_strategy.num_replicas_in_sync
    for n in (len(images), 0 if validation is None else len(validation)):
        shares = batch_size % replicas or n % batch_size % replicas
        _need(
            not shares,
            f"{n} images in batches of {batch_size}: not every batch, the last "
            f"included, can be dealt out equally to {replicas} replicas",
        )
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
            stack.enter_context(run.folder.lock())
            run.folder.check_settings(settings)
            run.history.epochs = run.folder.restore(run.state)
            if verbose and run.history.epochs:
                print(f"resumed after epoch {len(run.history.epochs)}/{epochs}")
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
            epochs=epochs,
            initial_epoch=done,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            validation_data=held_out,
            validation_freq=validation_freq,
            callbacks=[StopOnNaN(), *callbacks, run],
        )
    return run.history


class _Run(keras.callbacks.Callback):
    """Measures, saves and reports; last of the callbacks, so that it saves what they changed."""

    def __init__(self, model, folder, epochs, budget, verbose):
        super().__init__()
        self.set_model(model)
        self.state = [*model.variables, *model.optimizer.variables]
        self.folder = None if folder is None else RunFolder(folder)
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
            self.folder.save(self.state, self.history.epochs)
        self.model.stop_training |= self.history.seconds >= self.budget
        if self.verbose and (epoch + 1 in self.lines or self.model.stop_training):
            shown = "  ".join(f"{k} {v:.2f}" for k, v in values.items())
            print(f"epoch {epoch + 1}/{self.epochs}  {shown}  {self.spent:.1f} s")


def _need(condition, message):
    if not condition:
        raise ValueError(message)
