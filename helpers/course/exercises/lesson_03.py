"""The checks of the exercises of lesson 03."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from helpers.course.exercises import NotYet, array, call, compare

LOG_2_PI = np.log(2 * np.pi)
FACTORS = (0.25, 0.5, 1.0, 1.5, 2.0)  # of exercise 2
QUIETER = ("closed", "closed", "monte carlo", "monte carlo", "closed")


def size_and_weights(answer: Callable) -> str:
    """03.1: the layers of the lesson, then random ones."""
    rng = np.random.default_rng(31)
    cases = [(28, 1, 32, 3, 2), (13, 32, 64, 3, 2), (13, 3, 2, 5, 3), (28, 2, 5, 1, 2)]
    cases += [(int(rng.integers(9, 65)), *map(int, rng.integers(2, 8, size=4))) for _ in range(20)]
    for width, channels, filters, kernel, stride in cases:
        got = array(call(answer, width, channels, filters, kernel, stride), (2,), "Your pair")
        where = f"Width {width}, {channels} channels, {filters} filters, kernel {kernel}"
        where += f", stride {stride}"
        places = (width - kernel) // stride + 1
        if got[0] != places:
            raise NotYet(_size_hint(got[0], width, kernel, stride, where))
        weights = kernel * kernel * channels * filters + filters
        mistakes = {
            "The biases are missing: there is one for each filter.": weights - filters,
            "A kernel has a height and a width.": kernel * channels * filters + filters,
            "A kernel is as deep as the input has channels.": kernel**2 * filters + filters,
            "One bias for each filter, not for each channel.": weights - filters + channels,
            "All positions share their weights: the size does not count.": weights * places**2,
        }
        compare(got[1], weights, f"{where}: wrong number of weights.", mistakes=mistakes, rtol=1e-9)
    return "The kernel starts at 0, s, 2s, … up to width - k, with the same weights everywhere."


def _size_hint(got: float, width: int, kernel: int, stride: int, where: str) -> str:
    """Return what to say of a wrong width."""
    if got == -(-width // stride):
        return f"{where}: {got:g} is the width with padding. Without it the kernel stays inside."
    if got == (width - kernel) // stride:
        return f"{where}: the first position, at 0, counts too."
    return f"{where}: your width is {got:g}. At which pixels can the kernel start?"


def quieter_estimate(answer: tuple) -> str:
    """03.2: which estimate has the smaller variance, for five widths of q."""
    if not isinstance(answer, tuple | list | np.ndarray) or len(answer) != len(FACTORS):
        raise NotYet(f"Give five words, one for each of the factors {FACTORS}.")
    words = [_word(word) for word in answer]
    wrong = [k for k, (word, right) in enumerate(zip(words, QUIETER, strict=True)) if word != right]
    if not wrong:
        return (
            "Near the posterior the Monte Carlo value is quieter, far from it the closed form. "
            "With the factor c: (1 - c²)²/2 against (c² + c⁴)/8."
        )
    if len(set(words)) == 1:
        raise NotYet(
            f"Not always {words[0]!r}: at the factor 1 we saw one order; "
            "the others need not follow it."
        )
    hints = {
        2: "At the factor 1 the Monte Carlo value is constant.",
        0: "A narrow q hardly moves z, so log p(x|z) is quiet. But log q still moves with eps.",
        1: "At the factor 0.5, log q and log p(x, z) no longer cancel: how far does each swing?",
        3: "At the factor 1.5, something still cancels, and log p(x|z) alone has become noisier.",
        4: "At the factor 2, log p(x, z) swings four times as far as log q. What can still cancel?",
    }
    first = next(k for k in hints if k in wrong)
    raise NotYet(f"{len(wrong)} of 5 are wrong. {hints[first]}")


def _word(word: object) -> str:
    """Return one of the two words of exercise 2; raise where it is another."""
    text = word
    if isinstance(word, str):
        text = word.strip().lower().replace("-", " ").replace("_", " ")
    if text not in ("monte carlo", "closed"):
        raise NotYet(f'Use the words "monte carlo" and "closed", not {word!r}.')
    return text


def mixture_elbo(answer: Callable) -> str:
    """03.3: a prior of several centres, near them and far from them: values and gradients."""
    rng = np.random.default_rng(33)
    for batch, latent, count, far in ((1, 1, 2, 0), (4, 2, 3, 0), (5, 3, 6, 1), (3, 2, 3, 40)):
        log_px_z = rng.normal(-100, 10, batch)
        z_mean, z_log_var, eps = rng.normal(size=(3, batch, latent))
        z_mean, z = z_mean + far, z_mean + far + np.exp(0.5 * z_log_var) * eps
        centres = rng.normal(0.5, 2.0, (count, latent))
        parts = [tf.constant(p, tf.float32) for p in (log_px_z, z, z_mean, z_log_var, centres)]
        name = "Your result" if far < 40 else "Your result for codes far from all centres"
        with tf.GradientTape() as tape:
            tape.watch(parts[:2])
            returned = call(answer, *parts)
            got = array(returned, (batch,), name)
        _check_mixture(got, log_px_z, z, z_mean, z_log_var, centres)
        gradients = tape.gradient(returned, parts[:2]) if tf.is_tensor(returned) else [None, None]
        _check_mixture_gradient(gradients, z, z_mean, z_log_var, centres)
    return "There is no closed form for this KL, and the Monte Carlo ELBO needs none."


def _check_mixture(
    got: np.ndarray,
    log_px_z: np.ndarray,
    z: np.ndarray,
    z_mean: np.ndarray,
    z_log_var: np.ndarray,
    centres: np.ndarray,
) -> None:
    """Compare the values of 03.3."""
    count, log_qz_x = len(centres), _log_normal(z, z_mean, z_log_var)
    each = _log_normal(z[:, None], centres, np.zeros_like(centres))  # (batch, centres)
    together = np.logaddexp.reduce(each, axis=1)
    rest = log_px_z - log_qz_x
    standard = _log_normal(z, np.zeros_like(z), np.zeros_like(z))
    mistakes = {
        "This prior is still N(0, I): where are the centres?": rest + standard,
        "The weights 1/C are missing: this prior integrates to C.": rest + together,
        "This averages log-densities. Average the densities.": rest + each.mean(axis=1),
        "The nearest centre is not the whole mixture.": rest + each.max(axis=1) - np.log(count),
        "The sign of log q is wrong: subtract it.": log_px_z + together - np.log(count) + log_qz_x,
    }
    hint = f"Not the ELBO of one draw under a prior with {count} centres."
    compare(got, rest + together - np.log(count), hint, mistakes=mistakes)


def _check_mixture_gradient(
    gradients: list[tf.Tensor | None],
    z: np.ndarray,
    z_mean: np.ndarray,
    z_log_var: np.ndarray,
    centres: np.ndarray,
) -> None:
    """Compare the gradients of 03.3 by log p(x|z) and by z.

    Those by the parameters of q are not looked at: their direct part may be left out (03.4).
    """
    if any(gradient is None for gradient in gradients):
        raise NotYet(
            "The values are right, but no gradient passes through your function, so no network "
            "can be trained with it. Use functions of TensorFlow, not of NumPy."
        )
    each = _log_normal(z[:, None], centres, np.zeros_like(centres))
    shares = np.exp(each - np.logaddexp.reduce(each, axis=1)[:, None])  # of the centres, sum 1
    of_prior, of_q = shares @ centres - z, (z_mean - z) / np.exp(z_log_var)
    hint = "The values are right, the gradient is not: is it stopped somewhere?"
    loose = dict(rtol=1e-3, atol=1e-3)
    compare(gradients[0], np.ones(len(z)), f"{hint} (By log p(x|z).)", **loose)
    mistakes = {
        "The values are right, but the gradient does not pass through the prior.": -of_q,
        "The values are right, but the gradient does not pass through log q.": of_prior,
    }
    compare(gradients[1], of_prior - of_q, f"{hint} (By z.)", mistakes=mistakes, **loose)


def stl_elbo(answer: Callable) -> str:
    """03.4: the value of the Monte Carlo ELBO, and the gradient of its path alone."""
    rng = np.random.default_rng(34)
    for batch, latent in ((3, 1), (5, 4)):
        z_mean, z_log_var, eps = rng.normal(size=(3, batch, latent))
        slope, centre = rng.uniform(0.5, 2.0, latent), rng.normal(size=latent)
        _check_stl(answer, z_mean, z_log_var, eps, slope, centre)
    return "The same value, and at the true posterior a gradient without noise."


def _check_stl(
    answer: Callable,
    z_mean: np.ndarray,
    z_log_var: np.ndarray,
    eps: np.ndarray,
    slope: np.ndarray,
    centre: np.ndarray,
) -> None:
    """Compare values and gradients where log p(x, z) is -slope (z - centre)²/2 - 7, summed."""

    def log_joint(z: tf.Tensor) -> tf.Tensor:
        a, b = tf.constant(slope, tf.float32), tf.constant(centre, tf.float32)
        return tf.reduce_sum(-0.5 * a * (z - b) ** 2, axis=-1) - 7.0

    parts = [tf.constant(part, tf.float32) for part in (z_mean, z_log_var, eps)]
    with tf.GradientTape() as tape:
        tape.watch(parts[:2])
        returned = call(answer, log_joint, *parts)
        got = array(returned, (len(eps),))
    z = z_mean + np.exp(0.5 * z_log_var) * eps
    log_p = np.sum(-0.5 * slope * (z - centre) ** 2, axis=-1) - 7.0
    log_q = _log_normal(z, z_mean, z_log_var)
    mistakes = {
        "log q is missing.": log_p,
        "The sign of log q is wrong: subtract it.": log_p + log_q,
        "That draws with the variance, not the standard deviation.": _with_variance(
            z_mean, z_log_var, eps, slope, centre
        ),
    }
    compare(got, log_p - log_q, "The value is not log p(x, z) - log q.", mistakes=mistakes)
    gradients = tape.gradient(returned, parts[:2]) if tf.is_tensor(returned) else [None, None]
    _check_path_gradient(gradients, -slope * (z - centre), np.exp(0.5 * z_log_var), eps)


def _check_path_gradient(
    gradients: list[tf.Tensor | None], down: np.ndarray, std: np.ndarray, eps: np.ndarray
) -> None:
    """Compare gradients by z_mean and z_log_var; `down` is that of log p(x, z) by z."""
    if any(gradient is None for gradient in gradients):
        raise NotYet("No gradient reaches z_mean and z_log_var: cut the direct way, not that by z.")
    path = down + eps / std
    half = 0.5 * std * eps  # dz / d z_log_var
    mistakes = {
        "The score is still in the gradient: stop the parameters of log q.": np.stack(
            [down, down * half + 0.5]
        ),
        "The draw z must keep its gradient in log q as well.": np.stack([down, down * half]),
    }
    hint = "The value is right, the gradient is not: only the way through z may be left."
    expected = np.stack([path, path * half])
    compare(np.stack(gradients), expected, hint, mistakes=mistakes, rtol=1e-3, atol=1e-4)


def _with_variance(
    z_mean: np.ndarray, z_log_var: np.ndarray, eps: np.ndarray, slope: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Return the value for a draw whose noise is multiplied by the variance."""
    z = z_mean + np.exp(z_log_var) * eps
    return np.sum(-0.5 * slope * (z - b) ** 2, axis=-1) - 7.0 - _log_normal(z, z_mean, z_log_var)


def _log_normal(z: np.ndarray, mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    """Return the log-density of a diagonal Gaussian, summed over the last axis."""
    return -0.5 * np.sum(LOG_2_PI + log_var + (z - mean) ** 2 / np.exp(log_var), axis=-1)


CHECKS = {
    "03.1": size_and_weights,
    "03.2": quieter_estimate,
    "03.3": mixture_elbo,
    "03.4": stl_elbo,
}
