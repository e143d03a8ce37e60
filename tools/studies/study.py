"""What the studies share: one way to be called, and models that are trained, scored and recorded.

    python tools/studies/NAME.py [PART ...] [--recorded-epochs]

The same command goes on after an interruption, in build/runs/. With VAE_RECORD=1 the numbers go to
data/results.json and the models to data/checkpoints/; without, both stay under build/. A training
that is limited by seconds says how many epochs it had; with --recorded-epochs it stops after as
many as are recorded, so that a slower machine repeats the same run. In the quick profile each
training takes two steps: that shows that a study runs, and measures nothing.
"""

import argparse
import hashlib
import inspect
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from helpers.course import records, settings  # isort: skip  (first: imports TensorFlow quietly)

import keras
import numpy as np

from helpers import data, evaluation, training

try:
    import resource
except ImportError:  # Windows
    resource = None

SCORE_SEED = 7  # of the importance samples
FEW = 200  # images, and samples, of the score by which a committed model is known again
QUICK_BATCH = 8
_options = argparse.Namespace(recorded_epochs=False)  # of this call


def call(parts: Mapping[str, Callable], arguments: list[str], text: str) -> int:
    """Call the parts of these names, or all, of a study that `text` describes."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; or all")
    parser.add_argument(
        "--recorded-epochs", action="store_true", help="train as many epochs as are recorded"
    )
    parser.parse_args(arguments, _options)
    unknown = sorted(set(_options.parts) - set(parts))
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(parts)}")
    if settings.is_quick() and settings.recording():
        parser.error("the quick profile measures nothing: unset VAE_RECORD")
    _record_of.cache_clear()
    for name in _options.parts or parts:
        parts[name]()
    return 0


@cache
def _record_of(lesson: str) -> records.Results:
    """The one record of this call's numbers for a lesson: another would replace its file."""
    return records.Results(lesson)


def results(lesson: str, dataset=None) -> records.Results:
    """Return the record of this call's numbers for a lesson; the next ones depend on `dataset`."""
    found = _record_of(lesson)
    found.dataset = dataset
    return found


def size(full, quick):
    """Return the first, or in the quick profile the second."""
    return quick if settings.is_quick() else full


def runs_dir() -> Path:
    """Where trainings are kept until they are finished."""
    return settings.build_dir() / "runs"


def recorded(key: str, field: str):
    """Return a fact beside a recorded number in a call that repeats it, else None."""
    return records.read_results().get(key, {}).get(field) if _options.recorded_epochs else None


def alone(function: Callable, *arguments, **environment: str):
    """Call a function of a study in a process of its own; return what it returns."""
    path = Path(inspect.getfile(function))
    code = (
        f"import json, sys, {path.stem} as study\n"
        f"print(json.dumps(study.{function.__name__}(*json.loads(sys.argv[1]))))"
    )
    paths = [str(path.parent), *filter(None, sys.path)]
    output = subprocess.check_output(
        [sys.executable, "-c", code, json.dumps(arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        text=True,
    )
    return json.loads(output.strip().split("\n")[-1])


def peak_mib() -> float | None:
    """Return the largest memory that this process has used so far; None where that is unknown."""
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


class StopAfter(keras.callbacks.Callback):
    """Stop a training after so many epochs, before its cosine has ended."""

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 >= self.epochs:
            self.model.stop_training = True


class Clock(keras.callbacks.Callback):
    """Note when each call of the training step ended."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Median time of a call; the first is not counted, since it compiles."""
        return statistics.median(b - a for a, b in itertools.pairwise(self.ends))


def fit(
    model,
    images,
    *,
    epochs,
    batch_size,
    key="",
    seconds=None,
    callbacks=(),
    validation=None,
    **options,
):
    """`training.fit`, that of the recorded number `key` again, or two steps."""
    stop = recorded(key, "epochs")
    if stop:
        seconds, callbacks = None, [*callbacks, StopAfter(stop)]
    if settings.is_quick():
        images, epochs, batch_size = images[: 2 * QUICK_BATCH], 1, QUICK_BATCH
        validation = None if validation is None else validation[:QUICK_BATCH]
    return training.fit(
        model,
        images,
        epochs=epochs,
        batch_size=batch_size,
        seconds=seconds,
        callbacks=callbacks,
        validation=validation,
        **options,
    )


def step_milliseconds(build, images, *, precision, seed, **options) -> float:
    """Median time of a training step of a model in a Keras policy, on these images.

    `build` makes the model; `options` go to `fit`.
    """
    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy(precision)
    model, clock = build(), Clock()
    keras.mixed_precision.set_global_policy("float32")
    fit(model, images, epochs=1, seed=seed, callbacks=[clock], verbose=0, **options)
    return 1000 * clock.seconds


def train(
    dataset, build, *, name, protocol, seed, joined=False, precision="float32", **options
) -> tuple:
    """Train one model, or load it where it is trained; return it, its history, and how many images.

    `build` makes the model; `options` go to `fit`. `joined`: train on train + validation (for
    headline models, once every choice has been fixed on the validation split). `precision`: the
    Keras policy of the training. The run is kept in build/runs/<name>.
    """
    images = dataset.train.images
    if joined:
        images = np.concatenate([images, dataset.validation.images])
    validation = data.prepare(dataset.validation.images, protocol, seed=data.TEST_SEED)
    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy(precision)
    trained = build()
    options |= dict(protocol=protocol, seed=seed, validation=validation, verbose=1)
    history = fit(trained, images, run_dir=runs_dir() / name, **options)
    keras.mixed_precision.set_global_policy("float32")
    return trained, history, len(images)


def train_and_score(
    lesson,
    dataset,
    build,
    *,
    name,
    protocol,
    seed,
    num_samples=1000,
    test_images=None,
    keep=True,
    timed=True,
    precision="float32",
    **options,
):
    """Train one model, record its test numbers, `keep` it as ``checkpoints/<name>.keras``.

    `build` and `options` go to `train`. `test_images`: how many are scored. `timed`: its seconds go
    on record, too; not where other work shares the machine. `precision`: the Keras policy of
    training and scoring. Where it is not float32, the kept model is float32, and what 200 images
    gain by that stands on record.
    """
    key = f"{dataset.name.lower()}/{protocol}/{name}"
    options |= dict(name=name, protocol=protocol, seed=seed, precision=precision)
    trained, history, images = train(dataset, build, key=f"{lesson}/{key}/log_px", **options)
    found, vae = results(lesson, dataset), under_policy(trained, "float32")
    test = data.prepare(dataset.test.images, protocol, seed=data.TEST_SEED)
    test = test[: size(test_images, QUICK_BATCH)]
    common = {"seed": seed, "seconds": round(history.seconds, 1) if timed else None}
    facts = {"epochs": len(history.epochs), "batch_size": options["batch_size"]}
    facts |= {"images": images, "weights": vae.count_params()}
    facts |= {"precision": precision, "headline": keep}
    if keep:
        keep_model(found, vae, test, key, name, common)
    scored = vae if precision == "float32" else under_policy(trained, precision)
    record_scores(found, scored, vae, test, key, num_samples, common, facts)
    if timed:
        found.record(f"{key}/training_seconds", history.seconds, **common, timing=True)


def record_scores(results, scored, vae, test, key, num_samples, common, facts) -> None:
    """Record what `scored` reaches on test images; `vae` is the same model in float32."""
    if scored is not vae:
        exact, this = (few_score(model, test).mean for model in (vae, scored))
        facts["float32_minus_this"] = round(float(exact - this), 4)
    score = evaluation.log_likelihood(scored, test, size(num_samples, 2), seed=SCORE_SEED)
    times = {} if common["seconds"] is None else {"score_seconds": round(score.seconds, 1)}
    z_mean, _ = evaluation.posterior_moments(vae, test)
    results.record(
        f"{key}/log_px",
        score.mean,
        **common,
        **facts,
        unit="nats",
        samples=num_samples,
        test_images=len(test),
        **times,
        standard_error=round(score.standard_error, 3),
        monte_carlo_error=round(score.monte_carlo_error, 4),
    )
    facts = {name: fact for name, fact in facts.items() if name != "headline"}
    results.record(f"{key}/elbo", score.elbo, **common, **facts, unit="nats")
    results.record(f"{key}/active_units", evaluation.active_units(z_mean), **common)
    peak = peak_mib()
    if peak is not None:
        results.record(f"{key}/peak_memory_gib", peak / 1024, **common, unit="GiB", timing=True)
    print(
        f"{key}: log p {score.mean:.2f} ± {score.standard_error:.2f}, ELBO {score.elbo:.2f}, "
        f"{score.seconds:.0f} s of scoring"
    )


def score_committed(lesson, dataset, names, num_samples, *, seed, training_images=0) -> None:
    """Score committed models of `mnist/dynamic` again, with another number of samples.

    On all test images, and on so many random training images. A model that has not been trained
    yet is left out.
    """
    found, samples = results(lesson, dataset), size(num_samples, 2)
    images = {"": dataset.test.images}
    if training_images:
        images["train_"] = data.random_subset(dataset.train.images, training_images)
    count = size(None, QUICK_BATCH)
    prepared = {
        which: data.prepare(grey[:count], "dynamic", seed=data.TEST_SEED)
        for which, grey in images.items()
    }
    for name in names:
        vae = records.load_recorded_model(name)
        if vae is None:
            continue
        for which, x in prepared.items():
            score = evaluation.log_likelihood(vae, x, samples, seed=SCORE_SEED)
            facts = dict(seed=seed, unit="nats", samples=num_samples, scored_images=len(x))
            for metric, value in (("log_px", score.mean), ("elbo", score.elbo)):
                found.record(f"mnist/dynamic/{name}/{which}{metric}_{num_samples}", value, **facts)
            print(
                f"{name}, {which or 'test_'}images: log p {score.mean:.2f}, ELBO {score.elbo:.2f}"
            )


def few_score(vae, test):
    """Score a model on the first images, with few samples."""
    return evaluation.log_likelihood(vae, test[:FEW], size(FEW, 2), seed=SCORE_SEED)


def under_policy(model, policy: str):
    """Return the same weights in layers of a Keras policy, without an optimizer."""
    keras.mixed_precision.set_global_policy(policy)
    copy = type(model).from_config(model.get_config())
    keras.mixed_precision.set_global_policy("float32")
    copy.set_weights(model.get_weights())
    return copy


def keep_model(results, vae, test, key, name, common) -> None:
    """Write the model, with its digest and its score on few images on record.

    It is scored again wherever the real images are at hand, and compared with that.
    """
    folder = settings.build_dir() / "checkpoints"
    if settings.recording():
        folder = settings.data_file("checkpoints")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.keras"
    vae.save(path)
    few = few_score(vae, test)
    results.record(
        f"{key}/log_px_200",
        few.mean,
        **common,
        samples=FEW,
        test_images=FEW,
        score_seed=SCORE_SEED,
        checkpoint=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
