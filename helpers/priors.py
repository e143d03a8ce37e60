"""Priors p(z), and what it costs a posterior to differ from the standard normal one.

To add a prior, subclass `Prior`, say what distribution it is, and name it in `PRIORS`.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from helpers.course.checks import check_whole, shown
from helpers.flows import IAF, FlowDensity
from helpers.networks import Sizes

tfd = tfp.distributions

Posterior = Callable[[tf.Tensor], tfd.Distribution]  # takes images to q(z|x)

register = keras.saving.register_keras_serializable(package="vae")


def standard_normal(latent_dim: int) -> tfd.Distribution:
    """Return p(z) = N(0, I), a distribution over vectors of shape (latent_dim,)."""
    return tfd.Independent(tfd.Normal(tf.zeros(latent_dim), 1.0), 1)


def kl_to_standard_normal(z_mean: tf.Tensor, z_log_var: tf.Tensor) -> tf.Tensor:
    """KL(N(z_mean, exp(z_log_var)) || N(0, I)) of each image in nats: a sum over the dimensions.

    Kingma & Welling 2013, appendix B. Built in lesson 02.

    Parameters
    ----------
    z_mean, z_log_var : tf.Tensor
        Shape (batch, latent).

    Returns
    -------
    tf.Tensor
        Shape (batch,), never negative.
    """
    per_dim = 0.5 * (tf.square(z_mean) + tf.exp(z_log_var) - z_log_var - 1.0)  # (batch, latent)
    return tf.reduce_sum(per_dim, axis=-1)


class Prior(keras.layers.Layer):
    """A prior over vectors of shape (latent_dim,), with whatever weights it learns.

    Parameters
    ----------
    latent_dim : int
    image_shape : tuple of int
        (height, width, channels) of the images that the posterior takes.
    """

    def __init__(self, latent_dim: int, image_shape: tuple[int, int, int] = (28, 28, 1)) -> None:
        super().__init__(dtype="float32")  # a density, whatever the policy
        check_whole(latent_dim=latent_dim)
        self.latent_dim, self.image_shape = int(latent_dim), tuple(image_shape)
        self.built = True

    def distribution(self, posterior: Posterior) -> tfd.Distribution:
        """Return p(z). `posterior` takes images to q(z|x), which a prior may be made of."""
        raise NotImplementedError(f"{type(self).__name__} defines no distribution")

    def get_config(self) -> dict:
        return {"latent_dim": self.latent_dim, "image_shape": list(self.image_shape)}


@register
class StandardNormal(Prior):
    """p(z) = N(0, I), which learns nothing (Kingma & Welling 2013)."""

    def distribution(self, posterior: Posterior) -> tfd.Distribution:
        return standard_normal(self.latent_dim)


def mixture_of_posteriors(posterior: Posterior, images: tf.Tensor) -> tfd.Distribution:
    """Return the mixture of q(z|u) over images u (n, height, width, channels), equally weighted.

    Over training images it is their aggregate posterior; over learned ones, the VampPrior
    (Tomczak & Welling 2018, eq. 9). Built in lesson 07.
    """
    return tfd.MixtureSameFamily(tfd.Categorical(tf.zeros(tf.shape(images)[0])), posterior(images))


@register
class VampPrior(Prior):
    """Mixture of the posteriors of learned images, the pseudo-inputs (Tomczak & Welling 2018).

    Parameters
    ----------
    latent_dim : int
    image_shape : tuple of int
    pseudo_inputs : int or np.ndarray
        How many, which then start as noise, or what they start from: images
        (n, height, width, channels) of floats in [0, 1], for example of the training set.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int] = (28, 28, 1),
        pseudo_inputs: int | np.ndarray = 500,
    ) -> None:
        super().__init__(latent_dim, image_shape)
        start = None
        if not isinstance(pseudo_inputs, int | np.integer):
            start = _check_pseudo_inputs(pseudo_inputs, self.image_shape)
            pseudo_inputs = len(start)
        check_whole(pseudo_inputs=pseudo_inputs)
        self.count = int(pseudo_inputs)
        # Their logits are trained: whatever a step does to them, they stay between 0 and 1.
        noise = keras.initializers.RandomNormal(stddev=1.0)
        self.logits = self.add_weight((self.count, *self.image_shape), noise, name="pseudo_inputs")
        if start is not None:
            start = np.clip(start, 0.01, 0.99)  # at 0 and 1 the sigmoid has no slope left
            self.logits.assign(np.log(start) - np.log1p(-start))

    @property
    def pseudo_inputs(self) -> tf.Tensor:
        """The learned images, shape (n, height, width, channels), values in (0, 1)."""
        return tf.sigmoid(self.logits)

    def distribution(self, posterior: Posterior) -> tfd.Distribution:
        return mixture_of_posteriors(posterior, self.pseudo_inputs)

    def get_config(self) -> dict:
        return {**super().get_config(), "pseudo_inputs": self.count}


@register
class FlowPrior(Prior):
    """A flow takes z to N(0, I): ``p(z) = N(f(z); 0, I) |det df/dz|``.

    f is made of the masked steps of an IAF. The density of a given z takes one pass, which is what
    training needs, a draw latent_dim passes a step: a masked autoregressive flow (Papamakarios et
    al. 2017). Built in lesson 07.

    Parameters
    ----------
    latent_dim : int
    image_shape : tuple of int
    steps : int
        Masked steps.
    hidden : int or sequence of int
        Widths of each step's hidden layers.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int] = (28, 28, 1),
        steps: int = 2,
        hidden: Sizes = (512,),
    ) -> None:
        super().__init__(latent_dim, image_shape)
        check_whole(steps=steps)
        self.num_steps = int(steps)
        self.flow = IAF(self.latent_dim, self.num_steps, hidden)
        self.hidden = self.flow.steps[0].hidden

    def distribution(self, posterior: Posterior) -> tfd.Distribution:
        return FlowDensity(standard_normal(self.latent_dim), self.flow)

    def get_config(self) -> dict:
        return {**super().get_config(), "steps": self.num_steps, "hidden": list(self.hidden)}


# The names that `VAE(prior=...)` takes: built as PRIORS[name](latent_dim, image_shape).
PRIORS = {"standard_normal": StandardNormal, "vamp": VampPrior, "flow": FlowPrior}


def _check_pseudo_inputs(images: object, image_shape: tuple[int, ...]) -> np.ndarray:
    """Return pseudo-inputs to start from as an array; raise unless they are such images."""
    found = np.asarray(images)
    wanted = ", ".join(str(size) for size in image_shape)
    if found.ndim != 4 or found.shape[1:] != image_shape or not len(found):
        raise ValueError(
            f"pseudo_inputs of {shown(images)}: give their number, or images (n, {wanted}), "
            "n at least 1"
        )
    if found.dtype.kind != "f" or not (found.min() >= 0 and found.max() <= 1):
        raise ValueError(
            f"pseudo_inputs of {shown(images)}: give floats in [0, 1], such as images / 255"
        )
    return found
