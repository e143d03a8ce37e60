"""The one style of the course's figures. No meaning hangs on colour alone."""

from pathlib import Path

import matplotlib.pyplot as plt

# The colours of Okabe & Ito, which colour-blind readers tell apart, without their pale yellow.
COLOURS = [
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#8B7500",
    "#7F3C8D",
    "#777777",
]
MARKERS = "os^vDPX<>*"  # one for each colour


def use_style() -> None:
    """Set the style of all figures to come: `course.mplstyle` and the colours above."""
    plt.style.use(Path(__file__).with_name("course.mplstyle"))
    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
