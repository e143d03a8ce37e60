"""What the project scripts share: finding, reading and running the notebooks."""

import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
# One setting per profile; whatever the caller's shell says about the others does not count.
QUICK = {"VAE_PROFILE": "quick", "VAE_DATA": "embedded", "VAE_STRICT": "1", "VAE_RECORD": "0"}
ENVIRONMENTS = {
    "quick": QUICK,
    "full": {"VAE_PROFILE": "full", "VAE_DATA": "", "VAE_STRICT": "1", "VAE_RECORD": "0"},
}


def notebook_paths(number: str = "", folder: Path = NOTEBOOKS, solutions: bool = False) -> list:
    """Return the lessons in order, each followed by its solutions where those are asked for.

    Exit with a message where no notebook has the number ("01", or "1").
    """
    number = number.zfill(2) if number else ""
    lessons = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    chosen = [path for path in lessons if path.name.startswith(number)]
    if number and not chosen:
        have = ", ".join(path.name[:2] for path in lessons) or "none yet"
        sys.exit(f"error: no notebook {number} in {folder.name}/ (there are: {have})")
    paths = []
    for path in chosen:
        answer = folder / "solutions" / f"{path.name[:2]}_solutions.ipynb"
        paths += [path, answer] if solutions and answer.exists() else [path]
    return paths


def read(path: Path):
    """Return the notebook as it is stored, with no upgrade of its format."""
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def source_of(cell) -> str:
    """Return the text of a cell, whether it is stored as one string or as a list of lines."""
    return "".join(cell["source"])


def tags(cell) -> list:
    """Return the tags of a cell."""
    return cell["metadata"].get("tags", [])


def title_and_sentence(nb) -> tuple[str, str]:
    """Return the H1, and the first sentence of the first paragraph below it, as plain text."""
    prose = "\n\n".join(source_of(c) for c in nb["cells"] if c["cell_type"] == "markdown")
    title, sentence = "", ""
    for block in re.split(r"\n\s*\n", prose):
        block = block.strip()
        if not title and (found := re.match(r"# +(.+)", block)):
            title, block = found[1], block[found.end() :].strip()
        if not title or re.match(r"[#|>!<$]|[*+-] |\d+\.", block):
            continue  # a heading, table, quotation, picture, formula or list
        text = re.sub(r"\[[^]]*\]\([^)]*\)", "", block)
        if not re.search(r"\w{3}", text) or " · " in block:
            continue  # the bar of links
        text = re.sub(r"^\*\*[^*]+\*\*:?\s+", "", block.replace("\n", " "))  # **You'll do.**
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
        text = re.sub(r"[*_`]{1,2}(\S[^*_`]*)[*_`]{1,2}", r"\1", text)
        sentence = re.match(r".+?[.!?](?=\s|$)|.+", text)[0]
        break
    return re.sub(r"[*_`]", "", title), sentence


def with_block(text: str, name: str, body: str) -> str:
    """Return text with body between the two marks of that name; ValueError where they lack."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
        raise ValueError(f"README.md needs one {begin} and, below it, one {end}")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{body}{end}{rest.split(end)[1]}"


@dataclass
class Run:
    """How a notebook ran: seconds, peak memory in MB (0 where unknown), "" or what went wrong."""

    seconds: float
    memory: int
    error: str


def run(nb, folder: Path, environment: dict, timeout: int = 3600) -> Run:
    """Execute nb in place with a kernel started in folder; stop at the first failing cell."""
    memory = 0

    def after_cell(**_):
        nonlocal memory
        try:
            status = Path(f"/proc/{client.km.provisioner.pid}/status").read_text()
            memory = max(memory, int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1000)
        except (OSError, TypeError, AttributeError):
            pass  # no /proc on this system

    client = NotebookClient(
        nb,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
        on_cell_executed=after_cell,
    )
    start, error = time.perf_counter(), ""
    try:
        client.execute(env=os.environ | environment)
    except CellExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}".strip()
        if failure.traceback:
            error = f"cell {failed_cell(nb)}: {error}"
    except (CellTimeoutError, DeadKernelError) as failure:
        error = f"{type(failure).__name__}: {failure}".strip()
    return Run(time.perf_counter() - start, memory, error)


def failed_cell(nb) -> int:
    """Return the number (from 1, among the code cells) of the first cell that ended in an error."""
    code = [cell for cell in nb["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, start=1):
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            if "raises-exception" not in tags(cell):
                return number
    return 0
