"""A file is written whole, or the one before it stays."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from helpers.course import files
from helpers.course.files import write_whole


def test_bytes_and_functions_are_written(tmp_path):
    write_whole(tmp_path / "a.bin", b"first")
    write_whole(tmp_path / "a.bin", b"second")
    write_whole(str(tmp_path / "b.npz"), lambda file: np.savez(file, x=np.arange(5)))
    assert (tmp_path / "a.bin").read_bytes() == b"second"
    assert np.load(tmp_path / "b.npz")["x"].tolist() == [0, 1, 2, 3, 4]
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.npz"]


class StopsShort(io.FileIO):
    """A file that takes at most 1,000 bytes a call, as Linux takes at most 2 GiB."""

    def write(self, content):
        return super().write(memoryview(content).cast("B")[:1000])


@pytest.fixture
def stops_short(monkeypatch):
    """Files that are opened for writing stop short, and are buffered as they were asked to be."""

    def open_short(path, mode, buffering=-1):
        raw = StopsShort(path, mode.replace("b", ""))
        return raw if buffering == 0 else io.BufferedWriter(raw)

    monkeypatch.setattr(files, "open", open_short, raising=False)


@pytest.mark.parametrize("size", [999, 100_000])
def test_a_write_that_stops_short_goes_on(tmp_path, stops_short, size):
    content = np.random.default_rng(0).bytes(size)
    write_whole(tmp_path / "a.bin", content)
    assert (tmp_path / "a.bin").read_bytes() == content
    write_whole(tmp_path / "a.npz", lambda file: np.savez(file, x=np.frombuffer(content, np.uint8)))
    assert np.load(tmp_path / "a.npz")["x"].tobytes() == content


FULL = """
import importlib.util, resource, signal, sys
spec = importlib.util.spec_from_file_location("files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # a disk with so much space left
try:
    files.write_whole(sys.argv[2], bytes(1_000_000))
except OSError as error:
    print(type(error).__name__, error.errno)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file sizes there")
def test_a_disk_that_fills_up_is_an_error_and_the_old_file_stays(tmp_path):
    """The system writes what fits without an error, and says "no" only when asked again."""
    (tmp_path / "a.bin").write_bytes(b"the last good one")
    command = [sys.executable, "-c", FULL, files.__file__, str(tmp_path / "a.bin")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("OSError")
    assert (tmp_path / "a.bin").read_bytes() == b"the last good one"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_whatever_goes_wrong_leaves_the_old_file_alone(tmp_path, error):
    (tmp_path / "a.bin").write_bytes(b"old")

    def write(file):
        file.write(b"half of it")
        raise error

    with pytest.raises(type(error)):
        write_whole(tmp_path / "a.bin", write)
    assert (tmp_path / "a.bin").read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]


def test_bytes_are_on_the_disk_before_the_file_has_its_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        steps.append(("fsync", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def note_replace(source, target):
        steps.append(("replace", os.path.getsize(source)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_whole(tmp_path / "a.bin", b"seven b")
    assert steps == [("fsync", 7), ("replace", 7)]


def test_the_folder_is_not_made():
    with pytest.raises(FileNotFoundError):
        write_whole("/nowhere/at/all/a.bin", b"")
