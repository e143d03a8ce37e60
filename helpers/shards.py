"""Images in files of records, for data that do not fit into memory, or into one worker.

A shard is a TFRecord file: one record after another, each with its length and a checksum. A record
of ours is a `tf.train.Example` that holds an image and its index among all images.
"""

import functools
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from helpers import data
from helpers.course.checks import (
    as_uint8_images,
    check_choice,
    check_seed,
    check_whole,
)

POLICIES = {
    "file": tf.data.experimental.AutoShardPolicy.FILE,
    "data": tf.data.experimental.AutoShardPolicy.DATA,
}
FEATURES = {
    "index": tf.io.FixedLenFeature((), tf.int64),
    "shape": tf.io.FixedLenFeature((3,), tf.int64),
    "image": tf.io.FixedLenFeature((), tf.string),
}
BLOCK = 1000  # records that are shuffled among themselves
_NAME = re.compile(r"images-(\d{5})-of-(\d{5})\.tfrecord")
_LENGTH, _CHECKSUM = struct.Struct("<Q"), 4  # a record: length, checksum, content, checksum


def write_shards(images: np.ndarray, folder: str | os.PathLike, shards: int) -> list[Path]:
    """Write images into files of nearly equal size; image i goes into file i modulo `shards`.

    Parameters
    ----------
    images : np.ndarray
        uint8, shape (n, height, width, channels).
    folder : path-like
        Made where it does not exist. A file gets its name when it is whole.
    shards : int
        How many files; at most n.

    Returns
    -------
    list of Path
        ``images-00000-of-00004.tfrecord`` and so on.

    Raises
    ------
    ValueError, TypeError
        The images are not of that kind, or fewer than the files, or the folder holds shards.
    """
    images = as_uint8_images(images)
    check_whole(shards=shards)
    if shards > len(images):
        raise ValueError(f"{len(images)} images do not fill {shards} shards: write fewer")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(_NAME.fullmatch(path.name) for path in folder.iterdir()):
        raise ValueError(f"{folder} holds shards already: name an empty folder")
    paths = [folder / f"images-{k:05d}-of-{shards:05d}.tfrecord" for k in range(shards)]
    for k, path in enumerate(paths):
        temporary = path.with_suffix(".unfinished")
        with tf.io.TFRecordWriter(str(temporary)) as file:
            for index in range(k, len(images), shards):
                file.write(_record(index, images[index]))
        os.replace(temporary, path)
    return paths


def read_shards(
    folder: str | os.PathLike,
    *,
    policy: str = "file",
    workers: int = 1,
    seed: int = 0,
    epoch: int = 0,
) -> tf.data.Dataset:
    """Return the images of a folder of shards, each once, in an order drawn by (seed, epoch).

    The files are opened in a random order and read in turn, a record of each; every thousand
    records are shuffled among themselves. `policy` says how a strategy deals the images out to
    several workers; a dataset that no strategy distributes yields all of them.

    Parameters
    ----------
    folder : path-like
        Written by `write_shards`.
    policy : {"file", "data"}
        Each worker reads files of its own, so that the batches depend on how many workers there
        are; or all read all files, and each keeps its share of every batch.
    workers : int
        How many there will be: under "file" there must be a file for each.
    seed, epoch : int

    Returns
    -------
    tf.data.Dataset
        Pairs of an index, int64, shape (), and an image, uint8, shape (height, width, channels).

    Raises
    ------
    ValueError
        There are no shards, one is missing or cut short, or they are fewer than the workers.
    """
    check_choice("policy", policy, POLICIES)
    check_whole(workers=workers)
    check_seed(seed=seed)
    check_whole(low=0, epoch=epoch)
    paths = _find_shards(folder)
    if policy == "file" and len(paths) < workers:
        raise ValueError(
            f"{workers} workers cannot share {len(paths)} files: write at least {workers} shards, "
            "or choose policy='data'"
        )
    for path in paths:
        count_records(path)
    first = next(iter(tf.data.TFRecordDataset(paths[0])))
    shape = tf.io.parse_single_example(first, FEATURES)["shape"].numpy()

    def shuffled(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parts = tf.io.parse_example(records, FEATURES)
        indices, pixels = parts["index"], tf.io.decode_raw(parts["image"], tf.uint8)
        # The first image tells the blocks apart: a counter TensorFlow could not deal out.
        key = data.noise_key(seed, epoch, 1 + indices[0], "order")  # 0 is that of the files
        ranks = tf.random.stateless_uniform([tf.size(indices)], key, alg="philox")
        order = tf.argsort(ranks, stable=True)
        images = tf.reshape(pixels, (-1, *shape))
        return tf.gather(indices, order), tf.gather(images, order)

    order = data.epoch_order(len(paths), seed, epoch).numpy()
    files = tf.data.Dataset.from_tensor_slices([str(paths[k]) for k in order])
    records = files.interleave(tf.data.TFRecordDataset, cycle_length=len(paths), block_length=1)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = POLICIES[policy]
    images = records.batch(BLOCK).map(shuffled).unbatch()
    return data.without_autotune(images.with_options(options))


def _find_shards(folder: str | os.PathLike) -> list[Path]:
    """Return the shards of a folder, in order.

    Raises
    ------
    ValueError
        There are none, one is missing, or they belong to several sets.
    """
    folder = Path(folder)
    paths = sorted(path for path in folder.glob("*") if _NAME.fullmatch(path.name))
    if not paths:
        raise ValueError(f"{folder} holds no shards: write them with shards.write_shards")
    totals = {int(_NAME.fullmatch(path.name)[2]) for path in paths}
    if totals != {len(paths)}:
        wanted = " and ".join(map(str, sorted(totals)))
        raise ValueError(
            f"{folder} holds {len(paths)} shards of a set of {wanted}: write them again, into an "
            "empty folder"
        )
    return paths


def count_records(path: str | os.PathLike) -> int:
    """Return how many records a shard holds, by their lengths alone.

    A shard is read once, and again only where its size has changed.

    Raises
    ------
    ValueError
        It is cut short, or empty.
    """
    path = Path(path)
    return _count_records(path, path.stat().st_size)


@functools.cache  # each epoch asks again, and a file that is cut short has another size
def _count_records(path: Path, size: int) -> int:
    """Return how many records a shard of so many bytes holds."""
    count = sum(1 for _ in _ends(path, size))
    if not count:
        raise ValueError(f"{path} is empty: write the shards again")
    return count


def _ends(path: Path, size: int) -> Iterator[int]:
    """Yield where each record of a shard of so many bytes ends."""
    end = 0
    with open(path, "rb") as file:
        while end < size:
            file.seek(end)
            header = file.read(_LENGTH.size)
            if len(header) == _LENGTH.size:
                end += _LENGTH.size + _CHECKSUM + _LENGTH.unpack(header)[0] + _CHECKSUM
            if len(header) < _LENGTH.size or end > size:
                raise ValueError(f"{path} is cut short: write the shards again")
            yield end


def _record(index: int, image: np.ndarray) -> bytes:
    """Return an image and its index as a record."""

    def whole(*numbers: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))

    content = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()]))
    parts = {"index": whole(index), "shape": whole(*image.shape), "image": content}
    return tf.train.Example(features=tf.train.Features(feature=parts)).SerializeToString()
