"""Bounds on log p(x) from several draws, and the gradient that trains an encoder with them."""

from collections.abc import Sequence

import tensorflow as tf


def importance_bound(log_w: tf.Tensor) -> tf.Tensor:
    """Log of the mean of k importance weights: a bound on log p(x) that rises with k on average.

    Burda et al. 2015, eq. 8. With k = 1 it is the evidence lower bound. Built in lesson 07.

    Parameters
    ----------
    log_w : tf.Tensor
        log p(x|z) + log p(z) - log q(z|x) of each draw, shape (k, batch).

    Returns
    -------
    tf.Tensor
        Shape (batch,), nats.
    """
    k = tf.cast(tf.shape(log_w)[0], log_w.dtype)
    return tf.reduce_logsumexp(log_w, axis=0) - tf.math.log(k)


def doubly_reparameterised(
    tape: tf.GradientTape,
    loss: tf.Tensor,
    log_w: tf.Tensor,
    drawn: tf.Tensor,
    z: tf.Tensor,
    variables: Sequence,
    beta: tf.Tensor | float = 1.0,
) -> list[tf.Tensor]:
    """Gradients of an importance-weighted loss; those of the encoder by DReG, with little variance.

    Tucker et al. 2019, eq. 8 (arXiv 1810.04152): the encoder learns through its draws alone, and
    each draw's pull counts by the square of its normalised weight. Built in lesson 07.

    Parameters
    ----------
    tape : tf.GradientTape
        Persistent; it saw `drawn` and, watched, `z`.
    loss : tf.Tensor
        A number, computed from `z` and from a log q(z|x) that keeps its parameters fixed.
    log_w : tf.Tensor
        Log-weights of the draws, shape (k, batch).
    drawn : tf.Tensor
        The draws as the encoder made them, shape (k, batch, latent).
    z : tf.Tensor
        The same numbers cut off from the encoder, ``tf.stop_gradient(drawn)``.
    variables : sequence
        What is trained.
    beta : tf.Tensor or float
        The weight of the KL in `log_w`: with it, one of the two factors `weight` becomes
        ``1 - beta + beta * weight``, since the direct part that DReG replaces has the factor beta.

    Returns
    -------
    list of tf.Tensor
        One gradient for each of the variables.
    """
    *direct, pull = tape.gradient(loss, [*variables, z])
    weight = tf.nn.softmax(log_w, axis=0)[..., None]  # `pull` holds it once already
    factor = 1.0 - beta + beta * weight
    through = tape.gradient(drawn, variables, output_gradients=factor * pull)
    return [_sum(*both) for both in zip(direct, through, strict=True)]


def _sum(direct: tf.Tensor | None, through: tf.Tensor | None) -> tf.Tensor | None:
    """Add two gradients, of which either is None where it does not reach its variable."""
    if direct is None or through is None:
        return through if direct is None else direct
    return direct + through
