"""The checks of lesson 04."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from helpers.course.exercises import NotYet, array, call, compare

STEPS, LATENT_DIM = 3, 20  # of exercise 1
ORDERS = ((1, 2, 3), (2, 1, 3), (3, 1, 2), (4, 2, 5, 1, 3), (2, 1), (1,))


def count_passes(answer: object) -> str:
    """04.1: passes of a draw, of the way back, and of the density of a given point."""
    name = "Your answer (draw, way back, density of a given point)"
    draw, back, density = array(answer, (3,), name)
    if draw == STEPS * LATENT_DIM:
        raise NotYet("(a): which way is fast? In a draw all of z_0 is known from the start.")
    if draw == 1:
        raise NotYet("(a): count over all three steps, not for one network.")
    if draw != STEPS:
        raise NotYet(f"(a): each step needs m and s once; {draw:g} is not the number of passes.")
    if back == LATENT_DIM:
        raise NotYet("(b): twenty passes undo one step. How many steps are there?")
    if back != STEPS * LATENT_DIM:
        raise NotYet(f"(b): one pass solves one dimension of one step, so {back:g} cannot be.")
    if density == back:
        raise NotYet(
            "(c): the last passes hold the gates, but `FlowPosterior.log_prob` does not keep them: "
            "look at its `_log_prob`."
        )
    if density != back + draw:
        raise NotYet("(c): first the way back, and then? Look at what a log-density is made of.")
    return "The log-density needs z_0, and then the gates on the way from z_0 to z_T."


def masks(answer: Callable) -> str:
    """04.2: for every order and all widths, exactly the paths from lower to higher degrees."""
    for degrees in ORDERS:
        size = len(degrees)
        for widths in ((size,), (2 * size, size), (size + 2, 3 * size, size + 1)):
            found = _as_masks(call(answer, degrees, widths), [size, *widths, size])
            where = f"With the degrees {degrees} and the widths {widths}"
            from_first = np.linalg.multi_dot([*found[1:], np.eye(size)]) > 0
            _check_paths(found[0] @ from_first > 0, np.array(degrees), where)
            if not from_first.any(axis=0).all():
                raise NotYet(
                    f"{where} an output is not connected with the first hidden layer, so the "
                    "context cannot reach it. Which degree must a unit have to feed it?"
                )
    return "Every path leads to a higher degree, and every output hears the context."


def _as_masks(returned: object, sizes: list[int]) -> list[np.ndarray]:
    """Return the masks between layers of these sizes as arrays, or say what is wrong with them."""
    count = len(sizes) - 1
    if not isinstance(returned, tuple | list) or len(returned) != count:
        raise NotYet(f"With {count - 1} hidden layers, return a list of {count} masks.")
    found = []
    for i, mask in enumerate(returned):
        name = f"Mask {i + 1} of {count}"
        mask = array(mask, (sizes[i], sizes[i + 1]), name)
        if not np.isin(mask, (0, 1)).all():
            raise NotYet(f"{name} holds other numbers than 0 and 1.")
        found.append(mask)
    return found


def _check_paths(paths: np.ndarray, degrees: np.ndarray, where: str) -> None:
    """Raise unless output i sees exactly the inputs of lower degree: paths (inputs, outputs)."""
    allowed = degrees[:, None] < degrees
    if paths.diagonal().any():
        raise NotYet(f"{where} an output sees the input of its own dimension.")
    if (paths & ~allowed).any():
        raise NotYet(f"{where} an output sees a later input: compare degrees, not places.")
    if (allowed & ~paths).any():
        j, i = np.argwhere(allowed & ~paths)[0]
        raise NotYet(
            f"{where} the output of degree {degrees[i]} does not see the input of degree "
            f"{degrees[j]}, which it may see."
        )


def affine_step(answer: Callable) -> str:
    """04.3: e^s z + m, and the sum of s over the dimensions of each example."""
    rng = np.random.default_rng(43)
    for shape in ((5, 3), (1, 4), (2, 3, 4)):
        z, shift, slope = rng.normal(size=(3, *shape)).astype(np.float32)

        def network(z: tf.Tensor, shift: np.ndarray = shift, slope: np.ndarray = slope) -> tuple:
            """m and s from earlier dimensions of z alone."""
            earlier = tf.cumsum(z, axis=-1, exclusive=True)
            return shift + earlier, 0.5 * slope + 0.1 * earlier

        m, s = (part.numpy().astype(np.float64) for part in network(tf.constant(z)))
        returned = call(answer, network, tf.constant(z))
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            raise NotYet("Return two things: the new z, and the log-determinants.")
        mistakes = {
            "The shift is scaled along: only z is multiplied by e^s.": np.exp(s) * (z + m),
            "e^s is missing: z is multiplied by s itself.": s * z + m,
            "That divides by e^s.": np.exp(-s) * z + m,
            "A gate is below 1; here z is multiplied by e^s.": z / (1 + np.exp(-s)) + m,
            "That is the gated step of the lesson; here it is e^s z + m.": (z + np.exp(-s) * m)
            / (1 + np.exp(-s)),
        }
        hint = "The new z is not e^s z + m."
        compare(array(returned[0], shape, "The new z"), np.exp(s) * z + m, hint, mistakes=mistakes)
        _check_log_det(array(returned[1], shape[:-1], "The log-determinant"), s)
    return "The logarithm of a product of e^s is the sum of the s."


def _check_log_det(got: np.ndarray, s: np.ndarray) -> None:
    """Raise unless `got` is the sum of s over the last axis."""
    name, expected = "Log-determinant:", s.sum(axis=-1)
    mistakes = {
        f"{name} that is the sum of the diagonal, not the log of its product.": np.exp(s).sum(-1),
        f"{name} the sign is wrong; e^s stretches where s is positive.": -expected,
        f"{name} a sum over the dimensions, not a mean.": s.mean(axis=-1),
        f"{name} one number for each example, not the sum over all.": np.full(got.shape, s.sum()),
    }
    compare(got, expected, f"{name} what is on the diagonal?", mistakes=mistakes)


def price_of(answer: Callable) -> str:
    """04.4: ½ (Σ log Λ_ii + log det Σ), in more than two dimensions, too."""
    rng = np.random.default_rng(44)
    cases = [np.array([[1.0, 0.9], [0.9, 1.0]]), np.array([[4.0, -0.6], [-0.6, 0.25]])]
    cases += [np.diag([0.5, 2.0, 3.0]), np.eye(1)]
    for size in (3, 5, 8):
        root = rng.normal(size=(size, size + 2))
        cases.append(root @ root.T / size)
    for covariance in cases:
        precision = np.linalg.inv(covariance)
        log_det, logs = np.linalg.slogdet(covariance)[1], np.log(np.diag(precision)).sum()
        expected = 0.5 * (logs + log_det)
        total = 0.5 * (np.log(np.diag(covariance)).sum() - log_det)
        got = array(call(answer, covariance), (), "The price")
        size = len(covariance)
        _check_price(got, expected, total, size)
    return "It is zero without correlations, and in two dimensions it is −½ log(1 − ρ²)."


def _check_price(got: np.ndarray, expected: float, total: float, size: int) -> None:
    """Raise unless the price is right, and name the wrong formula that fits two dimensions."""
    mistakes = {}
    if size > 2 and abs(total - expected) > 1e-6:
        mistakes["This is right for K = 2 only: use 1/Λ_ii, not the variances Σ_ii, for v."] = total
    if abs(expected) > 1e-6:
        mistakes["The half in front is missing."] = 2 * expected
        mistakes["The sign is wrong: a KL is never negative."] = -expected
        mistakes["This is the price for each dimension: do not divide by K."] = expected / size
    hint = f"Not the price of this covariance of size {size}."
    compare(got, expected, hint, mistakes=mistakes, rtol=1e-3, atol=1e-5)


CHECKS = {
    "04.1": count_passes,
    "04.2": masks,
    "04.3": affine_step,
    "04.4": price_of,
}
