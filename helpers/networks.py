"""Networks that map tensors to *parameters* of distributions.

Every network returns the same triple ``(mean_or_logits, log_var, context)``; what a network does
not have is ``None``. No network returns a distribution: `helpers.vae.VAE` wraps the parameters.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

LOG_VAR_BOUND = 10.0  # standard deviations stay within [exp(-5), exp(5)]
register = keras.saving.register_keras_serializable(package="vae")


def bounded_log_var(raw):
    """Squash an unbounded number smoothly into (-10, 10), almost unchanged near zero.

    An unbounded log-variance overflows ``exp`` sooner or later, and one NaN ends a training.
    Built in notebook 02.

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


def as_sizes(value, name):
    """Return a tuple of whole numbers >= 1: ``500`` and ``(500,)`` say the same."""
    sizes = np.atleast_1d(np.asarray(value, dtype=object))
    whole = (isinstance(n, int | np.integer) and n >= 1 and n is not True for n in sizes)
    if not sizes.size or not all(whole):
        raise ValueError(f"{name}={value!r}: give a whole number >= 1, or a sequence of them")
    return tuple(int(n) for n in sizes)


def context_layer(context_dim, activation):
    """Return the layer that makes the extra output flows take; None where context_dim is 0."""
    return layers.Dense(*as_sizes(context_dim, "context_dim"), activation) if context_dim else None


@keras.saving.register_keras_serializable(package="vae")
class GaussianMLP(keras.Model):
    """Multilayer perceptron that returns the parameters of a diagonal Gaussian.

    As encoder ``q(z|x)`` (output shape: the latent size) or as decoder ``p(x|z)`` (output shape:
    the image). Kingma & Welling 2013, appendix C.2. Built in notebook 02.

    Parameters
    ----------
    hidden_dim : int or sequence of int
        Width of each hidden layer; `activation` is theirs.
    output_shape : int or tuple
        Shape of mean and log-variance, without the batch axis.
    context_dim : int
        Size of the extra output that flows take (0: none).
    """

    def __init__(self, hidden_dim, output_shape, context_dim=0, activation="tanh", **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = as_sizes(hidden_dim, "hidden_dim")
        self.out_shape = as_sizes(output_shape, "output_shape")
        self.context_dim, self.activation = context_dim, activation
        self.hidden = [keras.layers.Dense(width, activation) for width in self.hidden_dim]
        size = int(np.prod(self.out_shape))
        self.mean_head, self.log_var_head = keras.layers.Dense(size), keras.layers.Dense(size)
        self.context_head = context_layer(context_dim, activation)

    def build(self, input_shape):
        sizes = int(np.prod(input_shape[1:])), *self.hidden_dim
        for layer, size in zip(self.hidden, sizes, strict=False):
            layer.build((None, size))
        for head in filter(None, (self.mean_head, self.log_var_head, self.context_head)):
            head.build((None, sizes[-1]))
        self.built = True

    def call(self, inputs):
        h = tf.reshape(inputs, (tf.shape(inputs)[0], int(np.prod(inputs.shape[1:]))))
        for layer in self.hidden:
            h = layer(h)  # (batch, width)
        mean = tf.reshape(self.mean_head(h), (-1, *self.out_shape))
        log_var = bounded_log_var(tf.reshape(self.log_var_head(h), (-1, *self.out_shape)))
        return mean, log_var, None if self.context_head is None else self.context_head(h)

    def get_config(self):
        return {"hidden_dim": list(self.hidden_dim), "output_shape": list(self.out_shape),
                "context_dim": self.context_dim, "activation": self.activation}


@keras.saving.register_keras_serializable(package="vae")
class BernoulliMLP(keras.Model):
    """Multilayer perceptron that returns the logits of independent Bernoulli pixels (a decoder).

    Kingma & Welling 2013, appendix C.1, without the sigmoid: that is in the distribution, where it
    is stable. Built in notebook 02.

    Parameters
    ----------
    hidden_dim : int or sequence of int
        Width of each hidden layer.
    output_shape : int or tuple
        Shape of the logits, without the batch axis.
    activation : str
        Of the hidden layers.
    """

    def __init__(self, hidden_dim, output_shape, activation="tanh", **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = as_sizes(hidden_dim, "hidden_dim")
        self.out_shape = as_sizes(output_shape, "output_shape")
        self.activation = activation
        self.hidden = [keras.layers.Dense(width, activation) for width in self.hidden_dim]
        self.logits_head = keras.layers.Dense(int(np.prod(self.out_shape)))

    def build(self, input_shape):
        size = input_shape[-1]
        for layer in (*self.hidden, self.logits_head):
            layer.build((None, size))
            size = layer.units
        self.built = True

    def call(self, z):
        h = z  # (batch, latent)
        for layer in self.hidden:
            h = layer(h)  # (batch, width)
        return tf.reshape(self.logits_head(h), (-1, *self.out_shape)), None, None

    def get_config(self):
        return {"hidden_dim": list(self.hidden_dim), "output_shape": list(self.out_shape),
                "activation": self.activation}


class ConvNet(keras.Model):
    """Layers one after the other, as `make_layers` of a subclass lists them, the outputs last.

    Takes images or z and returns the triple. `filters` are those of the convolutions, in the order
    in which data meets them; `output_shape` is the latent size, or (height, width, channels);
    `context_dim` the size of the extra output that flows take (0: none); `activation` that of all
    layers but the last. Built in notebook 03."""

    values = 2  # for each output: mean and log-variance, or one logit

    def __init__(self, filters, output_shape, context_dim=0, activation="relu", kernel_size=3,
                 **kwargs):
        super().__init__(**kwargs)
        self.filters = as_sizes(filters, "filters")
        self.out_shape = as_sizes(output_shape, "output_shape")
        self.context_dim, self.activation = context_dim, activation
        (self.kernel_size,) = as_sizes(kernel_size, "kernel_size")
        *self.body, self.head = self.make_layers()
        self.context_head = context_layer(context_dim, activation)

    def conv(self, filters, strides=1, padding="same", kind=layers.Conv2D):
        return kind(filters, self.kernel_size, strides, padding, activation=self.activation)

    def last(self, kind, *args):
        return kind(self.values * self.out_shape[-1], *args)

    def first_image(self, filters, shrink, border=0):
        """Return the layers from z to an image of (height / shrink - border, ...) pixels."""
        shape = [n / shrink - border for n in self.out_shape[:-1]]
        if len(shape) != 2 or not all(n >= 1 and n == int(n) for n in shape):
            raise ValueError(f"output_shape={self.out_shape}: this decoder takes (height, width, "
                             f"channels), both multiples of {shrink} and > {shrink * border}")
        shape = (*map(int, shape), filters)
        return layers.Dense(int(np.prod(shape)), self.activation), layers.Reshape(shape)

    def blocks_of(self, filters, count):
        blocks = [Residual(filters, self.kernel_size, self.activation) for _ in range(count)]
        return *blocks, layers.Activation(self.activation)

    def subpixels(self, shape, factor, channels):
        """Return the layers from a small image to one `factor` times as high and wide: one
        convolution gives all pixels of each place (Shi et al. 2016, arXiv 1609.05158)."""
        height, width, k = *shape[:2], factor
        return (
            layers.Conv2D(k * k * channels, self.kernel_size, padding="same"),
            layers.Reshape((height, width, k, k, channels)), layers.Permute((1, 3, 2, 4, 5)),
            layers.Reshape((k * height, k * width, channels)))

    def build(self, input_shape):
        shape = (None, *input_shape[1:])
        for layer in self.body:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        for head in filter(None, (self.head, self.context_head)):
            head.build(shape)
        self.built = True

    def call(self, inputs, training=False):
        h, log_var = inputs, None
        for layer in self.body:
            h = layer(h, training=training)
        mean = self.head(h)
        if self.values == 2:
            mean, log_var = tf.split(mean, 2, axis=-1)
            log_var = bounded_log_var(log_var)
        return mean, log_var, None if self.context_head is None else self.context_head(h)

    def get_config(self):
        return {"filters": list(self.filters), "output_shape": list(self.out_shape),
                "context_dim": self.context_dim, "activation": self.activation,
                "kernel_size": self.kernel_size}


@register
class ConvEncoder(ConvNet):
    """Strided convolutions, then one dense layer: the encoder of TensorFlow's tutorial."""

    def make_layers(self):
        convs = [self.conv(width, strides=2) for width in self.filters]  # each halves the image
        return *convs, layers.Flatten(), self.last(layers.Dense)


@register
class ConvDecoder(ConvNet):
    """The mirror: dense to 32 channels, then transposed convolutions; a logit for each pixel."""

    values = 1

    def make_layers(self):
        up = layers.Conv2DTranspose
        first = self.first_image(32, shrink=2 ** len(self.filters))
        convs = [self.conv(width, strides=2, kind=up) for width in self.filters]  # each doubles it
        return *first, *convs, self.last(up, self.kernel_size, 1, "same")


@register
class GaussianConvDecoder(ConvDecoder):
    """The same with mean and log-variance of each pixel."""

    values = 2


class Residual(layers.Layer):
    """h + f(h), two convolutions f (He et al. 2016, arXiv 1603.05027)."""

    def __init__(self, filters, kernel_size, activation, **kwargs):
        super().__init__(**kwargs)
        self.activation, self.kernel_size = layers.Activation(activation), kernel_size
        self.inner = layers.Conv2D(filters, kernel_size, padding="same")

    def build(self, input_shape):
        self.outer = layers.Conv2D(input_shape[-1], self.kernel_size, padding="same")
        self.inner.build(input_shape)
        self.outer.build((*input_shape[:-1], self.inner.filters))

    def call(self, h):
        return h + self.outer(self.activation(self.inner(self.activation(h))))

    def compute_output_shape(self, input_shape):
        return input_shape


@register
class ResidualDecoder(ConvNet):
    """Dense layers, `blocks` residual blocks on places of 4 x 4 pixels, a logit for each pixel.

    `filters`: dense widths, one number inside each block (default: all but the first), channels."""

    values = 1

    def __init__(self, filters, output_shape, blocks=None, **kwargs):
        most = len(as_sizes(filters, "filters")) - 1
        self.blocks = most - 1 if blocks is None else blocks
        if self.blocks not in range(most + 1):
            raise ValueError(f"blocks={blocks!r} with filters={filters!r}: give 0 to {most}")
        super().__init__(filters, output_shape, **kwargs)

    def make_layers(self):
        n, act = len(self.filters) - 1 - self.blocks, self.activation
        dense = [layers.Dense(width, act) for width in self.filters[:n]]
        blocks = [Residual(f, self.kernel_size, act) for f in self.filters[n:-1]]
        first, places = self.first_image(self.filters[-1], 4)
        pixels = self.subpixels(places.target_shape, 4, self.out_shape[-1])
        return *dense, first, places, *blocks, layers.Activation(act), *pixels

    def get_config(self):
        return {**super().get_config(), "blocks": self.blocks}


class Pyramid(ConvNet):
    """Residual blocks at a quarter of the image's size, and dense layers behind a thin image.

    `filters`: four numbers. Few channels next to the dense layer keep its weights few."""

    def __init__(self, filters, output_shape, blocks=2, **kwargs):
        if len(as_sizes(filters, "filters")) != 4:
            raise ValueError(f"filters={filters!r}: give four numbers")
        (self.blocks,) = as_sizes(blocks, "blocks")
        super().__init__(filters, output_shape, **kwargs)

    def get_config(self):
        return {**super().get_config(), "blocks": self.blocks}


@register
class PyramidEncoder(Pyramid):
    """`filters`: channels at half and at a quarter of the size, of the thin image, dense width."""

    def make_layers(self):
        half, quarter, thin, dense = self.filters
        down = self.conv(half, strides=2), layers.Conv2D(quarter, self.kernel_size, 2, "same")
        code = layers.Flatten(), layers.Dense(dense, self.activation), self.last(layers.Dense)
        return *down, *self.blocks_of(quarter, self.blocks), self.conv(thin), *code


@register
class PyramidDecoder(Pyramid):
    """The mirror, with one more residual block at half of the size; a logit for each pixel.

    `filters`: dense width, channels of the thin image, at a quarter and at half of the size."""

    values = 1

    def make_layers(self):
        dense, thin, quarter, half = self.filters
        first, places = self.first_image(thin, 4)
        height, width, _ = places.target_shape
        return (
            layers.Dense(dense, self.activation), first, places,
            layers.Conv2D(quarter, self.kernel_size, padding="same"),
            *self.blocks_of(quarter, self.blocks), *self.subpixels((height, width), 2, half),
            *self.blocks_of(half, 1),
            *self.subpixels((2 * height, 2 * width), 2, self.out_shape[-1]))


ENCODERS = {"gaussian_mlp": GaussianMLP, "conv": ConvEncoder, "pyramid": PyramidEncoder}
DECODERS = {"bernoulli_mlp": BernoulliMLP, "gaussian_mlp": GaussianMLP, "conv": ConvDecoder,
            "conv_gaussian": GaussianConvDecoder, "residual": ResidualDecoder,
            "pyramid": PyramidDecoder}
