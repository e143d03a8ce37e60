"""Likelihoods p(x|z): the distributions of pixels, and one registry that says what fits what."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from helpers.course.checks import check_choice
from helpers.course.tables import Table
from helpers.data import PROTOCOLS, Facts

tfd = tfp.distributions


def discretised_logistic_log_prob(x: tf.Tensor, mean: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
    """Log-probability of 8-bit pixels under a logistic density integrated over each grey level.

    The difference of two sigmoids is computed as
    ``sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a))``, which never cancels.
    Salimans et al. 2017 (PixelCNN++), eq. 2. Built in lesson 02.

    Parameters
    ----------
    x : tf.Tensor
        Grey levels divided by 255, any shape.
    mean, log_scale : tf.Tensor
        Same shape, in the units of `x`.

    Returns
    -------
    tf.Tensor
        Same shape, nats per pixel; over the 256 levels the probabilities sum to 1.
    """
    inverse_scale = tf.exp(-log_scale)
    upper = (x + 0.5 / 255.0 - mean) * inverse_scale
    lower = (x - 0.5 / 255.0 - mean) * inverse_scale
    first, last = x < 0.5 / 255.0, x > 254.5 / 255.0  # open-ended bins: all mass beyond the edge
    log_upper = tf.where(last, 0.0, tf.math.log_sigmoid(upper))
    log_lower = tf.where(first, 0.0, tf.math.log_sigmoid(-lower))
    width = tf.math.log1p(-tf.exp(-inverse_scale / 255.0))
    return log_upper + log_lower + tf.where(first | last, 0.0, width)


class Bernoulli(tfd.Bernoulli):
    """TFP's Bernoulli with its log-probability in fewer passes over the pixels."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        logits = self._logits_parameter_no_checks()
        return x * logits - tf.nn.softplus(logits)


class DiscretisedLogistic(tfd.Logistic):
    """8-bit pixels k/255, each with a logistic density integrated over its grey level."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        return discretised_logistic_log_prob(x, self.loc, tf.math.log(self.scale))

    def _mean(self) -> tf.Tensor:
        return tf.clip_by_value(self.loc, 0.0, 1.0)

    def _sample_n(self, n: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        draws = tf.clip_by_value(super()._sample_n(n, seed), 0.0, 1.0)
        return tf.round(draws * 255.0) / 255.0


# --- from a decoder's outputs to pixels -----------------------------------------------------------


def bernoulli(logits: tf.Tensor) -> tfd.Distribution:
    """Return binary pixels, each 1 with probability sigmoid(logit)."""
    return Bernoulli(logits=logits, dtype=tf.float32)


def gaussian(mean: tf.Tensor, log_var: tf.Tensor) -> tfd.Distribution:
    """Return continuous pixels, each normal."""
    return tfd.Normal(mean, tf.exp(0.5 * log_var))


def discretised_logistic(mean: tf.Tensor, log_var: tf.Tensor) -> tfd.Distribution:
    """Return 8-bit pixels, each of a logistic density whose scale is exp(log_var / 2)."""
    return DiscretisedLogistic(mean, tf.exp(0.5 * log_var))


# --- what each of them can score ------------------------------------------------------------------


def check_binary(x: np.ndarray) -> None:
    """Raise unless every pixel is 0 or 1."""
    if not ((x == 0) | (x == 1)).all():
        raise ValueError(
            "pixels other than 0 and 1: binarise the images with helpers.data.prepare, or choose "
            "likelihood='grey_bernoulli', which takes grey pixels (and is no likelihood)"
        )


def check_grey_levels(x: np.ndarray) -> None:
    """Raise unless every pixel is one of the 256 grey levels k/255."""
    if not on_grey_levels(x):
        raise ValueError(
            "pixels off the 256 grey levels k/255: prepare the images with helpers.data.prepare "
            "by the protocol 'grey'"
        )


def check_dequantised(x: np.ndarray) -> None:
    """Raise where all pixels are grey levels k/255: a density of those is no density of pixels."""
    if on_grey_levels(x):
        raise ValueError(
            "pixels on the grey levels k/255 have no density: prepare the images with "
            "helpers.data.prepare by the protocol 'dequantised'"
        )


def on_grey_levels(x: np.ndarray) -> bool:
    """Return whether every pixel is a grey level k/255, up to rounding."""
    return bool(np.abs(x * 255 - np.rint(x * 255)).max() < 0.01)


# --- the registry ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Likelihood:
    """A distribution of pixels, and all that the course asks about it.

    Parameters
    ----------
    name : str
        The name that `VAE(likelihood=...)` takes.
    pixels : callable
        From what the decoder returns, logits or (mean, log_var), to a TFP distribution of as many
        independent pixels.
    protocols : tuple of str
        The protocols of `helpers.data` that prepare images for it; the first is the usual one.
    needs_log_var : bool
        Whether the decoder has to return (mean, log_var), or only logits.
    check_support : callable, optional
        Takes pixels in [0, 1] and raises a ValueError where it cannot score them.
    adds_eight_bits : bool
        True for a density of dequantised pixels (x + u)/256: its bits per dimension are
        8 - log p/(D ln 2). False for a probability.
    normalised : bool
        False where its values do not sum to 1 over the images, so that neither a bound nor bits
        per dimension follow from them.
    """

    name: str
    pixels: Callable[..., tfd.Distribution]
    protocols: tuple[str, ...]
    needs_log_var: bool = False
    check_support: Callable[[np.ndarray], None] | None = None
    adds_eight_bits: bool = False
    normalised: bool = True

    def __post_init__(self) -> None:
        for protocol in self.protocols:
            check_choice(f"protocol of {self.name!r}", protocol, PROTOCOLS)

    def distribution(self, outputs: tf.Tensor | tuple[tf.Tensor, tf.Tensor]) -> tfd.Distribution:
        """Return p(x|z) over images (height, width, channels) from what the decoder returned."""
        if self.needs_log_var:
            mean, log_var = outputs
            return tfd.Independent(self.pixels(mean, log_var), 3)
        return tfd.Independent(self.pixels(outputs), 3)

    def check(self, x: np.ndarray) -> None:
        """Raise unless `x` (not a symbolic tensor) holds pixels that this likelihood can score."""
        check_unit_interval(x)
        if self.check_support is not None:
            self.check_support(np.asarray(x))

    def check_protocol(self, protocol: str) -> None:
        """Raise unless images of this protocol are what the likelihood is for."""
        if protocol not in self.protocols:
            fitting = [other.name for other in LIKELIHOODS.values() if protocol in other.protocols]
            raise ValueError(
                f"likelihood={self.name!r} is for images of the protocol "
                f"{' or '.join(map(repr, self.protocols))}, not {protocol!r}, "
                f"which fits {' or '.join(map(repr, fitting)) or 'no likelihood'}"
            )


def check_unit_interval(x: np.ndarray) -> None:
    """Raise unless `x` holds floats in [0, 1], without NaN."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise TypeError(
            f"images of dtype {x.dtype}: give floats in [0, 1], as helpers.data.prepare makes them"
        )
    if not (x.min() >= 0 and x.max() <= 1):  # false for NaN too
        raise ValueError(
            f"pixels from {x.min():g} to {x.max():g}: give [0, 1] without NaN, "
            "as helpers.data.prepare makes them"
        )


LIKELIHOODS: dict[str, Likelihood] = {}


def register(likelihood: Likelihood) -> None:
    """Make a likelihood known by its name: VAE, `fit` and `bits_per_dim` take it from here."""
    LIKELIHOODS[likelihood.name] = likelihood


register(
    Likelihood(
        "bernoulli", bernoulli, ("dynamic", "static", "threshold"), check_support=check_binary
    )
)
# Grey pixels under a Bernoulli: the values do not sum to 1 over the grey levels.
register(Likelihood("grey_bernoulli", bernoulli, ("grey",), normalised=False))
register(
    Likelihood(
        "gaussian",
        gaussian,
        ("dequantised",),
        needs_log_var=True,
        check_support=check_dequantised,
        adds_eight_bits=True,
    )
)
register(
    Likelihood(
        "discretised_logistic",
        discretised_logistic,
        ("grey",),
        needs_log_var=True,
        check_support=check_grey_levels,
    )
)


# --- which of them for which images ---------------------------------------------------------------

INK = 0.7  # from this part of black and white pixels on, grey ones are taken for edges of strokes
PIXELS = {  # what a protocol makes of a pixel x of 0 to 255
    "threshold": "1 if x > 127, else 0",
    "static": "1 with probability x / 255, drawn once",
    "dynamic": "1 with probability x / 255, drawn afresh each epoch",
    "dequantised": "(x + u) / 256, u uniform in [0, 1)",
    "grey": "x / 255, one of 256 levels",
}
BINARY_PROTOCOLS = ("threshold", "static", "dynamic")


class Choice(NamedTuple):
    """A row of `table`: a protocol, a likelihood that takes its images, and what one gets."""

    images: str
    protocol: str
    a_pixel_becomes: str
    likelihood: str
    decoder_returns: str
    number: str


class Advice(NamedTuple):
    """A row of `table` for images that were looked at: does it fit them, and why."""

    fits: str  # "best", "yes" or "no"
    why: str
    protocol: str
    likelihood: str
    decoder_returns: str
    number: str


def table(facts: Facts | None = None) -> Table:
    """Say what each pair of protocol and likelihood is for, and which fit given images.

    Parameters
    ----------
    facts : helpers.data.Facts, optional
        What `helpers.data.describe` found in a data set.

    Returns
    -------
    Table
        Its `rows` are a `Choice` for each pair of the registry; with `facts` an `Advice`, the one
        that is "best" first, those that are "no" last.
    """
    choices = [
        _choice(each, protocol) for each in LIKELIHOODS.values() for protocol in each.protocols
    ]
    if facts is None:
        return Table(choices)
    rows = [
        Advice(
            *_verdict(LIKELIHOODS[row.likelihood], row.protocol, facts),
            row.protocol,
            row.likelihood,
            row.decoder_returns,
            row.number,
        )
        for row in choices
    ]
    return Table(sorted(rows, key=lambda row: ("best", "yes", "no").index(row.fits)))


def _choice(likelihood: Likelihood, protocol: str) -> Choice:
    """Return the row of a pair."""
    if not likelihood.normalised:
        images = "none that are to be scored"
    elif protocol == "threshold":
        images = "binary: masks, drawings"
    elif protocol in BINARY_PROTOCOLS:
        images = "grey: ink on paper"
    else:
        images = "grey or colour: photographs"
    decoder = "(mean, log_var)" if likelihood.needs_log_var else "logits"
    return Choice(
        images, protocol, PIXELS[protocol], likelihood.name, decoder, _number(likelihood, protocol)
    )


def _number(likelihood: Likelihood, protocol: str) -> str:
    """Say what kind of number a pair gives."""
    if not likelihood.normalised:
        return "nats, of no probability: compares with nothing"
    if likelihood.adds_eight_bits:
        return "bits/dim, of a density (8 added)"
    if protocol in BINARY_PROTOCOLS:
        return "nats, of the probability of a binary image"
    return "bits/dim, of the probability of a count from 0 to 255 in each pixel"


def _verdict(likelihood: Likelihood, protocol: str, facts: Facts) -> tuple[str, str]:
    """Say whether a pair fits images, and why."""
    if not likelihood.normalised:
        return "no", "its values do not sum to 1 over the images"
    if protocol in BINARY_PROTOCOLS:
        return _verdict_on_binary(protocol, facts)
    if facts.kind == "binary":
        return "no", "only two of the 256 levels occur"
    if protocol == "grey" and facts.share_binary < INK:
        return "best", f"gives each of the {facts.levels} levels that occur its probability"
    if protocol == "grey":
        return "yes", "keeps all levels, and learns first of all that most are black or white"
    return "yes", "keeps all levels, by a density of pixels with noise"


def _verdict_on_binary(protocol: str, facts: Facts) -> tuple[str, str]:
    """Say whether a protocol whose images are binary fits images, and why."""
    if facts.kind == "binary" and protocol == "threshold":
        return "best", "the images are binary already and stay as they are"
    if facts.kind == "binary":
        return "yes", "the images are binary already: the same as threshold"
    if facts.kind == "colour":
        return "no", "tosses of colour channels are no picture any more"
    share = f"{facts.share_binary:.0%} of the pixels are black or white"
    if protocol == "threshold":
        return "yes", "cuts the grey values off: for masks that were resized"
    if facts.share_binary < INK:
        return "yes", f"only {share}: the tosses lose much of the picture"
    if protocol == "dynamic":
        return "best", f"{share}: grey as a chance of white loses little"
    return "yes", f"{share}; dynamic shows a model more of the tosses"
