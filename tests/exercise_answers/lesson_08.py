"""Answers to the exercises of lesson 08."""

import numpy as np
import tensorflow as tf

from exercise_answers import Answers

BOUNDS = dict(a="bound", b="bound", c="no bound", d="no bound", e="bound", f="no bound")
DIAGNOSES = dict(a="KL too heavy", b="wrong noise", c="test images seen")


def hidden_weight(pixels, latent_dim, mean_over_pixels, mean_over_latent):
    weight = 1.0
    if mean_over_pixels:
        weight *= pixels
    if mean_over_latent:
        weight /= latent_dim
    return weight


def by_powers(pixels, latent_dim, mean_over_pixels, mean_over_latent):
    return np.float32(pixels**mean_over_pixels / latent_dim**mean_over_latent)


def loss(cross_entropy=None, squash=False, pixels="sum", code="sum"):
    """A loss with one thing right or wrong at a time."""

    def my_loss(x, logits, z_mean, z_log_var):
        a = tf.sigmoid(logits) if squash else logits
        ce = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=a)
        kl = 0.5 * (z_mean**2 + tf.exp(z_log_var) - z_log_var - 1)
        reconstruction = tf.reduce_mean(ce)
        if pixels == "sum":
            reconstruction = tf.reduce_mean(tf.reduce_sum(ce, axis=[1, 2, 3]))
        kl = tf.reduce_mean(tf.reduce_sum(kl, 1)) if code == "sum" else tf.reduce_mean(kl)
        return reconstruction + kl

    return my_loss


def numpy_loss(x, logits, z_mean, z_log_var):
    x, a, m, v = (np.asarray(value, np.float64) for value in (x, logits, z_mean, z_log_var))
    ce = np.maximum(a, 0) - a * x + np.log1p(np.exp(-np.abs(a)))
    return (ce.sum() + 0.5 * np.sum(m**2 + np.exp(v) - v - 1)) / len(x)


ANSWERS = {
    "08.1": Answers(
        right=[BOUNDS, {name.upper(): verdict.upper() for name, verdict in BOUNDS.items()}],
        wrong=[
            BOUNDS | {"a": "no bound"},  # what β was before does not matter
            BOUNDS | {"b": "no bound"},  # any change of the KL spoils the bound
            BOUNDS | {"c": "bound"},
            BOUNDS | {"d": "bound"},
            BOUNDS | {"e": "no bound"},  # another input of the encoder spoils the bound
            BOUNDS | {"f": "bound"},  # the classic mistake: more draws are better
            BOUNDS | {"a": "yes"},
            {name: "bound" for name in BOUNDS},
            {"a": "bound"},
            "bound",
        ],
    ),
    "08.2": Answers(
        right=[hidden_weight, by_powers],
        wrong=[
            lambda pixels, latent_dim, *_: pixels / latent_dim,  # ignores the flags
            lambda *_: 39.2,  # right for the default only
            lambda p, k, of_p, of_k: (k if of_k else 1) / (p if of_p else 1),
            lambda p, k, of_p, of_k: (p if of_p else 1) * (k if of_k else 1),
            lambda p, k, of_p, of_k: 784 if of_p else 1,
            lambda p, k, of_p, of_k: np.array([p, k]),
            hidden_weight(784, 20, True, True),  # a wrong type
        ],
    ),
    "08.3": Answers(
        right=[loss(), numpy_loss],
        wrong=[
            loss(squash=True, pixels="mean", code="mean"),  # as it was given
            loss(pixels="mean"),
            loss(code="mean"),
            loss(squash=True),
            loss(pixels="mean", code="mean"),
            lambda x, logits, m, v: -loss()(x, logits, m, v),
            lambda x, logits, m, v: loss()(x, logits, 0 * m, 0 * v),  # ignores the code
            lambda x, logits, m, v: len(x) * loss()(x, logits, m, v),  # no mean over the images
            lambda x, logits, m, v: loss()(1 - x, logits, m, v),
            lambda x, logits, m, v: tf.reduce_sum(m**2, 1),
            "the sum",
        ],
    ),
    "08.4": Answers(
        right=[DIAGNOSES, {name.upper(): f" {told.lower()} " for name, told in DIAGNOSES.items()}],
        wrong=[
            DIAGNOSES | {"a": "KL too light"},
            DIAGNOSES | {"b": "KL too light"},  # the other cause of an own ELBO that is too good
            DIAGNOSES | {"c": "wrong noise"},
            DIAGNOSES | {"b": "healthy"},
            dict(a="wrong noise", b="test images seen", c="KL too heavy"),
            {"a": "KL too heavy"},
            ["KL too heavy", "wrong noise", "test images seen"],
        ],
    ),
}
