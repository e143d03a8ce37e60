"""Right and wrong answers to the exercises of lesson 05."""

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import entropy
from sklearn.manifold import trustworthiness

from exercise_answers import Answers


def perplexity(distances, sigma, power=2, log=np.log2, normalised=True):
    weights = np.exp(-(distances**power) / (2 * sigma**2))
    p = weights / weights.sum() if normalised else weights
    return 2 ** -np.sum(p * log(p))


def perplexity_by_scipy(distances, sigma):
    return np.exp(entropy(np.exp(-(distances**2) / (2 * sigma**2))))


def continuity(original, picture, k):
    return trustworthiness(picture, original, n_neighbors=k)


def continuity_by_hand(original, picture, k):
    n, price = len(original), 0
    ranks = np.argsort(np.argsort(cdist(picture, picture), axis=1), axis=1)
    for i, row in enumerate(cdist(original, original)):
        for j in np.argsort(row)[1 : k + 1]:
            price += max(ranks[i, j] - k, 0)
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * price


ANSWERS = {
    "05.1": Answers(right=["c", " C "], wrong=["a", "b", "d", 3, ["c"]]),
    "05.2": Answers(
        right=[perplexity, perplexity_by_scipy],
        wrong=[
            lambda distances, sigma: perplexity(distances, sigma, power=1),
            lambda distances, sigma: perplexity(distances, sigma, log=np.log),
            lambda distances, sigma: perplexity(distances, sigma, normalised=False),
            lambda distances, sigma: perplexity(distances, 2.0),  # ignores sigma
            lambda distances, sigma: float(len(distances)),  # right for equal distances only
            lambda distances, sigma: 8.0,
            lambda distances: perplexity(distances, 1.0),
            8.0,
        ],
    ),
    "05.3": Answers(
        right=[continuity, continuity_by_hand],
        wrong=[
            lambda original, picture, k: trustworthiness(original, picture, n_neighbors=k),
            lambda original, picture, k: trustworthiness(picture, original, n_neighbors=1),
            lambda original, picture, k: 1.0,
            lambda original, picture, k: continuity(original, original, k),  # ignores the picture
            lambda original, picture, k: 1 - continuity(original, picture, k),
            lambda original, picture, k: continuity(original, picture, 5),
            lambda original, picture: continuity(original, picture, 5),
            0.867,
        ],
    ),
}
