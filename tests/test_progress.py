"""Progress of long work: it moves where somebody watches, and leaves nothing."""

import io
import time

import pytest

from helpers.course.progress import progress


class Terminal(io.StringIO):
    """A standard error that somebody watches."""

    def isatty(self):
        return True


@pytest.fixture
def module(monkeypatch):
    """The module, with bars that show at once."""
    import sys

    module = sys.modules["helpers.course.progress"]
    monkeypatch.setattr(module, "DELAY", 0)
    monkeypatch.delenv("VAE_PROGRESS", raising=False)
    return module


def watched(monkeypatch, steps=4):
    """Return what a terminal was sent while a loop ran."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    done = []
    for i in progress(range(steps), "scoring"):
        done.append(i)
        time.sleep(0.25)
    assert done == list(range(steps))
    return terminal.getvalue()


def test_a_terminal_sees_it_move_and_then_an_empty_line(module, monkeypatch):
    sent = watched(monkeypatch).split("\r")
    assert sum("scoring" in line for line in sent) >= 3
    assert len({line for line in sent if "scoring" in line}) >= 3
    assert sent[-1] == "" and not sent[-2].strip()


def test_nothing_is_sent_where_nobody_watches(module, monkeypatch, capsys):
    assert watched(monkeypatch, 1)
    monkeypatch.setenv("VAE_PROGRESS", "0")
    assert watched(monkeypatch, 1) == ""
    monkeypatch.undo()
    assert list(progress(range(3), "scoring")) == [0, 1, 2]  # pytest's is no terminal
    assert capsys.readouterr() == ("", "")


def test_what_is_done_soon_shows_nothing(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(progress(range(3), "scoring")) == [0, 1, 2]
    assert terminal.getvalue() == ""


@pytest.fixture
def notebook(module, monkeypatch):
    """What a notebook's cell shows: {display id: [its contents, one after the other]}."""
    shown = {}

    class Handle:
        def display(self, content, raw):
            shown[self] = [content]

        def update(self, content, raw):
            shown[self].append(content)

    monkeypatch.setattr(module, "DisplayHandle", Handle)
    monkeypatch.setattr(module, "_in_notebook", lambda: True)
    return shown


def test_a_notebook_keeps_nothing_even_of_work_that_failed(notebook, capsys):
    with pytest.raises(ValueError), progress(total=4, label="download", unit="B") as bar:
        for _step in range(3):
            time.sleep(0.25)
            bar.update(1)
        raise ValueError
    (contents,) = notebook.values()
    texts = [content.get("text/plain", "") for content in contents]
    assert len(set(texts)) >= 3 and "download" in texts[0]
    assert contents[-1] == {}
    assert capsys.readouterr() == ("", "")
