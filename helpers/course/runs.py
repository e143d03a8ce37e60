"""A run folder: the settings of a training and its checkpoints, from which it goes on."""

import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import filelock
import keras
import numpy as np


class RunFolder:
    """The folder of one training: settings, lock, and the newest two checkpoints."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self.path = Path(folder)

    def lock(self) -> filelock.FileLock:
        """Make the folder; return the lock that keeps a second training out of it."""
        self.path.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self.path / ".lock", timeout=0)

    def check_settings(self, settings: dict) -> None:
        """Refuse a folder of other settings; write them where there are none."""
        path, text = self.path / "settings.json", json.dumps(settings, indent=1, default=str)
        if not path.exists():
            _write(path, text.encode())
        try:
            old, new = without_names(json.loads(path.read_text())), without_names(json.loads(text))
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}): choose another folder") from error
        other = [f"{k} was {old.get(k)!r}, is {new[k]!r}" for k in new if old.get(k) != new[k]]
        if other:
            raise ValueError(f"{self.path} holds a run of other settings: {'; '.join(other)}")

    def save(self, state: Sequence[keras.Variable], epochs: list[dict]) -> None:
        """Write `epoch-<number>.<digest>.npz`; keep the newest two."""
        buffer = io.BytesIO()
        np.savez(buffer, *(v.numpy() for v in state), history=json.dumps(epochs))
        name = f"epoch-{len(epochs):05d}.{digest(buffer.getvalue())}.npz"
        _write(self.path / name, buffer.getvalue())
        for old in sorted(self.path.glob("epoch-*.npz"))[:-2]:
            old.unlink()

    def restore(self, state: Sequence[keras.Variable]) -> list[dict]:
        """Load the newest checkpoint whose digest is right; return its epochs, or []."""
        for path in sorted(self.path.glob("epoch-*.npz"), reverse=True):
            payload = path.read_bytes()
            if path.name.split(".")[1] == digest(payload):
                with np.load(io.BytesIO(payload), allow_pickle=False) as saved:
                    for i, variable in enumerate(state):
                        variable.assign(saved[f"arr_{i}"])
                    return json.loads(str(saved["history"]))
            print(f"{path.name} is damaged: the checkpoint before it is used")
            path.unlink()
        return []


def without_names(config: Any) -> Any:
    """Return a JSON value without the names in it: Keras numbers them by the session."""
    if isinstance(config, dict):
        return {key: without_names(value) for key, value in config.items() if key != "name"}
    return [without_names(value) for value in config] if isinstance(config, list) else config


def digest(content: bytes) -> str:
    """Return 16 hexadecimal digits that tell contents apart."""
    return hashlib.sha256(content).hexdigest()[:16]


def _write(path: Path, payload: bytes) -> None:
    """Write under a temporary name, then rename: the file is whole or not there."""
    temporary = path.with_name("unfinished.tmp")
    with open(temporary, "wb", buffering=0) as file:
        file.write(payload)
        os.fsync(file)
    os.replace(temporary, path)
