"""Images: loading, protocols and the `tf.data` pipeline.

Protocols, noise keys and the order of an epoch are built in lesson 01.
"""

import numpy as np
import tensorflow as tf

from helpers.course.checks import as_uint8_images, check_choice, check_seed, check_whole
from helpers.course.datasets import (
    DatasetInvalid,
    DatasetUnavailable,
    ImageDataset,
    Split,
    fixed_order,
    load,
    load_cifar10,
    load_mnist,
)
from helpers.course.facts import Facts, describe
from helpers.course.own_images import (
    from_arrays,
    from_folder,
    picture_sizes,
    without_copies,
    write_example_folder,
)

__all__ = [
    "PROTOCOLS",
    "PURPOSES",
    "TEST_SEED",
    "DatasetInvalid",
    "DatasetUnavailable",
    "Facts",
    "ImageDataset",
    "Split",
    "apply_protocol",
    "binarise",
    "dequantise",
    "describe",
    "epoch_order",
    "from_arrays",
    "from_folder",
    "load",
    "load_cifar10",
    "load_mnist",
    "noise_key",
    "noise_seed",
    "picture_sizes",
    "pipeline",
    "prepare",
    "random_subset",
    "rescale",
    "steps_per_epoch",
    "without_autotune",
    "without_copies",
    "write_example_folder",
]

PROTOCOLS = ("threshold", "static", "dynamic", "dequantised", "grey")  # grey: x / 255, not binary
PURPOSES = ("prepare", "batch", "order", "train", "validate", "score")  # what noise is drawn for
TEST_SEED = 2013  # for evaluation: prepare(dataset.test.images, "dynamic", seed=TEST_SEED)


def random_subset(images: np.ndarray, size: int) -> np.ndarray:
    """Return the first `size` images of one fixed random order.

    All lessons compare models on this subset of the test images; that of a smaller size is part of
    that of a larger one. MNIST's own order will not do: its first images have less ink.

    Parameters
    ----------
    images : array
        Shape (n, …); the labels (n,) of the same images give the labels of the same subset.
    size : int
        Where it is above n, a line says so and all n are returned: the embedded samples are small.

    Returns
    -------
    np.ndarray
        Shape (min(size, n), …).
    """
    check_whole(size=size)
    n = len(images)
    if size > n:
        print(f"Note: {size} images were asked for, and {n} are there: all of them are taken.")
    return np.asarray(images)[fixed_order(n, TEST_SEED)[:size]]


def rescale(images: np.ndarray) -> np.ndarray:
    """Grey values 0 … 255 as float32 in [0, 1], same shape."""
    tf.debugging.assert_type(images, tf.uint8)
    return np.asarray(images) / np.float32(255)


def noise_key(
    seed: int | tf.Tensor,
    epoch: int | tf.Tensor = 0,
    step: int | tf.Tensor = 0,
    purpose: str = "batch",
) -> tf.Tensor:
    """Key (2,) for TensorFlow's stateless draws: a function of these four alone.

    The `purpose`, one of `PURPOSES`, keeps draws apart that count the same epochs and steps, such
    as the noise of a training batch and that of the codes of its images.
    """
    pair = tf.cast([seed, epoch], tf.int64)
    place = tf.cast(step, tf.int64) + 2**40 * PURPOSES.index(purpose)
    return tf.random.fold_in(pair, place, alg="philox")


def noise_seed(
    seed: int | tf.Tensor,
    epoch: int | tf.Tensor = 0,
    step: int | tf.Tensor = 0,
    purpose: str = "train",
) -> tf.Tensor:
    """`noise_key` as a seed (2,), int32, for TFP's distributions, which take no longer numbers."""
    key = noise_key(seed, epoch, step, purpose)
    return tf.random.stateless_uniform([2], key, None, None, tf.int32, alg="philox")


def binarise(images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """One Bernoulli draw: a pixel is 1.0 with probability x / 255, else 0.0."""
    tf.debugging.assert_type(images, tf.uint8)
    u = tf.random.stateless_uniform(tf.shape(images), key, alg="philox")
    return tf.cast(255.0 * u < tf.cast(images, tf.float32), tf.float32)


def dequantise(images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """(x + u) / 256 with u ~ U[0, 1), as in Theis et al. (2016), section 3.1; always below 1."""
    tf.debugging.assert_type(images, tf.uint8)
    u = tf.random.stateless_uniform(tf.shape(images), key, alg="philox")
    u = tf.floor(u * 65536.0) / 65536.0  # 16 bits: x + u is exact in float32, never rounded up
    return (tf.cast(images, tf.float32) + u) / 256.0


def apply_protocol(images: tf.Tensor, protocol: str, key: tf.Tensor) -> tf.Tensor:
    """uint8 images -> what a model is trained on, float32 of the same shape."""
    tf.debugging.assert_type(images, tf.uint8)
    check_choice("protocol", protocol, PROTOCOLS)
    if protocol == "dequantised":
        return dequantise(images, key)
    if protocol in ("static", "dynamic"):  # one draw for all epochs, or one for each
        return binarise(images, key)
    x = tf.cast(images, tf.float32) / 255.0
    if protocol == "threshold":
        return tf.cast(x > 0.5, tf.float32)
    return x


def prepare(images: np.ndarray, protocol: str, *, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """Images under a protocol, drawn by (seed, epoch) and their place alone.

    Two sets of images that are prepared by one seed share their noise: give each its own seed.

    Parameters
    ----------
    images : array
        uint8, shape (n, h, w, c).
    protocol : str
        One of `PROTOCOLS`.
    seed : int
        `TEST_SEED` for test images.
    epoch : int
        Without effect on "static", which is drawn once.

    Returns
    -------
    np.ndarray
        float32, shape (n, h, w, c).
    """
    images = as_uint8_images(images)
    check_choice("protocol", protocol, PROTOCOLS)
    check_seed(seed=seed)
    check_whole(low=0, epoch=epoch)
    prepared = np.empty(images.shape, np.float32)
    with tf.device("CPU:0"):
        for block in range(-(-len(images) // 1024)):  # in blocks, for the sake of memory
            rows = slice(block * 1024, (block + 1) * 1024)
            key = noise_key(seed, 0 if protocol == "static" else epoch, block, "prepare")
            prepared[rows] = apply_protocol(images[rows], protocol, key)
    return prepared


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Batches that hold `n` images, the last one ragged."""
    check_whole(n=n, batch_size=batch_size)
    return -(-n // batch_size)


def epoch_order(n: int, seed: int | tf.Tensor, epoch: int | tf.Tensor) -> tf.Tensor:
    """Permutation of 0 … n - 1, int32: a function of (seed, epoch) alone."""
    ranks = tf.random.stateless_uniform([n], noise_key(seed, epoch, 0, "order"), alg="philox")
    return tf.argsort(ranks, stable=True)


def pipeline(
    images: np.ndarray,
    *,
    protocol: str,
    batch_size: int,
    seed: int,
    epochs: int = 1,
    initial_epoch: int = 0,
    labels: np.ndarray | None = None,
    shuffle: bool = True,
) -> tf.data.Dataset:
    """All batches of the epochs `initial_epoch` … `epochs - 1`; epoch e depends on (seed, e) alone.

    Parameters
    ----------
    images : array
        uint8, shape (n, h, w, c).
    protocol : str
        One of `PROTOCOLS`.
    labels : array, optional
        Shape (n,).
    shuffle : bool
        Each epoch in an order of its own, see `epoch_order`.

    Returns
    -------
    tf.data.Dataset
        Batches x (batch, h, w, c), float32, or pairs (x, y) where there are labels.
    """
    images, n = as_uint8_images(images), len(images)
    steps = steps_per_epoch(n, batch_size)
    check_choice("protocol", protocol, PROTOCOLS)
    check_seed(seed=seed)
    check_whole(low=0, initial_epoch=initial_epoch)
    check_whole(low=initial_epoch, epochs=epochs)
    if labels is not None and np.shape(labels) != (n,):
        raise ValueError(f"labels must have shape ({n},), got {np.shape(labels)}")
    if protocol == "static":  # drawn once, and kept as the grey values 0 and 255
        images, protocol = np.uint8(255 * prepare(images, "static", seed=seed)), "threshold"
    with tf.device("CPU:0"):  # where tf.data runs
        images, labels = tf.constant(images), None if labels is None else tf.constant(labels)

    def rows_of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = epoch_order(n, seed, epoch) if shuffle else tf.range(n)
        starts = tf.data.Dataset.range(0, n, batch_size)
        return starts.map(lambda i: (epoch, i // batch_size, order[i : i + batch_size]))

    def batch(epoch: tf.Tensor, step: tf.Tensor, rows: tf.Tensor) -> tf.Tensor | tuple:
        x = apply_protocol(tf.gather(images, rows), protocol, noise_key(seed, epoch, step))
        return x if labels is None else (x, tf.gather(labels, rows))

    batches = tf.data.Dataset.range(initial_epoch, epochs).flat_map(rows_of_epoch).map(batch)
    count = tf.data.experimental.assert_cardinality(steps * (epochs - initial_epoch))
    return without_autotune(batches.apply(count).prefetch(2))


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same batches without tf.data's tuning thread.

    When the iterator ends, TensorFlow waits for that thread, which sleeps for as long as it has
    already lived (10 ms, 20 ms, … 60 s): a short `fit` takes up to twice its time.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
