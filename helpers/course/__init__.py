"""The course's plumbing. What a lesson uses of it is reached as `course.lesson`, `course.check`, …

Nothing is imported before it is asked for, so that a module of `helpers` may use a module of this
package without loading the others.
"""

import importlib
import sys
from types import ModuleType

_FOUND_IN = {  # name: (module, name there)
    "check": ("exercises", "check"),
    "lesson": ("lesson", "lesson"),
    "progress": ("progress", "progress"),
    "recorded_model": ("records", "load_recorded_model"),
    "recorded_number": ("records", "recorded_number"),
    "seed": ("settings", "seed"),
}

__all__ = ["quick", *_FOUND_IN]


def __getattr__(name: str) -> object:
    if name == "quick":  # read at each use, as every setting is
        return importlib.import_module("helpers.course.settings").is_quick()
    if name in _FOUND_IN:
        module, found = _FOUND_IN[name]
        return getattr(importlib.import_module(f"helpers.course.{module}"), found)
    raise AttributeError(f"helpers.course has no {name!r}; it has {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Course(ModuleType):
    """Keeps `course.lesson` the function once the module of the same name has been imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in __all__:  # Python sets an imported submodule as an attribute
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Course
