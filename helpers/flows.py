"""Inverse autoregressive flows: masked networks, gated steps made of them, and their densities."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from helpers.networks import as_sizes, register

tfb, tfd = tfp.bijectors, tfp.distributions


def made_masks(degrees, hidden):
    """Masks of a network whose output i sees the inputs of lower degree than its own, no others.

    Germain et al. 2015, eq. 12 and 13, but hidden degrees start at 0: units of degree 0 see no
    input, and through them the context reaches the first output too. Built in notebook 04.

    Parameters
    ----------
    degrees : sequence of int
        1 … K, each once, in any order: the place of each dimension.
    hidden : int or sequence of int
        Widths of the hidden layers. A layer narrower than K is allowed, and leaves some outputs
        without inputs that they might see.

    Returns
    -------
    list of np.ndarray
        One for each layer, shape (inputs, outputs), float32 of 0 and 1.
    """
    places = np.asarray(degrees)
    if places.ndim != 1 or not len(places) or set(places.tolist()) != {*range(1, len(places) + 1)}:
        raise ValueError(f"degrees={degrees!r}: give each of 1 … K once, K at least 1")
    masks, before = [], places
    for width in as_sizes(hidden, "hidden"):
        after = np.arange(width) * len(places) // width  # 0 … K - 1, evenly
        masks.append(before[:, None] <= after)
        before = after
    return [mask.astype(np.float32) for mask in (*masks, before[:, None] < places)]


@register
class MADE(keras.layers.Layer):
    """Masked dense network from z (…, K) and a context (…, context_dim) to (m, s), each (…, K).

    m_i and s_i depend on the context and on those dimensions of z whose degree is lower than the
    i-th of `degrees` (Germain et al. 2015; context: Kingma et al. 2016, section 4). With K = 1 that
    leaves context and bias. `degrees` and `hidden`: see `made_masks`; `context_dim` 0: no context.
    Built in notebook 04.
    """

    def __init__(self, degrees, hidden, context_dim=0, activation="elu", **kwargs):
        super().__init__(dtype="float32", **kwargs)  # a density, whatever the policy
        *masks, last = made_masks(degrees, hidden)
        self.masks = [*masks, np.tile(last, 2)]  # m, then s
        self.degrees, self.context_dim = np.asarray(degrees), context_dim
        self.hidden, self.activation = as_sizes(hidden, "hidden"), keras.activations.get(activation)
        self.kernels = [self.add_weight(m.shape) for m in self.masks]
        self.biases = [self.add_weight(m.shape[1:], "zeros") for m in self.masks]
        # sigmoid(1.5) = 0.82: a fresh step keeps most of z.
        self.biases[-1].assign(np.repeat([0.0, 1.5], len(self.degrees)))
        if context_dim:
            self.context_kernel = self.add_weight((context_dim, self.hidden[0]))
        self.built = True

    def call(self, z, context=None):
        check_tensor("z", z, len(self.degrees))
        (kernel, mask, bias), *rest = zip(self.kernels, self.masks, self.biases, strict=True)
        h = tf.tensordot(z, kernel * mask, 1) + bias  # (…, width)
        if self.context_dim:
            check_tensor("context", context, self.context_dim)
            h += tf.tensordot(context, self.context_kernel, 1)
        for kernel, mask, bias in rest:
            h = tf.tensordot(self.activation(h), kernel * mask, 1) + bias
        return tf.split(h, 2, axis=-1)  # m and s

    def get_config(self):
        return {"degrees": self.degrees.tolist(), "hidden": list(self.hidden),
                "context_dim": self.context_dim,
                "activation": keras.activations.serialize(self.activation)}


def check_tensor(name, value, size):
    """Raise a ValueError unless the last dimension is `size` and, run eagerly, all is finite."""
    if value is None or value.shape[-1] != size:
        got = None if value is None else tuple(value.shape)
        raise ValueError(f"{name} of shape {got}: the last dimension must be {size}")
    if tf.executing_eagerly() and not np.isfinite(value).all():
        raise ValueError(f"{name} holds NaN or infinity: a flow takes finite numbers")


def gated_step(made, z, context=None):
    """One step of an inverse autoregressive flow: ``sigmoid(s) z + (1 - sigmoid(s)) m``.

    Kingma et al. 2016, eq. 13 and 14. Built in notebook 04.

    Parameters
    ----------
    made : MADE
        Gives m and s, each (…, K).
    z, context : tf.Tensor
        Shapes (…, K) and (…, context_dim).

    Returns
    -------
    tuple of tf.Tensor
        The next z, (…, K), and log |det dz'/dz| of each example, (…): the Jacobian is triangular,
        with sigmoid(s) on its diagonal.
    """
    m, s = made(z, context)
    gate = tf.sigmoid(s)
    return gate * z + (1.0 - gate) * m, tf.reduce_sum(tf.math.log_sigmoid(s), axis=-1)


def undo_step(made, z_next, context=None):
    """Return the z (…, K) that `gated_step` takes to `z_next` (…, K), in K passes.

    Pass i solves for the dimension of degree i, which needs those before it. Built in notebook 04.
    """
    z = tf.zeros_like(z_next)
    for degree in range(1, z_next.shape[-1] + 1):
        m, s = made(z, context)
        solved = m + (z_next - m) / tf.sigmoid(s)  # a closed gate sends it far out, not to inf
        z = tf.where(made.degrees == degree, tf.clip_by_value(solved, -1e18, 1e18), z)
    return z


@register
class IAF(keras.layers.Layer):
    """T gated steps, the order of the dimensions reversed from each step to the next.

    Takes z_0 (…, K) and the context to ``(z_T, log_det)``, shapes (…, K) and (…). Kingma et al.
    2016, algorithm 1. Built in notebook 04.
    """

    def __init__(self, latent_dim, steps, hidden, context_dim=0, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        order = list(range(1, latent_dim + 1))
        self.steps = [MADE(order[:: (-1) ** t], hidden, context_dim) for t in range(steps)]
        self.built = True

    def call(self, z, context=None):
        log_det = tf.zeros(tf.shape(z)[:-1])
        for made in self.steps:
            z, step = gated_step(made, z, context)
            log_det += step
        return z, log_det

    def inverse(self, z, context=None):
        """Return the z_0 that ends at z: K passes through each step."""
        for made in self.steps[::-1]:
            z = undo_step(made, z, context)
        return z


class FlowPosterior(tfd.TransformedDistribution):
    """q(z_T|x): a Gaussian carried through an `IAF`; a draw costs one pass, its density included.

    The density of any other point costs K passes through each step.
    """

    def __init__(self, base, flow, context=None):
        parameters = dict(base=base, flow=flow, context=context)
        bijector = tfb.Inline(
            lambda z: flow(z, context)[0], lambda z: flow.inverse(z, context),
            forward_log_det_jacobian_fn=lambda z: flow(z, context)[1], forward_min_event_ndims=1)
        super().__init__(base, bijector, parameters=parameters, name="FlowPosterior")

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {"base": tfp.util.BatchedComponentProperties()}  # its batch shape is the base's

    def _sample_and_log_prob(self, sample_shape, seed):
        z, log_q = self.distribution.experimental_sample_and_log_prob(sample_shape, seed=seed)
        z, log_det = self.parameters["flow"](z, self.parameters["context"])
        return z, log_q - log_det
