"""Loading, checking, splits, protocols and the pipeline. No test needs the network."""

import hashlib
import http.server
import io
import os
import pickle
import socket
import tarfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from helpers import data

KEYS = ("x_train", "y_train", "x_test", "y_test")


def arrays_of(spec, seed=0):
    """Random arrays in the sizes of ``spec``; the images are all different."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, n in zip(("train", "test"), spec.sizes, strict=True):
        arrays[f"x_{split}"] = rng.integers(0, 256, (n, *spec.shape), dtype=np.uint8)
        arrays[f"y_{split}"] = (np.arange(n) % 10).astype(np.uint8)
    return arrays


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder; data sets a thousand times smaller; no address leads anywhere."""
    for name in ("VAE_PROFILE", "VAE_CIFAR10_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAE_DATA", "real")
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(data, "MNIST", data.MNIST._replace(sizes=(60, 10)))
    monkeypatch.setattr(data, "CIFAR10", data.CIFAR10._replace(sizes=(50, 10)))
    monkeypatch.setattr(data, "VALIDATION_SIZE", 5)
    monkeypatch.setattr(data, "STALL_SECONDS", 0.5)
    nowhere = "http://127.0.0.1:9/nothing"
    monkeypatch.setattr(data, "MNIST_URL", nowhere)
    monkeypatch.setattr(data, "CIFAR10_URLS", (nowhere,))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


# ------------------------------------------------------------------------------ where data is found


def test_file_is_used_and_an_unknown_one_is_named_without_a_path(folder, capsys):
    arrays = arrays_of(data.MNIST)
    np.savez(folder / "mnist.npz", **arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = data.load_mnist()
    digest = hashlib.sha256(b"".join(arrays[key].tobytes() for key in KEYS)).hexdigest()
    assert dataset.label == f"MNIST (unknown file {digest[:8]})" and not dataset.official
    out, err = capsys.readouterr()
    assert dataset.label in out and str(folder) not in out and not err
    assert str(folder) not in dataset.source
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (55, 5, 10)
    assert dataset.image_shape == (28, 28, 1) and dataset.class_names == tuple("0123456789")
    np.testing.assert_array_equal(dataset.test.images, arrays["x_test"])
    np.testing.assert_array_equal(dataset.test.labels, arrays["y_test"])


def test_known_content_is_official_whatever_its_container(folder, monkeypatch, capsys):
    arrays = arrays_of(data.MNIST)
    arrays["y_train"] = arrays["y_train"].astype(np.int64)[:, None]  # as Keras returns CIFAR-10's
    arrays["x_train"] = arrays["x_train"][..., 0]
    np.savez_compressed(folder / "mnist.npz", **arrays)
    label = data.load_mnist().label
    digest = data._digest([np.asarray(arrays[key], np.uint8) for key in KEYS])
    assert digest[:8] in label
    monkeypatch.setitem(data.KNOWN, digest, ("official content", True))
    capsys.readouterr()
    dataset = data.load_mnist()
    assert dataset.official and dataset.label == "MNIST" and capsys.readouterr().out == ""


def test_environment_is_read_at_each_call_and_empty_means_unset(folder, monkeypatch, tmp_path):
    np.savez(folder / "mnist.npz", **arrays_of(data.MNIST))
    monkeypatch.setenv("VAE_DATA", "")
    assert data.load_mnist().name == "MNIST"
    for name, value in (("VAE_DATA", "embedded"), ("VAE_PROFILE", "quick")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert "embedded" in data.load_mnist().label
            assert "embedded" in data.load_cifar10().label
    monkeypatch.setenv("VAE_PROFILE", "quick")
    monkeypatch.setenv("VAE_DATA", "real")
    assert data.load_mnist().name == "MNIST"
    monkeypatch.setenv("VAE_DATA", "fake")
    with pytest.raises(ValueError, match=r"VAE_DATA must be one of .*'embedded', .*got 'fake'"):
        data.load_mnist()


def test_default_folder_is_beside_helpers_and_never_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    root = Path(data.__file__).resolve().parent.parent
    for value in (None, ""):
        monkeypatch.setenv("VAE_DATA_DIR", "") if value == "" else monkeypatch.delenv(
            "VAE_DATA_DIR", raising=False
        )
        assert data.data_dir() == root / "data"
    monkeypatch.setenv("VAE_DATA_DIR", "elsewhere")
    assert data.data_dir() == root / "elsewhere"
    monkeypatch.setenv("VAE_DATA_DIR", "~/images")
    assert data.data_dir() == Path.home() / "images"


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"name must be one of 'mnist', 'cifar10', got 'svhn'"):
        data.load("svhn")


# ------------------------------------------------------------------------------------------- splits


def test_splits_are_disjoint_complete_and_fixed(folder):
    arrays = arrays_of(data.MNIST)
    np.savez(folder / "mnist.npz", **arrays)
    first, second = data.load_mnist(), data.load_mnist()
    parts = [first.train.images, first.validation.images]
    rows = [{image.tobytes() for image in part} for part in parts]
    assert not rows[0] & rows[1]
    assert rows[0] | rows[1] == {image.tobytes() for image in arrays["x_train"]}
    np.testing.assert_array_equal(first.validation.images, second.validation.images)
    labels = {x.tobytes(): y for x, y in zip(arrays["x_train"], arrays["y_train"], strict=True)}
    for split in (first.train, first.validation):
        assert [labels[image.tobytes()] for image in split.images] == list(split.labels)


def test_the_split_never_changes():
    order = data._order(60_000)
    assert sorted(order) == list(range(60_000))
    assert order[:5].tolist() == [11640, 51538, 21032, 18314, 54535]


def test_embedded_digits(monkeypatch, capsys):
    monkeypatch.setenv("VAE_DATA", "embedded")
    digits = data.load_mnist()
    assert [len(s) for s in (digits.train, digits.validation, digits.test)] == [1297, 200, 300]
    assert digits.image_shape == (28, 28, 1) and not digits.official
    assert digits.label == "digits sample (embedded, not MNIST)"
    assert digits.label in capsys.readouterr().out
    splits = (digits.train, digits.validation, digits.test)
    assert all(set(split.labels) == set(range(10)) for split in splits)
    assert digits.train.images.min() == 0 and digits.train.images.max() == 255
    everything = [image.tobytes() for split in splits for image in split.images]
    assert len(set(everything)) > 1790  # (nearly) all different: no image in two splits


def test_embedded_photographs_share_no_pixel_between_splits(monkeypatch):
    monkeypatch.setenv("VAE_DATA", "embedded")
    photos = data.load_cifar10()
    splits = (photos.train, photos.validation, photos.test)
    assert [len(split) for split in splits] == [1400, 150, 300]
    assert photos.image_shape == (32, 32, 3) and "not CIFAR-10" in photos.label
    quarters = []  # patches lie 16 pixels apart: two that overlap share a quarter
    for split in splits:
        assert set(split.labels) == {0, 1}
        blocks = split.images.reshape(-1, 2, 16, 2, 16, 3).swapaxes(2, 3).reshape(-1, 16, 16, 3)
        quarters.append({block.tobytes() for block in blocks})
    assert not quarters[0] & quarters[1] and not quarters[0] & quarters[2]
    assert not quarters[1] & quarters[2]
    reds = [photos.train.images[photos.train.labels == i][..., 0].mean() for i in (0, 1)]
    assert abs(reds[0] - reds[1]) > 20  # the label is the photograph: one is redder


def test_data_sets_cannot_be_changed():
    images = np.zeros((3, 4, 4, 1), np.uint8)
    split = data.Split(images, np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        split.images[0] = 1
    images[0] = 1  # the caller's own array stays as it was
    with pytest.raises(AttributeError):
        split.images = images
    with pytest.raises(ValueError, match="labels must be uint8"):
        data.Split(images, np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match=r"images must be uint8 \(n, h, w, c\), got float64"):
        data.Split(images / 2, np.zeros(3, np.uint8))


# ---------------------------------------------------------------------------------------- bad files


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (Path(self.marker),))


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-3000])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[5000] ^= 255
    path.write_bytes(content)


def _folder(path):
    path.unlink()
    path.mkdir()


def _broken_link(path):
    path.unlink()
    path.symlink_to(path.parent / "target.npz")


BAD_ARRAYS = {
    "missing key": (lambda a: a.pop("y_test"), "y_test is not a file"),
    "float images": (lambda a: a.update(x_test=a["x_test"] / 255), "x_test has dtype float64"),
    "float labels": (lambda a: a.update(y_test=a["y_test"] / 1), "y_test has dtype float64"),
    "wrong height": (lambda a: a.update(x_test=a["x_test"][:, 1:]), r"x_test has shape \(10, 27"),
    "too few": (lambda a: a.update(x_train=a["x_train"][1:]), r"x_train has shape \(59, 28"),
    "labels short": (lambda a: a.update(y_train=a["y_train"][1:]), r"y_train has shape \(59,\)"),
    "label 10": (lambda a: a["y_test"].__setitem__(3, 10), "y_test has labels from 0 to 10"),
    "label -1": (lambda a: a.update(y_test=a["y_test"].astype(int) - 1), "labels from -1 to 8"),
}
BAD_FILES = {
    "truncated": (_truncate, "not a zip file"),
    "damaged": (_flip, "Bad CRC"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "text": (lambda path: path.write_text("<html>Not found</html>"), "not a zip file"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps([1, 2])), "not a zip file"),
    "folder": (_folder, "a folder"),
    "broken link": (_broken_link, "a broken link"),
    "pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "a folder or"),
}


def state(path):
    return path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else sorted(os.listdir())


def refused(path, match):
    before = state(path)
    with pytest.raises(data.DatasetInvalid, match=match) as caught:
        data.load_mnist()
    assert str(path) in str(caught.value) and "VAE_DATA=embedded" in str(caught.value)
    assert len(str(caught.value)) < 700
    assert state(path) == before and os.listdir(path.parent) == ["mnist.npz"]


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_wrong_arrays_are_refused(folder, case):
    arrays = arrays_of(data.MNIST)
    damage, match = BAD_ARRAYS[case]
    damage(arrays)
    np.savez(folder / "mnist.npz", **arrays)
    refused(folder / "mnist.npz", match)


@pytest.mark.parametrize("case", BAD_FILES)
def test_wrong_files_are_refused(folder, case):
    path = folder / "mnist.npz"
    np.savez(path, **arrays_of(data.MNIST))
    damage, match = BAD_FILES[case]
    damage(path)
    refused(path, match)


@pytest.mark.parametrize("key", ["y_train", "provenance"])
def test_objects_are_never_unpickled(folder, tmp_path, key):
    arrays = arrays_of(data.MNIST)
    arrays[key] = np.array([Evil(tmp_path / "marker")] * 60, object)
    np.savez(folder / "mnist.npz", **arrays)
    refused(folder / "mnist.npz", "Object arrays cannot be loaded")
    assert not (tmp_path / "marker").exists()


def test_a_file_that_unpacks_to_too_much_is_refused_unread(folder, monkeypatch):
    arrays = arrays_of(data.MNIST) | {"more": np.zeros(2_000_000, np.uint8)}
    np.savez_compressed(folder / "mnist.npz", **arrays)
    monkeypatch.setattr(data, "MAX_UNPACKED", 1_000_000)
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("was read"))
    refused(folder / "mnist.npz", "unpack to more than 1000000 bytes")


def test_no_permission(folder, monkeypatch):
    path = folder / "mnist.npz"
    np.savez(path, **arrays_of(data.MNIST))

    def refuse(self, *args, **kwargs):  # root may read everything, so this is simulated
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(data.DatasetInvalid, match=r"Permission denied.*left as it is"):
            data.load_mnist()


def test_links_are_read(folder, tmp_path):
    np.savez(tmp_path / "real.npz", **arrays_of(data.MNIST))
    (folder / "mnist.npz").symlink_to(tmp_path / "real.npz")
    before = (tmp_path / "real.npz").read_bytes()
    assert len(data.load_mnist().test) == 10
    assert (tmp_path / "real.npz").read_bytes() == before and (folder / "mnist.npz").is_symlink()


# ---------------------------------------------------------------------------------------- downloads


def archive_of(arrays, extra=None) -> bytes:
    """A CIFAR-10 archive as published: five batches and a test batch, channels first, pickled."""
    content, buffer = [], io.BytesIO()
    x = np.concatenate([arrays["x_train"], arrays["x_test"]]).transpose(0, 3, 1, 2)
    y = np.concatenate([arrays["y_train"], arrays["y_test"]])
    for i, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        rows = slice(10 * i, 10 * i + 10)
        batch = {b"data": x[rows].reshape(10, -1), b"labels": y[rows].tolist(), b"extra": extra}
        content.append((name, pickle.dumps(batch)))
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, blob in content:
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(blob)
            tar.addfile(member, io.BytesIO(blob))
    return buffer.getvalue()


@pytest.fixture
def server():
    """A server on loopback: ``server.bodies[path]`` is sent, as ``server.modes[path]`` says."""
    release = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.requests.append(self.path)
            body = server.bodies.get(self.path)
            mode = server.modes.get(self.path, "whole")
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if mode in ("whole", "slow") else body[: len(body) // 2])
            self.wfile.flush()
            if mode == "stall":
                release.wait(20)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.bodies, server.modes, server.requests = {}, {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cifar(folder, server, monkeypatch):
    """A good archive under /good, with the digest that the module expects."""
    arrays = arrays_of(data.CIFAR10)
    server.bodies["/good"] = archive_of(arrays)
    digest = hashlib.sha256(server.bodies["/good"]).hexdigest()
    monkeypatch.setattr(data, "CIFAR10_SHA256", digest)
    monkeypatch.setattr(data, "CIFAR10_URLS", (f"{server.url}/good",))
    return arrays


def holds_only(folder, *names):
    """Whether the folder holds these files and no leftovers (the lock may stay)."""
    return sorted(p for p in os.listdir(folder) if not p.endswith(".lock")) == sorted(names)


def test_cifar10_is_downloaded_once_and_cached(cifar, folder, server):
    dataset = data.load_cifar10()
    assert dataset.official and dataset.label == "CIFAR-10"
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (45, 5, 10)
    np.testing.assert_array_equal(dataset.test.images, cifar["x_test"])
    np.testing.assert_array_equal(dataset.test.labels, cifar["y_test"])
    together = np.concatenate([dataset.train.images, dataset.validation.images])
    order = data._order(50)
    np.testing.assert_array_equal(together, cifar["x_train"][order])
    assert holds_only(folder, "cifar10.npz")
    assert data.load_cifar10().official and server.requests == ["/good"]


def test_changed_cache_is_no_longer_official(cifar, folder):
    data.load_cifar10()
    arrays = dict(np.load(folder / "cifar10.npz"))
    arrays["x_test"][0, 0, 0, 0] ^= 1
    np.savez(folder / "cifar10.npz", **arrays)
    assert "unknown file" in data.load_cifar10().label


def test_wrong_digest_is_never_opened_and_the_next_mirror_serves(
    cifar, folder, server, tmp_path, monkeypatch
):
    server.bodies["/evil"] = archive_of(cifar, extra=Evil(tmp_path / "marker"))
    monkeypatch.setenv("VAE_CIFAR10_URL", f"{server.url}/evil")
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", lambda *a, **k: pytest.fail("was opened"))
        with pytest.raises(data.DatasetUnavailable, match="hash does not match"):
            data.load_cifar10()
    assert holds_only(folder) and not (tmp_path / "marker").exists()
    server.modes["/half"], server.bodies["/half"] = "cut", server.bodies["/good"]
    addresses = [f"{server.url}/{name}" for name in ("evil", "missing", "half", "good")]
    monkeypatch.setenv("VAE_CIFAR10_URL", " ".join(addresses))
    assert data.load_cifar10().official
    assert server.requests == ["/evil", "/evil", "/missing", "/half", "/good"]
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("mode", ["stall", "cut"])
def test_stalled_and_cut_downloads_end_soon_and_leave_nothing(cifar, folder, server, mode):
    server.modes["/good"] = mode
    start = time.monotonic()
    with pytest.raises(data.DatasetUnavailable, match="Three ways out") as caught:
        data.load_cifar10()
    assert time.monotonic() - start < 10 and socket.getdefaulttimeout() is None
    assert ("timed out" if mode == "stall" else "incomplete") in str(caught.value)
    assert holds_only(folder)
    server.modes["/good"] = "whole"
    assert data.load_cifar10().official


@pytest.mark.parametrize("load", [data.load_mnist, data.load_cifar10])
def test_no_network_names_the_three_ways_out(folder, load):
    with pytest.raises(data.DatasetUnavailable) as caught:
        load()
    message = str(caught.value)
    assert all(word in message for word in ("go online", str(folder), "VAE_DATA=embedded"))
    assert "Connection refused" in message and holds_only(folder)


def test_folder_that_cannot_be_written(folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(data.DatasetUnavailable, match="Three ways out"):
        data.load_mnist()
    assert (tmp_path / "file").read_text() == ""


def test_mnist_comes_through_keras(folder, server, monkeypatch):
    buffer = io.BytesIO()
    arrays = arrays_of(data.MNIST)
    np.savez(buffer, **{**arrays, "x_test": arrays["x_test"][..., 0]})
    server.bodies["/mnist.npz"] = buffer.getvalue()
    monkeypatch.setattr(data, "MNIST_URL", f"{server.url}/mnist.npz")
    monkeypatch.setattr(data, "MNIST_SHA256", "0" * 64)
    with pytest.raises(data.DatasetUnavailable, match="hash does not match"):
        data.load_mnist()
    assert holds_only(folder)
    monkeypatch.setattr(data, "MNIST_SHA256", hashlib.sha256(buffer.getvalue()).hexdigest())
    np.testing.assert_array_equal(data.load_mnist().test.images, arrays["x_test"])
    assert holds_only(folder, "mnist.npz")
    data.load_mnist()
    assert len(server.requests) == 2


def test_two_at_once_download_once(cifar, folder, server):
    found = []
    threads = [threading.Thread(target=lambda: found.append(data.load_cifar10())) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [dataset.official for dataset in found] == [True, True]
    assert server.requests == ["/good"] and holds_only(folder, "cifar10.npz")


# ---------------------------------------------------------------------------------------- protocols


def greys(n=400):
    """Images (n, 16, 16, 1) that hold every grey value once."""
    return np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (n, 1, 1, 1))


@pytest.mark.parametrize("protocol", data.PROTOCOLS)
def test_prepare_returns_float32_of_the_same_shape(protocol):
    images = greys(3)
    x = data.prepare(images, protocol)
    assert isinstance(x, np.ndarray) and x.dtype == np.float32 and x.shape == images.shape
    assert x.min() >= 0 and x.max() <= 1
    assert images.dtype == np.uint8
    binary = set(np.unique(x)) == {0.0, 1.0}
    assert binary == (protocol in ("threshold", "static", "dynamic"))


def test_threshold_is_above_one_half():
    x = data.prepare(greys(1), "threshold").ravel()
    assert x[127] == 0 and x[128] == 1 and x.sum() == 128


def test_bernoulli_draws_have_the_right_mean_and_keep_black_and_white():
    images = greys()
    for protocol in ("static", "dynamic"):
        x = data.prepare(images, protocol, seed=3).reshape(len(images), 256)
        assert not x[:, 0].any() and x[:, 255].all()
        p = np.arange(256) / 255
        sigma = np.sqrt(p * (1 - p) / len(images))
        assert np.all(abs(x.mean(0) - p) <= 5 * sigma)
        pairs = x[:, 100:155] - p[100:155]  # neighbouring pixels are drawn independently
        assert abs(np.mean(pairs[:, 1:] * pairs[:, :-1])) < 0.01
        assert abs(np.mean(pairs[1:] * pairs[:-1])) < 0.01


def test_static_is_drawn_once_and_dynamic_in_every_epoch():
    images = greys(5)

    def draw(protocol, seed, epoch):
        return data.prepare(images, protocol, seed=seed, epoch=epoch)

    np.testing.assert_array_equal(draw("static", 1, 0), draw("static", 1, 7))
    np.testing.assert_array_equal(draw("dynamic", 1, 7), draw("dynamic", 1, 7))
    for other in (draw("dynamic", 1, 8), draw("dynamic", 2, 7), draw("dynamic", 7, 1)):
        assert np.mean(draw("dynamic", 1, 7) != other) > 0.2
    assert np.mean(draw("static", 1, 0) != draw("static", 2, 0)) > 0.2


def test_dequantised_values_stay_in_their_bin_and_fill_it():
    images = greys(2000)
    y = data.prepare(images, "dequantised", seed=1)
    assert y.max() < 1
    np.testing.assert_array_equal(np.floor(y * 256), images)
    u = y.astype(np.float64) * 256 - images
    assert abs(u.mean() - 0.5) < 0.002 and abs(u.var() - 1 / 12) < 0.001
    counts = np.histogram(u, 16, (0, 1))[0] / u.size
    assert np.all(abs(counts - 1 / 16) < 0.002)
    assert not np.array_equal(y, data.prepare(images, "dequantised", seed=1, epoch=1))


def test_extreme_draws_stay_in_range(monkeypatch):
    """The largest number that TensorFlow can draw below 1 must not round a pixel up."""
    top = np.float32(1 - 2.0**-23)
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda s, *a, **k: tf.fill(s, top))
    y = data.dequantise(greys(1), [0, 0]).numpy()
    np.testing.assert_array_equal(np.floor(y * 256), greys(1))
    assert data.binarise(greys(1), [0, 0]).numpy().sum() == 1  # white stays white, 254 goes black


def test_the_first_images_keep_their_draw():
    images = np.full((2500, 5, 5, 3), 100, np.uint8)
    for protocol in ("static", "dynamic", "dequantised"):
        whole = data.prepare(images, protocol, seed=4)
        np.testing.assert_array_equal(whole[:1100], data.prepare(images[:1100], protocol, seed=4))
        assert not np.array_equal(whole[:1024], whole[1024:2048])  # no block repeats


def test_draws_are_the_same_with_every_version():
    """Recorded draws: published numbers depend on them."""
    x = data.prepare(greys(8), "dynamic", seed=data.TEST_SEED)
    order = data.epoch_order(1000, 7, 3).numpy()
    digest = hashlib.sha256(np.packbits(x.astype(bool)).tobytes()).hexdigest()
    assert digest.startswith("e9ee7832a468b296")
    assert order[:5].tolist() == [287, 188, 810, 657, 138]


def test_rescale():
    images = greys(2)
    x = data.rescale(images)
    assert x.dtype == np.float32 and x.max() == 1 and x.min() == 0 and x.shape == images.shape
    np.testing.assert_allclose(x, images / 255, atol=1e-7)
    np.testing.assert_allclose(data.prepare(images, "grey"), x, atol=1e-7)
    with pytest.raises(TypeError, match="uint8"):
        data.rescale(x)


# ----------------------------------------------------------------------------------------- pipeline


def batches(n=10, batch_size=4, protocol="grey", seed=1, images=None, **options):
    """Lists of the batches x and y; the labels number the images."""
    images = np.full((n, 6, 6, 1), 128, np.uint8) if images is None else images
    dataset = data.pipeline(images, protocol=protocol, batch_size=batch_size, seed=seed,
                            labels=np.arange(len(images)), **options)  # fmt: skip
    pairs = list(dataset.as_numpy_iterator())
    return [x for x, _ in pairs], [y for _, y in pairs]


def test_every_epoch_holds_every_image_once_with_a_ragged_last_batch():
    x, y = batches(n=10, batch_size=4, epochs=3)
    assert [len(part) for part in y] == [4, 4, 2] * 3 and [len(part) for part in x] == [4, 4, 2] * 3
    for epoch in range(3):
        assert sorted(np.concatenate(y[3 * epoch : 3 * epoch + 3])) == list(range(10))
    assert x[0].dtype == np.float32 and x[0].shape == (4, 6, 6, 1)
    assert data.steps_per_epoch(10, 4) == 3 and data.steps_per_epoch(8, 4) == 2
    assert [len(part) for part in batches(n=3, batch_size=100)[1]] == [3]


def test_length_is_known():
    images = np.zeros((10, 2, 2, 1), np.uint8)
    options = {"protocol": "grey", "batch_size": 4, "seed": 0}
    assert len(data.pipeline(images, epochs=5, initial_epoch=2, **options)) == 9
    assert list(data.pipeline(images, epochs=2, initial_epoch=2, **options)) == []
    element = data.pipeline(images, **options).element_spec
    assert element.shape.as_list() == [None, 2, 2, 1] and element.dtype == tf.float32


def test_labels_follow_their_images():
    images = np.arange(200, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    x, y = batches(images=images, batch_size=7, epochs=2)
    for part, labels in zip(x, y, strict=True):
        np.testing.assert_allclose(part[:, 0, 0, 0], labels / 255, atol=1e-6)


def test_order_depends_on_seed_and_epoch_and_can_be_switched_off():
    n = 50
    orders = [np.concatenate(batches(n, n, seed=s, epochs=e + 1, initial_epoch=e)[1])
              for s, e in ((1, 0), (1, 1), (2, 0), (0, 1))]  # fmt: skip
    assert len({order.tobytes() for order in orders}) == 4
    assert all(np.mean(order == np.arange(n)) < 0.3 for order in orders)
    np.testing.assert_array_equal(orders[1], data.epoch_order(n, 1, 1))
    plain = np.concatenate(batches(n, 8, shuffle=False, epochs=2)[1])
    np.testing.assert_array_equal(plain, np.tile(np.arange(n), 2))


@pytest.mark.parametrize("protocol", data.PROTOCOLS)
def test_an_epoch_is_a_function_of_seed_and_epoch_alone(protocol):
    whole = batches(protocol=protocol, epochs=4)
    resumed = batches(protocol=protocol, epochs=4, initial_epoch=2)
    shorter = batches(protocol=protocol, epochs=3, initial_epoch=2)
    for full, rest, part in zip(whole, resumed, shorter, strict=True):
        assert len(full) == 12 and len(rest) == 6 and len(part) == 3
        for a, b in zip(full[6:], rest, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(rest, part, strict=False):
            np.testing.assert_array_equal(a, b)


def by_image(protocol, **options):
    """Images of each epoch, put back into the order of the data set: (epoch, n, h, w, c)."""
    x, y = batches(protocol=protocol, epochs=3, **options)
    x, y = np.concatenate(x).reshape(3, 10, 6, 6, 1), np.concatenate(y).reshape(3, 10)
    return np.stack([x[e][np.argsort(y[e])] for e in range(3)])


def test_static_is_the_same_in_every_epoch_and_dynamic_is_not():
    static, dynamic = by_image("static"), by_image("dynamic")
    np.testing.assert_array_equal(static[0], static[1])
    np.testing.assert_array_equal(static[0], static[2])
    np.testing.assert_array_equal(
        static[0], data.prepare(np.full((10, 6, 6, 1), 128, np.uint8), "static", seed=1)
    )
    np.testing.assert_array_equal(static, by_image("static", batch_size=3))
    for protocol in (dynamic, by_image("dequantised")):
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert np.mean(protocol[a] != protocol[b]) > 0.3
    assert np.mean(static[0] != by_image("static", seed=2)[0]) > 0.3


@pytest.mark.parametrize("protocol", ["static", "dynamic", "dequantised"])
def test_no_two_batches_share_their_noise(protocol):
    x, _ = batches(n=40, batch_size=4, protocol=protocol, shuffle=False, epochs=2)
    seen = x[:10] if protocol == "static" else x
    assert len({part.tobytes() for part in seen}) == len(seen)
    assert len({image.tobytes() for part in seen for image in part}) == 4 * len(seen)


def test_draws_of_the_pipeline_have_the_right_mean():
    images = np.full((500, 8, 8, 1), 51, np.uint8)  # p = 0.2
    for protocol in ("static", "dynamic"):
        x, _ = batches(images=images, protocol=protocol, batch_size=128)
        assert abs(np.concatenate(x).mean() - 0.2) < 5 * np.sqrt(0.16 / 32_000)


def test_no_iterator_waits_for_a_tuning_thread():
    images = np.full((10, 6, 6, 1), 128, np.uint8)
    dataset = data.pipeline(images, protocol="dynamic", batch_size=4, seed=0)
    assert dataset.options().autotune.enabled is False


def test_pipeline_can_be_iterated_twice_and_without_labels():
    images = np.full((10, 6, 6, 1), 128, np.uint8)
    dataset = data.pipeline(images, protocol="dynamic", batch_size=4, seed=0)
    first, second = list(dataset.as_numpy_iterator()), list(dataset.as_numpy_iterator())
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"protocol": "binary"}, ValueError, "protocol must be one of 'threshold', 'static'"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be a whole number, got 2.5"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": None}, TypeError, "seed must be a whole number, got None"),
        ({"seed": True}, TypeError, "seed must be a whole number"),
        ({"epochs": 1, "initial_epoch": 2}, ValueError, "epochs must be at least 2, got 1"),
        ({"labels": np.zeros(4)}, ValueError, r"labels must have shape \(3,\), got \(4,\)"),
        ({"images": np.zeros((3, 4, 4, 1))}, ValueError, "must be uint8 .*float64"),
        ({"images": np.zeros((3, 4, 4), np.uint8)}, ValueError, r"must be uint8 \(n, h, w, c\)"),
        ({"images": np.zeros((0, 4, 4, 1), np.uint8)}, ValueError, "must be uint8"),
    ],
)
def test_wrong_arguments_of_the_pipeline(change, error, match):
    options = {"images": np.zeros((3, 4, 4, 1), np.uint8), "protocol": "grey", "batch_size": 2}
    options = options | {"seed": 0} | change
    with pytest.raises(error, match=match):
        data.pipeline(options.pop("images"), **options)


def test_wrong_arguments_of_the_other_functions():
    images = greys(1)
    with pytest.raises(ValueError, match=r"protocol must be one of .*'grey', got 'gray'"):
        data.prepare(images, "gray")
    with pytest.raises(ValueError, match=r"protocol must be one of .*'grey'\), got 'gray'"):
        data.apply_protocol(images, "gray", [0, 0])
    with pytest.raises(ValueError, match="epoch must be at least 0"):
        data.prepare(images, "dynamic", epoch=-1)
    with pytest.raises(ValueError, match="images must be uint8"):
        data.prepare(images / 255, "dynamic")
    with pytest.raises(ValueError, match="n must be at least 1"):
        data.steps_per_epoch(0, 4)
    for function in (data.binarise, data.dequantise):
        with pytest.raises(TypeError, match="uint8"):
            function(images / 255, [0, 0])


# ---------------------------------------------------------------------------------------- real data


@pytest.mark.real_data
def test_real_mnist(monkeypatch):
    if not (os.environ.get("VAE_DATA_DIR") and (data.data_dir() / "mnist.npz").is_file()):
        pytest.skip("no mnist.npz in VAE_DATA_DIR")
    monkeypatch.setenv("VAE_DATA", "real")
    mnist = data.load_mnist()
    assert mnist.official and mnist.label == "MNIST"
    assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (55_000, 5_000, 10_000)
    digest = hashlib.sha256(np.ascontiguousarray(mnist.test.images)).hexdigest()
    assert digest == "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(mnist.test.labels).tolist() == counts
