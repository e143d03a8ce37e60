"""What workers say before they train: wrong settings, ports, waiting; rehearsals that do not train.

Trainings of several workers: test_workers.py.
"""

import json
import math
import os
import socket
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from helpers import cluster
from helpers.cluster import ClusterError
from tiny_model import Tiny, run

TWO = ["a:1", "b.example:65535"]


def config(cluster=None, task=None, **more):
    """A TF_CONFIG with parts that may be wrong."""
    cluster = {"worker": TWO} if cluster is None else cluster
    task = {"type": "worker", "index": 0} if task is None else task
    return json.dumps({"cluster": cluster, "task": task} | more)


# --- TF_CONFIG -----------------------------------------------------------------------------------


def test_the_config_is_what_tensorflow_reads(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", cluster.config_for(TWO, 1))
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    assert resolver.cluster_spec().as_dict() == {"worker": TWO}
    assert (resolver.task_type, resolver.task_id) == ("worker", 1)


@pytest.mark.parametrize(
    ("addresses", "index", "message"),
    [
        ([], 0, "list of host:port, not []"),
        ("a:1", 0, "list of host:port, not 'a:1'"),
        (["a:1", "b"], 0, "address of a worker is 'b', must look like host-a:12345"),
        (["a:1", "b:65536"], 0, "address of a worker is 'b:65536'"),
        (["a:1", "http://b:1"], 0, "address of a worker is 'http://b:1'"),
        (["a:1", 2], 0, "address of a worker is 2"),
        (["a:1", "b:1", "a:1"], 0, "two workers have the address a:1"),
        (TWO, 2, "index of a worker is 2, must be a number from 0 to 1"),
        (TWO, -1, "index of a worker is -1"),
        (TWO, "1", "index of a worker is '1'"),
        (TWO, True, "index of a worker is True"),
    ],
)
def test_workers_that_do_not_do_are_refused(monkeypatch, addresses, index, message):
    with pytest.raises(ClusterError) as caught:
        cluster.config_for(addresses, index)
    assert message in str(caught.value)
    monkeypatch.setenv(
        "TF_CONFIG", config({"worker": addresses}, {"type": "worker", "index": index})
    )
    with pytest.raises(ClusterError) as read:
        cluster.connect()
    assert str(read.value) == str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'cluster'", "TF_CONFIG is not JSON (Expecting"),
        ("[]", "TF_CONFIG names no workers, or no task: []"),
        ("{}", "TF_CONFIG names no workers, or no task: {}"),
        (config({}), "TF_CONFIG names no workers, or no task"),
        (config(["a:1"]), "TF_CONFIG names no workers, or no task"),
        (config(task={"type": "worker"}), "TF_CONFIG names no workers, or no task"),
        (config({"worker": TWO, "ps": ["c:1"]}), "TF_CONFIG names ps: here all are workers"),
        (config(task={"type": "chief", "index": 0}), "TF_CONFIG names chief: here all are workers"),
    ],
)
def test_a_config_of_another_form_is_refused(monkeypatch, text, message):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ClusterError) as caught:
        cluster.connect()
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_without_a_config_there_is_one_worker(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    strategy = cluster.connect()
    assert strategy is tf.distribute.get_strategy()
    assert (cluster.worker_index(strategy), cluster.worker_count(strategy)) == (0, 1)


# --- Finding each other --------------------------------------------------------------------------


@pytest.fixture
def joined(monkeypatch):
    """TF_CONFIG of worker 0 of two on this machine, and its addresses; nothing is joined."""
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: "joined")
    addresses = cluster.free_addresses(2)
    monkeypatch.setenv("TF_CONFIG", cluster.config_for(addresses, 0))
    return addresses


def port_of(address):
    return int(address.split(":")[1])


def test_a_worker_that_appears_late_is_waited_for(joined):
    def appear():
        time.sleep(0.3)
        with socket.create_server(("127.0.0.1", port_of(joined[1]))) as other:
            other.accept()[0].close()

    late = threading.Thread(target=appear)
    late.start()
    assert cluster.connect(20) == "joined"
    late.join()
    with socket.create_server(("127.0.0.1", port_of(joined[0]))):
        pass  # the port is free for TensorFlow


def test_a_worker_that_never_appears_is_named(joined):
    with pytest.raises(ClusterError) as caught:
        cluster.connect(0.2)
    assert f"worker 1 ({joined[1]}) did not appear within 0.2 s" in str(caught.value)


def test_a_host_that_does_not_exist_is_named(joined, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", cluster.config_for([joined[0], "no-such-host.invalid:1"], 0))
    with pytest.raises(ClusterError, match=r"worker 1 \(no-such-host\.invalid:1\) did not appear"):
        cluster.connect(0.1)


def test_a_port_in_use_is_named_at_once(joined):
    with socket.create_server(("127.0.0.1", port_of(joined[0]))):
        start = time.monotonic()
        with pytest.raises(ClusterError) as caught:
            cluster.connect(60)
    assert f"worker 0 cannot listen on port {port_of(joined[0])} of this machine" in str(
        caught.value
    )
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({}, "127.0.0.1"),
        ({"no_proxy": "a.example,127.0.0.1"}, "a.example,127.0.0.1"),
        ({"no_proxy": "a.example", "no_grpc_proxy": "b.example"}, "b.example,127.0.0.1"),
    ],
)
def test_no_proxy_is_asked_for_the_workers(joined, monkeypatch, before, expected):
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError):
        cluster.connect(0.0)
    assert os.environ["no_grpc_proxy"] == expected
    assert os.environ["no_proxy"] == before.get("no_proxy", ""), "of other programs, left alone"


def test_free_addresses_are_free_and_differ():
    addresses = cluster.free_addresses(5)
    assert len(set(addresses)) == 5
    for address in addresses:
        socket.create_server(("127.0.0.1", port_of(address))).close()


# --- One process: what it shares, and how far it is ----------------------------------------------


def test_one_worker_shares_with_itself():
    text = 'é\n"{}'
    assert cluster.share(tf.distribute.get_strategy(), text) == [text]


def test_every_bit_of_a_weight_is_in_the_fingerprint():
    model = Tiny()
    before = cluster.fingerprint(model)
    assert cluster.fingerprint(Tiny()) == before and len(before) == 16
    kernel = model.weights[0].numpy()
    kernel[0, 0] = np.nextafter(kernel[0, 0], np.float32(9))
    model.weights[0].assign(kernel)
    assert cluster.fingerprint(model) != before


def test_progress_has_a_line_for_every_step_of_all_epochs(tmp_path):
    run(run_dir=tmp_path / "run", epochs=1, schedule="constant")
    run(
        run_dir=tmp_path / "run",
        epochs=3,
        schedule="constant",
        callbacks=[cluster.Progress(tmp_path)],
    )
    found = cluster.read_progress(tmp_path)
    assert found[:, 0].tolist() == [4, 5, 6, 7, 8, 9]  # three steps an epoch; the first was done
    assert (np.diff(found[:, 1]) > 0).all()
    assert (np.diff(found[:, 2]) >= 0).all() or np.isnan(found[:, 2]).all()


def test_half_a_line_of_progress_is_not_read(tmp_path):
    (tmp_path / "progress-1.txt").write_text("1 0.5 10\n2 0.7 20\n3 0.")
    assert cluster.read_progress(tmp_path, 1).tolist() == [[1, 0.5, 10], [2, 0.7, 20]]
    assert cluster.read_progress(tmp_path, 0).shape == (0, 3)


def test_what_this_machine_sends_to_itself_is_counted(tmp_path, monkeypatch):
    before = cluster.bytes_sent()
    if not math.isnan(before):
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname()) as client:
                client.sendall(bytes(100_000))
                server.accept()[0].close()
        assert cluster.bytes_sent() - before >= 100_000
    monkeypatch.setattr(cluster, "NETWORK", tmp_path / "none")
    assert math.isnan(cluster.bytes_sent())


# --- Rehearsals of scripts that do not train -----------------------------------------------------

SAY = """
import json, os, sys
settings = json.load(open(sys.argv[1]))
names = ("TF_CONFIG", "PYTHONPATH", "CUDA_VISIBLE_DEVICES")
print("a line before")
print(json.dumps({"settings": settings, "pid": os.getpid()} | {n: os.environ[n] for n in names}))
"""
STEP = """
import json, os, sys, time
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
settings = json.load(open(sys.argv[1]))
path = os.path.join(settings["folder"], f"progress-{index}.txt")
for step in range(1, settings["steps"] + 1):
    with open(path, "a") as file:
        print(step, 0.0, os.getpid(), file=file)
    time.sleep(0.02)
then = settings["then"][index]
if then == "fail":
    raise ValueError(f"worker {index} has had enough\\nof it")
if then == "wait":
    time.sleep(600)
print("{}")
"""


@pytest.fixture
def script(tmp_path):
    """Write a script into a folder whose name has a space, and return its path."""

    def write(text):
        path = tmp_path / "my scripts" / "script.py"
        path.parent.mkdir()
        path.write_text(text)
        return path

    return write


def is_alive(pid):
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


def left(folder, count=2):
    """The processes that wrote steps in a folder and are still there."""
    lines = [line for index in range(count) for line in cluster.read_progress(folder, index)]
    return {line[2] for line in lines if is_alive(line[2])}


def test_a_rehearsal_tells_every_worker_who_it_is(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"one{os.pathsep}two")
    found = cluster.rehearse(script(SAY), {"a": 1}, tmp_path / "run", count=3)
    assert len({worker["pid"] for worker in found}) == 3
    for index, worker in enumerate(found):
        assert worker["settings"] == {"a": 1, "folder": str(tmp_path / "run")}
        told = json.loads(worker["TF_CONFIG"])
        assert told["task"] == {"type": "worker", "index": index}
        assert worker["TF_CONFIG"] == cluster.config_for(told["cluster"]["worker"], index)
        assert worker["PYTHONPATH"].split(os.pathsep)[1:] == ["one", "two"], "what was there stays"
        assert worker["CUDA_VISIBLE_DEVICES"] == "-1"


def test_the_worker_that_fails_is_quoted(script, tmp_path):
    settings = {"steps": 3, "then": ["wait", "fail"]}
    with pytest.raises(ClusterError) as caught:
        cluster.rehearse(script(STEP), settings, tmp_path)
    assert str(caught.value) == "worker 1 ended with code 1: ValueError: worker 1 has had enough"
    assert left(tmp_path) == set()


def test_workers_that_take_too_long_are_ended(script, tmp_path):
    settings = {"steps": 3, "then": ["end", "wait"]}
    with pytest.raises(ClusterError, match="worker 1 did not end within 2 s"):
        cluster.rehearse(script(STEP), settings, tmp_path, seconds=2)
    assert left(tmp_path) == set()


@pytest.mark.parametrize("kill", [(1,), (0, 1)])
def test_workers_are_killed_at_a_step(script, tmp_path, kill):
    (tmp_path / "progress-1.txt").write_text("99 0 0\n")  # of an earlier rehearsal
    settings = {"steps": 50, "then": ["wait", "wait"]}
    ended = cluster.rehearse_failure(
        script(STEP), settings, tmp_path, kill=kill, step=5, patience=0.1
    )
    assert [worker.worker for worker in ended] == [0, 1]
    for worker in ended:
        assert worker.code == (-9 if worker.worker in kill else None)
        assert worker.error == ""
    assert 5 <= max(ended[index].step for index in kill) < 45
    assert left(tmp_path) == set()


def test_those_that_notice_a_kill_say_how_they_ended(script, tmp_path):
    settings = {"steps": 20, "then": ["fail", "wait"]}
    ended = cluster.rehearse_failure(script(STEP), settings, tmp_path, kill=[1], step=5)
    assert [worker.code for worker in ended] == [1, -9] and ended[0].step == 20
    assert ended[0].error == "ValueError: worker 0 has had enough"


def test_a_worker_that_ends_before_it_is_killed_is_an_error(script, tmp_path):
    settings = {"steps": 3, "then": ["wait", "fail"]}
    with pytest.raises(ClusterError, match=r"before step 5 worker 1 ended with code 1: ValueError"):
        cluster.rehearse_failure(script(STEP), settings, tmp_path, kill=(0,), step=5)


def test_a_step_that_does_not_come_is_an_error(script, tmp_path):
    settings = {"steps": 3, "then": ["wait", "wait"]}
    with pytest.raises(ClusterError, match="step 5 did not come within 2 s"):
        cluster.rehearse_failure(script(STEP), settings, tmp_path, kill=(0,), step=5, seconds=2)
    assert left(tmp_path) == set()


def started(*arguments):
    """Stand for the start of workers that must not be started."""
    raise AssertionError("workers were started")


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (0, "count must be at least 1, got 0"),
        (-1, "count must be at least 1, got -1"),
        (2.0, "count must be a whole number, got 2.0"),
        ("2", "count must be a whole number, got '2'"),
        (True, "count must be a whole number, got True"),
    ],
)
def test_a_number_of_workers_that_cannot_be_is_refused(tmp_path, monkeypatch, count, sentence):
    monkeypatch.setattr(cluster, "_started", started)
    with pytest.raises((ValueError, TypeError)) as caught:
        cluster.rehearse("script.py", {}, tmp_path, count=count)
    assert str(caught.value) == sentence
    with pytest.raises((ValueError, TypeError)) as caught:
        cluster.rehearse_failure("script.py", {}, tmp_path, kill=[0], step=1, count=count)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "kill", [(), [2], [-1], [0, 0], [1.0], ["1"], [True], [[0]], 1, "01", None, {"a": 0}]
)
def test_workers_that_cannot_be_killed_are_refused(tmp_path, monkeypatch, kill):
    monkeypatch.setattr(cluster, "_started", started)
    with pytest.raises(ValueError) as caught:
        cluster.rehearse_failure("script.py", {}, tmp_path, kill=kill, step=1, count=2)
    allowed = "a list of different workers, at least one, each from 0 to 1"
    assert str(caught.value) == f"kill must be {allowed}, got {kill!r}"


@pytest.mark.parametrize("kill", [(0,), [1, 0], range(2), np.arange(2)])
def test_workers_may_be_named_by_any_sequence_of_whole_numbers(tmp_path, monkeypatch, kill):
    monkeypatch.setattr(cluster, "_started", started)
    with pytest.raises(AssertionError, match="workers were started"):
        cluster.rehearse_failure("script.py", {}, tmp_path, kill=kill, step=1, count=2)
