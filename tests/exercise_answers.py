"""A right and (at least) two wrong answers to every exercise: what each check must say of them.

Each answer is the tuple of arguments of the check. An answer that needs what the notebook defines
is a function of the notebook's names: lambda names: (names["prepare"],).
"""

from collections.abc import Callable
from typing import NamedTuple

Answer = tuple | Callable[[dict], tuple]


class Exercise(NamedTuple):
    """One answer that passes; the usual wrong ones, each of which raises with a hint."""

    right: Answer
    wrong: list[Answer]


def _pipeline(tf, order):
    """A pipeline of batches of 10: c = cache, t = toss, in the order given."""

    def build(grey):
        dataset = tf.data.Dataset.from_tensor_slices(grey).batch(10)
        generator = tf.random.Generator.from_seed(1)
        for link in order:
            if link == "c":
                dataset = dataset.cache()
            else:
                toss = lambda x: tf.cast(generator.uniform(tf.shape(x)) < x, tf.float32)  # noqa: E731
                dataset = dataset.map(toss)
        return dataset

    return build


def _mixture(tf, kind=""):
    def log_prob(b, weights, means):
        p = tf.reshape(means, (len(means), -1))
        b = tf.reshape(b, (len(b), -1))
        log_pb_y = b @ tf.transpose(tf.math.log(p)) + (1 - b) @ tf.transpose(tf.math.log(1 - p))
        if kind == "averaged logs":
            return tf.reduce_sum(weights * log_pb_y, axis=1)
        log_weights = 0.0 if kind == "no weights" else tf.math.log(weights)
        joint = log_pb_y + log_weights  # (n, classes)
        return joint if kind == "no sum" else tf.reduce_logsumexp(joint, axis=1)

    return log_prob


def _log_prob(tf, average=False, stable=True):
    reduce = tf.reduce_mean if average else tf.reduce_sum

    def log_prob(x, logits):
        y = tf.sigmoid(logits)
        naive = x * tf.math.log(y) + (1 - x) * tf.math.log(1 - y)
        per_pixel = x * logits - tf.nn.softplus(logits) if stable else naive
        return reduce(per_pixel, axis=(1, 2, 3))

    return log_prob


def _kl_between(tf, average=False, whole=True):
    reduce = tf.reduce_mean if average else tf.reduce_sum

    def kl(mean, log_var, prior_mean, prior_log_var):
        ratio = tf.exp(log_var) + (mean - prior_mean) ** 2
        ratio = ratio / tf.exp(prior_log_var) if whole else ratio
        return 0.5 * reduce(prior_log_var - log_var + ratio - 1.0, axis=-1)

    return kl


def _slerp(np):
    def slerp(a, b, t):
        omega = np.arccos(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
        return (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)

    return slerp


def _mc_elbo(names, sign=-1.0, average=False):
    """Exercise 3 of 03."""
    tf, tfd = names["tf"], names["tfp"].distributions

    def elbo(log_px_z, z, z_mean, z_log_var):
        q = tfd.MultivariateNormalDiag(z_mean, tf.exp(0.5 * z_log_var))
        prior = tfd.MultivariateNormalDiag(tf.zeros_like(z_mean), tf.ones_like(z_mean))
        kl = -sign * q.log_prob(z) - prior.log_prob(z)
        return log_px_z - (kl / z.shape[-1] if average else kl)

    return elbo


def _free_bits(tf, order="mean first"):
    """Exercise 4 of 03."""

    def free_bits(kl, allowance):
        if order == "maximum first":
            return tf.reduce_sum(tf.reduce_mean(tf.maximum(kl, allowance), axis=0))
        mean = tf.reduce_mean(kl, axis=0)
        if order == "no allowance":
            return tf.reduce_sum(mean)
        if order == "no sum":
            return tf.maximum(mean, allowance)
        return tf.reduce_sum(tf.maximum(mean, allowance))

    return free_bits


def _lean(np, root=True, each=True, half=True):
    """Exercise 2 of 04."""

    def lean(z, rho):
        left = 1 - rho**2
        second = rho * z[:, 0] + (np.sqrt(left) if root else left) * z[:, 1]
        log_det = (0.5 if half else 1.0) * np.log(left)
        return np.stack([z[:, 0], second], axis=1), np.full(len(z), log_det) if each else log_det

    return lean


def _effective_sample_size(np, stable=True, axis=0, squared=True):
    """Exercise 3 of 04."""

    def size(log_w):
        w = np.exp(log_w - (log_w.max(axis=axis, keepdims=True) if stable else 0.0))
        return w.sum(axis=axis) ** (2 if squared else 1) / (w**2).sum(axis=axis)

    return size


def _perplexity(np, squared=True, bits=True, normalised=True):
    """Exercise 2 of 05."""

    def perplexity(distances, sigma):
        weights = np.exp(-(distances ** (2 if squared else 1)) / (2 * sigma**2))
        p = weights / weights.sum() if normalised else weights
        return 2 ** -np.sum(p * (np.log2(p) if bits else np.log(p)))

    return perplexity


def _continuity(names, swapped=True, k_used=True):
    """Exercise 3 of 05."""

    def continuity(original, picture, k):
        spaces = (picture, original) if swapped else (original, picture)
        return names["trustworthiness"](*spaces, n_neighbors=k if k_used else 1)

    return continuity


def _bayes(np, prior=True, axis=1, each=True):
    """Exercise 2 of 06."""

    def bayes(log_px_y, py):
        joint = log_px_y + (np.log(py) if prior else 0.0)
        p = np.exp(joint - joint.max(axis=1, keepdims=True) if each else joint - joint.max())
        return p / p.sum(axis=axis, keepdims=True)

    return bayes


def _average(np, weighted=True, careful=True):
    """Exercise 2 of 07."""

    def average(means, counts):
        means, counts = np.asarray(means, float), np.asarray(counts, float)
        if not weighted:
            return means.mean(axis=0)
        if not careful:
            return counts @ means / counts.sum()
        return np.average(means[counts > 0], axis=0, weights=counts[counts > 0])

    return average


def _noise_scale(np, norm_of_mean=True, shares=True, quotient=True):
    """Exercise 3 of 07."""

    def noise_scale(gradients, b):
        gradients, big = np.asarray(gradients), len(gradients) * b
        small_norm = np.mean(np.sum(gradients**2, axis=1))
        big_norm = np.sum(gradients.mean(axis=0) ** 2)
        if not norm_of_mean:
            small_norm, big_norm = big_norm, small_norm
        noise = (small_norm - big_norm) / (1 / b - 1 / big if shares else 1)
        signal = (big * big_norm - b * small_norm) / (big - b)
        return noise / signal if quotient else noise

    return noise_scale


EXERCISES: dict[str, dict[str, Exercise]] = {
    "01": {
        "check_protocol": Exercise(("b",), [("a",), ("c",), ("d",)]),
        "check_pipeline": Exercise(
            lambda names: (_pipeline(names["tf"], "ct"),),
            [
                lambda names: (_pipeline(names["tf"], "tc"),),  # the toss is frozen
                lambda names: (_pipeline(names["tf"], "c"),),  # no toss: still grey
                lambda names: (lambda grey: _pipeline(names["tf"], "ct")(grey).skip(1),),
            ],
        ),
        "check_mixture": Exercise(
            lambda names: (_mixture(names["tf"]),),
            [
                lambda names: (_mixture(names["tf"], "averaged logs"),),
                lambda names: (_mixture(names["tf"], "no weights"),),
                lambda names: (_mixture(names["tf"], "no sum"),),
            ],
        ),
    },
    "02": {
        "check_smallest_loss": Exercise(("b",), [("a",), ("c",)]),
        "check_who_is_better": Exercise(("c",), [("a",), ("b",)]),
        "check_log_prob": Exercise(
            lambda names: (_log_prob(names["tf"]),),
            [
                lambda names: (_log_prob(names["tf"], average=True),),  # nats per pixel
                lambda names: (_log_prob(names["tf"], stable=False),),  # log of a rounded sigmoid
            ],
        ),
        "check_draw": Exercise(
            lambda names: (lambda m, log_var, eps: m + names["np"].exp(log_var / 2) * eps,),
            [
                lambda names: (lambda m, log_var, eps: m + names["np"].exp(log_var) * eps,),
                (lambda m, log_var, eps: m + log_var * eps,),
            ],
        ),
        "check_kl_between": Exercise(
            lambda names: (_kl_between(names["tf"]),),
            [
                lambda names: (lambda m, v, pm, pv: _kl_between(names["tf"])(pm, pv, m, v),),
                lambda names: (_kl_between(names["tf"], average=True),),
                lambda names: (_kl_between(names["tf"], whole=False),),  # forgets to divide by s^2
            ],
        ),
        "check_slerp": Exercise(
            lambda names: (_slerp(names["np"]),),
            [
                (lambda a, b, t: (1 - t) * a + t * b,),  # the straight line
                lambda names: (lambda a, b, t: _slerp(names["np"])(b, a, t),),
            ],
        ),
    },
    "03": {
        "check_negative_kl": Exercise(("b",), [("a",), ("c",)]),
        "check_width": Exercise(
            (lambda width, kernel, stride: (width - kernel) // stride + 1,),
            [
                (lambda width, kernel, stride: width // stride,),
                (lambda width, kernel, stride: (width - kernel) // stride,),  # the first place
                (lambda width, kernel, stride: -(-width // stride),),  # padding "same"
            ],
        ),
        "check_mc_elbo": Exercise(
            lambda names: (_mc_elbo(names),),
            [
                lambda names: (_mc_elbo(names, sign=1.0),),
                lambda names: (_mc_elbo(names, average=True),),
            ],
        ),
        "check_free_bits": Exercise(
            lambda names: (_free_bits(names["tf"]),),
            [
                lambda names: (_free_bits(names["tf"], "maximum first"),),
                lambda names: (_free_bits(names["tf"], "no allowance"),),
                lambda names: (_free_bits(names["tf"], "no sum"),),
            ],
        ),
    },
    "04": {
        "check_passes": Exercise(((3, 60),), [((60, 3),), ((3, 20),), ((1, 60),)]),
        "check_lean": Exercise(
            lambda names: (_lean(names["np"]),),
            [
                lambda names: (_lean(names["np"], root=False),),
                lambda names: (_lean(names["np"], each=False),),  # one number for the batch
                lambda names: (_lean(names["np"], half=False),),
            ],
        ),
        "check_effective_sample_size": Exercise(
            lambda names: (_effective_sample_size(names["np"]),),
            [
                lambda names: (_effective_sample_size(names["np"], stable=False),),
                lambda names: (_effective_sample_size(names["np"], axis=1),),
                lambda names: (_effective_sample_size(names["np"], squared=False),),
            ],
        ),
    },
    "05": {
        "check_conclusion": Exercise(("c",), [("a",), ("b",)]),
        "check_perplexity": Exercise(
            lambda names: (_perplexity(names["np"]),),
            [
                lambda names: (_perplexity(names["np"], squared=False),),
                lambda names: (_perplexity(names["np"], bits=False),),
                lambda names: (_perplexity(names["np"], normalised=False),),
            ],
        ),
        "check_continuity": Exercise(
            lambda names: (_continuity(names),),
            [
                lambda names: (_continuity(names, swapped=False),),  # that is trustworthiness
                lambda names: (_continuity(names, k_used=False),),
                (lambda original, picture, k: 1.0,),
            ],
        ),
    },
    "06": {
        "check_label_gain": Exercise(
            lambda names: (names["np"].log(200),),
            [(40.0,), lambda names: (names["np"].log2(200),), lambda names: (names["np"].log(10),)],
        ),
        "check_bayes": Exercise(
            lambda names: (_bayes(names["np"]),),
            [
                lambda names: (_bayes(names["np"], prior=False),),
                lambda names: (_bayes(names["np"], axis=0),),  # sums over images
                lambda names: (_bayes(names["np"], each=False),),
            ],
        ),
        "check_accept": Exercise(
            lambda names: (lambda new, old, u: names["np"].log(u) < new - old,),
            [
                lambda names: (lambda new, old, u: names["np"].log(u) < old - new,),
                (lambda new, old, u: u < new - old,),  # the log-ratio as a probability
                lambda names: (  # both exponentials vanish
                    lambda new, old, u: u < names["np"].exp(new) / names["np"].exp(old),
                ),
                (lambda new, old, u: new > old,),  # never downhill
            ],
        ),
    },
    "07": {
        "check_bytes": Exercise((175e6,), [(100e6,), (200e6,), (43.75e6,), (1.4e9,)]),
        "check_average": Exercise(
            lambda names: (_average(names["np"]),),
            [
                lambda names: (_average(names["np"], weighted=False),),
                lambda names: (_average(names["np"], careful=False),),  # 0 * nan
            ],
        ),
        "check_noise_scale": Exercise(
            lambda names: (_noise_scale(names["np"]),),
            [
                lambda names: (_noise_scale(names["np"], norm_of_mean=False),),
                lambda names: (_noise_scale(names["np"], shares=False),),
                lambda names: (_noise_scale(names["np"], quotient=False),),
            ],
        ),
    },
}
