"""Links, badges and the first cell: all of one address, and a notebook alone finds its course."""

import os
import shutil
import subprocess
import sys
import sysconfig

import fake_notebook
import nbformat
import pytest

import bootstrap
import course
import hygiene
import links

REPO = "someone/a-course"


def test_all_files_agree():
    assert links.differences(course.ROOT, links.repository(course.ROOT)) == []


@pytest.fixture
def house(tmp_path):
    """A course of two lessons and one notebook of solutions, written but not stamped."""
    folder = tmp_path / "notebooks"
    (folder / "solutions").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "CITATION.cff"):
        shutil.copy(course.ROOT / name, tmp_path)
    nb = fake_notebook.lesson()
    for count, cell in enumerate((c for c in nb.cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
        cell.outputs = [nbformat.v4.new_output("execute_result", {}, execution_count=count)]
    for name in ("01_toy.ipynb", "02_next.ipynb", "solutions/01_solutions.ipynb"):
        nbformat.write(nb, folder / name)
    return tmp_path


def _read(house):
    paths = [house / name for name in ("README.md", "pyproject.toml", "CITATION.cff")]
    paths += sorted((house / "notebooks").rglob("*.ipynb"))
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def test_an_address_is_set_once_changed_and_taken_away(house):
    assert links.main(["--check"], house) == 1
    assert links.main([""], house) == 0
    assert links.main(["--check"], house) == 0
    unset = _read(house)
    assert not any("colab" in unset[n] for n in ("README.md", "01_toy.ipynb", "pyproject.toml"))
    assert "get the whole folder" in unset["01_toy.ipynb"]
    assert links.main([REPO], house) == 0
    assert links.main(["--check"], house) == 0
    assert links.repository(house) == REPO
    texts = _read(house)
    address = f"colab.research.google.com/github/{REPO}/blob/main/notebooks/01_toy.ipynb"
    assert f"[Open in Colab](https://{address}) · [next]" in texts["01_toy.ipynb"]
    assert texts["README.md"].count(address) == 2
    assert "mybinder.org/v2/gh/someone" in texts["README.md"]
    assert f"repository-code: https://github.com/{REPO}" in texts["CITATION.cff"]
    assert all(REPO in text for text in texts.values())
    assert links.main([], house) == 0 and _read(house) == texts, "the second time changes nothing"
    assert links.main(["other/place"], house) == 0
    assert not any(REPO in text for text in _read(house).values())
    assert links.main([""], house) == 0 and _read(house) == unset


@pytest.mark.parametrize("name", ["README.md", "pyproject.toml", "01_toy.ipynb"])
def test_a_file_that_disagrees_is_found(house, name, capsys):
    links.main([REPO], house)
    path = house / name if name != "01_toy.ipynb" else house / "notebooks" / name
    path.write_text(path.read_text().replace(REPO, "owner/fork"), encoding="utf-8")
    assert links.main(["--check"], house) == 1
    assert "run make links" in capsys.readouterr().out


def test_a_stamp_keeps_a_run_a_run(house):
    path = house / "notebooks" / "01_toy.ipynb"
    before = course.read(path)
    links.main([], house)
    links.main([REPO], house)
    nb = course.read(path)
    counts = [cell["execution_count"] for cell in nb["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    for cell in nb["cells"]:
        for output in cell.get("outputs", ()):
            assert output.get("execution_count") in (None, cell["execution_count"])
    assert nb["cells"][1]["id"] == links.STAMP and not nb["cells"][1]["outputs"]
    others = [cell["id"] for cell in nb["cells"] if not cell["id"].startswith(links.STAMP)]
    assert others == [cell["id"] for cell in before["cells"]]
    assert "not from one run" not in " ".join(hygiene.problems(nb, size=1))


def test_a_stamp_in_a_notebook_that_was_not_run(house):
    path = house / "notebooks" / "01_toy.ipynb"
    nbformat.write(fake_notebook.lesson(), path)
    links.main([], house)
    counts = {cell.get("execution_count") for cell in course.read(path)["cells"]}
    assert counts == {None}


@pytest.mark.parametrize("wrong", [["a"], ["a/b", "c/d"], ["https://github.com/a/b"], ["--chek"]])
def test_a_wrong_address_is_refused(wrong, house):
    with pytest.raises(SystemExit, match="usage"):
        links.main(wrong, house)


# --- A notebook alone ------------------------------------------------------------------------


def run_alone(source, folder, **environment):
    """Run cells in IPython where the course is not installed; return (exit code, what it says)."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in source])
    nbformat.write(nb, folder / "alone.ipynb")
    # Without the start-up files of site-packages, which make the checkout importable.
    site = {"PYTHONPATH": sysconfig.get_paths()["purelib"], "IPYTHONDIR": str(folder / "ipython")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VAE_")}
    done = subprocess.run(
        [sys.executable, "-S", "-m", "IPython", "--colors=NoColor",
         "--TerminalInteractiveShell.term_title=False", "alone.ipynb"],
        cwd=folder, env=kept | site | environment, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository with what is committed or about to be, in place of the one on GitHub."""
    folder = tmp_path_factory.mktemp("origin")
    ls = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "helpers", "tools"]
    names = subprocess.run(ls, cwd=course.ROOT, capture_output=True, text=True, check=True).stdout
    for name in [*names.split(), "pyproject.toml"]:
        if (course.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(course.ROOT / name, folder / name)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "a"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


def first_code(path, number):
    """Return the first cells with code of a notebook, the stamped one aside."""
    code = [cell for cell in course.read(path)["cells"] if cell["cell_type"] == "code"]
    return [course.source_of(cell) for cell in code if cell["id"] != links.STAMP][:number]


def test_a_notebook_alone_fetches_the_course(origin, tmp_path):
    stamp = links.first_cell(REPO).replace(f"{links.GITHUB}/{REPO}", origin.as_uri())
    assert origin.as_uri() in stamp
    shown = (
        "import os, helpers\n"
        "print('here:', os.path.relpath(helpers.__file__), training.profile())\n"
        "print(data.load_mnist().label)"
    )
    cells = [stamp, *first_code(course.notebook_paths()[0], 2), shown]
    code, said = run_alone(cells, tmp_path, VAE_DATA="embedded")
    folder = links.FOLDER
    assert f"The course is in {folder}/, next to this notebook." in said, said
    assert f"here: {folder}/helpers/__init__.py" in said and "class" in said, said
    assert "digits" in said.lower() and code == 0 and "Error" not in said, said
    assert "older than" not in said and "installing" not in said


def test_a_notebook_alone_says_what_to_do_without_an_address(tmp_path):
    _, said = run_alone([links.first_cell("")], tmp_path)
    assert "ModuleNotFoundError: This notebook needs the course around it" in said


def test_the_first_cell_does_nothing_in_a_checkout(tmp_path):
    for repo in ("", REPO):
        code, said = run_alone([links.first_cell(repo)], tmp_path, PYTHONPATH=os.pathsep.join(
            [sysconfig.get_paths()["purelib"], str(course.ROOT)]))  # fmt: skip
        assert code == 0 and said.strip() == ""
    assert {path.name for path in tmp_path.iterdir()} <= {"alone.ipynb", "ipython"}


# --- What a runtime ships --------------------------------------------------------------------


COLAB = {
    "tensorflow": "2.20.0", "tensorflow-probability": "0.25.0", "tf-keras": "2.20.1",
    "keras": "3.13.2", "numpy": "2.1.3", "scikit-learn": "1.6.1", "matplotlib": "3.10.0",
    "imageio": "2.37.4", "pillow": "11.3.0", "filelock": "3.19.1", "setuptools": "75.2.0",
}  # fmt: skip


def test_colab_lacks_nothing():
    assert bootstrap.judge(bootstrap.wanted(), COLAB) == ([], [])
    here = bootstrap.installed()
    assert bootstrap.judge(bootstrap.wanted(), here) == ([], []) and here["tf-keras"]


def test_what_is_missing_or_old_is_named():
    wanted = bootstrap.wanted()
    without = {name: version for name, version in COLAB.items() if name != "tf-keras"}
    assert bootstrap.judge(wanted, without | {"numpy": "1.26.4"}) == (
        ["tf-keras"],
        ["numpy 1.26.4 is older than 2.0, the oldest tested: choose a newer runtime"],
    )
    assert bootstrap.judge(wanted, COLAB | {"tensorflow": "2.9.0"})[1], "9 is before 18"
    without.pop("tensorflow")
    with pytest.raises(RuntimeError, match=r"no TensorFlow.*TPU"):
        bootstrap.judge(wanted, without)


def test_an_installation_moves_nothing(monkeypatch):
    seen = []

    def run(command, check):
        with open(command[command.index("-c") + 1], encoding="utf-8") as pins:
            seen.append((command, pins.read()))

    monkeypatch.setattr(bootstrap.subprocess, "run", run)
    bootstrap.install(["tf-keras"], {"numpy": "2.1.3", "keras": "3.13.2"})
    ((command, pins),) = seen
    assert pins == "numpy==2.1.3\nkeras==3.13.2\n" and command[-1] == "tf-keras"
    assert not {"-U", "--upgrade", "--force-reinstall"} & set(command)
