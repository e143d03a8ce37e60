"""The opening and the closing of a lesson.

A lesson opens with ``lesson = course.lesson("02", mnist)``, which seeds the run and sets the style.
Its last cell gives the numbers of the run and the claims that its text makes, and compares both
with the published run in ``data/published.toml``, which tools/published.py writes.
"""

import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from helpers.course import settings
from helpers.course.checks import shown
from helpers.course.datasets import ImageDataset
from helpers.course.files import write_whole
from helpers.course.style import use_style

PUBLISHED_SEED = 42
VERSIONS = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
NO_DATA = "none"  # the first part of a number's name if it depends on no data set


class Disagreement(Exception):
    """A strict run differs from the published one; the message is a table."""


@dataclass(frozen=True)
class Number:
    """A number of this run, and the display name of the data set that it depends on, or ""."""

    value: float
    data: str


def lesson(number: str, dataset: ImageDataset | None = None) -> "Lesson":
    """Open a lesson: see `Lesson`."""
    return Lesson(number, dataset)


class Lesson:
    """A run of a lesson, from its seed to the comparison with the published run.

    Parameters
    ----------
    number
        The lesson's number, "02".
    dataset
        What its numbers depend on, unless `numbers` is told otherwise.

    Attributes
    ----------
    seed : int
        The seed of the run: 42, or ``VAE_SEED``. Python, NumPy and Keras have been seeded with it.
    """

    def __init__(self, number: str, dataset: ImageDataset | None = None) -> None:
        if not re.fullmatch(r"\d\d", str(number)):
            raise ValueError(f"number must be two digits such as '02', got {shown(number)}")
        self.number, self.dataset, self.seed = number, dataset, settings.seed()
        self._numbers: dict[str, Number] = {}
        self._claims: dict[str, bool] = {}
        keras.utils.set_random_seed(self.seed)
        use_style()

    def numbers(self, values: Mapping[str, float], dataset: ImageDataset | None = None) -> None:
        """Give numbers of this run.

        Parameters
        ----------
        values
            From names such as "mnist/dynamic/mlp_k50/elbo" (data, protocol, model, metric; the
            first part is "none" where no data set matters) to finite numbers. Seconds, speeds and
            memory depend on the machine and do not belong here.
        dataset
            What these numbers depend on, if not the lesson's data set.

        Raises
        ------
        ValueError
            A name has other than four parts, or a number is not finite.
        """
        chosen = dataset or self.dataset
        for key, value in values.items():
            parts = key.split("/")
            if len(parts) != 4 or not all(part.strip() for part in parts):
                raise ValueError(f"{key!r} is not <data>/<protocol>/<model>/<metric>")
            value = float(value)
            if not math.isfinite(value):
                raise ValueError(f"{key} is {value}: only finite numbers can be compared")
            data = "" if chosen is None or parts[0] == NO_DATA else chosen.display_name
            self._numbers[key] = Number(float(f"{value:.7g}"), data)

    def claims(self, conditions: Mapping[str, bool]) -> None:
        """Say whether sentences of the lesson's text hold in this run.

        Parameters
        ----------
        conditions
            From short names to comparisons. Each name stands as ``<!-- claim: name -->`` behind its
            sentence in a markdown cell.

        Raises
        ------
        ValueError
            A name has other characters than small letters, digits and underscores.
        TypeError
            A condition is neither True nor False.
        """
        for name, holds in conditions.items():
            if not re.fullmatch(r"[a-z0-9_]+", name):
                raise ValueError(f"{name!r}: use small letters, digits and underscores")
            truth = np.asarray(holds)
            if truth.dtype != bool or truth.ndim:
                raise TypeError(f"{name} must be one comparison, True or False, got {shown(holds)}")
            self._claims[name] = bool(truth)

    def close(self) -> None:
        """Keep the run under ``build/``, compare it with the published one, and print one line.

        Raises
        ------
        Disagreement
            Under ``VAE_STRICT``: a number is outside, not published or missing; a claim does not
            hold; or nothing could be compared.
        """
        self._keep()
        known = published(self.number, settings.profile())
        found = compare(
            self._numbers,
            self._claims,
            known,
            by_value=self.seed == PUBLISHED_SEED and _like_published(known),
            judge_claims=not settings.is_quick(),
        )
        if settings.strict() and found.problems():
            raise Disagreement(found.table(f"lesson {self.number}, {settings.profile()}"))
        print(found.sentence())

    def _keep(self) -> None:
        """Write the run's numbers and claims, or say why they are not kept."""
        run = {
            "seed": self.seed,
            "numbers": {key: vars(number) for key, number in sorted(self._numbers.items())},
            "claims": self._claims,
        }
        path = settings.build_dir() / "lessons" / settings.profile() / f"{self.number}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(run, indent=1).encode())
        except OSError as error:
            print(f"This run's numbers are not kept ({error.strerror}): set VAE_BUILD to a folder.")


def published(number: str, profile: str) -> dict:
    """Return what ``data/published.toml`` says of a lesson in a profile; {} if nothing."""
    path = settings.data_file("published.toml")
    if not path.is_file():
        return {}
    return tomllib.loads(path.read_text(encoding="utf-8")).get(number, {}).get(profile, {})


def _like_published(known: Mapping) -> bool:
    """Say whether this machine rounds as the published runs' did: versions as theirs, no GPU.

    Elsewhere roundings differ, and a training makes much of them: in a few epochs it is as far from
    the published one as another seed.
    """
    theirs = known.get("runs", [{"versions": {}}])[0]["versions"]
    same = all(theirs.get(name) == version for name, version in VERSIONS.items())
    return same and not tf.config.list_physical_devices("GPU")


def accepted(entry: Mapping, by_value: bool) -> tuple[float, float]:
    """Return the interval of a published number: its value ± tolerance, or the seeds' range."""
    if by_value:
        return entry["value"] - entry["tolerance"], entry["value"] + entry["tolerance"]
    return entry["low"], entry["high"]


@dataclass
class Comparison:
    """How a run compares with the published one.

    Attributes
    ----------
    agree, outside
        Names of the numbers that were compared.
    other_data
        Names of those that depend on another data set than the published ones.
    unpublished, missing
        Names of numbers and claims that only the run or only the published run has.
    held, broken
        Names of the claims that were judged.
    """

    numbers: dict[str, Number]
    entries: dict[str, dict]
    by_value: bool
    judge_claims: bool
    agree: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    other_data: list[str] = field(default_factory=list)
    unpublished: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def problems(self) -> bool:
        """Say whether a strict run fails."""
        wrong = self.outside + self.unpublished + self.missing + self.broken
        return bool(wrong) or not self.agree

    def sentence(self) -> str:
        """Return the line that ends a lesson."""
        count = len(self.agree) + len(self.outside)
        if not count:
            return f"0 of {len(self.numbers)} numbers are compared.{self._not_compared()}"
        numbers = f"{len(self.agree)} of {count} numbers"
        claims = f" and {len(self.held)} of {len(self.held) + len(self.broken)} claims"
        if not self.held + self.broken:
            claims = ""
        if self.by_value:
            said = f"{numbers}{claims} agree with the published run."
        else:
            said = f"{numbers}{claims} agree with the range of the published seeds."
        if self.outside:
            said += f" Outside: {_listed(self._told(key) for key in self.outside)}."
        if self.broken:
            said += f" Not so in this run: {_listed(self.broken)}."
        return said + self._not_compared()

    def _not_compared(self) -> str:
        """Return the sentences on numbers that were not compared, "" if there are none."""
        said = ""
        if self.other_data:
            used = _listed({self.numbers[key].data or "no data" for key in self.other_data})
            known = _listed({self.entries[key]["data"] or "no data" for key in self.other_data})
            said += (
                f" Not compared: {len(self.other_data)} that depend on {used}; "
                f"the published ones depend on {known}."
            )
        if self.unpublished:
            said += f" Not published: {_listed(self.unpublished)}."
        if self.missing:
            said += f" Not given: {_listed(self.missing)}."
        return said

    def _told(self, key: str) -> str:
        """Return a number that lies outside, with what is accepted."""
        low, high = accepted(self.entries[key], self.by_value)
        return f"{key} is {self.numbers[key].value:.7g}, accepted {low:.7g} to {high:.7g}"

    def table(self, title: str) -> str:
        """Return what is wrong as a table: number, value, accepted, published."""
        rows = [("number or claim", "value", "accepted", "published")]
        for key in self.outside:
            low, high = accepted(self.entries[key], self.by_value)
            value, known = self.numbers[key].value, self.entries[key]["value"]
            rows.append((key, f"{value:.7g}", f"{low:.7g} to {high:.7g}", f"{known:.7g}"))
        rows += [(name, "False", "True", "True") for name in self.broken]
        rows += [(name, "given", "", "not published") for name in self.unpublished]
        rows += [(name, "not given", "", "published") for name in self.missing]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([f"{title}: {self.sentence()}", *lines])


def compare(
    numbers: dict[str, Number],
    claims: dict[str, bool],
    known: Mapping,
    *,
    by_value: bool,
    judge_claims: bool,
) -> Comparison:
    """Compare a run with the published one.

    Parameters
    ----------
    numbers, claims
        What the run gave.
    known
        What is published of the lesson and profile: see `published`.
    by_value
        Compare with the published value at its tolerance; else with the range of several seeds.
    judge_claims
        Whether claims count. They do not in the quick profile, whose models are hardly trained, nor
        in a run on other data.
    """
    entries = known.get("numbers", {})
    found = Comparison(numbers, entries, by_value, judge_claims)
    for key, number in sorted(numbers.items()):
        if key not in entries:
            found.unpublished.append(key)
            continue
        low, high = accepted(entries[key], by_value)
        if number.data != entries[key]["data"]:
            found.other_data.append(key)
        elif low <= number.value <= high:
            found.agree.append(key)
        else:
            found.outside.append(key)
    found.missing = sorted(entries.keys() - numbers.keys())
    if judge_claims and found.agree + found.outside:
        found.held = [name for name, holds in claims.items() if holds]
        found.broken = [name for name, holds in claims.items() if not holds]
        names = set(known.get("claims", ()))
        found.unpublished += sorted(claims.keys() - names)
        found.missing += sorted(names - claims.keys())
    return found


def _listed(names: Iterable[str], at_most: int = 3) -> str:
    """Return names with commas between them, the first few if they are many."""
    names = sorted(names)
    more = [f"{len(names) - at_most} more"] if len(names) > at_most else []
    return ", ".join(names[:at_most] + more)
