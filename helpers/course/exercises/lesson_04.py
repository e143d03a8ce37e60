"""The checks of the exercises of lesson 04."""

import numpy as np

from helpers.course.exercises import NotYet, array, call, compare


def check_passes(answer: object) -> str:
    """Return praise for the passes of a draw and of the way back, T = 3 and K = 20."""
    name = "Your answer (passes for a draw, passes for the way back)"
    draw, back = array(answer, (2,), name)
    if (draw, back) == (60, 3):
        raise NotYet("Which way is fast? In a draw all of z_0 is known from the start.")
    if draw != 3:
        raise NotYet(f"Each step needs m and s once, so a draw does not take {draw:g} passes.")
    if back == 20:
        raise NotYet("Twenty passes undo one step. How many steps are there?")
    if back != 60:
        raise NotYet(f"Not {back:g} on the way back: one pass solves one dimension of one step.")
    return "One pass for each step to draw, one for each step and dimension to go back."


def check_lean(answer: object) -> str:
    """Return praise for the covariance of the result and a log-determinant for each example."""
    z = np.random.default_rng(4).normal(size=(50_000, 2))
    for rho in (0.0, 0.6, -0.9):
        result = call(answer, z, rho)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise NotYet("Return two things: the new z, and the log-determinants.")
        z_next = array(result[0], z.shape, "The new z")
        wrong = rho * z[:, 0] + (1 - rho**2) * z[:, 1]
        if rho and np.allclose(z_next[:, 1], wrong):
            raise NotYet("The second dimension should have variance 1: is something not a root?")
        covariance = np.cov(z_next.T)
        if not np.allclose(covariance, [[1, rho], [rho, 1]], atol=0.04):
            raise NotYet(f"At rho = {rho} the covariance is {covariance.round(2).tolist()}.")
        if not np.array_equal(z_next[:, 0], z[:, 0]):
            raise NotYet("The first dimension stays as it is: the step is triangular.")
        want = 0.5 * np.log(1 - rho**2)
        compare(
            array(result[1], (len(z),), "The log-determinant, one for each example,"),
            np.full(len(z), want),
            f"At rho = {rho}: what stands on the diagonal of the Jacobian?",
            mistakes={"The diagonal holds a root: half of that.": np.full(len(z), 2 * want)}
            if rho
            else None,
        )
    return "The step leans as it should, and its log-determinant is 1/2 ln(1 - rho²)."


def check_effective_sample_size(answer: object) -> str:
    """Return praise for (Σ w)² / Σ w² of each image, far from zero too."""
    rng = np.random.default_rng(5)
    for samples, images, level in ((4, 3, 0.0), (7, 2, -95.0), (5, 6, -2_000.0)):
        log_w = level + rng.normal(0, 2, size=(samples, images))
        w = np.exp(log_w - log_w.max(axis=0))
        want = w.sum(axis=0) ** 2 / (w**2).sum(axis=0)
        with np.errstate(all="ignore"):
            result = call(answer, log_w)
        if np.shape(result) == (images,) and not np.isfinite(np.asarray(result, float)).all():
            raise NotYet(
                f"With log-weights near {level:.0f} it gives {np.asarray(result).tolist()}: a "
                "common factor of all weights cancels, so take the largest log-weight out first."
            )
        compare(
            array(result, (images,), "Your result, one number for each image,"),
            want,
            f"For {samples} samples of {images} images: above, the sum is squared; below, each w.",
            mistakes={
                "Square the sum above the line.": w.sum(axis=0) / (w**2).sum(axis=0),
                "That is the share: multiply by the number of samples.": want / samples,
            },
        )
    return "Between 1 and S, and safe far from zero."


CHECKS = {"04.1": check_passes, "04.2": check_lean, "04.3": check_effective_sample_size}
