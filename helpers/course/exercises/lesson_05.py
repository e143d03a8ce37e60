"""The checks of the exercises of lesson 05."""

import numpy as np

from helpers.course.exercises import array, call, choices, compare

DIAGNOSES = ("healthy", "collapsed", "partly collapsed", "not read")
CODES = {  # code: (diagnosis, hint)
    "a": ("healthy", "What does its decoder lose with a wrong code?"),
    "b": ("collapsed", "Which of its numbers says that the posterior differs from the prior?"),
    "c": (
        "partly collapsed",
        "The ELBO is the best of all. How much does the code say, beside that of a?",
    ),
    "d": ("not read", "The code costs 24.9 nats. What does the decoder gain by it?"),
}
ROTATIONS = {  # rotation: (verdict, hint)
    "a": ("free", "What do two axes do at 90 degrees?"),
    "b": ("free", "What does a round cloud look like after it was turned?"),
    "c": ("costs", "Can a diagonal Gaussian lean?"),
    "d": ("free", "What does N(0, I) look like after it was turned?"),
    "e": ("costs", "The posteriors of which image are round?"),
    "f": ("free", "Can a Gaussian of any covariance lean?"),
}


def check_diagnoses(answer: object) -> str:
    """Four codes, told apart by the cost of a wrong code, KL, means and draws."""
    example = '{"a": "collapsed", "b": …, "c": …, "d": …}'
    choices(answer, CODES, DIAGNOSES, example, noun="Code", kind="diagnosis")
    return (
        "KL and neighbours of d look healthy: the wrong code gives it away, and so does the ELBO."
    )


def check_rotations(answer: object) -> str:
    """Which rotations cost a diagonal posterior something."""
    example = '{"a": "costs", "b": "free", …}'
    choices(answer, ROTATIONS, ("free", "costs"), example, noun="Rotation")
    return "Only leaning costs, and only diagonal posteriors."


def _weights(distances: np.ndarray, sigmas: np.ndarray, *, own: bool = False) -> np.ndarray:
    """Return the weights of neighbours, with or without a weight for the point itself."""
    weights = np.exp(-(distances**2) / (2 * sigmas[:, None] ** 2))
    return weights if own else weights * (1 - np.eye(len(distances)))


def _rows(weights: np.ndarray) -> np.ndarray:
    """Return weights with rows that sum to 1."""
    return weights / weights.sum(axis=1, keepdims=True)


def check_joint(answer: object) -> str:
    """Zeros on the diagonal, symmetric, sum 1."""
    rng = np.random.default_rng(53)
    for n in (3, 7):
        points, sigmas = rng.normal(size=(n, 2)), rng.uniform(0.4, 1.5, size=n)
        points[1] = points[0]  # the diagonal is not the only place where distances are 0
        distances = np.linalg.norm(points[:, None] - points, axis=-1)
        weights = _weights(distances, sigmas)
        p, own = _rows(weights), _rows(_weights(distances, sigmas, own=True))
        off = own - np.diag(np.diag(own))
        apart = _rows(weights * (distances > 0))
        mistakes = {
            "The diagonal is 0 now. Is the table symmetric?": p / n,
            "Symmetric. But no point is its own neighbour: what stands on the diagonal?": (
                (own + own.T) / (2 * n)
            ),
            "The weights of a row were normalised before p(i|i) was taken out.": (
                (off + off.T) / (2 * n)
            ),
            "Each point has rows of its own: where is p(j|i)?": weights / weights.sum(),
            "Two points in one place are neighbours: take out the diagonal, by its index.": (
                (apart + apart.T) / (2 * n)
            ),
            "What do all entries sum to?": (p + p.T) / 2,
            "What do all entries sum to now?": (p + p.T) / n,
            "Nothing has changed yet.": own / n,
        }
        got = array(call(answer, distances, sigmas), (n, n))
        hint = f"For {n} points: this is not p_ij."
        compare(got, (p + p.T) / (2 * n), hint, mistakes=mistakes)
    return "It is one distribution over pairs, and each point has a share of at least 1/2n."


def _log_densities(z: np.ndarray, z_mean: np.ndarray, z_log_var: np.ndarray) -> np.ndarray:
    """Return log q(z_i|x_j), (i, j), nats."""
    squares = (z[:, None] - z_mean) ** 2 * np.exp(-z_log_var)
    return -0.5 * (squares + z_log_var + np.log(2 * np.pi)).sum(axis=-1)


def _left_out(log_q: np.ndarray, log_p: np.ndarray, *, with_own: bool, count: int) -> float:
    """Return the mean log-ratio of a mixture with or without each image's own posterior."""
    log_q = log_q.copy()
    if not with_own:
        np.fill_diagonal(log_q, -np.inf)
    top = log_q.max(axis=1, keepdims=True)
    log_mixture = top[:, 0] + np.log(np.exp(log_q - top).sum(axis=1)) - np.log(count)
    return float(np.mean(log_mixture - log_p))


def check_left_out(answer: object) -> str:
    """The leave-one-out misfit; also where densities are too small for a float."""
    rng = np.random.default_rng(54)
    for n, latent_dim, scale in ((6, 2, 1.0), (9, 3, 0.7), (5, 4, 40.0), (530, 2, 5.0)):
        z_mean = scale * rng.normal(size=(n, latent_dim))
        z_log_var = rng.normal(-0.7, 0.4, size=(n, latent_dim))
        z = z_mean + np.exp(0.5 * z_log_var) * rng.normal(size=z_mean.shape)
        log_q = _log_densities(z, z_mean, z_log_var)
        log_p = -0.5 * (z**2 + np.log(2 * np.pi)).sum(axis=1)
        arguments = [value.astype(np.float32) for value in (z, z_mean, z_log_var)]
        got = array(call(answer, *arguments), ())
        mistakes = {
            "The posterior of image i is still in the mixture for z_i.": _left_out(
                log_q, log_p, with_own=True, count=n
            ),
            "An average of how many posteriors is it?": _left_out(
                log_q, log_p, with_own=False, count=n
            ),
            "Where is log p?": _left_out(log_q, 0 * log_p, with_own=False, count=n - 1),
            "The sign of log p: q and p are compared.": _left_out(
                log_q, -log_p, with_own=False, count=n - 1
            ),
            "The mean of the logarithms is not the logarithm of the mean.": float(
                np.mean((log_q.sum(axis=1) - np.diag(log_q)) / (n - 1) - log_p)
            ),
        }
        right = _left_out(log_q, log_p, with_own=False, count=n - 1)
        hint = f"For {n} images and {latent_dim} dimensions."
        compare(got, right, hint, mistakes=mistakes, rtol=1e-3, atol=1e-3)
    return "Each code is scored by the posteriors of the other images only."


CHECKS = {
    "05.1": check_diagnoses,
    "05.2": check_rotations,
    "05.3": check_joint,
    "05.4": check_left_out,
}
