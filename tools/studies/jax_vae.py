"""A VAE in backend-neutral Keras, trained on JAX: one device against several, of one machine.

    KERAS_BACKEND=jax XLA_FLAGS=--xla_force_host_platform_device_count=4 \\
        python tools/studies/jax_vae.py IMAGES.npy [--devices 2 4]

XLA_FLAGS makes four devices of one CPU; where there are GPUs, leave it out. IMAGES.npy holds binary
images (n, …), as `numpy.save` writes them. The last line of the output is JSON: for each number of
devices the loss of each epoch, how far loss and weights are from those of one device, and images/s.
It needs Keras 3.10 or later, and neither TensorFlow nor the course's helpers.
"""

import argparse
import json
import sys
import time

import numpy as np

JAX_IS_MISSING = 3  # the exit code
try:
    import keras
    from keras import layers, ops
except ModuleNotFoundError as error:
    if error.name != "jax":
        raise
    print('JAX is not installed here: pip install -e ".[jax]" brings it.', file=sys.stderr)
    sys.exit(JAX_IS_MISSING)

LEARNING_RATE = 1e-3


class VAE(keras.Model):
    """Bernoulli VAE of dense layers, in operations that every backend of Keras has."""

    def __init__(self, pixels, latent_dim, hidden_dim, seed):
        super().__init__(name="vae")
        self.encoder = [layers.Dense(width, "relu") for width in hidden_dim]
        self.moments = layers.Dense(2 * latent_dim)
        self.decoder = [layers.Dense(width, "relu") for width in hidden_dim[::-1]]
        self.logits = layers.Dense(pixels)
        self.noise = keras.random.SeedGenerator(seed)  # (seed, 0), then (seed, 1), …

    def call(self, x):
        """One draw of z for each image: logits, and the moments of q(z|x)."""
        h = x
        for layer in self.encoder:
            h = layer(h)
        z_mean, z_log_var = ops.split(self.moments(h), 2, axis=-1)
        # For the whole batch, whichever device holds which of its images.
        eps = keras.random.normal(ops.shape(z_mean), seed=self.noise)
        h = z_mean + ops.exp(0.5 * z_log_var) * eps
        for layer in self.decoder:
            h = layer(h)
        return self.logits(h), z_mean, z_log_var

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean negative ELBO of the whole batch, with the closed-form KL."""
        logits, z_mean, z_log_var = y_pred
        minus_log_px_z = ops.sum(ops.softplus(logits) - x * logits, axis=-1)
        kl = 0.5 * ops.sum(ops.square(z_mean) + ops.exp(z_log_var) - 1 - z_log_var, axis=-1)
        return ops.mean(minus_log_px_z + kl)


def layout_map(device_mesh):
    """Split the layers over the mesh's axis "model": each device holds some of their units.

    A weight whose whole path fits no pattern is copied to every device, without a word.
    """
    layouts = keras.distribution.LayoutMap(device_mesh)
    layouts[".*dense.*kernel"] = (None, "model")  # rows together, columns split
    layouts[".*dense.*bias"] = ("model",)
    return layouts


def distributions(counts):
    """Name and make what is compared; None is one device, as Keras trains without being told."""
    devices = keras.distribution.list_devices()
    found = {(1, "none"): None}
    for count in counts:
        found[count, "data"] = keras.distribution.DataParallel(devices=devices[:count])
    most = max(counts)
    if most % 2 == 0:  # pairs: each has a share of the batch, each of the two half of the units
        mesh = keras.distribution.DeviceMesh((most // 2, 2), ("batch", "model"), devices[:most])
        parallel = keras.distribution.ModelParallel(layout_map=layout_map(mesh))
        found[most, "model"] = parallel
    return found


class Clock(keras.callbacks.Callback):
    """Note when each epoch ended."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(time.perf_counter())


def share_of_weights(vae):
    """Which part of the weights the first device holds."""
    held = sum(weight.value.addressable_shards[0].data.size for weight in vae.trainable_weights)
    return held / vae.count_params()


def train(x, distribution, options):
    """Train from the same first weights under a distribution: what is told, first and last weights.

    By plain gradient descent: Adam would hide a gradient that is too long.
    """
    keras.distribution.set_distribution(distribution)
    keras.utils.set_random_seed(options.seed)
    vae = VAE(x.shape[1], options.latent_dim, options.hidden_dim, options.seed)
    vae.compile(keras.optimizers.SGD(LEARNING_RATE))
    vae(x[:1])  # creates the weights
    first, clock = vae.get_weights(), Clock()
    settings = dict(batch_size=options.batch_size, epochs=options.epochs, shuffle=False, verbose=0)
    history = vae.fit(x, callbacks=[clock], **settings)
    told = {
        "losses": history.history["loss"],
        "images_per_second": len(x) / float(np.median(np.diff(clock.ends))),
        "share_of_weights": share_of_weights(vae),
    }
    return told, first, vae.get_weights()


def largest_difference(some, others):
    """The largest difference of two lists of arrays."""
    return max(float(np.abs(a - b).max()) for a, b in zip(some, others, strict=True))


def compare(x, options):
    """Train by each distribution; say how far each is from one device."""
    found = []
    for (count, parallel), distribution in distributions(options.devices).items():
        told, first, last = train(x, distribution, options)
        if distribution is None:
            alone, losses, way = last, told["losses"], largest_difference(last, first)
        told |= {"devices": count, "parallel": parallel}
        told["loss_difference"] = float(np.abs(np.divide(told["losses"], losses) - 1).max())
        told["weight_difference"] = largest_difference(last, alone) / way
        found.append(told)
    return found


def arguments(given):
    """The arguments of the call, checked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", help="a file of binary images, written by numpy.save")
    parser.add_argument("--devices", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--latent-dim", type=int, default=40)
    parser.add_argument("--hidden-dim", type=int, nargs="+", default=[512, 512])
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args(given)
    if keras.config.backend() != "jax":
        parser.error(f"Keras runs on {keras.config.backend()}: set KERAS_BACKEND=jax")
    if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 10):
        parser.error(f"Keras {keras.__version__} draws other noise on several devices: take 3.10")
    there = len(keras.distribution.list_devices())
    if max(options.devices) > there:
        parser.error(
            f"{max(options.devices)} devices are asked for, and {there} are there: "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={max(options.devices)} makes as many"
        )
    if options.epochs < 2:
        parser.error(f"{options.epochs} epochs: give two, since the first epoch compiles")
    if any(options.batch_size % count for count in options.devices):
        parser.error(f"a batch of {options.batch_size} cannot be dealt out to {options.devices}")
    return options


def main(given):
    """Compare, and print one line of JSON."""
    options = arguments(given)
    images = np.load(options.images)
    images = images[: len(images) // options.batch_size * options.batch_size]  # whole batches
    x = images.reshape(len(images), -1).astype("float32")
    steps = options.epochs * len(x) // options.batch_size
    print(json.dumps({"steps": steps, "images": len(x), "runs": compare(x, options)}))


if __name__ == "__main__":
    main(sys.argv[1:])
