"""Networks that map tensors to *parameters* of distributions.

An encoder takes images (batch, height, width, channels) and returns ``(z_mean, z_log_var)``, each
(batch, latent), or ``(z_mean, z_log_var, context)`` where a flow takes a context. A decoder takes
z (batch, latent) and returns logits, one tensor of the images' shape, or ``(mean, log_var)``.
No network returns a distribution: `helpers.vae.VAE` makes distributions of the parameters.
"""

import math
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import layers

from helpers.course.checks import as_sizes, check_whole
from helpers.course.tables import Table

LOG_VAR_BOUND = 10.0  # standard deviations stay within [exp(-5), exp(5)]
register = keras.saving.register_keras_serializable(package="vae")

Sizes = int | tuple[int, ...] | list[int]
Outputs = tf.Tensor | tuple[tf.Tensor, ...]


def bounded_log_var(raw: tf.Tensor) -> tf.Tensor:
    """Squash an unbounded number smoothly into (-10, 10), almost unchanged near zero.

    An unbounded log-variance overflows ``exp`` sooner or later, and one NaN ends a training.
    Built in lesson 02.

    Parameters
    ----------
    raw : tf.Tensor
        Any shape.

    Returns
    -------
    tf.Tensor
        Same shape, ``10 * tanh(raw / 10)``.
    """
    return LOG_VAR_BOUND * tf.tanh(raw / LOG_VAR_BOUND)


@register
class GaussianMLP(keras.Model):
    """Multilayer perceptron that returns mean and log-variance of a diagonal Gaussian.

    As encoder q(z|x), whose output shape is the latent size, or as decoder p(x|z), whose output
    shape is the image's. Kingma & Welling 2013, appendix C.2. Lesson 02 writes the encoder out, as
    ``Encoder``.

    Parameters
    ----------
    hidden_dim : int or sequence of int
        Width of each hidden layer.
    output_shape : int or sequence of int
        Shape of mean and log-variance, without the batch axis.
    context_dim : int
        Size of the third output, which flows take; 0: no third output.
    activation : str
        Of the hidden layers and the context.
    """

    def __init__(
        self,
        hidden_dim: Sizes,
        output_shape: Sizes,
        context_dim: int = 0,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        check_whole(low=0, context_dim=context_dim)
        self.hidden_dim = as_sizes("hidden_dim", hidden_dim)
        self.out_shape = as_sizes("output_shape", output_shape)
        self.context_dim, self.activation = context_dim, activation
        self.hidden = [layers.Dense(width, activation) for width in self.hidden_dim]
        self.mean_head = layers.Dense(math.prod(self.out_shape))
        self.log_var_head = layers.Dense(math.prod(self.out_shape))
        if context_dim:
            self.context_head = layers.Dense(context_dim, activation)

    def call(self, inputs: tf.Tensor) -> Outputs:
        h = tf.reshape(inputs, (-1, math.prod(inputs.shape[1:])))  # (batch, numbers)
        for layer in self.hidden:
            h = layer(h)  # (batch, width)
        mean = tf.reshape(self.mean_head(h), (-1, *self.out_shape))
        log_var = bounded_log_var(tf.reshape(self.log_var_head(h), (-1, *self.out_shape)))
        if self.context_dim:
            return mean, log_var, self.context_head(h)
        return mean, log_var

    def get_config(self) -> dict:
        return {
            "hidden_dim": list(self.hidden_dim),
            "output_shape": list(self.out_shape),
            "context_dim": self.context_dim,
            "activation": self.activation,
        }


@register
class BernoulliMLP(keras.Model):
    """Multilayer perceptron that returns the logits of independent binary pixels (a decoder).

    Kingma & Welling 2013, appendix C.1, without the sigmoid: that is in the distribution, where it
    is stable. Lesson 02 writes it out, as ``Decoder``.

    Parameters
    ----------
    hidden_dim : int or sequence of int
        Width of each hidden layer.
    output_shape : int or sequence of int
        Shape of the logits, without the batch axis.
    activation : str
        Of the hidden layers.
    """

    def __init__(self, hidden_dim: Sizes, output_shape: Sizes, activation: str = "tanh") -> None:
        super().__init__()
        self.hidden_dim = as_sizes("hidden_dim", hidden_dim)
        self.out_shape = as_sizes("output_shape", output_shape)
        self.activation = activation
        self.hidden = [layers.Dense(width, activation) for width in self.hidden_dim]
        self.logits_head = layers.Dense(math.prod(self.out_shape))

    def call(self, z: tf.Tensor) -> tf.Tensor:
        h = z  # (batch, latent)
        for layer in self.hidden:
            h = layer(h)  # (batch, width)
        return tf.reshape(self.logits_head(h), (-1, *self.out_shape))

    def get_config(self) -> dict:
        return {
            "hidden_dim": list(self.hidden_dim),
            "output_shape": list(self.out_shape),
            "activation": self.activation,
        }


class ConvNet(keras.Model):
    """Layers one after the other: `make_layers` of a subclass lists them, the outputs last.

    Images may have any height, width and number of channels. An encoder's strided convolutions pad
    an odd size by a row or a column of zeros. A decoder, which can only double, makes the next
    larger image that it can, and the middle of it is the output.

    Parameters
    ----------
    filters : int or sequence of int
        Of the convolutions, in the order in which data meet them.
    output_shape : int or sequence of int
        The latent size, or (height, width, channels).
    context_dim : int
        Size of an encoder's third output, which flows take; 0: no third output.
    activation : str
        Of all layers but the last.
    kernel_size : int
        Height and width of the convolutions' kernels.
    """

    outputs_per_pixel = 2  # mean and log-variance; 1: a logit. An encoder's "pixels" are its z

    def __init__(
        self,
        filters: Sizes,
        output_shape: Sizes,
        context_dim: int = 0,
        activation: str = "relu",
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        check_whole(low=0, context_dim=context_dim)
        check_whole(kernel_size=kernel_size)
        self.filters = as_sizes("filters", filters)
        self.out_shape = as_sizes("output_shape", output_shape)
        self.context_dim, self.activation = context_dim, activation
        self.kernel_size = kernel_size
        self.num_outputs = self.outputs_per_pixel * self.out_shape[-1]
        *self.body, self.head = self.make_layers()
        if context_dim:
            self.context_head = layers.Dense(context_dim, activation)

    def make_layers(self) -> list[layers.Layer]:
        """Return the layers; the last one gives `num_outputs` numbers (for each pixel)."""
        raise NotImplementedError(f"{type(self).__name__} defines no make_layers")

    def call(self, inputs: tf.Tensor, training: bool = False) -> Outputs:
        h = inputs
        for layer in self.body:
            h = layer(h, training=training)
        outputs = self.middle(self.head(h))
        if self.outputs_per_pixel == 1:
            return outputs
        mean, log_var = tf.split(outputs, 2, axis=-1)
        if self.context_dim:
            return mean, bounded_log_var(log_var), self.context_head(h)
        return mean, bounded_log_var(log_var)

    def get_config(self) -> dict:
        return {
            "filters": list(self.filters),
            "output_shape": list(self.out_shape),
            "context_dim": self.context_dim,
            "activation": self.activation,
            "kernel_size": self.kernel_size,
        }

    # What several of them are made of.

    def conv(self, filters: int, strides: int = 1) -> layers.Layer:
        """Return a convolution with the activation behind it; strides of 2 halve the image."""
        return layers.Conv2D(
            filters, self.kernel_size, strides, padding="same", activation=self.activation
        )

    def plain_conv(self, filters: int, strides: int = 1) -> layers.Layer:
        """Return a convolution without activation."""
        return layers.Conv2D(filters, self.kernel_size, strides, padding="same")

    def small_size(self, factor: int, border: int = 0) -> tuple[int, int]:
        """Return height and width of what is enlarged `factor` times to the image, or above it.

        The enlargement itself adds a `border` (of the small image's pixels, both sides together).
        """
        if len(self.out_shape) != 3:
            raise ValueError(
                f"output_shape={self.out_shape}: {type(self).__name__} makes images, give "
                "(height, width, channels)"
            )
        height, width, channels = self.out_shape
        smallest = border * factor + 1
        if min(height, width) < smallest:
            nearest = (max(height, smallest), max(width, smallest), channels)
            raise ValueError(
                f"output_shape={self.out_shape}: {type(self).__name__} with filters={self.filters} "
                f"makes images from {smallest} x {smallest}, the nearest are {nearest}"
            )
        return math.ceil(height / factor) - border, math.ceil(width / factor) - border

    def small_image(self, channels: int, factor: int, border: int = 0) -> list[layers.Layer]:
        """Return the layers from z to an image that is enlarged `factor` times afterwards."""
        shape = (*self.small_size(factor, border), channels)
        return [layers.Dense(math.prod(shape), self.activation), layers.Reshape(shape)]

    def middle(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return the middle of images that are larger than asked for; other outputs as they are."""
        if len(self.out_shape) != 3 or tuple(outputs.shape[1:3]) == self.out_shape[:2]:
            return outputs
        height, width, _ = self.out_shape
        top, left = (outputs.shape[1] - height) // 2, (outputs.shape[2] - width) // 2
        return outputs[:, top : top + height, left : left + width]

    def residual_blocks(self, channels: int, filters: int, count: int) -> list[layers.Layer]:
        """Return `count` residual blocks and the activation that follows the last."""
        blocks = [
            Residual(channels, filters, self.kernel_size, self.activation) for _ in range(count)
        ]
        return [*blocks, layers.Activation(self.activation)]

    def subpixels(self, height: int, width: int, factor: int, channels: int) -> list[layers.Layer]:
        """Return the layers that make an image `factor` times as high and wide.

        One convolution gives the factor x factor pixels of each place, which are then put side by
        side (Shi et al. 2016, arXiv 1609.05158).
        """
        return [
            self.plain_conv(factor * factor * channels),
            layers.Reshape((height, width, factor, factor, channels)),
            layers.Permute((1, 3, 2, 4, 5)),
            layers.Reshape((factor * height, factor * width, channels)),
        ]


@register
class ConvEncoder(ConvNet):
    """Strided convolutions, each of which halves the image, then one dense layer."""

    def make_layers(self) -> list[layers.Layer]:
        convs = [self.conv(width, strides=2) for width in self.filters]  # each halves the image
        return [*convs, layers.Flatten(), layers.Dense(self.num_outputs)]


@register
class ConvDecoder(ConvNet):
    """`ConvEncoder` mirrored: dense, then transposed convolutions; a logit for each pixel."""

    outputs_per_pixel = 1

    def make_layers(self) -> list[layers.Layer]:
        size, act = self.kernel_size, self.activation
        ups = [  # each doubles the image
            layers.Conv2DTranspose(width, size, strides=2, padding="same", activation=act)
            for width in self.filters
        ]
        last = layers.Conv2DTranspose(self.num_outputs, size, padding="same")
        return [*self.small_image(32, factor=2 ** len(ups)), *ups, last]


@register
class GaussianConvDecoder(ConvDecoder):
    """`ConvDecoder` with mean and log-variance of each pixel."""

    outputs_per_pixel = 2


@register
class PoolEncoder(ConvNet):
    """Convolution and max-pooling by turns, dropout of one half, then one dense layer.

    Its convolutions pad nothing, so an image must not be too small for them.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> Outputs:
        smallest = self.smallest_size()
        height, width = inputs.shape[1:3]
        if min(height, width) < smallest:
            raise ValueError(
                f"images of {height} x {width}: PoolEncoder with filters={self.filters} takes "
                f"them from {smallest} x {smallest}, the nearest are {max(height, smallest)} x "
                f"{max(width, smallest)}"
            )
        return super().call(inputs, training=training)

    def smallest_size(self) -> int:
        """Return the smallest height or width of which a pixel is left at the end."""
        size = 1
        for _ in self.filters:
            size = 2 * size + self.kernel_size - 1
        return size

    def make_layers(self) -> list[layers.Layer]:
        turns = []
        for width in self.filters:
            turns += [
                layers.Conv2D(width, self.kernel_size, activation=self.activation),
                layers.MaxPooling2D(),
            ]
        return [*turns, layers.Flatten(), layers.Dropout(0.5), layers.Dense(self.num_outputs)]


@register
class UpsampleDecoder(ConvNet):
    """Dense, then up-sampling and transposed convolution by turns; a logit for each pixel."""

    outputs_per_pixel = 1

    def make_layers(self) -> list[layers.Layer]:
        size, act = self.kernel_size, self.activation
        turns = []
        for width in self.filters:  # a transposed convolution without padding adds a border
            turns += [
                layers.UpSampling2D(),
                layers.Conv2DTranspose(width, size, activation=act),
            ]
        first = self.small_image(self.filters[0], factor=2 ** len(self.filters), border=size - 1)
        return [*first, *turns, layers.Conv2DTranspose(self.num_outputs, size)]


class Residual(layers.Layer):
    """h + f(h), where f is two convolutions (He et al. 2016, arXiv 1603.05027)."""

    def __init__(self, channels: int, filters: int, kernel_size: int, activation: str) -> None:
        super().__init__()
        self.activation = layers.Activation(activation)
        self.inner = layers.Conv2D(filters, kernel_size, padding="same")
        self.outer = layers.Conv2D(channels, kernel_size, padding="same")

    def call(self, h: tf.Tensor) -> tf.Tensor:
        return h + self.outer(self.activation(self.inner(self.activation(h))))


@register
class ResidualDecoder(ConvNet):
    """Dense layers, then residual blocks at a quarter of the image's size; a logit for each pixel.

    `filters` lists the widths of the dense layers, the filters inside each of the `blocks` residual
    blocks (default: all but the first number and the last), and the channels between the blocks.
    """

    outputs_per_pixel = 1

    def __init__(
        self,
        filters: Sizes,
        output_shape: Sizes,
        context_dim: int = 0,
        activation: str = "relu",
        kernel_size: int = 3,
        blocks: int | None = None,
    ) -> None:
        most = len(as_sizes("filters", filters)) - 1
        self.blocks = most - 1 if blocks is None else blocks
        if self.blocks not in range(most + 1):
            raise ValueError(f"blocks={blocks!r} with filters={filters!r}: give 0 to {most}")
        super().__init__(filters, output_shape, context_dim, activation, kernel_size)

    def make_layers(self) -> list[layers.Layer]:
        *widths, channels = self.filters
        num_dense = len(widths) - self.blocks
        dense = [layers.Dense(width, self.activation) for width in widths[:num_dense]]
        first = self.small_image(channels, factor=4)
        blocks = [
            Residual(channels, filters, self.kernel_size, self.activation)
            for filters in widths[num_dense:]
        ]
        return [
            *dense,
            *first,
            *blocks,
            layers.Activation(self.activation),
            *self.subpixels(*self.small_size(4), 4, self.num_outputs),
        ]

    def get_config(self) -> dict:
        return {**super().get_config(), "blocks": self.blocks}


@register
class GaussianResidualDecoder(ResidualDecoder):
    """`ResidualDecoder` with mean and log-variance of each pixel."""

    outputs_per_pixel = 2


class Pyramid(ConvNet):
    """Residual blocks at a quarter of the image's size, and dense layers behind a thin image.

    `filters`: four numbers, see the subclasses. Few channels next to the dense layer keep its
    weights few. `blocks`: residual blocks at a quarter of the size.
    """

    def __init__(
        self,
        filters: Sizes,
        output_shape: Sizes,
        context_dim: int = 0,
        activation: str = "relu",
        kernel_size: int = 3,
        blocks: int = 2,
    ) -> None:
        if len(as_sizes("filters", filters)) != 4:
            raise ValueError(f"filters={filters!r}: {type(self).__name__} takes four numbers")
        check_whole(blocks=blocks)
        self.blocks = blocks
        super().__init__(filters, output_shape, context_dim, activation, kernel_size)

    def get_config(self) -> dict:
        return {**super().get_config(), "blocks": self.blocks}


@register
class PyramidEncoder(Pyramid):
    """Down to a quarter of the size, residual blocks, a thin image, dense layers.

    `filters`: channels at half and at a quarter of the size, of the thin image, dense width.
    """

    def make_layers(self) -> list[layers.Layer]:
        half, quarter, thin, dense = self.filters
        return [
            self.conv(half, strides=2),
            self.plain_conv(quarter, strides=2),
            *self.residual_blocks(quarter, quarter, self.blocks),
            self.conv(thin),
            layers.Flatten(),
            layers.Dense(dense, self.activation),
            layers.Dense(self.num_outputs),
        ]


@register
class PyramidDecoder(Pyramid):
    """`PyramidEncoder` mirrored, with a residual block at half of the size; a logit for each pixel.

    `filters`: dense width, channels of the thin image, at a quarter and at half of the size.
    """

    outputs_per_pixel = 1

    def make_layers(self) -> list[layers.Layer]:
        dense, thin, quarter, half = self.filters
        first = self.small_image(thin, factor=4)
        height, width = self.small_size(4)
        return [
            layers.Dense(dense, self.activation),
            *first,
            self.plain_conv(quarter),
            *self.residual_blocks(quarter, quarter, self.blocks),
            *self.subpixels(height, width, 2, half),
            *self.residual_blocks(half, half, 1),
            *self.subpixels(2 * height, 2 * width, 2, self.num_outputs),
        ]


@register
class GaussianPyramidDecoder(PyramidDecoder):
    """`PyramidDecoder` with mean and log-variance of each pixel."""

    outputs_per_pixel = 2


# The names that `VAE(encoder=..., decoder=...)` takes. A network is known by its name once it
# stands here; it is built as ENCODERS[name](hidden_dim, latent_dim, activation=...), with
# context_dim=... where the model has a flow, or DECODERS[name](hidden_dim, image_shape, ...).
ENCODERS = {
    "gaussian_mlp": GaussianMLP,
    "conv": ConvEncoder,
    "pool": PoolEncoder,
    "pyramid": PyramidEncoder,
}
DECODERS = {
    "bernoulli_mlp": BernoulliMLP,
    "gaussian_mlp": GaussianMLP,
    "conv": ConvDecoder,
    "conv_gaussian": GaussianConvDecoder,
    "upsample": UpsampleDecoder,
    "residual": ResidualDecoder,
    "residual_gaussian": GaussianResidualDecoder,
    "pyramid": PyramidDecoder,
    "pyramid_gaussian": GaussianPyramidDecoder,
}


class Pair(NamedTuple):
    """A row of `table`: two names that go together, and the sizes to start with."""

    encoder: str
    decoder: str
    hidden_dim: tuple[int, ...]
    weights: int
    good_for: str


# encoder, decoder of logits, decoder of (mean, log_var), hidden_dim, what the pair is good for
PAIRS = (
    ("gaussian_mlp", "bernoulli_mlp", "gaussian_mlp", (200, 200), "small images, a first run"),
    ("conv", "conv", "conv_gaussian", (32, 64), "any size; the usual choice"),
    (
        "pyramid",
        "pyramid",
        "pyramid_gaussian",
        (32, 64, 8, 256),
        "any size; the best scores of the course, for more time a step",
    ),
)


def table(image_shape: Sizes, latent_dim: int = 16, *, needs_log_var: bool = False) -> Table:
    """Say which named networks go together, and how large they are for images of a shape.

    Parameters
    ----------
    image_shape : sequence of int
        (height, width, channels), any.
    latent_dim : int
    needs_log_var : bool
        Whether the likelihood takes (mean, log_var), as `helpers.likelihoods.LIKELIHOODS` says.

    Returns
    -------
    Table
        Its `rows` are a `Pair` each.
    """
    shape = as_sizes("image_shape", image_shape)
    rows = []
    for encoder, of_logits, of_pairs, hidden_dim, good_for in PAIRS:
        decoder = of_pairs if needs_log_var else of_logits
        networks = (
            ENCODERS[encoder](hidden_dim, latent_dim),
            DECODERS[decoder](hidden_dim[::-1], shape),
        )
        for network, inputs in zip(networks, (shape, (latent_dim,)), strict=True):
            network(tf.zeros((1, *inputs)))
        weights = sum(network.count_params() for network in networks)
        rows.append(Pair(encoder, decoder, hidden_dim, weights, good_for))
    return Table(rows)
