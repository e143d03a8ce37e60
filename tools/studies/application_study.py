"""Find the digit that a VAE has never seen: ten VAEs of lesson 06, one without each digit.

left_out     each digit in turn, one seed: about 25 minutes on two cores
again        the same with one more seed

Every score is measured on validation images too: that is where one of them was chosen. What is
scored stays scored, in build/runs/.
"""

import json
import sys
import zlib
from functools import partial

import study

from helpers import data, evaluation  # isort: skip  (first: imports TensorFlow quietly)

import keras
import numpy as np
from sklearn.metrics import pairwise_distances_argmin_min, roc_auc_score

from helpers.course.files import write_whole
from helpers.priors import kl_to_standard_normal
from helpers.vae import VAE, reparameterise

SEED = 42
EPOCHS, SAMPLES = 10, 100  # importance samples for each image
SEARCH_STEPS, DRAWS = 100, 20  # of the likelihood regret: gradient steps, draws of each ELBO
MODEL = dict(latent_dim=20, hidden_dim=(512, 512), activation="gelu", kl="analytic")


def elbos(vae, x, z_mean, z_log_var) -> np.ndarray:
    """Return the ELBO of each image for a given q, a mean over some draws, (images,) nats."""
    draws = [reparameterise(z_mean, z_log_var, (study.SCORE_SEED, i)) for i in range(DRAWS)]
    log_px_z = np.mean([vae.likelihood(z).log_prob(x) for z in draws], axis=0)
    return log_px_z - kl_to_standard_normal(z_mean, z_log_var).numpy()


def regret(vae, x) -> np.ndarray:
    """Return the likelihood regret of each image (Xiao et al. 2020): its q is optimised alone."""
    parts = []
    for part in np.array_split(x, -(-len(x) // 2000)):
        start = vae.encode(part)[:2]
        likelihood = partial(log_px, vae, part)
        steps = study.size(SEARCH_STEPS, 2)
        better = evaluation.fit_posterior(likelihood, *start, steps=steps, seed=study.SCORE_SEED)
        parts.append(elbos(vae, part, *better) - elbos(vae, part, *start))
    return np.concatenate(parts)


def log_px(vae, x, z):
    """Return log p(x|z) of each image, (images,)."""
    return vae.likelihood(z).log_prob(x)


def to_nearest(x, known) -> np.ndarray:
    """Return the squared distance of each image to the nearest grey training image."""
    rows = (part.reshape(len(part), -1) for part in (x, data.rescale(known)))
    return pairwise_distances_argmin_min(*rows, metric="sqeuclidean")[1]


def scores(vae, x, known, counted, usual: float) -> dict[str, np.ndarray]:
    """Return the scores of images, the higher the stranger, (images,) each.

    `compressed` is the correction of Serra et al. (2020) with zlib; `usual` is the mean log p of
    validation images of known digits; the others are those of lesson 06.
    """
    s = evaluation.log_likelihood(vae, x, study.size(SAMPLES, 2), seed=study.SCORE_SEED)
    distance, ink = to_nearest(x, known), x.sum(axis=(1, 2, 3))
    parts = np.array_split(x, -(-len(x) // 500))
    log_px_z = np.concatenate([log_px(vae, part, vae.code(part)) for part in parts])
    file_sizes = [len(zlib.compress(image.astype(np.uint8).tobytes(), 9)) for image in x]
    return {
        "log_p": -s.values,
        "elbo": -s.elbos,
        "reconstruction": -log_px_z,
        "regret": regret(vae, x),
        "two_sided": np.abs(s.values - usual),
        "nearest": distance,
        "nearest_by_ink": distance / ink,
        "compressed": -s.values - 8 * np.log(2) * np.array(file_sizes),
        "ratio": evaluation.local_log_prob(x, counted) - s.values,
    }


def usual_log_p(vae, digit: int, dataset) -> float:
    """Return the mean log p of validation images of the known digits."""
    part = dataset.validation
    known = part.images[part.labels != digit][: study.size(2000, 30)]
    x = data.prepare(known, "dynamic", seed=data.TEST_SEED)
    return evaluation.log_likelihood(vae, x, study.size(SAMPLES, 2), seed=study.SCORE_SEED).mean


def aurocs(vae, digit: int, dataset, known, counted) -> dict[str, dict[str, float]]:
    """Return how well each score tells a digit from the others, {split: {score: AUROC}}."""
    found, usual = {}, usual_log_p(vae, digit, dataset)
    for split in ("validation", "test"):
        part = getattr(dataset, split)
        few = slice(study.size(None, 60))
        x = data.prepare(part.images[few], "dynamic", seed=data.TEST_SEED)
        found[split] = {
            score: float(roc_auc_score(part.labels[few] == digit, values))
            for score, values in scores(vae, x, known, counted, usual).items()
        }
    return found


def without(digit: int, seed: int, dataset, name: str) -> dict[str, dict[str, float]]:
    """Train without a digit; return {split: {score: AUROC}}."""
    known = dataset.train.images[dataset.train.labels != digit]
    keras.utils.set_random_seed(seed)
    vae = VAE(**MODEL, seed=seed)
    study.fit(
        vae,
        known,
        epochs=EPOCHS,
        batch_size=256,
        protocol="dynamic",
        seed=seed,
        learning_rate=3e-3,
        steps_per_execution=10,
        run_dir=study.runs_dir() / name,
        verbose=0,
    )
    done = study.runs_dir() / name / f"aurocs_{SAMPLES}.json"
    if not done.exists():
        counted = data.prepare(known, "dynamic", seed=seed)
        write_whole(done, json.dumps(aurocs(vae, digit, dataset, known, counted)).encode())
    return json.loads(done.read_text())


def left_out(seed: int, suffix: str = "") -> None:
    """Record the AUROC of every score for every digit left out, and the means over the digits."""
    dataset = data.load_mnist()
    results = study.results("06", dataset)
    found = []
    for digit in study.size(range(10), (3,)):
        name = f"without_{digit}{suffix}"
        auroc = without(digit, seed, dataset, name)
        found.append(auroc)
        for score, value in auroc["test"].items():
            key = f"mnist/dynamic/{name}/auroc_{score}"
            results.record(key, value, seed=seed, samples=SAMPLES)
        shown = "  ".join(f"{score} {value:.3f}" for score, value in auroc["test"].items())
        print(f"{name}: {shown}", flush=True)
    for split, metric in (("validation", "validation_mean_auroc"), ("test", "mean_auroc")):
        for score in found[0][split]:
            mean = float(np.mean([auroc[split][score] for auroc in found]))
            results.record(
                f"mnist/dynamic/without_each{suffix}/{metric}_{score}",
                mean,
                seed=seed,
                samples=SAMPLES,
                headline=(metric, score, suffix) == ("mean_auroc", "ratio", ""),
            )
            print(f"{split}, mean of {len(found)} digits, {score}: {mean:.3f}")


PARTS = {
    "left_out": partial(left_out, SEED),
    "again": partial(left_out, SEED + 1, f"_seed{SEED + 1}"),
}

if __name__ == "__main__":
    sys.exit(study.call(PARTS, sys.argv[1:], __doc__))
