"""What the study scripts share: train resumably, commit the model, score it, record the numbers."""

import hashlib
import os
import resource
import sys
from pathlib import Path

import numpy as np

from helpers import data, evaluation, training  # isort: skip  (first: imports TensorFlow quietly)

import keras

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = ROOT / "data" / "checkpoints"
RUNS = Path(os.environ.get("VAE_BUILD") or ROOT / "build") / "runs"
SCORE_SEED = 7  # of the importance samples


def run(studies, names: list[str]) -> int:
    """Call the studies of these names, or all; `studies` maps names to functions."""
    unknown = sorted(set(names) - set(studies))
    if unknown:
        sys.exit(f"error: no study {', '.join(unknown)}; choose from {', '.join(studies)}")
    for name in names or studies:
        studies[name]()
    return 0


def train_and_score(
    results, dataset, build, *, name, protocol, seed, num_samples=1000, test_images=None,
    keep=True, precision="float32", **fit,
):  # fmt: skip
    """Train one model, record its test numbers, `keep` it as ``data/checkpoints/<name>.keras``.

    The same call resumes an interrupted training. `build` makes the model; `fit` goes to
    `helpers.training.fit`, where ``joined=True`` trains on train + validation (for headline models,
    once every choice has been fixed on the validation split). `test_images`: how many are scored.
    `precision`: the Keras policy of training and scoring. Where it is not float32, the committed
    model is float32, and what 200 images gain by that stands on record.
    """
    images = dataset.train.images
    if fit.pop("joined", False):
        images = np.concatenate([images, dataset.validation.images])
    training.set_seed(seed)
    keras.mixed_precision.set_global_policy(precision)
    trained = build()
    validation = np.asarray(
        data.prepare(dataset.validation.images, protocol, seed=data.TEST_SEED)
    )
    history = training.fit(
        trained, images, protocol=protocol, seed=seed, validation=validation,
        run_dir=RUNS / name, verbose=1, **fit,
    )  # fmt: skip
    vae = under_policy(trained, "float32")
    test = np.asarray(data.prepare(dataset.test.images, protocol, seed=data.TEST_SEED))
    test = test[:test_images]
    key = f"{dataset.name.lower()}/{protocol}/{name}"
    common = {"seed": seed, "seconds": round(history.seconds, 1)}
    if keep:
        commit(results, vae, test, key, name, common)
    scored = vae if precision == "float32" else under_policy(trained, precision)
    score = evaluation.log_likelihood(scored, test, num_samples, seed=SCORE_SEED)
    z_mean, _ = evaluation.posterior_moments(vae, test)
    facts = {
        "epochs": len(history.epochs), "batch_size": fit["batch_size"], "images": len(images),
        "weights": vae.count_params(), "precision": precision,
    }  # fmt: skip
    if scored is not vae:
        exact, this = (
            evaluation.log_likelihood(model, test[:200], 200, seed=SCORE_SEED).mean
            for model in (vae, scored)
        )
        facts["float32_minus_this"] = round(float(exact - this), 4)
    results.record(
        f"{key}/log_px", score.mean, **common, **facts, unit="nats", headline=keep,
        samples=num_samples, test_images=len(test), score_seconds=round(score.seconds, 1),
        standard_error=round(score.standard_error, 3),
        monte_carlo_error=round(score.monte_carlo_error, 4),
    )  # fmt: skip
    results.record(f"{key}/elbo", score.elbo, **common, **facts, unit="nats")
    results.record(f"{key}/active_units", evaluation.active_units(z_mean), **common)
    results.record(f"{key}/training_seconds", history.seconds, **common, timing=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    results.record(f"{key}/peak_memory_gib", peak, **common, unit="GiB", timing=True)
    print(
        f"{name}: log p {score.mean:.2f} ± {score.standard_error:.2f}, ELBO {score.elbo:.2f}, "
        f"{history.seconds:.0f} s of training, {score.seconds:.0f} s of scoring, {peak:.1f} GiB"
    )


def under_policy(model, policy):
    """Return the same weights in layers of a Keras policy, without an optimizer."""
    keras.mixed_precision.set_global_policy(policy)
    copy = type(model).from_config(model.get_config())
    keras.mixed_precision.set_global_policy("float32")
    copy.set_weights(model.get_weights())
    return copy


def commit(results, vae, test, key, name, common):
    """Write the model to `CHECKPOINTS`, with its digest and its score on 200 images on record."""
    CHECKPOINTS.mkdir(exist_ok=True)
    path = CHECKPOINTS / f"{name}.keras"
    vae.save(path)
    few = evaluation.log_likelihood(vae, test[:200], 200, seed=SCORE_SEED)
    # Re-evaluated wherever the real images are at hand, against what is recorded here.
    results.record(
        f"{key}/log_px_200", few.mean, **common, samples=200, test_images=200,
        score_seed=SCORE_SEED, checkpoint=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )  # fmt: skip
