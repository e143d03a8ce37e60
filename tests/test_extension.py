"""What CONTRIBUTING says of extending the course, done to the letter in a copy of it."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

import nbformat
import pytest

import course
import generate
import hygiene

LESSON = "notebooks/99_do_something.ipynb"
STEP = re.compile(r"<!-- (helpers/\S+), (.+?) -->\n```python\n(.*?)```", re.DOTALL)
KINDS = ("network", "likelihood", "data set", "metric", "lesson")


@dataclass
class Step:
    """A block of CONTRIBUTING: what is written where."""

    path: str
    where: str
    text: str

    def is_registry_line(self):
        """Say whether it is the entry of a registry."""
        return self.where.startswith("below: ")

    def carry_out(self, root):
        """Write the block into a copy of the course."""
        path = root / self.path
        how, _, mark = self.where.partition(": ")
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if how == "a new file":
            assert not path.exists()
            new = self.text
        elif how == "at the end":
            new = old.rstrip("\n") + "\n" + self.text
        else:
            assert old.count(f"\n{mark}") == 1, f"{self.path} has no one line {mark}"
            head, tail = old.split(f"\n{mark}")
            rest, tail = tail.split("\n", 1)
            line = f"{mark}{rest}\n"
            new = f"{head}\n{line}{self.text}{tail}"
            if how == "above":
                new = f"{head}\n{self.text}{line}{tail}"
        path.write_text(new, encoding="utf-8")


def steps_of(kind):
    """Return the steps that CONTRIBUTING gives for a kind of extension."""
    text = (course.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split(f"\n### A {kind}\n")[1].split("\n##")[0]
    return [Step(*found) for found in STEP.findall(section)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_extension_takes_two_files_and_one_line_in_a_registry(kind):
    steps = steps_of(kind)
    files = {step.path for step in steps} | ({LESSON} if kind == "lesson" else set())
    lines = [step for step in steps if step.is_registry_line()]
    assert steps and len(files) <= 2 and len(lines) <= 1
    assert all(step.text.count("\n") == 1 for step in lines)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the course with one extension of each kind."""
    root = tmp_path_factory.mktemp("copy")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=course.ROOT, capture_output=True, text=True, check=True)
    for name in names.stdout.splitlines():
        wanted = name.startswith(("helpers/", "tools/", "notebooks/", "data/")) or "/" not in name
        if wanted and not name.endswith(".keras") and (course.ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(course.ROOT / name, root / name)
    for kind in KINDS:
        for step in steps_of(kind):
            step.carry_out(root)
    shutil.copy(root / "tools" / "template.ipynb", root / LESSON)
    return root


USE = """
import json, sys
import keras, numpy as np, nbformat
from helpers import course, data, evaluation, likelihoods, training
from helpers.course import exercises
from helpers.vae import VAE

# A data set and a network: it trains, and its file loads.
digits = data.load("digits")
assert digits.display_name == "Digits" and len(digits.train) == 1_297, digits.display_name
size = dict(hidden_dim=16, image_shape=(8, 8, 1))
vae = VAE(3, decoder="linear", **size)
fit = dict(epochs=1, batch_size=100, seed=1)
vae.compile(training.make_optimizer(1e-3, 10))
history = training.fit(vae, digits.train.images[:200], protocol="dynamic", **fit)
assert np.isfinite(history["loss"]).all()
vae.save("linear.keras")
x = np.asarray(data.prepare(digits.test.images[:5], "dynamic", seed=1))
loaded = keras.saving.load_model("linear.keras")
np.testing.assert_allclose(vae.reconstruct(x), loaded.reconstruct(x), rtol=1e-5)

# A metric.
assert evaluation.absolute_error([0.0, 1.0], [0.5, 1.0]) == 0.25

# A likelihood: scored as what it is, paired with its protocol, eight bits added.
vae = VAE(3, decoder="gaussian_mlp", likelihood="laplace", **size)
vae.compile(training.make_optimizer(1e-3, 10))
training.fit(vae, digits.train.images[:200], protocol="dequantised", **fit)
try:
    training.fit(vae, digits.train.images[:200], protocol="dynamic", **fit)
except ValueError as error:
    assert "laplace" in str(error)
else:
    raise AssertionError("a wrong pair was accepted")
z = np.zeros((1, 3), "float32")
mean, log_var = (np.asarray(part) for part in vae.decode(z))
scale = np.exp(log_var / 2)
x = np.full((1, 8, 8, 1), 0.3, "float32")
by_hand = (-np.abs(x - mean) / scale - np.log(2 * scale)).sum()
np.testing.assert_allclose(np.asarray(vae.likelihood(z).log_prob(x))[0], by_hand, rtol=1e-4)
np.testing.assert_allclose(evaluation.bits_per_dim(0.0, 64, "laplace"), 8.0)

# A lesson: every cell runs; its checks know right from wrong.
nb = nbformat.read(sys.argv[1], as_version=4)
cells = [cell for cell in nb.cells if cell.cell_type == "code"]
names = {"__name__": "__main__"}
for cell in cells:
    exec(compile(cell.source, cell.id, "exec"), names)
run = json.load(open("build/lessons/quick/99.json"))
assert run["claims"] == {"highest_at_half": True} and len(run["numbers"]) == 1
exercises.check("99.1", 2 * np.log(2))
exercises.check("99.2", "more")
exercises.check("99.3", lambda p: names["entropy"](p) / np.log(2))
exercises.check("99.4", lambda p: names["entropy"](np.clip(p, 1e-12, 1 - 1e-12)))
for number, wrong in {"99.1": 0.69, "99.2": "less", "99.3": names["entropy"]}.items():
    try:
        exercises.check(number, wrong)
    except exercises.NotYet:
        continue
    raise AssertionError(f"{number} accepts a wrong answer")
"""


def test_every_extension_works(extended, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name[:4] != "VAE_"}
    environment |= {"PYTHONPATH": str(extended), "VAE_DATA_DIR": str(tmp_path / "data")}
    environment |= {"VAE_PROFILE": "quick", "VAE_DATA": "real", "VAE_PROGRESS": "0"}
    # The lesson's own data set is the embedded sample; the new one has none.
    use = USE.replace("# A lesson", 'import os\nos.environ["VAE_DATA"] = "embedded"\n# A lesson')
    done = subprocess.run(
        [sys.executable, "-c", use, LESSON],
        cwd=extended,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("not answered yet") == 4 and done.stdout.count("Right.") == 4
    assert (tmp_path / "data" / "digits.npz").exists()


def test_the_steps_pass_the_lint(extended):
    paths = sorted({step.path for kind in KINDS for step in steps_of(kind)})
    for command in (["check"], ["format", "--check", "--diff"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", *paths]
        done = subprocess.run(ruff, cwd=extended, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_generated_knows_the_new_lesson(extended):
    nb = course.read(extended / LESSON)
    count = 0
    for cell in nb.cells:
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
    nbformat.write(nb, extended / LESSON)
    generate.main([], extended)
    assert generate.main(["--check"], extended) == 0
    assert f"[99 Do something with a VAE]({LESSON})" in (extended / "README.md").read_text("utf-8")
    before = course.notebook_paths(folder=extended / "notebooks")[-2].read_text(encoding="utf-8")
    assert "(99_do_something.ipynb)" in before
    hygiene_of_it = hygiene.problems(course.read(extended / LESSON), size=1, number="99")
    assert not [line for line in hygiene_of_it if "metadata" in line or "cell ids" in line]


def test_the_template_keeps_the_rules():
    nb = course.read(course.ROOT / "tools" / "template.ipynb")
    found = hygiene.problems(nb, size=1, number="99")
    of_a_run = ("execution counts", "shows nothing", "no picture")
    assert [line for line in found if not any(part in line for part in of_a_run)] == []
