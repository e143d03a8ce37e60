"""Writing files so that they are whole or not there at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_whole(path: str | Path, payload: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name beside it, then give it its name.

    Whatever goes wrong on the way (a full disk, no permission, an interrupt), a file that was there
    before stays as it was, and the temporary one goes.

    Parameters
    ----------
    path : str or Path
        Its folder must exist.
    payload : bytes or callable
        What to write, or a function that writes it into the open file that it is given.

    Raises
    ------
    OSError
        What the operating system says, such as "No space left on device".
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        # Buffered: Python then repeats a write that the system cut short, as Linux does above 2 GiB
        # and on a disk that fills up, until all bytes are written or there is an error.
        with open(temporary, "wb") as file:
            if callable(payload):
                payload(file)
            else:
                file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
