"""Networks that map tensors to *parameters* of distributions.

Every network returns the same triple ``(mean_or_logits, log_var, context)``; what a network does
not have is ``None``. No network returns a distribution: `helpers.vae.VAE` wraps the parameters.
"""

import keras
import numpy as np
import tensorflow as tf

LOG_VAR_BOUND = 10.0  # standard deviations stay within [exp(-5), exp(5)]


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
    if not sizes.size or not all(isinstance(n, int | np.integer) and n >= 1 for n in sizes):
        raise ValueError(f"{name}={value!r}: give a whole number >= 1, or a sequence of them")
    return tuple(int(n) for n in sizes)


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
        self.context_head = keras.layers.Dense(context_dim, activation) if context_dim else None

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
                "context_dim": self.context_dim, "activation": self.activation}  # fmt: skip


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
        return {
            "hidden_dim": list(self.hidden_dim),
            "output_shape": list(self.out_shape),
            "activation": self.activation,
        }


ENCODERS = {"gaussian_mlp": GaussianMLP}
DECODERS = {"bernoulli_mlp": BernoulliMLP, "gaussian_mlp": GaussianMLP}
