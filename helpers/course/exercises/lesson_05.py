"""The checks of the exercises of lesson 05."""

import numpy as np
from sklearn.manifold import trustworthiness

from helpers.course.exercises import array, call, choice, compare


def check_conclusion(answer: object) -> str:
    """Return praise for the one conclusion that a trustworthy t-SNE picture supports."""
    hints = {
        "a": "t-SNE fits a width to every point's surroundings: a tenfold spread became none.",
        "b": "Distances between islands changed with the seed. What does trustworthiness measure?",
    }
    choice(answer, "c", hints)
    return "Trustworthiness is about near neighbours, and nothing else may be read."


def _perplexity(distances: np.ndarray, sigma: float, base: float = 2.0, power: int = 2) -> float:
    """Return `base` to the power of the entropy in bits of p(j|i)."""
    weights = np.exp(-(distances**power) / (2 * sigma**2))
    p = weights / weights.sum()
    return base ** -np.sum(p * np.log2(p))


def check_perplexity(answer: object) -> str:
    """Return praise for 2 to the entropy in bits, of equal and of unequal neighbours."""
    rng = np.random.default_rng(5)
    equal = array(call(answer, np.full(8, 3.0), 2.0), ())
    hint = "Eight equally far neighbours count as 8: is the entropy in bits?"
    compare(equal, 8.0, hint, rtol=1e-3)
    for count, sigma in ((2, 1.0), (5, 0.7), (9, 3.0)):
        distances = rng.uniform(0.5, 3.0, size=count)
        compare(
            array(call(answer, distances, sigma), ()),
            _perplexity(distances, sigma),
            f"For {count} neighbours and sigma = {sigma}.",
            mistakes={
                "What stands in the exponent of a Gaussian?": _perplexity(
                    distances, sigma, power=1
                ),
                "Do you use sigma?": _perplexity(distances, 1.0 if sigma != 1.0 else 2.0),
                "e to an entropy in bits: 2 is the base.": _perplexity(distances, sigma, np.e),
            },
            rtol=1e-3,
        )
    return "Equal neighbours are counted, unequal ones in part."


def check_continuity(answer: object) -> str:
    """Return praise for Venna & Kaski's continuity: lost neighbours cost, invented ones do not."""
    rng = np.random.default_rng(6)
    line = np.array([[0.0], [1.0], [3.0], [7.0], [15.0]])
    folded = np.array([[0.0], [1.0], [3.0], [7.0], [-0.5]])
    cloud = rng.normal(size=(40, 3))
    cases = [(line, folded, 1), (cloud, cloud[:, :1], 2), (cloud, cloud[:, :2], 12)]
    for original, picture, k in [*cases, (cloud, 5 * cloud, 5)]:
        want = trustworthiness(picture, original, n_neighbors=k)
        turned = trustworthiness(original, picture, n_neighbors=k)
        mistakes = {}
        if not np.isclose(turned, want):
            mistakes["That is the trustworthiness. Here the ranks are those in the picture."] = (
                turned
            )
        compare(
            array(call(answer, original, picture, k), ()),
            want,
            f"For {len(original)} points and k = {k}: who is lost, and how far off is it now?",
            mistakes=mistakes,
            rtol=1e-4,
        )
    return "Lost neighbours cost, invented ones do not."


CHECKS = {"05.1": check_conclusion, "05.2": check_perplexity, "05.3": check_continuity}
