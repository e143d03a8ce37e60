"""A run folder: what a training needs to go on after anything, or to be extended.

It holds ``settings.json`` (what makes this run this one), a checkpoint for each of the last two
epochs, ``epoch-<number>.<digest>.npz``, and, once the run has ended, its final weights,
``final-<number>.<digest>.npz``. The digest is that of the content: a file that was cut short or
altered is seen, and left as it is. Only files whose name proves them to be ours are ever deleted.

Several workers share one folder, on a file system that all of them see and on which a file gets its
name at once: the first worker alone writes, and a run goes on from what every worker can load.
"""

import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import filelock
import keras
import numpy as np

from helpers.course.files import write_whole

KEPT = 2  # checkpoints: the newest, and one more in case that it is damaged
_NAME = re.compile(r"(epoch|final)-(\d{5,})\.([0-9a-f]{16})\.npz")
_UNFINISHED = re.compile(rf"\.{_NAME.pattern}\.\d+\.unfinished")  # left by `write_whole`, if killed


class RunFolder:
    """The folder of one training, locked while it is open: ``with RunFolder(path) as folder:``.

    Parameters
    ----------
    path : str or path-like
        Made where it does not exist; ``~`` is the home folder.
    worker : int
        Of several that share the folder; 0 writes.
    share : callable, optional
        From the text of this worker to the list of all workers' texts; each worker calls it. None
        where there is only one.

    Raises
    ------
    filelock.Timeout
        On entering: another training uses the folder.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        worker: int = 0,
        share: Callable[[str], list[str]] | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        self.worker, self._share = worker, share
        self.settings: dict = {}
        self._common: set[str] | None = None  # the files that every worker can load

    def __enter__(self) -> "RunFolder":
        self.path.mkdir(parents=True, exist_ok=True)
        if self.worker:
            return self
        self._lock = filelock.FileLock(self.path / ".lock", timeout=0)
        self._lock.acquire()
        for path in self.path.iterdir():
            if _UNFINISHED.fullmatch(path.name):
                path.unlink()
        return self

    def __exit__(self, *error: object) -> None:
        if not self.worker:
            self._lock.release()

    def agree(self, settings: dict, *, may_extend: bool) -> int:
        """Check that these settings are those of the run in the folder, if there is one.

        Several workers agree on what they load, too.

        Parameters
        ----------
        settings : dict
            What `as_json` turns into JSON; ``settings["epochs"]`` is how many are wanted.
        may_extend : bool
            Whether more epochs than were planned are well defined.

        Returns
        -------
        int
            How many epochs the run was planned for: its warm-up was a part of those.

        Raises
        ------
        ValueError
            The folder holds a run of other settings, its settings cannot be read, or another
            worker has other settings.
        """
        self.settings = json.loads(as_json(settings))
        planned = self._planned(may_extend)
        return planned if self._share is None else self._agree_with_others(planned)

    def _planned(self, may_extend: bool) -> int:
        """Return for how many epochs the run in the folder was planned; raise if it is another."""
        path = self.path / "settings.json"
        if not path.exists():
            if any(self._files("epoch")):
                raise ValueError(f"{path} is missing beside its checkpoints: choose another folder")
            return self.settings["epochs"]
        old = _read_settings(path)
        planned, wanted = old["epochs"], self.settings["epochs"]
        alone = {"replicas": 1}  # where settings do not say, as older ones
        other = differences(alone | old | {"epochs": wanted}, alone | self.settings)
        if wanted < planned:
            other.append(f"epochs was {planned}, is {wanted}")
        if other:
            raise ValueError(f"{self.path} holds a run of other settings: {'; '.join(other)}")
        if wanted > planned and not may_extend:
            raise ValueError(
                f"{self.path} holds a run of {planned} epochs, at whose end the cosine has brought "
                f"the learning rate to 0: choose another folder for {wanted} epochs, or plan a run "
                "that is to be extended with schedule='constant'"
            )
        return planned

    def _agree_with_others(self, planned: int) -> int:
        """Return the chief's plan, once all workers know which files each of them can load."""
        files = [*self._files("epoch"), *self._files("final")]
        own = {"settings": self.settings, "planned": planned}
        own["files"] = [path.name for path in files if _is_whole(path)]
        told = [json.loads(text) for text in self._share(json.dumps(own))]
        for worker, other in enumerate(told):
            if other_settings := differences(self.settings, other["settings"]):
                raise ValueError(
                    f"worker {worker} has other settings than worker {self.worker}: "
                    f"{'; '.join(other_settings)}"
                )
        self._common = set.intersection(*(set(other["files"]) for other in told))
        for path in files:
            if path.name not in self._common:
                print(f"{path.name} cannot be loaded by every worker: it is not used")
        return told[0]["planned"]

    def save(self, state: Sequence[keras.Variable], epochs: list[dict]) -> None:
        """Write the checkpoint of the last of these epochs; delete the ones before the newest two.

        The settings are written with the first one: a run that failed before binds nobody.
        """
        if not self.worker and not (self.path / "settings.json").exists():
            write_whole(self.path / "settings.json", json.dumps(self.settings, indent=1).encode())
        self._write("epoch", len(epochs), state, epochs)

    def restore(self, state: Sequence[keras.Variable]) -> list[dict]:
        """Load the newest checkpoint that is whole; return its epochs, or [] where there is none.

        Raises
        ------
        ValueError
            It holds another number of arrays than `state`.
        """
        for path in sorted(self._usable("epoch"), reverse=True):
            found = self._read(path)
            if found is None:
                continue
            arrays, epochs = found
            if len(arrays) != len(state):
                raise ValueError(
                    f"{path} holds {len(arrays)} arrays, the model and its optimizer "
                    f"{len(state)}: it was written by other versions, choose another folder"
                )
            _assign(state, arrays)
            return epochs
        return []

    def finish(self, weights: Sequence[keras.Variable], done: int, stopped_of: int | None) -> None:
        """Write the final weights after `done` epochs, of the `stopped_of` that a callback cut."""
        self._write("final", done, weights, {"stopped_of": stopped_of})

    def stopped_of(self, done: int) -> int | None:
        """Return how many epochs were wanted when a callback stopped the run after `done`."""
        found = self._final(done)
        return found[1]["stopped_of"] if found else None

    def restore_final(self, weights: Sequence[keras.Variable], done: int) -> None:
        """Load the final weights of a run that ended after `done` epochs, if they are there."""
        found = self._final(done)
        if found:
            _assign(weights, found[0])

    def _final(self, done: int) -> tuple[list[np.ndarray], Any] | None:
        """Return the final weights after `done` epochs and their record."""
        paths = [path for path in self._usable("final") if _number(path) == done]
        return next(filter(None, map(self._read, paths)), None)

    def _usable(self, kind: str) -> Iterator[Path]:
        """Yield the files of one kind that may be loaded, in no order, whole or damaged."""
        for path in self._files(kind):
            if self._common is None or path.name in self._common:
                yield path

    def _files(self, kind: str) -> Iterator[Path]:
        """Yield the files of one kind, in no order, whole or damaged."""
        for path in self.path.iterdir():
            match = _NAME.fullmatch(path.name)
            if match and match[1] == kind:
                yield path

    def _write(self, kind: str, number: int, state: Sequence[keras.Variable], record: Any) -> None:
        """Write a file of variables and a record; delete older files of the same kind."""
        # All workers read: what is kept on each of them, as metrics are, they have to sum.
        arrays = [_as_stored(variable.numpy()) for variable in state]
        if self.worker:
            return
        buffer = io.BytesIO()
        np.savez(buffer, *arrays, record=json.dumps(record))
        path = self.path / f"{kind}-{number:05d}.{digest(buffer.getbuffer())}.npz"
        write_whole(path, buffer.getbuffer())
        for old in self._files(kind):
            if _number(old) <= number - (KEPT if kind == "epoch" else 1) and _is_whole(old):
                old.unlink()

    def _read(self, path: Path) -> tuple[list[np.ndarray], Any] | None:
        """Return the arrays and the record of a file; None where it is damaged, and a line."""
        if not _is_whole(path):
            print(f"{path.name} is damaged: it is left as it is, and not used")
            return None
        with np.load(path, allow_pickle=False) as saved:
            arrays = [saved[f"arr_{i}"] for i in range(len(saved.files) - 1)]
            return arrays, json.loads(str(saved["record"]))


def digest(content: Any) -> str:
    """Return 16 hexadecimal digits that tell contents (bytes, or a buffer of them) apart."""
    return hashlib.sha256(content).hexdigest()[:16]


def array_digest(array: Any) -> str | None:
    """Return a digest of an array's numbers, type and shape; None for None."""
    if array is None:
        return None
    array = np.ascontiguousarray(array)
    return digest(f"{array.dtype} {array.shape} {digest(array)}".encode())


def method_digests(cls: type) -> dict[str, str]:
    """Return a digest of each method of a class that Keras did not write: what it does, no layout.

    It is made of Python's bytecode, so the version of Python stands beside it.
    """
    found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] in ("keras", "builtins", "tensorflow"):
            continue
        for name, value in vars(base).items():
            if isinstance(value, FunctionType):
                found[name] = digest(repr(_code_parts(value.__code__, value.__doc__)).encode())
    return found


def as_json(settings: dict) -> str:
    """Return settings as JSON; a NumPy number says the same as Python's.

    Raises
    ------
    TypeError
        One of them is of a type that neither JSON nor Keras can write.
    """
    return json.dumps(settings, default=_plain)


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Return "<name> was …, is …" for each setting in which two runs differ.

    Names of layers do not count, since Keras numbers them by the session; nor does code that two
    versions of Python compiled.
    """
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [f"{name} was {old!r}, is {new!r}"]
    if name == "code":
        changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
        same_python = "Python" not in changed
        return [f"the code of {', '.join(changed)} has changed"] if changed and same_python else []
    lines, old, new = [], without_names(old), without_names(new)
    for key in sorted(old.keys() | new.keys()):
        lines += differences(old.get(key), new.get(key), f"{name} {key}".strip())
    return lines


def without_names(config: Any) -> Any:
    """Return a configuration of Keras with its layers' names numbered by their first appearance."""
    numbers: dict[str, str] = {}

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("name"), str):
                numbers.setdefault(value["name"], f"#{len(numbers)}")
            for part in value.values():
                collect(part)
        elif isinstance(value, list):
            for part in value:
                collect(part)

    def replace(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replace(part) for key, part in value.items() if key != "name"}
        if isinstance(value, list):  # where layers point to others: ["dense_3", 0, 0]
            return [
                numbers.get(part, part) if isinstance(part, str) else replace(part)
                for part in value
            ]
        return value

    collect(config)
    return replace(config)


def _read_settings(path: Path) -> dict:
    """Return the settings of a run; ValueError where the file is not what we wrote."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): choose another folder") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("epochs"), int):
        raise ValueError(f"{path} is not the settings of a run: choose another folder")
    return settings


def _plain(value: Any) -> Any:
    """Return a value that JSON does not know as one that it does."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return keras.saving.serialize_keras_object(value)


def _code_parts(code: CodeType, doc: str | None = None) -> tuple:
    """Return what a function does: its instructions, the names and the constants in them."""
    constants = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            constants.append(_code_parts(constant))
        elif isinstance(constant, frozenset):  # its order changes from process to process
            constants.append(sorted(map(repr, constant)))
        elif constant is None or constant != doc:
            constants.append(constant)
    return code.co_code, code.co_names, constants


def _as_stored(array: np.ndarray) -> np.ndarray:
    """Return an array of a type that NumPy can store: bfloat16 as float32, which holds it."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _assign(variables: Sequence[keras.Variable], arrays: list[np.ndarray]) -> None:
    """Give variables the values that were stored."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(keras.ops.cast(array, variable.dtype))


def _number(path: Path) -> int:
    """Return the number of epochs in a file's name."""
    return int(_NAME.fullmatch(path.name)[2])


def _is_whole(path: Path) -> bool:
    """Whether a file holds what its name says."""
    return _NAME.fullmatch(path.name)[3] == digest(path.read_bytes())
