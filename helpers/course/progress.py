"""Progress of long work: a line that moves while the work runs, and is gone when it ends."""

import io
import sys
from collections.abc import Iterable

from IPython import get_ipython
from IPython.display import DisplayHandle
from tqdm import tqdm

from helpers.course import settings

DELAY = 1.0  # seconds; what is done sooner shows nothing


def progress(
    steps: Iterable | None = None, label: str = "", *, total: int | None = None, unit: str = "step"
) -> tqdm:
    """Return tqdm's text bar, which removes itself; silent where nobody watches.

    ``for batch in progress(batches, "scoring"):`` steps through an iterable;
    ``with progress(total=n, label="download") as bar:`` counts by `bar.update(k)`.

    Parameters
    ----------
    steps : iterable, optional
    label : str
        What is being done, in a word or two.
    total : int, optional
        How many steps there are, where `steps` has no length.
    unit : str
        What is counted; "B" counts bytes in multiples of 1,000.

    Returns
    -------
    tqdm.tqdm
    """
    cell = _Cell() if _in_notebook() else None
    watched = cell is not None or sys.stderr.isatty()
    return _Bar(
        steps,
        label,
        total,
        unit=unit,
        unit_scale=unit == "B",
        file=cell or sys.stderr,
        leave=False,
        delay=DELAY,
        mininterval=0.2,
        ncols=79,
        ascii=None if cell is None else False,
        disable=not (watched and settings.progress()),
        cell=cell,
    )


class _Bar(tqdm):
    """tqdm's bar; in a notebook it empties its line of the cell's output at the end."""

    def __init__(self, *args: object, cell: "_Cell | None", **options: object) -> None:
        self.cell = cell
        super().__init__(*args, **options)

    def close(self) -> None:
        """End the bar, more than once if need be."""
        super().close()
        if self.cell is not None:
            self.cell.clear()


class _Cell(io.StringIO):
    """A line of a notebook's output that is written over in place, then emptied."""

    handle: DisplayHandle | None = None

    def write(self, text: str) -> int:
        """Show a line; tqdm's blank ones, which wipe a terminal's line, are left out."""
        line = text.strip()
        if line and self.handle is None:
            self.handle = DisplayHandle()
            self.handle.display({"text/plain": line}, raw=True)
        elif line:
            self.handle.update({"text/plain": line}, raw=True)
        return len(text)

    def clear(self) -> None:
        """Empty the line; nothing of it is left in the stored notebook."""
        if self.handle is not None:
            self.handle.update({}, raw=True)
            self.handle = None


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    return hasattr(get_ipython(), "kernel")
