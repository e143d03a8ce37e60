"""Several workers: who they are, how they find each other, and how to rehearse it on one machine.

Every host runs the same script. The environment variable TF_CONFIG tells each copy the addresses of
all workers, and which of them it is. Worker 0 is the chief: it alone writes files.
"""

import contextlib
import json
import math
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from helpers.course.checks import check_whole, shown
from helpers.course.runs import digest

HINT = 'write it with cluster.config_for(["host-a:12345", "host-b:12345"], index)'
NETWORK = Path("/proc/net/dev")  # where Linux counts the bytes of each network device
PORTS = range(20_000, 30_000)  # below those that systems give to outgoing connections
POLL = 0.02  # seconds between two looks at the workers
# A line that ends a traceback, or TensorFlow's reason why the sum with the others failed.
ERROR = re.compile(
    r"[\w.]+(Error|Exception|Interrupt|Diverged|Timeout)\b|Collective ops is aborted"
)


class ClusterError(RuntimeError):
    """The workers cannot work together; the message says why, and what to do."""


# --- Who the workers are -------------------------------------------------------------------------


def config_for(addresses: Sequence[str], index: int) -> str:
    """Return the TF_CONFIG of one worker, as JSON.

    Parameters
    ----------
    addresses : sequence of str
        ``"host:port"`` of every worker, in the same order for all of them; the first is the chief.
    index : int
        Which of them this worker is, from 0.

    Raises
    ------
    ClusterError
        An address or the index does not do.
    """
    _check_workers(addresses, index)
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": task})


def connect(seconds: float = 60.0) -> tf.distribute.Strategy:
    """Wait for all workers that TF_CONFIG names; return the strategy that joins them.

    Call it before TensorFlow does anything else. Proxies are not asked for the other workers.

    Parameters
    ----------
    seconds : float
        How long to wait for the others.

    Returns
    -------
    tf.distribute.Strategy
        Without TF_CONFIG the default one, of this process alone.

    Raises
    ------
    ClusterError
        TF_CONFIG is wrong, the own port is in use, or a worker does not appear.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return tf.distribute.get_strategy()
    addresses, index = _read_config(text)
    # Only gRPC, TensorFlow's way to the others, reads this variable, and in place of no_proxy.
    found = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy") or ""
    hosts = [*filter(None, found.split(",")), *(_host_and_port(each)[0] for each in addresses)]
    os.environ["no_grpc_proxy"] = ",".join(dict.fromkeys(hosts))
    # By sockets, since TensorFlow would wait for an hour, without a word.
    _wait_for_all(addresses, index, seconds)
    return tf.distribute.MultiWorkerMirroredStrategy()


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """Return which worker this process is; 0, the chief's, where there is only one."""
    return getattr(strategy.cluster_resolver, "task_id", None) or 0


def worker_count(strategy: tf.distribute.Strategy) -> int:
    """Return how many processes share a strategy."""
    if strategy.cluster_resolver is None:
        return 1
    return max(1, len(strategy.cluster_resolver.cluster_spec().as_dict().get("worker", ())))


def share(strategy: tf.distribute.Strategy, text: str) -> list[str]:
    """Return the texts of all workers, in their order; each calls this with its own.

    An all-gather: it waits for all of them.
    """
    # As floats, which every device can send; JSON has no line break inside.
    line = [float(byte) for byte in json.dumps(text).encode() + b"\n"]
    local = strategy.num_replicas_in_sync // worker_count(strategy)  # replicas of each worker

    @tf.function
    def gather() -> tf.Tensor:
        return strategy.gather(strategy.run(lambda: tf.constant(line)), axis=0)

    lines = bytes(gather().numpy().astype(np.uint8)).decode().splitlines()
    return [json.loads(one) for one in lines[::local]]


def fingerprint(model: keras.Model) -> str:
    """Return 16 hexadecimal digits that differ where any bit of any weight does."""
    return digest(b"".join(weight.tobytes() for weight in model.get_weights()))


def _read_config(text: str) -> tuple[list[str], int]:
    """Return the workers' addresses and the index of this one."""
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ClusterError(f"TF_CONFIG is not JSON ({error}): {HINT}") from None
    try:
        cluster, task = dict(config["cluster"]), dict(config["task"])
        addresses, kind, index = cluster.pop("worker"), task["type"], task["index"]
    except (KeyError, TypeError, ValueError):
        raise ClusterError(f"TF_CONFIG names no workers, or no task: {text}; {HINT}") from None
    if cluster or kind != "worker":
        other = ", ".join([*cluster, *([] if kind == "worker" else [str(kind)])])
        raise ClusterError(f"TF_CONFIG names {other}: here all are workers, and 0 is the chief")
    _check_workers(addresses, index)
    return addresses, index


def _check_workers(addresses: Any, index: Any) -> None:
    """Raise unless every address is "host:port", none comes twice, and the index is one's place."""
    if not isinstance(addresses, Sequence) or isinstance(addresses, str) or not addresses:
        raise ClusterError(f"the workers must be a list of host:port, not {addresses!r}: {HINT}")
    for address in addresses:
        _host_and_port(address)
    twice = sorted({address for address in addresses if addresses.count(address) > 1})
    if twice:
        raise ClusterError(f"two workers have the address {twice[0]}: give each its own host:port")
    if type(index) is not int or not 0 <= index < len(addresses):
        last = len(addresses) - 1
        raise ClusterError(f"the index of a worker is {index!r}, must be a number from 0 to {last}")


def _host_and_port(address: Any) -> tuple[str, int]:
    """Return the two parts of an address."""
    match = re.fullmatch(r"([^\s:/,]+):(\d{1,5})", address) if isinstance(address, str) else None
    if not match or not 0 < int(match[2]) < 2**16:
        raise ClusterError(f"the address of a worker is {address!r}, must look like host-a:12345")
    return match[1], int(match[2])


def _wait_for_all(addresses: Sequence[str], index: int, seconds: float) -> None:
    """Listen on the own port until every other worker has answered on its own."""
    port = _host_and_port(addresses[index])[1]
    missing = {i: address for i, address in enumerate(addresses) if i != index}
    deadline = time.monotonic() + seconds
    try:
        own = socket.create_server(("", port))
    except OSError as error:
        raise ClusterError(
            f"worker {index} cannot listen on port {port} of this machine ({error.strerror}): end "
            "what uses it, such as the worker of an earlier run, or name another port in TF_CONFIG"
        ) from None
    with own:
        while missing:
            # Whoever has seen all of them goes on: TensorFlow then answers in this one's place.
            missing = {i: address for i, address in missing.items() if not _answers(address)}
            if missing and time.monotonic() > deadline:
                names = " and ".join(f"worker {i} ({address})" for i, address in missing.items())
                raise ClusterError(
                    f"{names} did not appear within {seconds:g} s: start every worker with the "
                    "same list of addresses, and let their ports through the firewall"
                )
            time.sleep(0.1)


def _answers(address: str) -> bool:
    """Whether somebody listens at an address."""
    try:
        socket.create_connection(_host_and_port(address), timeout=1.0).close()
    except OSError:
        return False
    return True


# --- How far they are ----------------------------------------------------------------------------


class Progress(keras.callbacks.Callback):
    """Writes a line for every step, ``step seconds bytes``, into ``progress-<worker>.txt``.

    So that one can see from outside whether a worker moves.

    Parameters
    ----------
    folder : path-like
        Must exist.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        super().__init__()
        self.folder = folder

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.path = _progress_path(self.folder, worker_index(self.model.distribute_strategy))
        self.path.write_text("")

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.before = epoch * self.params["steps"]

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        step = self.before + batch + 1
        with open(self.path, "a") as file:
            file.write(f"{step} {time.perf_counter():.6f} {bytes_sent():.0f}\n")


def read_progress(folder: str | os.PathLike, worker: int = 0) -> np.ndarray:
    """Return what `Progress` has written, shape (steps, 3): step, seconds, bytes.

    The seconds count from some moment of the machine; the bytes are all that it has sent by then.
    """
    path = _progress_path(folder, worker)
    lines = (
        path.read_text().split("\n")[:-1] if path.exists() else []
    )  # the last may be half a line
    return np.array([line.split() for line in lines], dtype=float).reshape(-1, 3)


def bytes_sent() -> float:
    """Return how many bytes this machine has sent, to itself too; nan where it does not say."""
    if not NETWORK.exists():
        return math.nan
    devices = NETWORK.read_text().split("\n")[2:-1]
    return float(sum(int(device.split(":")[1].split()[8]) for device in devices))


def _progress_path(folder: str | os.PathLike, worker: int) -> Path:
    """Return where the steps of a worker are written."""
    return Path(folder) / f"progress-{worker}.txt"


# --- A rehearsal on one machine ------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a worker ended.

    Attributes
    ----------
    worker : int
    code : int or None
        Of the process, below 0 where a signal ended it; None: it was still waiting for the others.
    seconds : float or None
        From the kill until it ended.
    step : int
        The last one in its progress file.
    error : str
        The last line of its error, or "".
    """

    worker: int
    code: int | None
    seconds: float | None
    step: int
    error: str


def rehearse(
    script: str | os.PathLike,
    settings: dict,
    folder: str | os.PathLike,
    *,
    count: int = 2,
    seconds: float = 300.0,
) -> list[dict]:
    """Run a script as several workers on this machine; return what each printed last.

    Parameters
    ----------
    script : path-like
        Called as ``python script folder/settings.json``, with the TF_CONFIG of its worker. The last
        line that it prints is JSON.
    settings : dict
        Written there as JSON, together with ``"folder"``.
    folder : path-like
        Of the settings, of what the workers print (``worker-<index>.out`` and ``.err``), and of
        what the script itself writes.
    count : int
        How many workers.
    seconds : float
        After which they are ended.

    Returns
    -------
    list of dict
        The workers' results, in their order.

    Raises
    ------
    ClusterError
        A worker failed, with the last line of its error, or they took too long.
    ValueError, TypeError
        `count` is no whole number from 1.
    """
    check_whole(count=count)
    folder = Path(folder).resolve()
    with _started(script, settings, folder, count) as workers:
        _wait_for_end(workers, seconds)
        codes = [worker.poll() for worker in workers]
        for index, code in enumerate(codes):
            if code:
                raise ClusterError(_failure(folder, index, code))
        if None in codes:
            raise ClusterError(f"worker {codes.index(None)} did not end within {seconds:g} s")
    outputs = [(folder / f"worker-{index}.out").read_text() for index in range(count)]
    try:
        return [json.loads(output.strip().split("\n")[-1]) for output in outputs]
    except ValueError:
        raise ClusterError(f"a worker of {script} did not print JSON in its last line") from None


def rehearse_failure(
    script: str | os.PathLike,
    settings: dict,
    folder: str | os.PathLike,
    *,
    kill: Sequence[int],
    step: int,
    count: int = 2,
    patience: float = 60.0,
    seconds: float = 300.0,
) -> list[Ended]:
    """Run a script as `rehearse` does, and kill workers without warning; return how all ended.

    Parameters
    ----------
    script, settings, folder, count, seconds
        As `rehearse` takes them; the script trains with a `Progress` of the folder.
    kill : sequence of int
        The workers that are killed, all at once: at least one, and each is named once.
    step : int
        As soon as one of them has written this step, or a later one.
    patience : float
        Seconds for the others to notice it; then they are ended too.

    Returns
    -------
    list of Ended
        One for each worker, in their order.

    Raises
    ------
    ClusterError
        A worker ended before, or the step did not come.
    ValueError, TypeError
        `count` is no whole number from 1, or `kill` names others than the workers.
    """
    check_whole(count=count)
    kill = _as_workers(kill, count)
    folder = Path(folder).resolve()
    with _started(script, settings, folder, count) as workers:
        _wait_for_step(workers, folder, kill, step, seconds)
        start, ended = time.monotonic(), {}
        for index in kill:
            workers[index].kill()  # SIGKILL; on Windows TerminateProcess
        for index in kill:
            workers[index].wait()
        deadline = time.monotonic() + patience
        while True:
            for index, worker in enumerate(workers):
                if worker.poll() is not None:
                    ended.setdefault(index, (worker.returncode, time.monotonic() - start))
            if len(ended) == count or time.monotonic() > deadline:
                break
            time.sleep(POLL)
    found = []
    for index in range(count):
        code, after = ended.get(index, (None, None))
        error = _last_error(folder, index)
        found.append(Ended(index, code, after, _last_step(folder, index), error))
    return found


def free_addresses(count: int) -> list[str]:
    """Return addresses on this machine that nobody listens on."""
    with contextlib.ExitStack() as stack:
        found: list[str] = []
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if len(found) == count:
                break
            with contextlib.suppress(OSError):  # in use
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(f"127.0.0.1:{port}")
        return found


def _as_workers(kill: Any, count: int) -> tuple[int, ...]:
    """Return which workers are killed; raise unless these are some of them, each once."""
    found = tuple(kill) if isinstance(kill, Iterable) else ()
    whole = all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in found)
    if not found or not whole or len(set(found) & set(range(count))) < len(found):
        raise ValueError(
            f"kill must be a list of different workers, at least one, each from 0 to {count - 1}, "
            f"got {shown(kill)}"
        )
    return found


@contextlib.contextmanager
def _started(
    script: str | os.PathLike, settings: dict, folder: Path, count: int
) -> Iterator[list[subprocess.Popen]]:
    """Start workers; whatever happens, none of them outlives the block."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("progress-*.txt"):
        old.unlink()
    path = folder / "settings.json"
    path.write_text(json.dumps(settings | {"folder": str(folder)}))
    command, addresses = [sys.executable, Path(script).resolve(), path], free_addresses(count)
    with contextlib.ExitStack() as stack:
        workers = []
        for index in range(count):
            environment = _environment(config_for(addresses, index))
            names = [folder / f"worker-{index}.{kind}" for kind in ("out", "err")]
            with open(names[0], "w") as out, open(names[1], "w") as err:
                worker = subprocess.Popen(
                    command, cwd=folder, env=environment, stdout=out, stderr=err
                )
            stack.callback(worker.wait)
            stack.callback(worker.kill)  # before it is waited for; nothing happens if it has ended
            workers.append(worker)
        yield workers


def _environment(config: str) -> dict[str, str]:
    """Return the variables of a worker: its TF_CONFIG, these helpers, and no GPU."""
    places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "TF_CONFIG": config,
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "CUDA_VISIBLE_DEVICES": "-1",  # the workers would fight for it
    }


def _wait_for_end(workers: list[subprocess.Popen], seconds: float) -> None:
    """Wait until all workers have ended, or one has failed, at most so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(worker.poll() is None for worker in workers):
        if any(worker.poll() for worker in workers):
            return  # the others would wait for it
        time.sleep(POLL)


def _wait_for_step(
    workers: list[subprocess.Popen], folder: Path, some: Sequence[int], step: int, seconds: float
) -> None:
    """Wait until one of some workers has written a step; raise if it does not come."""
    deadline = time.monotonic() + seconds
    while not any(_last_step(folder, index) >= step for index in some):
        for index, worker in enumerate(workers):
            if worker.poll() is not None:
                text = _failure(folder, index, worker.returncode)
                raise ClusterError(f"before step {step} {text}")
        if time.monotonic() > deadline:
            raise ClusterError(f"step {step} did not come within {seconds:g} s")
        time.sleep(POLL)


def _last_step(folder: Path, worker: int) -> int:
    """Return the last step that a worker has written, 0 before its first."""
    steps = read_progress(folder, worker)[:, 0]
    return int(steps[-1]) if len(steps) else 0


def _failure(folder: Path, worker: int, code: int) -> str:
    """Say how a worker ended."""
    return f"worker {worker} ended with code {code}: {_last_error(folder, worker) or 'no error'}"


def _last_error(folder: Path, worker: int) -> str:
    """Return the last line in which a worker names an error, or its last line at all, or ""."""
    lines = (folder / f"worker-{worker}.err").read_text(errors="replace").split("\n")
    lines = [line for line in lines if line.strip()]
    errors = [line for line in lines if ERROR.match(line)]
    return (errors or lines or [""])[-1]
