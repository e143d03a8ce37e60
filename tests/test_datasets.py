"""Where data sets are found, what is checked of them, and how they are fetched. No network."""

import dataclasses
import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import make_sample
from helpers.course import datasets, settings
from helpers.course.datasets import DATASETS, KEYS, DatasetInvalid, DatasetUnavailable, load

# The same examples in every run, and no limit on a machine that is busy.
few = hypothesis_settings(max_examples=25, deadline=None, derandomize=True, database=None)


def arrays_of(entry, seed=0):
    """Random arrays in the sizes of an entry; the images are all different."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, n in entry.lengths().items():
        arrays[f"x_{split}"] = rng.integers(0, 256, (n, *entry.image_shape), dtype=np.uint8)
        arrays[f"y_{split}"] = (np.arange(n) % 10).astype(np.uint8)
    return arrays


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder; data sets a thousand times smaller; no address leads anywhere."""
    for name in ("VAE_PROFILE", "VAE_CIFAR10_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAE_DATA", "real")
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path / "data"))
    for name, sizes in (("mnist", (55, 5, 10)), ("cifar10", (45, 5, 10))):
        monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], sizes=sizes))
    monkeypatch.setattr(datasets, "STALL_SECONDS", 0.5)
    nowhere = ("http://127.0.0.1:9/nothing",)
    monkeypatch.setattr(datasets, "MNIST_URLS", nowhere)
    monkeypatch.setattr(datasets, "CIFAR10_URLS", nowhere)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


# --- Where data are found -------------------------------------------------------------------------


def test_a_file_is_used_and_an_unknown_one_is_named_without_a_path(folder, capsys):
    arrays = arrays_of(DATASETS["mnist"])
    np.savez(folder / "mnist.npz", **arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = datasets.load_mnist()
    digest = hashlib.sha256(b"".join(arrays[key].tobytes() for key in KEYS)).hexdigest()
    assert dataset.display_name == f"MNIST (unknown file {digest[:8]})" and not dataset.official
    out, err = capsys.readouterr()
    assert dataset.display_name in out and str(folder) not in out + dataset.source and not err
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (55, 5, 10)
    assert dataset.image_shape == (28, 28, 1) and dataset.class_names == tuple("0123456789")
    np.testing.assert_array_equal(dataset.test.images, arrays["x_test"])
    np.testing.assert_array_equal(dataset.test.labels, arrays["y_test"])


def test_known_content_is_official_however_it_is_packed(folder, monkeypatch, capsys):
    arrays = arrays_of(DATASETS["mnist"])
    digest = datasets.content_digest(arrays[key] for key in KEYS)
    arrays["y_train"] = arrays["y_train"].astype(np.int64)[:, None]  # as Keras returns CIFAR-10's
    arrays["x_train"] = arrays["x_train"][..., 0]
    np.savez_compressed(folder / "mnist.npz", **arrays)
    assert digest[:8] in load("mnist").display_name
    known = dataclasses.replace(DATASETS["mnist"], digests={digest: ("published", True)})
    monkeypatch.setitem(DATASETS, "mnist", known)
    capsys.readouterr()
    dataset = load("mnist")
    assert dataset.official and dataset.display_name == "MNIST" and capsys.readouterr().out == ""


def test_a_data_set_is_one_entry_of_the_registry(folder, monkeypatch):
    def fetch(folder):
        assert folder.is_dir()
        return {
            "x_train": np.full((4, 2, 2), 7, np.uint8),
            "y_train": np.array([0, 1, 0, 1]),
            "x_test": np.full((1, 2, 2), 9, np.uint8),
            "y_test": np.array([1]),
        }

    toy = datasets.Published("Toy", (2, 2, 1), (3, 1, 1), ("no", "yes"), fetch)
    monkeypatch.setitem(DATASETS, "toy", toy)
    dataset = load("toy")
    assert dataset.name == "Toy" and dataset.test.labels.tolist() == [1]
    assert dataset.train.images.shape == (3, 2, 2, 1)
    assert holds_only(folder, "toy.npz")
    monkeypatch.setenv("VAE_DATA", "embedded")
    with pytest.raises(DatasetUnavailable, match="Toy has no embedded sample"):
        load("toy")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="name must be one of 'mnist', 'cifar10', got 'svhn'"):
        load("svhn")


def test_a_read_only_checkout_keeps_its_data_in_the_users_cache(folder, tmp_path, monkeypatch):
    """Found there by the next run too; a folder that somebody chose is never replaced."""
    cache, checkout = tmp_path / "home" / "cache", tmp_path / "checkout"
    checkout.mkdir()
    monkeypatch.setattr(settings, "ROOT", checkout)
    monkeypatch.setattr(settings, "cache_dir", lambda: cache)
    monkeypatch.setenv("VAE_DATA_DIR", "")
    assert datasets._place("mnist.npz") == checkout / "data" / "mnist.npz"

    def access(path, mode):  # root may write everywhere, so this is simulated
        return not Path(path).is_relative_to(checkout)

    monkeypatch.setattr(os, "access", access)
    assert datasets._place("mnist.npz") == cache / "mnist.npz"
    (checkout / "data").mkdir()
    (checkout / "data" / "mnist.npz").write_bytes(b"there")
    assert datasets._place("mnist.npz") == checkout / "data" / "mnist.npz"
    monkeypatch.setenv("VAE_DATA_DIR", "chosen")
    assert datasets._place("cifar10.npz") == checkout / "chosen" / "cifar10.npz"


# --- Splits and samples ---------------------------------------------------------------------------


def test_splits_are_disjoint_complete_and_fixed(folder):
    arrays = arrays_of(DATASETS["mnist"])
    np.savez(folder / "mnist.npz", **arrays)
    first, second = load("mnist"), load("mnist")
    parts = [first.train.images, first.validation.images]
    rows = [{image.tobytes() for image in part} for part in parts]
    assert not rows[0] & rows[1]
    assert rows[0] | rows[1] == {image.tobytes() for image in arrays["x_train"]}
    np.testing.assert_array_equal(first.validation.images, second.validation.images)
    labels = {x.tobytes(): y for x, y in zip(arrays["x_train"], arrays["y_train"], strict=True)}
    for split in (first.train, first.validation):
        assert [labels[image.tobytes()] for image in split.images] == list(split.labels)


def test_the_fixed_order_never_changes():
    order = datasets.fixed_order(60_000)
    assert sorted(order) == list(range(60_000))
    assert order[:5].tolist() == [11640, 51538, 21032, 18314, 54535]


def test_the_sample_of_mnist(monkeypatch, capsys):
    monkeypatch.setenv("VAE_DATA", "embedded")
    sample = datasets.load_mnist()
    assert sample.name == "MNIST sample" and not sample.official
    assert sample.display_name == "MNIST sample (6,500 of 70,000)"
    assert sample.display_name in capsys.readouterr().out
    splits = (sample.train, sample.validation, sample.test)
    for split, per_class in zip(splits, (500, 50, 100), strict=True):
        assert np.bincount(split.labels).tolist() == [per_class] * 10
        assert split.images.shape == (10 * per_class, 28, 28, 1)
        assert len(set(split.labels[:100])) == 10  # not sorted by class
    everything = {image.tobytes() for split in splits for image in split.images}
    assert len(everything) == 6_500


def test_a_changed_sample_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_DATA", "embedded")
    with np.load(datasets.MNIST_SAMPLE) as npz:
        arrays = dict(npz)
    arrays["x_test"][0, 0, 0, 0] ^= 1
    np.savez(tmp_path / "mnist_sample.npz", **arrays)
    monkeypatch.setattr(datasets, "MNIST_SAMPLE", tmp_path / "mnist_sample.npz")
    with pytest.raises(DatasetInvalid, match=r"mnist_sample.npz is not the file of the course"):
        datasets.load_mnist()


def test_the_sample_is_the_first_of_each_class():
    labels = np.array([1, 0, 0, 1, 2, 2, 1, 0, 2, 0])
    assert make_sample.first_of_each_class(labels, 2).tolist() == [0, 1, 2, 3, 4, 5]
    assert make_sample.first_of_each_class(labels, 1).tolist() == [0, 1, 4]


def test_the_sample_of_photographs_shares_no_pixel_between_splits(monkeypatch):
    monkeypatch.setenv("VAE_DATA", "embedded")
    photos = datasets.load_cifar10()
    splits = (photos.train, photos.validation, photos.test)
    assert [len(split) for split in splits] == [1400, 150, 300]
    assert photos.image_shape == (32, 32, 3) and "not CIFAR-10" in photos.display_name
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
    split = datasets.Split(images, np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        split.images[0] = 1
    images[0] = 1  # the caller's own array stays as it was
    with pytest.raises(AttributeError):
        split.images = images


def test_labels_that_do_not_fit_are_refused_in_short():
    images = np.zeros((300, 4, 4, 1), np.uint8)
    with pytest.raises(ValueError, match=r"labels must be whole numbers \(300,\), got float64"):
        datasets.Split(images, np.zeros(300))
    with pytest.raises(ValueError, match=r"whole numbers \(300,\), got int64 \(299,\)") as caught:
        datasets.Split(images, np.zeros(299, np.int64))
    assert len(str(caught.value)) < 80
    assert len(datasets.Split(images, np.zeros(300, np.int64))) == 300


# --- Bad files ------------------------------------------------------------------------------------


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (Path(self.marker),))


def _folder(path):
    path.unlink()
    path.mkdir()


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


BAD_ARRAYS = {
    "missing key": (lambda a: a.pop("y_test"), "y_test"),
    "float images": (lambda a: a.update(x_test=a["x_test"] / 255), "x_test has dtype float64"),
    "float labels": (lambda a: a.update(y_test=a["y_test"] / 1), "y_test has dtype float64"),
    "too few": (lambda a: a.update(x_train=a["x_train"][1:]), r"x_train has shape \(59, 28"),
    "label -1": (lambda a: a.update(y_test=a["y_test"].astype(int) - 1), "labels from -1 to 8"),
    "label 10": (lambda a: a["y_test"].__setitem__(3, 10), "labels from 0 to 10"),
}
BAD_FILES = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-3000]), "cannot be used"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "folder": (_folder, "a folder"),
    "pipe": (_pipe, "a folder or"),
}


def state(path):
    return path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else sorted(os.listdir())


def refused(path, match):
    before = state(path)
    with pytest.raises(DatasetInvalid, match=match) as caught:
        load("mnist")
    assert str(path) in str(caught.value) and "VAE_DATA=embedded" in str(caught.value)
    assert len(str(caught.value)) < 700
    assert state(path) == before and os.listdir(path.parent) == ["mnist.npz"]


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_wrong_arrays_are_refused(folder, case):
    arrays = arrays_of(DATASETS["mnist"])
    damage, match = BAD_ARRAYS[case]
    damage(arrays)
    np.savez(folder / "mnist.npz", **arrays)
    refused(folder / "mnist.npz", match)


@pytest.mark.parametrize("case", BAD_FILES)
def test_wrong_files_are_refused(folder, case):
    path = folder / "mnist.npz"
    np.savez(path, **arrays_of(DATASETS["mnist"]))
    damage, match = BAD_FILES[case]
    damage(path)
    refused(path, match)


@pytest.mark.parametrize("key", ["y_train", "provenance"])
def test_objects_are_never_unpickled(folder, tmp_path, key):
    arrays = arrays_of(DATASETS["mnist"])
    arrays[key] = np.array([Evil(tmp_path / "marker")] * 60, object)
    np.savez(folder / "mnist.npz", **arrays)
    refused(folder / "mnist.npz", "Object arrays cannot be loaded")
    assert not (tmp_path / "marker").exists()


def test_a_file_that_unpacks_to_too_much_is_refused_unread(folder, monkeypatch):
    arrays = arrays_of(DATASETS["mnist"]) | {"more": np.zeros(2_000_000, np.uint8)}
    np.savez_compressed(folder / "mnist.npz", **arrays)
    monkeypatch.setattr(datasets, "MAX_UNPACKED", 1_000_000)
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("was read"))
    refused(folder / "mnist.npz", "unpack to more than 1000000 bytes")


TOY = datasets.Published("Toy", (2, 2, 1), (3, 1, 3), tuple("0123456789"), fetch=dict)
shapes = st.one_of(
    st.sampled_from([(4, 2, 2), (3, 2, 2), (4, 2, 2, 1), (4,), (3,), (3, 1)]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@few
@given(
    st.sampled_from(KEYS),
    st.sampled_from(["u1", "i8", "f4", "f8", "?", "u2", "S3"]),
    shapes,
    st.integers(0, 12),
)
def test_an_array_of_a_file_is_right_or_refused(key, kind, shape, value):
    array = np.full(shape, value).astype(kind)
    n = TOY.lengths()[key[2:]]
    if key.startswith("x"):
        right = kind == "u1" and shape in ((n, 2, 2), (n, 2, 2, 1))
    else:
        right = kind in ("u1", "i8", "u2") and shape in ((n,), (n, 1)) and value < 10
    if right:
        checked = datasets._checked(key, array, TOY)
        assert checked.dtype == np.uint8 and (checked == value).all()
        assert checked.shape == ((n, 2, 2, 1) if key.startswith("x") else (n,))
    else:
        with pytest.raises(ValueError, match=key):
            datasets._checked(key, array, TOY)


def packed(arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


GOOD = packed(arrays_of(TOY))


@hypothesis_settings(few, max_examples=100)
@given(st.data())
def test_a_damaged_file_is_refused_or_as_good_as_before(tmp_path_factory, draw):
    """Cut or changed bytes: `DatasetInvalid`, or arrays that pass every check."""
    content = bytearray(GOOD)
    places = st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
    for place, value in draw.draw(st.lists(places, max_size=4)):
        content[place] = value
    content = content[: draw.draw(st.sampled_from([None, *range(len(GOOD))]))]
    path = tmp_path_factory.mktemp("file") / "toy.npz"
    path.write_bytes(content)
    try:
        arrays, source, official = datasets._read(path, TOY)
    except DatasetInvalid as error:
        assert str(path) in str(error) and "left as it is" in str(error)
    else:
        assert [a.shape for a in arrays] == [(4, 2, 2, 1), (4,), (3, 2, 2, 1), (3,)]
        assert not official and source.startswith("unknown file")
    assert path.read_bytes() == content


# --- Downloads ------------------------------------------------------------------------------------


def archive_of(arrays, extra=None) -> bytes:
    """A CIFAR-10 archive as published: five batches and a test batch, channels first, pickled."""
    buffer = io.BytesIO()
    x = np.concatenate([arrays["x_train"], arrays["x_test"]]).transpose(0, 3, 1, 2)
    y = np.concatenate([arrays["y_train"], arrays["y_test"]])
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for i, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
            rows = slice(10 * i, 10 * i + 10)
            batch = {b"data": x[rows].reshape(10, -1), b"labels": y[rows].tolist(), b"extra": extra}
            blob = pickle.dumps(batch)
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
            self.wfile.write(body if mode == "whole" else body[: len(body) // 2])
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
    arrays = arrays_of(DATASETS["cifar10"])
    server.bodies["/good"] = archive_of(arrays)
    digest = hashlib.sha256(server.bodies["/good"]).hexdigest()
    monkeypatch.setattr(datasets, "CIFAR10_SHA256", digest)
    entry = dataclasses.replace(DATASETS["cifar10"], archive_sha256=digest)
    monkeypatch.setitem(DATASETS, "cifar10", entry)
    monkeypatch.setattr(datasets, "CIFAR10_URLS", (f"{server.url}/good",))
    return arrays


def holds_only(folder, *names):
    """Whether the folder holds these files and no leftovers (the lock may stay)."""
    return sorted(p for p in os.listdir(folder) if not p.endswith(".lock")) == sorted(names)


def test_cifar10_is_downloaded_once_and_cached(cifar, folder, server, capsys):
    dataset = load("cifar10")
    assert dataset.official and dataset.display_name == "CIFAR-10"
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (45, 5, 10)
    np.testing.assert_array_equal(dataset.test.images, cifar["x_test"])
    np.testing.assert_array_equal(dataset.test.labels, cifar["y_test"])
    together = np.concatenate([dataset.train.images, dataset.validation.images])
    np.testing.assert_array_equal(together, cifar["x_train"][datasets.fixed_order(50)])
    assert holds_only(folder, "cifar10.npz")
    assert load("cifar10").official and server.requests == ["/good"]
    assert capsys.readouterr() == ("", "")


def test_a_changed_cache_is_no_longer_official(cifar, folder):
    load("cifar10")
    arrays = dict(np.load(folder / "cifar10.npz"))
    arrays["x_test"][0, 0, 0, 0] ^= 1
    np.savez(folder / "cifar10.npz", **arrays)
    assert "unknown file" in load("cifar10").display_name


def test_wrong_content_is_never_opened_and_the_next_mirror_serves(
    cifar, folder, server, tmp_path, monkeypatch
):
    server.bodies["/evil"] = archive_of(cifar, extra=Evil(tmp_path / "marker"))
    monkeypatch.setenv("VAE_CIFAR10_URL", f"{server.url}/evil")
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", lambda *a, **k: pytest.fail("was opened"))
        with pytest.raises(DatasetUnavailable, match="hash does not match"):
            load("cifar10")
    assert holds_only(folder) and not (tmp_path / "marker").exists()
    server.modes["/half"], server.bodies["/half"] = "cut", server.bodies["/good"]
    addresses = [f"{server.url}/{name}" for name in ("evil", "missing", "half", "good")]
    monkeypatch.setenv("VAE_CIFAR10_URL", " ".join(["no address", *addresses]))
    assert load("cifar10").official
    assert server.requests == ["/evil", "/evil", "/missing", "/half", "/good"]
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("mode", ["stall", "cut"])
def test_stalled_and_cut_downloads_end_soon_and_leave_nothing(cifar, folder, server, mode):
    server.modes["/good"] = mode
    start = time.monotonic()
    with pytest.raises(DatasetUnavailable, match="Three ways out") as caught:
        load("cifar10")
    assert time.monotonic() - start < 10
    assert ("timed out" if mode == "stall" else "incomplete") in str(caught.value)
    assert holds_only(folder)
    server.modes["/good"] = "whole"
    assert load("cifar10").official


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_no_network_names_the_three_ways_out(folder, name):
    with pytest.raises(DatasetUnavailable) as caught:
        load(name)
    message = str(caught.value)
    assert all(word in message for word in ("go online", str(folder), "VAE_DATA=embedded"))
    assert "Connection refused" in message and holds_only(folder)


def test_a_folder_that_cannot_be_written(folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(DatasetUnavailable, match="Three ways out"):
        load("mnist")
    assert (tmp_path / "file").read_text() == ""


def test_a_disk_that_fills_up_leaves_no_half_of_a_cache(cifar, folder, monkeypatch):
    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(DatasetUnavailable, match="No space left on device"):
            load("cifar10")
    assert holds_only(folder)
    assert load("cifar10").official


def test_mnist_is_downloaded(folder, server, monkeypatch):
    arrays = arrays_of(DATASETS["mnist"])
    server.bodies["/mnist.npz"] = packed(arrays | {"x_test": arrays["x_test"][..., 0]})
    monkeypatch.setattr(datasets, "MNIST_URLS", (f"{server.url}/mnist.npz",))
    digest = hashlib.sha256(server.bodies["/mnist.npz"]).hexdigest()
    monkeypatch.setattr(datasets, "MNIST_SHA256", digest)
    np.testing.assert_array_equal(load("mnist").test.images, arrays["x_test"])
    assert holds_only(folder, "mnist.npz")
    load("mnist")
    assert server.requests == ["/mnist.npz"]


def test_a_download_shows_how_far_it_is(cifar, monkeypatch):
    """Bytes done of all bytes, by a bar that is closed at the end."""
    bars = []

    class Bar:
        def __init__(self, **options):
            self.options, self.done, self.open = options, 0, True
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.open = False

        def update(self, done):
            self.done += done

    monkeypatch.setattr(datasets, "progress", Bar)
    load("cifar10")
    (bar,) = bars
    assert bar.options["unit"] == "B" and "CIFAR-10" in bar.options["label"]
    assert bar.done == bar.options["total"] > 0 and not bar.open


def test_two_at_once_download_once(cifar, folder, server):
    found = []
    threads = [threading.Thread(target=lambda: found.append(load("cifar10"))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [dataset.official for dataset in found] == [True, True]
    assert server.requests == ["/good"] and holds_only(folder, "cifar10.npz")


# --- Real data ------------------------------------------------------------------------------------


@pytest.fixture
def real_mnist(monkeypatch):
    if not (os.environ.get("VAE_DATA_DIR") and (settings.data_dir() / "mnist.npz").is_file()):
        pytest.skip("no mnist.npz in VAE_DATA_DIR")
    monkeypatch.setenv("VAE_DATA", "real")
    return datasets.load_mnist()


@pytest.mark.real_data
def test_real_mnist(real_mnist):
    mnist = real_mnist
    assert mnist.official and mnist.display_name == "MNIST"
    assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (55_000, 5_000, 10_000)
    digest = hashlib.sha256(np.ascontiguousarray(mnist.test.images)).hexdigest()
    assert digest == "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(mnist.test.labels).tolist() == counts


@pytest.mark.real_data
def test_the_sample_is_made_of_mnist_by_its_rule(real_mnist):
    sample = make_sample.choose(real_mnist)
    digest = datasets.content_digest(sample[key] for key in datasets.SAMPLE_KEYS)
    assert digest == datasets.MNIST_SAMPLE_DIGEST
