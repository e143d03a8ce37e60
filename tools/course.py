"""What the project scripts share: finding, reading and running the notebooks.

Scripts that only read import this and no helpers, hence no TensorFlow.
"""

import json
import os
import re
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
PUBLISHED = ROOT / "data" / "published.toml"  # the lessons' numbers and claims
RESULTS = ROOT / "data" / "results.json"  # the studies' numbers

# One setting per profile; whatever the caller's shell says about the others does not count.
_ALWAYS = {"VAE_STRICT": "1", "VAE_RECORD": "", "VAE_SEED": "", "VAE_PROGRESS": "0"}
# The debugger of older kernels writes a note about frozen modules.
_ALWAYS["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
QUICK = {"VAE_PROFILE": "quick", "VAE_DATA": "embedded", **_ALWAYS}
LESSON = {"VAE_PROFILE": "lesson", "VAE_DATA": "", **_ALWAYS}
ENVIRONMENTS = {"lesson": LESSON, "quick": QUICK}


def build_dir() -> Path:
    """Return where scripts write: VAE_BUILD, or build/."""
    return Path(os.environ.get("VAE_BUILD") or ROOT / "build").expanduser().resolve()


def read_published(path: Path = PUBLISHED) -> dict:
    """Return what is published: {lesson: {profile: …}}; tools/published.py says in which form."""
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def read_results(path: Path = RESULTS) -> dict:
    """Return the studies' recorded numbers, {key: entry}."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


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


def heading_of(cell) -> tuple[int, str] | None:
    """Return rank and text of the heading that a cell opens with; None where it opens with none."""
    found = re.match(r"(#{1,6}) +(.+)", source_of(cell))
    return (len(found[1]), found[2]) if found and cell["cell_type"] == "markdown" else None


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
        sentence = re.match(r".+?(?<!\bal)(?<!\be\.g)(?<!\bi\.e)[.!?](?=\s|$)|.+", text)[0]
        break
    return re.sub(r"[*_`]", "", title), sentence


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
        memory = max(memory, peak_memory(client.km))

    start, error = time.perf_counter(), ""
    with tempfile.TemporaryDirectory() as sockets:
        client = NotebookClient(
            nb,
            timeout=timeout,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            coalesce_streams=True,
            on_cell_executed=after_cell,
            config=connection(Path(sockets)),
        )
        try:
            client.execute(env=os.environ | environment)
        except CellExecutionError as failure:
            error = f"{failure.ename}: {failure.evalue}".strip()
            if failure.traceback:
                error = f"cell {failed_cell(nb)}: {error}"
        except (CellTimeoutError, DeadKernelError) as failure:
            error = f"{type(failure).__name__}: {failure}".strip()
    return Run(time.perf_counter() - start, memory, error)


def connection(folder: Path) -> Config:
    """Return the settings of a kernel that talks over files in folder, which nobody else can read.

    Over TCP, which is all that Windows has, a kernel warns that anybody on the machine can listen.
    """
    if os.name == "nt":
        return Config()
    connection_file = str(folder / "kernel.json")
    return Config(KernelManager={"transport": "ipc", "connection_file": connection_file})


def peak_memory(manager) -> int:
    """Return the largest memory that a manager's kernel has used, MB; 0 where it is unknown."""
    try:
        status = Path(f"/proc/{manager.provisioner.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1000
    except (OSError, TypeError, AttributeError):
        return 0  # no /proc on this system


def failed_cell(nb) -> int:
    """Return the number (from 1, among the code cells) of the first cell that ended in an error."""
    code = [cell for cell in nb["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, start=1):
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            if "raises-exception" not in tags(cell):
                return number
    return 0
