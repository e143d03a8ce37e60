"""Images: loading, protocols and the `tf.data` pipeline. Built in notebook 01."""

import numpy as np
import tensorflow as tf

from helpers.course.checks import as_uint8_images, check_choice, check_seed
from helpers.course.checks import check_whole as _whole
from helpers.course.datasets import (  # noqa: F401
    DatasetInvalid,
    DatasetUnavailable,
    ImageDataset,
    Split,
    load,
    load_cifar10,
    load_mnist,
)

PROTOCOLS = ("threshold", "static", "dynamic", "dequantised", "grey")  # grey: x / 255, not binary
TEST_SEED = 2013  # for evaluation: prepare(dataset.test.images, "dynamic", seed=TEST_SEED)


def rescale(images: np.ndarray) -> np.ndarray:
    """Grey values 0 … 255 as float32 in [0, 1], same shape."""
    tf.debugging.assert_type(images, tf.uint8)
    return np.asarray(images) / np.float32(255)


def noise_key(seed, epoch=0, step=0) -> tf.Tensor:
    """Key (2,) for TensorFlow's stateless draws: a function of (seed, epoch, step) alone."""
    pair = tf.cast([seed, epoch], tf.int64)
    return tf.random.fold_in(pair, tf.cast(step, tf.int64), alg="philox")


def binarise(images, key) -> tf.Tensor:
    """One Bernoulli draw: a pixel is 1.0 with probability x / 255, else 0.0."""
    tf.debugging.assert_type(images, tf.uint8)
    u = tf.random.stateless_uniform(tf.shape(images), key, alg="philox")
    return tf.cast(255.0 * u < tf.cast(images, tf.float32), tf.float32)


def dequantise(images, key) -> tf.Tensor:
    """(x + u) / 256 with u ~ U[0, 1), as in Theis et al. (2016), section 3.1; always below 1."""
    tf.debugging.assert_type(images, tf.uint8)
    u = tf.random.stateless_uniform(tf.shape(images), key, alg="philox")
    u = tf.floor(u * 65536.0) / 65536.0  # 16 bits: x + u is exact in float32, never rounded up
    return (tf.cast(images, tf.float32) + u) / 256.0


def apply_protocol(images, protocol, key) -> tf.Tensor:
    """uint8 images -> what a model is trained on, float32 of the same shape."""
    tf.debugging.assert_type(images, tf.uint8)
    if protocol == "dequantised":
        return dequantise(images, key)
    if protocol in ("static", "dynamic"):  # one draw for all epochs, or one for each
        return binarise(images, key)
    x = tf.cast(images, tf.float32) / 255.0
    if protocol == "threshold":
        return tf.cast(x > 0.5, tf.float32)
    if protocol == "grey":
        return x
    raise ValueError(f"protocol must be one of {PROTOCOLS}, got {protocol!r}")


def prepare(images: np.ndarray, protocol: str, *, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """Images (n, h, w, c) under a protocol, float32; drawn by (seed, epoch) and place alone."""
    images = as_uint8_images(images)
    check_choice("protocol", protocol, PROTOCOLS)
    check_seed(seed=seed)
    _whole(low=0, epoch=epoch)
    prepared = np.empty(images.shape, np.float32)
    with tf.device("CPU:0"):
        for block in range(-(-len(images) // 1024)):  # in blocks, for the sake of memory
            rows = slice(block * 1024, (block + 1) * 1024)
            key = noise_key(seed, 0 if protocol == "static" else epoch, block)
            prepared[rows] = apply_protocol(images[rows], protocol, key)
    return prepared


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Batches that hold `n` images, the last one ragged."""
    _whole(n=n, batch_size=batch_size)
    return -(-n // batch_size)


def epoch_order(n, seed, epoch) -> tf.Tensor:
    """Permutation of 0 … n - 1, int32: a function of (seed, epoch) alone."""
    ranks = tf.random.stateless_uniform([n], noise_key(seed, epoch, -1), alg="philox")
    return tf.argsort(ranks, stable=True)  # the batches' noise uses the steps from 0 on


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
    """Batches x (batch, h, w, c), float32, or (x, y) if `labels` (n,) are given.

    All batches of the epochs `initial_epoch` … `epochs - 1`; epoch e depends on (seed, e) alone.
    """
    images, n = as_uint8_images(images), len(images)
    steps = steps_per_epoch(n, batch_size)
    check_choice("protocol", protocol, PROTOCOLS)
    check_seed(seed=seed)
    _whole(low=0, initial_epoch=initial_epoch)
    _whole(low=initial_epoch, epochs=epochs)
    if labels is not None and np.shape(labels) != (n,):
        raise ValueError(f"labels must have shape ({n},), got {np.shape(labels)}")
    if protocol == "static":  # drawn once, and kept as the grey values 0 and 255
        images, protocol = np.uint8(255 * prepare(images, "static", seed=seed)), "threshold"
    with tf.device("CPU:0"):  # where tf.data runs
        images, labels = tf.constant(images), None if labels is None else tf.constant(labels)

    def rows_of_epoch(epoch):
        order = epoch_order(n, seed, epoch) if shuffle else tf.range(n)
        starts = tf.data.Dataset.range(0, n, batch_size)
        return starts.map(lambda i: (epoch, i // batch_size, order[i : i + batch_size]))

    def batch(epoch, step, rows):
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
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(f"dataset {dataset!r}: give a tf.data.Dataset")
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


check_images = as_uint8_images  # old names, for a while
untuned = without_autotune


def check_whole(**values):
    """The old form: name=(value, low)."""
    for name, (value, low) in values.items():
        _whole(low=low, **{name: value})
