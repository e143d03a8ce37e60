"""Find the digit that a VAE has never seen: ten VAEs of notebook 06, one without each digit.

    VAE_PROFILE=full VAE_RECORD=1 python tests/benchmarks/application_study.py [NAME ...]

left_out     each digit in turn, one seed: about 12 minutes on two cores
again        the same with one more seed

Every score is measured on validation images too: that is where one of them was chosen. Resumable:
the same command goes on after an interruption (`build/runs/`), and what is scored stays scored.
"""

import json
import sys
import zlib
from functools import partial

from study import RUNS, SCORE_SEED, run

from helpers import data, evaluation, training  # isort: skip  (first: imports TensorFlow quietly)

import numpy as np
from sklearn.metrics import roc_auc_score

from helpers.vae import VAE

SEED = 42
DIGITS = range(10)
EPOCHS, SAMPLES = 10, 100  # importance samples for each image
MODEL = dict(latent_dim=20, hidden_dim=(512, 512), activation="gelu", kl="analytic")


def scores(vae, x, counted) -> dict[str, np.ndarray]:
    """Return five scores of images, nats, the higher the stranger, (images,) each.

    `compressed` is the correction of Serra et al. (2020) with zlib, `ratio` that of notebook 06.
    """
    s = evaluation.log_likelihood(vae, x, SAMPLES, seed=SCORE_SEED)
    parts = np.array_split(x, -(-len(x) // 500))
    log_px_z = np.concatenate([vae.likelihood(vae.code(part)).log_prob(part) for part in parts])
    file_sizes = [len(zlib.compress(image.astype(np.uint8).tobytes(), 9)) for image in x]
    return {
        "log_p": -s.values, "elbo": -s.elbos, "reconstruction": -log_px_z,
        "compressed": -s.values - 8 * np.log(2) * np.array(file_sizes),
        "ratio": evaluation.local_log_prob(x, counted) - s.values,
    }  # fmt: skip


def without(digit: int, seed: int, dataset, name: str) -> tuple[dict, float]:
    """Train without a digit; return {split: {score: AUROC}} and the seconds of training."""
    known = dataset.train.images[dataset.train.labels != digit]
    training.set_seed(seed)
    vae = VAE(**MODEL, seed=seed)
    history = training.fit(
        vae, known, epochs=EPOCHS, batch_size=256, protocol="dynamic", seed=seed,
        learning_rate=3e-3, steps_per_execution=10, run_dir=RUNS / name, verbose=0,
    )  # fmt: skip
    done = RUNS / name / f"auroc_{SAMPLES}.json"
    if not done.exists():
        counted, found = data.prepare(known, "dynamic", seed=seed), {}
        for split in ("validation", "test"):
            part = getattr(dataset, split)
            x = np.asarray(data.prepare(part.images, "dynamic", seed=data.TEST_SEED))
            found[split] = {
                score: roc_auc_score(part.labels == digit, values)
                for score, values in scores(vae, x, counted).items()
            }
        done.write_text(json.dumps(found))
    return json.loads(done.read_text()), history.seconds


def left_out(seed: int, suffix: str = "") -> None:
    """Record the AUROC of every score for every digit left out, and the means over the digits."""
    dataset = data.load_mnist()
    results = evaluation.Results("06", dataset)
    found, seconds = [], 0.0
    for digit in DIGITS:
        name = f"without_{digit}{suffix}"
        auroc, taken = without(digit, seed, dataset, name)
        found.append(auroc)
        seconds += taken
        for score, value in auroc["test"].items():
            key = f"mnist/dynamic/{name}/auroc_{score}"
            results.record(key, value, seed=seed, seconds=round(taken, 1), samples=SAMPLES)
        shown = "  ".join(f"{score} {value:.3f}" for score, value in auroc["test"].items())
        print(f"{name}: {shown}  ({taken:.0f} s)", flush=True)
    for split, metric in (("validation", "validation_mean_auroc"), ("test", "mean_auroc")):
        for score in found[0][split]:
            mean = np.mean([auroc[split][score] for auroc in found])
            results.record(
                f"mnist/dynamic/without_each{suffix}/{metric}_{score}", mean, seed=seed,
                seconds=round(seconds, 1), samples=SAMPLES,
                headline=(metric, score, suffix) == ("mean_auroc", "ratio", ""),
            )  # fmt: skip
            print(f"{split}, mean of {len(found)} digits, {score}: {mean:.3f}")


STUDIES = {
    "left_out": partial(left_out, SEED),
    "again": partial(left_out, SEED + 1, f"_seed{SEED + 1}"),
}

if __name__ == "__main__":
    sys.exit(run(STUDIES, sys.argv[1:]))
