"""Training: an optimizer, and a `fit` around Keras' own that resumes.

A run can be killed at any time and started again: order, binarisation and noise depend on
(seed, epoch, step) alone, and each epoch ends with a checkpoint of everything else.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from helpers import cluster, data
from helpers.course.checks import (
    as_uint8_images,
    check_choice,
    check_fraction,
    check_positive,
    check_seed,
    check_whole,
    shown,
)
from helpers.course.progress import progress
from helpers.course.runs import RunFolder, array_digest, as_json, method_digests
from helpers.likelihoods import LIKELIHOODS

SCHEDULES = ("cosine", "constant")
AT_MOST_LINES = 12  # that a run prints unless it is asked for one an epoch


@dataclass
class History:
    """What `fit` measured, as Keras' own `History` would show it, and a little more.

    Attributes
    ----------
    epochs : list of dict
        One for each epoch: ``epoch`` (from 1), ``seconds``, ``loss``, ``val_loss``, …
    """

    epochs: list[dict[str, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Training seconds of all epochs: tracing included, validation and checkpoints not."""
        return sum(row["seconds"] for row in self.epochs)

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, whose validation loss is the lowest; the first of equal ones.

        Raises
        ------
        ValueError
            No epoch was validated.
        """
        validated = [row for row in self.epochs if "val_loss" in row]
        if not validated:
            raise ValueError("no epoch has a validation loss: give fit validation images")
        losses = np.nan_to_num([row["val_loss"] for row in validated], nan=math.inf)
        return int(validated[int(np.argmin(losses))]["epoch"])

    @property
    def epoch(self) -> list[int]:
        """Numbers of the epochs, from 0, as in Keras."""
        return [int(row["epoch"]) - 1 for row in self.epochs]

    @property
    def history(self) -> dict[str, list[float]]:
        """Values of each metric, as in Keras: those of the epochs that measured it."""
        found: dict[str, list[float]] = {}
        for row in self.epochs:
            for name, value in row.items():
                if name not in ("epoch", "seconds"):
                    found.setdefault(name, []).append(value)
        return found

    def __getitem__(self, name: str) -> np.ndarray:
        """One column, shape (epochs,); nan where an epoch has no such value.

        Raises
        ------
        KeyError
            No epoch has it.
        """
        names = list(dict.fromkeys(key for row in self.epochs for key in row))
        if self.epochs and name not in names:
            raise KeyError(f"{name!r}: the history holds {', '.join(names)}")
        return np.array([row.get(name, math.nan) for row in self.epochs])


class TrainingDiverged(RuntimeError):
    """`.metric` was not finite after `.step` (from 1, over all epochs), in `.epoch` (from 1)."""

    def __init__(self, metric: str, value: float, first: int, last: int, epoch: int) -> None:
        self.metric, self.step, self.epoch = metric, first, epoch
        where = f"step {last}" if first == last else f"one of the steps {first} to {last}"
        super().__init__(f"{metric} is {value} at {where}, epoch {epoch}: lower the learning rate?")


class StopOnNaN(keras.callbacks.Callback):
    """Raise `TrainingDiverged`, naming the steps since the last report, at a value not finite."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        for metric, value in (logs or {}).items():
            if not np.all(np.isfinite(value)):
                last = steps_taken(self.model.optimizer)
                first = last - self.model.steps_per_execution + 1
                raise TrainingDiverged(metric, np.mean(value), first, last, self._epoch)


def steps_taken(optimizer: keras.optimizers.Optimizer) -> int:
    """Return how many steps an optimizer has taken.

    Under "mixed_float16" Keras wraps it, and the wrapper of Keras 3.8 does not count.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return int(inner.iterations.numpy())


def make_optimizer(
    peak: float,
    total_steps: int,
    *,
    warmup: float = 0.05,
    schedule: str = "cosine",
    clipnorm: float | None = None,
    ema_momentum: float | None = None,
    weight_decay: float = 0.0,
) -> keras.optimizers.Optimizer:
    """Return Adam with a learning rate that rises, then falls.

    Parameters
    ----------
    peak : float
        The highest learning rate.
    total_steps : int
        Steps of the whole training.
    warmup : float
        The part of the steps in which the rate rises linearly to `peak`.
    schedule : {"cosine", "constant"}
        After the rise: fall to 0 by a cosine (Loshchilov & Hutter 2017), or stay.
    clipnorm : float, optional
        Bound on the norm of the whole gradient.
    ema_momentum : float, optional
        Average the weights over the steps, with a momentum that rises to this (such as 0.999): see
        `raise_momentum`. The average becomes the model at the end of training.
    weight_decay : float
        Each step shrinks the kernels, not biases nor pseudo-inputs, by this part of the learning
        rate: AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

    Returns
    -------
    keras.optimizers.Adam

    Raises
    ------
    ValueError, TypeError
        An argument is out of its range, or no number.
    """
    check_positive(peak=peak)
    check_whole(total_steps=total_steps)
    _check_rate(warmup, schedule, clipnorm, ema_momentum, weight_decay)
    rise = min(round(warmup * total_steps), total_steps - 1)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak / rise if rise else peak,
        decay_steps=total_steps - rise,
        alpha=1.0 if schedule == "constant" else 0.0,  # where the cosine ends, a part of `peak`
        warmup_target=peak if rise else None,
        warmup_steps=rise,
    )
    options = {"weight_decay": weight_decay} if weight_decay else {}
    if ema_momentum:
        options |= {"use_ema": True, "ema_momentum": ema_momentum}
    optimizer = keras.optimizers.Adam(rate, 0.9, 0.999, global_clipnorm=clipnorm, **options)
    if weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "pseudo_inputs"])
    if ema_momentum:
        raise_momentum(optimizer)
    return optimizer


def raise_momentum(optimizer: keras.optimizers.Optimizer) -> None:
    """Let the momentum of the averaged weights rise: ``min(ema_momentum, (1 + t) / (10 + t))``.

    t is the number of steps before this one; the average starts from the weights after the first.
    With a constant momentum of 0.999, as Keras has it, a short run would keep some of those.
    The rule is that of TensorFlow's `ExponentialMovingAverage`. The optimizer stays Keras' own, so
    that a saved model loads where this module is not imported.
    """

    def update(variables: Sequence[keras.Variable]) -> None:
        t = tf.cast(optimizer.iterations.value, tf.float32)
        momentum = tf.minimum(optimizer.ema_momentum, (1.0 + t) / (10.0 + t))
        momentum = tf.where(t > 0, momentum, 0.0)
        averages = optimizer._model_variables_moving_average
        for variable, average in zip(variables, averages, strict=True):
            step = tf.cast(1.0 - momentum, average.dtype)
            average.assign(average + step * (variable - average))

    optimizer._update_model_variables_moving_average = update


def fit(
    model: keras.Model,
    images: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    protocol: str,
    seed: int,
    labels: np.ndarray | None = None,
    validation: np.ndarray | None = None,
    validation_freq: int = 1,
    patience: int | None = None,
    learning_rate: float = 1e-3,
    warmup: float = 0.05,
    schedule: str = "cosine",
    clipnorm: float | None = None,
    ema_momentum: float | None = None,
    weight_decay: float = 0.0,
    optimizer: keras.optimizers.Optimizer | None = None,
    run_dir: str | os.PathLike | None = None,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    seconds: float | None = None,
    steps_per_execution: int = 1,
    verbose: str | int = "auto",
) -> History:
    """Train a model on images of a protocol; with `run_dir`, go on where a run stopped.

    Parameters
    ----------
    model : keras.Model
        With a `train_step` of its own, such as `helpers.vae.VAE`.
    images : np.ndarray
        uint8, shape (n, height, width, channels).
    epochs, batch_size, seed : int
    protocol : str
        One of `helpers.data.PROTOCOLS` that the model's likelihood fits.
    labels : np.ndarray, optional
        Shape (n,): `train_step` gets pairs (x, y). Not together with `validation`.
    validation : np.ndarray, optional
        Images as `helpers.data.prepare` returns them, floats (m, height, width, channels). They are
        scored every `validation_freq` epochs, by the averaged weights if there are such.
    patience : int, optional
        Stop once so many validations in a row have brought no lower loss, and give the weights of
        the best one back, also where all epochs were needed. The cosine still spans `epochs`:
        ``schedule="constant"`` goes well with it.
    learning_rate, warmup, schedule, clipnorm, ema_momentum, weight_decay
        For `make_optimizer`, unless an `optimizer` is given.
    run_dir : path-like, optional
        Where checkpoints go. The same call goes on after an interruption, and ends with the bits of
        a run that was never interrupted; a run that is finished, or that a callback stopped, is
        only loaded. With more epochs it goes on too, unless it ended in a cosine. Several workers
        give the same folder, which all of them see: the chief alone writes, and they go on from
        the newest checkpoint that every worker can load.
    callbacks : iterable of keras.callbacks.Callback
        Their state is not restored: let them depend on the epoch alone.
    seconds : float, optional
        Training seconds, over all runs in `run_dir`, after which the epoch under way is the last;
        the cosine still spans `epochs`. Not with several workers, whose clocks differ.
    steps_per_execution : int
        At most so many steps in one call of TensorFlow; fewer where they do not divide an epoch.
    verbose : {"auto", 0, 1}
        Nothing; a line an epoch; or at most twelve lines. A bar moves below the lines.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        An argument does not do, or `run_dir` holds a run of other settings.
    TrainingDiverged
        A metric was NaN or infinite.
    filelock.Timeout
        Another training uses `run_dir`.
    """
    plain = dict(protocol=protocol, batch_size=batch_size, seed=seed, epochs=epochs, warmup=warmup)
    plain |= dict(learning_rate=learning_rate, schedule=schedule, clipnorm=clipnorm)
    plain |= dict(ema_momentum=ema_momentum, weight_decay=weight_decay)
    plain |= dict(patience=patience, validation_freq=validation_freq)
    _check_plain(steps_per_execution=steps_per_execution, seconds=seconds, verbose=verbose, **plain)
    task = _Task(model, as_uint8_images(images), labels, validation, optimizer, plain)
    with contextlib.ExitStack() as stack:
        folder = None if run_dir is None else stack.enter_context(task.open(run_dir))
        stack.enter_context(model.distribute_strategy.scope())
        task.compile(task.planned_epochs(folder), steps_per_execution)
        run = _Run(model, folder, epochs, seconds, patience)
        if not run.resume(verbose):
            report = stack.enter_context(_Report(run, task.steps, verbose))
            task.train(run, [StopOnNaN(), *callbacks, run, report])
    return run.history


@dataclass
class _Task:
    """What `fit` is to train, and on what; `plain` holds its numbers and names."""

    model: keras.Model
    images: np.ndarray
    labels: np.ndarray | None
    validation: np.ndarray | None
    optimizer: keras.optimizers.Optimizer | None
    plain: dict[str, Any]

    def __post_init__(self) -> None:
        self.batch_size, self.protocol = self.plain["batch_size"], self.plain["protocol"]
        self.steps = data.steps_per_epoch(len(self.images), self.batch_size)
        # Whether more epochs than were planned are well defined.
        self.may_extend = self.optimizer is not None or self.plain["schedule"] == "constant"
        self._check()

    def _check(self) -> None:
        """Check what fits together; validation images become float32."""
        _check_model(self.model, self.optimizer, self.protocol)
        if self.validation is not None and self.labels is not None:
            raise ValueError("labels and validation: give one of them")
        if self.validation is None and self.plain["patience"] is not None:
            raise ValueError("patience needs validation images: give validation")
        self.validation = _as_validation(self.validation)
        if hasattr(self.model, "check_images"):
            first = self.images[: self.batch_size]
            self.model.check_images(data.prepare(first, self.protocol, seed=self.plain["seed"]))
            if self.validation is not None:
                self.model.check_images(self.validation)
        self._check_shares()

    def _check_shares(self) -> None:
        """Check that every batch can be dealt out to the replicas."""
        replicas = self.model.distribute_strategy.num_replicas_in_sync
        for n in (len(self.images), 0 if self.validation is None else len(self.validation)):
            if self.batch_size % replicas or n % self.batch_size % replicas:
                raise ValueError(
                    f"{n} images in batches of {self.batch_size}: not every batch, the last "
                    f"included, can be dealt out equally to {replicas} replicas"
                )

    def settings(self) -> dict[str, Any]:
        """Return what makes this run this one; contents by their digest."""
        trained = {id(weight) for weight in self.model.trainable_weights}
        frozen = [i for i, w in enumerate(self.model.weights) if id(w) not in trained]
        return self.plain | {
            # Each of them draws noise of its own.
            "replicas": self.model.distribute_strategy.num_replicas_in_sync,
            "images": array_digest(self.images),
            "labels": array_digest(self.labels),
            "validation": array_digest(self.validation),
            "optimizer": None if self.optimizer is None else self.optimizer.get_config(),
            "model": {"class": type(self.model).__name__, **_config_of(self.model)},
            "frozen weights": frozen,
            "precision": self.model.dtype_policy.name,
            "code": method_digests(type(self.model)),
        }

    def open(self, run_dir: str | os.PathLike) -> RunFolder:
        """Return the run's folder, as the worker that this process is."""
        strategy = self.model.distribute_strategy
        several = cluster.worker_count(strategy) > 1
        share = partial(cluster.share, strategy) if several else None
        return RunFolder(run_dir, worker=cluster.worker_index(strategy), share=share)

    def planned_epochs(self, folder: RunFolder | None) -> int:
        """Return for how many epochs the run in a folder was planned; raise if it is another."""
        if folder is None:
            return self.plain["epochs"]
        return folder.agree(self.settings(), may_extend=self.may_extend)

    def compile(self, planned: int, steps_per_execution: int) -> None:
        """Give the model its optimizer, whose rate is planned for so many epochs."""
        optimizer = self.optimizer
        if optimizer is None:
            names = ("warmup", "schedule", "clipnorm", "ema_momentum", "weight_decay")
            rate = {name: self.plain[name] for name in names}
            peak, total_steps = self.plain["learning_rate"], planned * self.steps
            optimizer = make_optimizer(peak, total_steps, **rate)
        # A divisor of an epoch's steps: a call across two epochs would take data of the next one.
        most = min(self.steps, steps_per_execution)
        group = max(k for k in range(1, most + 1) if self.steps % k == 0)
        # Keras' loop over the steps of a call fails where there are several replicas (3.15).
        alone = self.model.distribute_strategy.num_replicas_in_sync == 1
        # XLA off: it slows convolutions down on a CPU, and Keras would choose by itself.
        self.model.compile(
            optimizer=optimizer, jit_compile=False, steps_per_execution=group if alone else 1
        )

    def train(self, run: "_Run", callbacks: list[keras.callbacks.Callback]) -> None:
        """Let Keras train the epochs that are left."""
        done, held_out = len(run.history.epochs), None
        if self.validation is not None:
            held_out = tf.data.Dataset.from_tensor_slices(self.validation).batch(self.batch_size)
            held_out = data.without_autotune(held_out)
        batches = {name: self.plain[name] for name in ("protocol", "batch_size", "seed", "epochs")}
        self.model.fit(
            data.pipeline(self.images, labels=self.labels, initial_epoch=done, **batches),
            epochs=self.plain["epochs"],
            initial_epoch=done,
            steps_per_epoch=self.steps,
            validation_data=held_out,
            validation_freq=self.plain["validation_freq"],
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )


class _Run(keras.callbacks.Callback):
    """Measures and saves; behind the caller's callbacks, so that it saves what they changed."""

    def __init__(
        self,
        model: keras.Model,
        folder: RunFolder | None,
        epochs: int,
        seconds: float | None,
        patience: int | None,
    ) -> None:
        super().__init__()
        self.set_model(model)
        model.optimizer.build(model.trainable_variables)
        self.patience = patience
        # A part of the state, so that a run that goes on can still give them back.
        self.best = (
            [] if patience is None else [keras.Variable(w, trainable=False) for w in model.weights]
        )
        self.state = [*model.variables, *model.optimizer.variables, *self.best]
        self.folder, self.epochs = folder, epochs
        if seconds is not None and cluster.worker_count(model.distribute_strategy) > 1:
            raise ValueError("the clocks of several workers differ: give epochs, and no seconds")
        self.budget = math.inf if seconds is None else seconds
        self.history = History()
        self.stopped = False  # by a callback

    def resume(self, verbose: str | int) -> bool:
        """Load what the folder holds; return whether the run is over."""
        if self.folder is None:
            return False
        self.history.epochs = self.folder.restore(self.state)
        done = len(self.history.epochs)
        if done > self.epochs:
            raise ValueError(
                f"{self.folder.path} holds {done} epochs by now: ask for at least as many, "
                f"not {self.epochs}, or choose another folder"
            )
        stopped_of = self.folder.stopped_of(done) or 0
        is_over = done == self.epochs or self.is_spent or stopped_of >= self.epochs
        if is_over:
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
            self.folder.restore_final(self.model.variables, done)
        if verbose and done:
            ending = ": the run is over" if is_over else ""
            print(f"resumed after epoch {done}/{self.epochs}{ending}")
        return is_over

    @property
    def is_spent(self) -> bool:
        """Whether the seconds are used up."""
        return self.history.seconds >= self.budget

    @property
    def has_best(self) -> bool:
        """Whether the weights of the best epoch are to be given back, and are known."""
        return bool(self.best) and any("val_loss" in row for row in self.history.epochs)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.spent = time.perf_counter() - self.start

    def on_test_begin(self, logs: dict | None = None) -> None:
        # By hand, since keras.callbacks.SwapEMAWeights would round the weights.
        self.raw = [weight.numpy() for weight in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_test_end(self, logs: dict | None = None) -> None:
        self.validated = [weight.numpy() for weight in self.model.weights] if self.best else []
        for weight, raw in zip(self.model.trainable_variables, self.raw, strict=True):
            weight.assign(raw)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        values = {name: float(np.mean(value)) for name, value in (logs or {}).items()}
        self.history.epochs.append({"epoch": epoch + 1, "seconds": self.spent, **values})
        if self.best and "val_loss" in values:
            self._keep_the_best(epoch + 1)
        if self.folder:
            self.folder.save(self.state, self.history.epochs)
        self.stopped = self.model.stop_training
        if self.is_spent:
            self.model.stop_training = True

    def _keep_the_best(self, epoch: int) -> None:
        """Keep the weights that were validated if they are the best; stop without patience."""
        best = self.history.best_epoch
        if best == epoch:
            for kept, weight in zip(self.best, self.validated, strict=True):
                kept.assign(weight)
        later = [row for row in self.history.epochs if row["epoch"] > best and "val_loss" in row]
        if len(later) >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict | None = None) -> None:
        if self.has_best:
            for weight, kept in zip(self.model.weights, self.best, strict=True):
                weight.assign(kept)
        if self.folder:
            stopped_of = self.epochs if self.stopped else None
            self.folder.finish(self.model.variables, len(self.history.epochs), stopped_of)


class _Report(keras.callbacks.Callback):
    """Prints lines, and moves a bar below them; behind `_Run`, whose history it shows."""

    def __init__(self, run: _Run, steps: int, verbose: str | int) -> None:
        super().__init__()
        self.run, self.steps, self.verbose = run, steps, verbose
        self.lines = report_epochs(run.epochs, run.epochs if verbose == 1 else AT_MOST_LINES)

    def __enter__(self) -> "_Report":
        epochs = self.run.epochs - len(self.run.history.epochs)
        total = epochs * self.steps
        self.bar = progress(total=total, label="training") if self.verbose else None
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.bar is not None:
            self.bar.update(self.model.steps_per_execution)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not self.verbose or not (epoch + 1 in self.lines or self.model.stop_training):
            return
        self.bar.clear()
        row = self.run.history.epochs[-1]
        values = [f"{k} {v:.2f}" for k, v in row.items() if k not in ("epoch", "seconds")]
        line = "  ".join([f"epoch {epoch + 1}/{self.run.epochs}", *values])
        print(f"{line}  {row['seconds']:.1f} s", flush=True)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self.verbose and self.run.has_best:
            best = self.run.history.best_epoch
            loss = self.run.history.epochs[best - 1]["val_loss"]
            print(f"the weights are those of epoch {best}, val_loss {loss:.2f}", flush=True)


def report_epochs(total: int, at_most: int) -> set[int]:
    """Return the epochs after which to print: the first, the last, and some between."""
    return {round(epoch) for epoch in np.linspace(1, total, min(total, at_most))}


def _check_plain(
    *,
    steps_per_execution: int,
    seconds: float | None,
    patience: int | None,
    verbose: str | int,
    learning_rate: float,
    seed: int,
    protocol: str,
    warmup: float,
    schedule: str,
    clipnorm: float | None,
    ema_momentum: float | None,
    weight_decay: float,
    **counts: int,
) -> None:
    """Check numbers and names."""
    check_whole(steps_per_execution=steps_per_execution, **counts)
    check_seed(seed=seed)
    check_positive(learning_rate=learning_rate)
    if seconds is not None:
        check_positive(seconds=seconds)
    if patience is not None:
        check_whole(patience=patience)
    check_choice("verbose", verbose, ("auto", 0, 1))
    check_choice("protocol", protocol, data.PROTOCOLS)
    _check_rate(warmup, schedule, clipnorm, ema_momentum, weight_decay)


def _check_rate(
    warmup: float,
    schedule: str,
    clipnorm: float | None,
    ema_momentum: float | None,
    weight_decay: float,
) -> None:
    """Check what `make_optimizer` takes, but for the peak and the steps."""
    check_fraction(warmup=warmup)
    check_choice("schedule", schedule, SCHEDULES)
    if clipnorm is not None:
        check_positive(clipnorm=clipnorm)
    if ema_momentum is not None:
        check_fraction(ema_momentum=ema_momentum)
    check_fraction(weight_decay=weight_decay)


def _check_model(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | None, protocol: str
) -> None:
    """Check that model and optimizer are Keras', and that the likelihood fits the protocol."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model, got {shown(model)}")
    if not isinstance(optimizer, keras.optimizers.Optimizer | None):
        raise TypeError(f"optimizer must be one of keras.optimizers, got {shown(optimizer)}")
    name = getattr(model, "likelihood_name", None)
    if name is not None:
        LIKELIHOODS[name].check_protocol(protocol)


def _as_validation(validation: np.ndarray | None) -> np.ndarray | None:
    """Return validation images as float32."""
    if validation is None:
        return None
    validation = np.asarray(validation)
    if validation.dtype.kind != "f":
        raise TypeError(
            f"validation must be floats, got {shown(validation)}: prepare it with "
            "helpers.data.prepare"
        )
    return validation.astype(np.float32, copy=False)


def _config_of(model: keras.Model) -> dict[str, Any]:
    """Return a model's own settings; TypeError where it does not give them."""
    try:
        return json.loads(as_json(model.get_config()))
    except (NotImplementedError, TypeError) as error:
        name, reason = type(model).__name__, str(error).split("\n")[0]
        raise TypeError(
            f"run_dir needs the settings of the model, and {name}.get_config() does not give them "
            f"({reason}): return there what {name}() takes, as numbers and strings, or leave "
            "run_dir out"
        ) from error
