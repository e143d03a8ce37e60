"""The settings of the environment, the package's own doors, and what it refuses at import."""

import ast
import builtins
import importlib.util
import os
import shutil
from pathlib import Path

import keras
import pytest

import helpers
from helpers import course
from helpers.course import settings

FOLDER = Path(helpers.__file__).parent


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """No variable of the course is set."""
    for name in [name for name in os.environ if name.startswith("VAE_")]:
        monkeypatch.delenv(name)


def test_defaults_hold_where_a_variable_is_unset_or_empty(monkeypatch):
    def found():
        return (
            settings.profile(),
            settings.seed(),
            settings.seed(3),
            settings.use_embedded(),
            settings.data_dir(),
            settings.data_dir_is_chosen(),
            settings.build_dir(),
            settings.cifar10_urls(),
            settings.strict(),
            settings.recording(),
            settings.command(),
            settings.progress(),
        )

    root = FOLDER.parent
    defaults = ("lesson", 42, 3, False, root / "data", False, root / "build", [])
    assert found() == (*defaults, False, False, "", True)
    for (
        name
    ) in "PROFILE SEED DATA DATA_DIR BUILD CIFAR10_URL STRICT RECORD COMMAND PROGRESS".split():
        monkeypatch.setenv(f"VAE_{name}", "")
    assert found() == (*defaults, False, False, "", True)


def test_variables_are_read_at_each_call(monkeypatch):
    assert not course.quick
    for name, value in {
        "PROFILE": "quick",
        "SEED": "11",
        "BUILD": "~/b",
        "CIFAR10_URL": "file:///a  http://b",
        "STRICT": "1",
        "RECORD": "0",
        "COMMAND": "make it",
        "PROGRESS": "0",
    }.items():
        monkeypatch.setenv(f"VAE_{name}", value)
    assert course.quick and settings.profile() == "quick"
    assert course.seed() == settings.seed() == 11
    assert settings.build_dir() == Path.home() / "b"
    assert settings.cifar10_urls() == ["file:///a", "http://b"]
    assert settings.strict() and not settings.recording()
    assert settings.command() == "make it" and not settings.progress()


def test_the_sample_stands_in_where_it_is_asked_for_and_in_quick_runs(monkeypatch):
    for profile, data, embedded in (
        ("lesson", "embedded", True),
        ("quick", "", True),
        ("quick", "real", False),
    ):
        monkeypatch.setenv("VAE_PROFILE", profile)
        monkeypatch.setenv("VAE_DATA", data)
        assert settings.use_embedded() is embedded


def test_a_relative_folder_of_data_starts_at_the_checkout(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for value, folder in (
        ("elsewhere", FOLDER.parent / "elsewhere"),
        ("~/images", Path.home() / "images"),
        ("/mnt/images", Path("/mnt/images")),
    ):
        monkeypatch.setenv("VAE_DATA_DIR", value)
        assert settings.data_dir() == folder and settings.data_dir_is_chosen()


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("VAE_PROFILE", "class", settings.profile),
        ("VAE_SEED", "-1", settings.seed),
        ("VAE_SEED", "2147483648", settings.seed),
        ("VAE_DATA", "fake", settings.use_embedded),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(monkeypatch, name, value, read):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name} is '{value}'"):
        read()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The settings as they are where the package was installed without the checkout around it."""
    package = tmp_path / "site-packages" / "helpers" / "course"
    package.mkdir(parents=True)
    path = shutil.copy(settings.__file__, package)
    spec = importlib.util.spec_from_file_location("installed_settings", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_installed_package_writes_nothing_beside_itself(installed, tmp_path, monkeypatch):
    working = tmp_path / "work"
    working.mkdir()
    monkeypatch.chdir(working)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert installed.ROOT is None
    assert installed.data_dir() == installed.cache_dir()
    assert not installed.data_dir().is_relative_to(tmp_path / "site-packages")
    assert installed.build_dir() == working / "build"
    monkeypatch.setenv("VAE_DATA_DIR", "mine")
    assert installed.data_dir() == working / "mine"
    assert settings.data_file("a", "b.c") == FOLDER.parent / "data" / "a" / "b.c"


def test_a_user_without_a_home_gets_no_folder_named_tilde(monkeypatch):
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")
    assert settings.cache_dir().is_absolute()


def test_no_other_module_reads_the_variables():
    for path in FOLDER.rglob("*.py"):
        if path.name == "settings.py":
            continue
        strings = [
            node.value
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(call, ast.Call | ast.Subscript)
            for node in ast.iter_child_nodes(call)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not [s for s in strings if s.startswith("VAE_") and " " not in s], path


# --- The package's doors --------------------------------------------------------------------------


def test_course_gives_functions_even_when_a_module_has_their_name():
    importlib.import_module("helpers.course.lesson")
    importlib.import_module("helpers.course.progress")
    for name in course.__all__:
        assert name == "quick" or callable(getattr(course, name)), name
    with pytest.raises(AttributeError, match=r"no 'exam'; it has check, lesson"):
        course.exam  # noqa: B018


@pytest.mark.parametrize(
    ("function", "value"), [("backend", "jax"), ("image_data_format", "channels_first")]
)
def test_another_keras_is_refused(monkeypatch, function, value):
    monkeypatch.setattr(keras.config, function, lambda: value)
    with pytest.raises(RuntimeError, match=f"needs Keras with tensorflow .*{value}.*keras.json"):
        helpers._check_keras()


def test_a_backend_that_is_not_installed_is_refused(monkeypatch):
    imported = builtins.__import__

    def without_keras(name, *args, **kwargs):
        if name == "keras":
            raise ModuleNotFoundError("No module named 'jax'")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_keras)
    with pytest.raises(RuntimeError, match=r"needs Keras with tensorflow .*No module named 'jax'"):
        helpers._check_keras()
