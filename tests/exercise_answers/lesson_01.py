"""Answers to the exercises of lesson 01."""

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from exercise_answers import Answers

UNDERLINED = dict(a="ruled_out", b="neither", c="neither", d="neither", e="beaten", f="neither")
REPORTS = dict(a="ruled out", b="neither", c="neither", d="neither", e="beaten", f="neither")


def toss(x):
    """One fresh draw of a binary image; NumPy's generator remembers how far it has got."""
    u = tf.numpy_function(GENERATOR.random, [tf.shape(x)], tf.float64)
    return tf.cast(tf.ensure_shape(u, x.shape) < tf.cast(x, tf.float64), tf.float32)


GENERATOR = np.random.default_rng(0)


def inverted(x):
    return 1.0 - toss(x)


def threshold(x):
    return tf.cast(x > 0.5, tf.float32)


def fair(x):
    """Black and white stay; any other pixel is a fair coin."""
    return toss(tf.where((x > 0) & (x < 1), 0.5, x))


def seeded(x):
    """The noise of an op's own seed starts again with every pass."""
    return tf.cast(tf.random.uniform(tf.shape(x), seed=3) < x, tf.float32)


def shared(x):
    """One toss for a whole batch."""
    u = tf.numpy_function(GENERATOR.random, [tf.shape(x)[1:]], tf.float64)
    return tf.cast(u < tf.cast(x, tf.float64), tf.float32)


def pipeline(*links, toss=toss, buffer=None, **shuffle):
    """Return a pipeline of the links "cache", "shuffle", "batch" and "toss", in the order given."""

    def build(grey):
        dataset = tf.data.Dataset.from_tensor_slices(grey)
        for link in links:
            if link == "shuffle":
                dataset = dataset.shuffle(buffer or len(grey), **shuffle)
            elif link == "batch":
                dataset = dataset.batch(10)
            elif link == "toss":
                dataset = dataset.map(toss)
            else:
                dataset = getattr(dataset, link)()
        return dataset

    return build


def gathered(grey):
    """Shuffled numbers instead of images."""
    numbers = tf.data.Dataset.range(len(grey)).shuffle(len(grey), seed=1)
    return numbers.batch(10).map(lambda rows: toss(tf.gather(tf.constant(grey), rows)))


def dropping(grey):
    return pipeline("cache", "shuffle")(grey).batch(10, drop_remainder=True).map(toss)


def fives(grey):
    return pipeline("cache", "shuffle")(grey).batch(5).map(toss)


def one_number(axes):
    """Return a toss by one random number for all pixels of a batch, or of each image."""

    def one_toss(x):
        shape = tf.concat([tf.shape(x)[:axes], [1] * (len(x.shape) - axes)], 0)
        u = tf.numpy_function(GENERATOR.random, [shape], tf.float64)
        return tf.cast(tf.reshape(u, shape) < tf.cast(x, tf.float64), tf.float32)

    return one_toss


def mixture_with_scipy(b, weights, means):
    b, p = b.reshape(len(b), 1, -1), means.reshape(1, len(means), -1)
    log_each = (b * np.log(p) + (1 - b) * np.log1p(-p)).sum(axis=-1)
    return logsumexp(log_each, b=weights, axis=1)


def mixture(weigh=True, reduce=tf.reduce_logsumexp, zeros=True, mean=False):
    """Return a mixture's log p(b) by matrix products, right or with one thing wrong."""

    def log_prob(b, weights, means):
        b = tf.reshape(b, (len(b), -1))
        p = tf.reshape(means, (len(means), -1))
        log_each = b @ tf.transpose(tf.math.log(p))
        if zeros:
            log_each += (1 - b) @ tf.transpose(tf.math.log(1 - p))
        if mean:
            log_each /= b.shape[1]
        if weigh:
            log_each += tf.math.log(weights)
        return reduce(log_each, axis=1)

    return log_prob


def of_equal_weights(b, weights, means):
    return mixture(weigh=False)(b, weights, means) - np.log(len(weights))


def plain_weights(b, weights, means):
    """The weights are added to log-probabilities as they are."""
    each = [mixture_with_scipy(b, np.ones(1), means[k : k + 1]) for k in range(len(weights))]
    return logsumexp(np.stack(each, axis=1) + weights, axis=1)


def averaged_means(b, weights, means):
    """A class for each pixel, by one average image."""
    return mixture_with_scipy(b, np.ones(1), np.tensordot(weights, means, 1)[None])


def class_for_each_pixel(b, weights, means):
    """The same, by a sum over the classes within each pixel."""
    p = np.where(b[:, None] == 1, means, 1 - means)
    return np.log(np.einsum("k,nkhwc->nhwc", weights, p)).sum(axis=(1, 2, 3))


def averaged_logs(b, weights, means):
    each = [mixture_with_scipy(b, np.ones(1), means[k : k + 1]) for k in range(len(weights))]
    return weights @ np.stack(each)


def underflowing(b, weights, means):
    p = np.where(b[:, None] == 1, means, 1 - means).prod(axis=(2, 3, 4)) @ weights
    with np.errstate(divide="ignore"):
        return np.log(p)


ANSWERS = {
    "01.1": Answers(
        right=[
            REPORTS,
            {name.upper(): f" {v.title()} " for name, v in REPORTS.items()},
            UNDERLINED,
        ],
        wrong=[
            dict.fromkeys("abcdef", "neither"),
            dict.fromkeys("abcdef", "ruled out"),
            REPORTS | {"c": "ruled out"},  # the floor is not for tosses that training has seen
            REPORTS | {"b": "ruled out"},  # nor for threshold
            REPORTS | {"e": "neither"},
            REPORTS | {"f": "ruled out"},
            REPORTS | {"a": "impossible"},
            {"a": "ruled out"},
            "ruled out",
            list(REPORTS.values()),
        ],
    ),
    "01.2": Answers(
        right=[(1.0, 0.25, 0.75, 0.5), [1, 0.25, 0.75, 0.5], np.array([1, 0.25, 0.75, 0.5])],
        wrong=[
            (1.0, 0.75, 0.5, 0.25),  # the darker, the noisier
            (0.25, 0.5, 0.75, 1.0),  # the darker, the quieter
            (1.0, 0.75, 0.25, 0.5),
            (0.25, 1.0, 0.75, 0.5),
            (0.5, 0.75, 0.25, 1.0),
            (1.0, 0.25, 0.5),
            (1.0, 1.0, 0.25, 0.5),
            0.5,
            "0.5",
            {1.0, 0.25, 0.75, 0.5},
            {1.0: 1, 0.25: 2, 0.75: 3, 0.5: 4},
            ("1", "0.25", "0.75", "0.5"),
            "1, 0.25, 0.75, 0.5",
        ],
    ),
    "01.3": Answers(
        right=[
            pipeline("cache", "shuffle", "batch", "toss"),
            pipeline("shuffle", "batch", "toss"),  # no cache at all
            pipeline("cache", "shuffle", "toss", "batch"),
            pipeline("shuffle", "toss", "batch", seed=7),
            gathered,
        ],
        wrong=[
            pipeline("batch", "toss", "cache", "shuffle"),  # as it stands in the lesson
            pipeline("shuffle", "batch", "toss", "cache"),  # all of it frozen
            pipeline("shuffle", "batch", "cache", "toss"),  # a frozen order
            pipeline("shuffle", "cache", "batch", "toss"),
            pipeline("toss", "cache", "shuffle", "batch"),  # frozen tosses
            pipeline("cache", "batch", "toss"),  # no shuffle
            pipeline("cache", "batch", "shuffle", "toss"),  # whole batches change places
            pipeline("cache", "shuffle", "batch", "toss", buffer=10),
            pipeline("cache", "shuffle", "batch", "toss", reshuffle_each_iteration=False),
            pipeline("cache", "shuffle", "batch", "toss", toss=inverted),
            pipeline("cache", "shuffle", "batch", "toss", toss=threshold),
            pipeline("cache", "shuffle", "batch", "toss", toss=fair),
            pipeline("cache", "shuffle", "batch", "toss", toss=seeded),
            pipeline("cache", "shuffle", "batch", "toss", toss=shared),
            pipeline("cache", "shuffle", "batch", "toss", toss=one_number(0)),
            pipeline("cache", "shuffle", "batch", "toss", toss=one_number(1)),
            pipeline("cache", "shuffle", "batch"),  # no toss
            pipeline("cache", "shuffle", "batch", "toss", "repeat"),
            pipeline("cache", "shuffle", "toss"),  # no batches
            dropping,
            fives,
            lambda grey: grey,
            lambda grey: None,
            lambda: None,
            "cache().shuffle(n).batch(10).map(toss)",
        ],
    ),
    "01.4": Answers(
        right=[mixture_with_scipy, mixture()],
        wrong=[
            of_equal_weights,
            mixture(weigh=False),
            mixture(reduce=tf.reduce_max),
            mixture(zeros=False),
            mixture(mean=True),
            averaged_logs,
            averaged_means,
            class_for_each_pixel,
            plain_weights,
            underflowing,
            lambda b, weights, means: mixture()(b, weights, means)[0],
            lambda b, weights, means: np.zeros(len(b)),
            lambda b, weights, means: -mixture()(b, weights, means),
            lambda b, weights, means: tf.exp(mixture()(b, weights, means)),
            lambda b, weights, means: None,
            3.0,
        ],
    ),
}
