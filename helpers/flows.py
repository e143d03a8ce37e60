"""Inverse autoregressive flows: masked networks, gated steps made of them, and their densities."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from helpers.course.checks import as_sizes, check_whole
from helpers.networks import Sizes

tfd = tfp.distributions


def made_masks(degrees: Sequence[int], hidden: Sizes) -> list[np.ndarray]:
    """Masks of a network whose output i sees the inputs of lower degree than its own, no others.

    Germain et al. 2015, eq. 12 and 13, but hidden degrees start at 0: units of degree 0 see no
    input, and through them the context reaches the first output too. Built in lesson 04.

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
    for width in as_sizes("hidden", hidden):
        after = np.arange(width) * len(places) // width  # 0 … K - 1, evenly
        masks.append(before[:, None] <= after)
        before = after
    masks.append(before[:, None] < places)
    return [mask.astype(np.float32) for mask in masks]


class MADE(keras.layers.Layer):
    """Masked dense network from z (…, K) and a context (…, context_dim) to (m, s), each (…, K).

    m_i and s_i depend on the context and on those dimensions of z whose degree is lower than the
    i-th of `degrees` (Germain et al. 2015; context: Kingma et al. 2016, section 4). With K = 1 that
    leaves context and bias. Built in lesson 04.

    Parameters
    ----------
    degrees : sequence of int
        1 … K, each once, in any order: the place of each dimension.
    hidden : int or sequence of int
        Widths of the hidden layers.
    context_dim : int
        Size of the context; 0: none.
    activation : str
        Of the hidden layers.
    """

    def __init__(
        self, degrees: Sequence[int], hidden: Sizes, context_dim: int = 0, activation: str = "elu"
    ) -> None:
        super().__init__(dtype="float32")  # a density, whatever the policy
        check_whole(low=0, context_dim=context_dim)
        *masks, last = made_masks(degrees, hidden)
        self.masks = [*masks, np.tile(last, 2)]  # m, then s
        self.degrees, self.context_dim = np.asarray(degrees), context_dim
        self.hidden = as_sizes("hidden", hidden)
        self.activation = keras.activations.get(activation)
        self.kernels = [self.add_weight(mask.shape) for mask in self.masks]
        # By their names an optimizer knows what not to shrink.
        self.biases = [
            self.add_weight(mask.shape[1:], "zeros", name=f"bias_{layer}")
            for layer, mask in enumerate(self.masks)
        ]
        # sigmoid(1.5) = 0.82: a fresh step keeps most of z.
        self.biases[-1].assign(np.repeat([0.0, 1.5], len(self.degrees)))
        if context_dim:
            self.context_kernel = self.add_weight((context_dim, self.hidden[0]))
        self.built = True

    def call(self, z: tf.Tensor, context: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        check_tensor("z", z, len(self.degrees))
        h = tf.tensordot(z, self.kernels[0] * self.masks[0], 1) + self.biases[0]  # (…, width)
        if self.context_dim:
            check_tensor("context", context, self.context_dim)
            h += tf.tensordot(context, self.context_kernel, 1)
        for layer in range(1, len(self.kernels)):
            kernel = self.kernels[layer] * self.masks[layer]
            h = tf.tensordot(self.activation(h), kernel, 1) + self.biases[layer]
        m, s = tf.split(h, 2, axis=-1)
        return m, s


def check_tensor(name: str, value: tf.Tensor | None, size: int) -> None:
    """Raise a ValueError unless the last dimension is `size` and, run eagerly, all is finite."""
    if value is None or value.shape[-1] != size:
        got = None if value is None else tuple(value.shape)
        raise ValueError(f"{name} of shape {got}: the last dimension must be {size}")
    if tf.executing_eagerly() and not np.isfinite(value).all():
        raise ValueError(f"{name} holds NaN or infinity: a flow takes finite numbers")


def gated_step(
    made: MADE, z: tf.Tensor, context: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """One step of an inverse autoregressive flow: ``sigmoid(s) z + (1 - sigmoid(s)) m``.

    Kingma et al. 2016, eq. 13 and 14. Built in lesson 04.

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


def undo_step(made: MADE, z_next: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
    """Return the z (…, K) that `gated_step` takes to `z_next` (…, K), in K passes.

    Pass i solves for the dimension of degree i, which needs those before it. Built in lesson 04.
    """
    z = tf.zeros_like(z_next)
    for degree in range(1, z_next.shape[-1] + 1):
        m, s = made(z, context)
        solved = m + (z_next - m) / tf.sigmoid(s)  # a closed gate sends it far out, not to inf
        z = tf.where(made.degrees == degree, tf.clip_by_value(solved, -1e18, 1e18), z)
    return z


class IAF(keras.layers.Layer):
    """T gated steps, the order of the dimensions reversed from each step to the next.

    Takes z_0 (…, K) and the context (…, context_dim) to ``(z_T, log_det)``, shapes (…, K) and (…).
    Kingma et al. 2016, algorithm 1. Built in lesson 04.
    """

    def __init__(self, latent_dim: int, steps: int, hidden: Sizes, context_dim: int = 0) -> None:
        super().__init__(dtype="float32")
        order = list(range(1, latent_dim + 1))
        self.steps = []
        for t in range(steps):
            degrees = order if t % 2 == 0 else order[::-1]
            self.steps.append(MADE(degrees, hidden, context_dim))
        self.built = True

    def call(self, z: tf.Tensor, context: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        log_det = tf.zeros(tf.shape(z)[:-1])
        for made in self.steps:
            z, log_det_of_step = gated_step(made, z, context)
            log_det += log_det_of_step
        return z, log_det

    def inverse(self, z: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Return the z_0 that ends at z: K passes through each step."""
        for made in reversed(self.steps):
            z = undo_step(made, z, context)
        return z


class FlowPosterior(tfd.Distribution):
    """q(z_T|x): draws of a Gaussian carried through an `IAF`, and their density.

    ``log q(z_T|x) = log q(z_0|x) - log |det dz_T/dz_0|``. A draw costs one pass, its density
    included (`experimental_sample_and_log_prob`); that of any other point costs K + 1 passes
    through each step. Like any TFP distribution it can be sliced along its batch.

    Parameters
    ----------
    base : tfp.distributions.Distribution
        q(z_0|x), batch shape (batch,), event shape (K,).
    flow : IAF
    context : tf.Tensor, optional
        Shape (batch, context_dim), where the flow takes one.
    """

    def __init__(self, base: tfd.Distribution, flow: IAF, context: tf.Tensor | None = None) -> None:
        self.base, self.flow, self.context = base, flow, context
        super().__init__(
            base.dtype,
            base.reparameterization_type,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"base": base, "flow": flow, "context": context},
        )

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType, num_classes: int | None = None) -> dict:
        """Say which parameters have a batch axis: TFP slices those, and finds the batch shape."""
        return {
            "base": tfp.util.BatchedComponentProperties(),
            "context": tfp.util.ParameterProperties(event_ndims=1),
        }

    def _event_shape(self) -> tf.TensorShape:
        return self.base.event_shape

    def _event_shape_tensor(self) -> tf.Tensor:
        return self.base.event_shape_tensor()

    def _sample_and_log_prob(self, sample_shape: tf.Tensor, seed: tf.Tensor) -> tuple:
        z, log_q = self.base.experimental_sample_and_log_prob(sample_shape, seed=seed)
        z, log_det = self.flow(z, self.context)
        return z, log_q - log_det

    def _sample_n(self, n: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        return self.flow(self.base.sample(n, seed=seed), self.context)[0]

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        z_0 = self.flow.inverse(z, self.context)
        log_det = self.flow(z_0, self.context)[1]
        return self.base.log_prob(z_0) - log_det


class FlowDensity(tfd.Distribution):
    """p(z) of a z that an `IAF` carries to a base: ``log p(z) = log base(f(z)) + log |det df/dz|``.

    `FlowPosterior` the other way round: the density of any point costs one pass, a draw K passes
    through each step (Papamakarios et al. 2017).

    Parameters
    ----------
    base : tfp.distributions.Distribution
        Event shape (K,), without a batch.
    flow : IAF
        Without a context.
    """

    def __init__(self, base: tfd.Distribution, flow: IAF) -> None:
        self.base, self.flow = base, flow
        super().__init__(
            base.dtype,
            base.reparameterization_type,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"base": base, "flow": flow},
        )

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType, num_classes: int | None = None) -> dict:
        return {"base": tfp.util.BatchedComponentProperties()}

    def _event_shape(self) -> tf.TensorShape:
        return self.base.event_shape

    def _event_shape_tensor(self) -> tf.Tensor:
        return self.base.event_shape_tensor()

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        z_0, log_det = self.flow(z)
        return self.base.log_prob(z_0) + log_det

    def _sample_n(self, n: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        return self.flow.inverse(self.base.sample(n, seed=seed))
