"""Write the README's table of results from data/results.json: every number marked as a headline.

usage: readme_table.py [--check]     --check changes nothing; exit 1 where the table is out of date
"""

import sys

import course
from helpers import evaluation

README = course.ROOT / "README.md"
HEAD = (
    "| notebook | data | protocol | model | metric | value | published | seed | time | machine |\n"
    "| --- | --- | --- | --- | --- | ---: | --- | ---: | ---: | --- |\n"
)
# Where the literature has the same metric on the same data; SOURCES says what differs.
EMBEDDINGS = "0.969 (UMAP), 0.976 (PaCMAP) [3]"
KINGMA = "-81.08 (no flow), -79.77 and -79.10 (IAF) [2]"
BURDA = "-86.76 (VAE), -84.78 (IWAE, 50 samples) [1]"
PUBLISHED = {
    "02/mnist/dynamic/mlp_best/log_px": BURDA,
    "03/mnist/dynamic/conv_k40/log_px": BURDA,
    "04/mnist/dynamic/iaf_15/log_px": KINGMA,
    "04/mnist/dynamic/iaf_60/log_px": KINGMA,
    "05/mnist/grey/conv_k40_posterior/tsne_knn": EMBEDDINGS,
    "05/mnist/grey/iaf_60_posterior/tsne_knn": EMBEDDINGS,
}
SOURCES = """
Published: [1] [Burda et al. 2015](https://arxiv.org/abs/1509.00519), Table 1: one stochastic layer,
784-200-200-50, 3,280 epochs, 5,000 samples. [2] [Kingma et al. 2016](https://arxiv.org/abs/1606.04934),
Table 1: a deep residual network, 128 samples. [3] Pixels of all 70,000 images, each left out of its
own vote; lesson 05 says what differs. Ours: 1,000 samples, all 10,000 test images.
"""


def duration(seconds: float | None) -> str:
    """Return seconds below two minutes, else minutes; empty where no time was recorded."""
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def table(entries: dict) -> str:
    """Return the Markdown table of the headline numbers."""
    rows = []
    for key, entry in sorted(entries.items()):
        if entry.get("headline"):
            value = entry["value"]
            shown = f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"
            cells = [*key.split("/"), f"{shown} {entry.get('unit', '')}".strip()]
            cells += [PUBLISHED.get(key, ""), entry["seed"]]
            cells += [duration(entry["seconds"]), entry["machine"]]
            rows.append("| " + " | ".join(map(str, cells)) + " |\n")
    return HEAD + "".join(rows) + SOURCES if rows else "No results have been recorded yet.\n"


def updated(text: str, entries: dict) -> str:
    """Return the README with a fresh table between its two marks; ValueError where they lack."""
    return course.with_block(text, "results", table(entries))


def main(arguments: list[str]) -> int:
    """Write or check the table."""
    if arguments not in ([], ["--check"]):
        sys.exit(f"error: unexpected arguments {' '.join(arguments)}\n\n{__doc__}")
    text = README.read_text(encoding="utf-8")
    new = updated(text, evaluation.read_results(course.ROOT / "data" / "results.json"))
    if arguments and new != text:
        print("README.md: the table of results is out of date; run tools/readme_table.py")
        return 1
    if new != text:
        README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
