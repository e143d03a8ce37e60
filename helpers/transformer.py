"""A VAE as an estimator of scikit-learn: for pipelines, searches and whatever takes one."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Self

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from helpers import training
from helpers.bounds import importance_bound
from helpers.course.checks import as_sizes, check_choice
from helpers.data import apply_protocol, noise_key, noise_seed
from helpers.evaluation import log_importance_weights
from helpers.likelihoods import LIKELIHOODS
from helpers.networks import Sizes
from helpers.vae import VAE

BLOCK = 64  # rows that the encoder sees at once


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """VAE whose `transform` gives the codes of images that come as rows of numbers.

    The rows may be in any unit: `pixel_range` says which number is black and which is white. They
    are kept as 256 levels, as the images of the course are, and what lies outside is taken for
    black or white.

    Parameters
    ----------
    latent_dim : int
        Numbers of a code.
    image_shape : tuple of int, optional
        (height, width, channels) of a row; needed by convolutional networks. By default an image of
        one row.
    pixel_range : pair of float, optional
        Black and white; by default the lowest and the highest number of `fit`.
    likelihood : str
        A name in `helpers.likelihoods.LIKELIHOODS`. Training prepares the images by its first
        protocol: "bernoulli" learns from tosses. By default each of the 256 levels has a
        probability.
    encoder, decoder : str
        Names in `helpers.networks`; by default multilayer perceptrons.
    hidden_dim : int or sequence of int
        Of the encoder; the decoder mirrors it.
    activation : str
        Of the hidden layers.
    prior : str
        A name in `helpers.priors.PRIORS`.
    epochs, batch_size : int
        Of the training.
    learning_rate : float
        Its highest value; it falls to 0 by a cosine.
    num_samples : int
        Draws of the importance-weighted bound on log p that `score_samples` gives.
    random_state : int, RandomState or None
        Of the first weights, the order of the images and all noise.

    Attributes
    ----------
    vae_ : helpers.vae.VAE
        The trained model.
    history_ : helpers.training.History
    black_, white_ : float
        The numbers that are black and white.
    n_features_in_ : int
    """

    def __init__(
        self,
        latent_dim: int = 8,
        *,
        image_shape: tuple[int, int, int] | None = None,
        pixel_range: tuple[float, float] | None = None,
        likelihood: str = "discretised_logistic",
        encoder: str = "gaussian_mlp",
        decoder: str | None = None,
        hidden_dim: Sizes = (200,),
        activation: str = "relu",
        prior: str = "standard_normal",
        epochs: int = 20,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        num_samples: int = 16,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.pixel_range = pixel_range
        self.likelihood = likelihood
        self.encoder = encoder
        self.decoder = decoder
        self.hidden_dim = hidden_dim
        self.activation = activation
        self.prior = prior
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.num_samples = num_samples
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: object = None) -> Self:
        """Train on rows (n, features), two or more; `y` is not looked at."""
        X = validate_data(self, X, dtype=(np.float64, np.float32), ensure_min_samples=2)
        check_choice("likelihood", self.likelihood, LIKELIHOODS)
        likelihood = LIKELIHOODS[self.likelihood]
        self._set_scale(X)
        mlp = "gaussian_mlp" if likelihood.needs_log_var else "bernoulli_mlp"
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with _seeded(self._seed):
            self.vae_ = VAE(
                self.latent_dim,
                self._image_shape,
                encoder=self.encoder,
                decoder=self.decoder or mlp,
                likelihood=self.likelihood,
                hidden_dim=self.hidden_dim,
                activation=self.activation,
                prior=self.prior,
                seed=self._seed,
            )
        self.history_ = training.fit(
            self.vae_,
            self._as_images(X),
            epochs=self.epochs,
            batch_size=self.batch_size,
            protocol=likelihood.protocols[0],
            seed=self._seed,
            learning_rate=self.learning_rate,
            verbose=0,
        )
        return self

    def transform(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the codes of rows (n, features), shape (n, latent): see `VAE.code`.

        Grey values are not tossed for it, so that a row has one code.
        """
        X = self._checked(X)
        images = self._as_images(X)
        if LIKELIHOODS[self.likelihood].adds_eight_bits:
            x = (images + np.float32(0.5)) / np.float32(256)  # the middle of each level
        else:
            x = images / np.float32(255)
        codes = []
        for first in range(0, len(x), BLOCK):  # filled up: a code must not depend on the others
            block = np.resize(x[first : first + BLOCK], (BLOCK, *x.shape[1:]))
            codes.append(self.vae_.code(block).numpy()[: len(x) - first])
        return np.concatenate(codes).astype(X.dtype)

    def inverse_transform(self, Z: npt.ArrayLike) -> np.ndarray:
        """Return the mean images of codes (n, latent) as rows (n, features), in the rows' unit."""
        check_is_fitted(self)
        Z = check_array(Z, dtype=(np.float64, np.float32), input_name="Z")
        if Z.shape[1] != self.latent_dim:
            raise ValueError(f"Z has {Z.shape[1]} columns: give {self.latent_dim}, one a dimension")
        x = self.vae_.likelihood(tf.cast(Z, tf.float32)).mean().numpy()
        rows = x.reshape(len(x), -1).astype(Z.dtype)
        return self.black_ + (self.white_ - self.black_) * rows

    def score_samples(self, X: npt.ArrayLike) -> np.ndarray:
        """Return a lower bound on log p of each row (n, features), nats, shape (n,).

        Importance-weighted with `num_samples` draws. Each row is scored by itself with the same
        noise, so that its value does not depend on the others.
        """
        images = self._as_images(self._checked(X))
        protocol, key = LIKELIHOODS[self.likelihood].protocols[0], noise_key(self._seed)
        draws = noise_seed(self._seed, purpose="score")

        @tf.function
        def bound(image: tf.Tensor) -> tf.Tensor:
            x = apply_protocol(image[tf.newaxis], protocol, key)
            log_w = log_importance_weights(self.vae_, x, self.num_samples, draws)
            return importance_bound(log_w)[0]

        return np.array([bound(tf.constant(image)) for image in images], np.float64)

    def score(self, X: npt.ArrayLike, y: object = None) -> float:
        """Return the mean of `score_samples`, for searches; `y` is not looked at."""
        return float(self.score_samples(X).mean())

    @property
    def _n_features_out(self) -> int:
        """Number of columns of `transform`, for the names that scikit-learn gives them."""
        return self.latent_dim

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _checked(self, X: npt.ArrayLike) -> np.ndarray:
        """Return rows that `fit` may have seen, or raise."""
        check_is_fitted(self)
        return validate_data(self, X, dtype=(np.float64, np.float32), reset=False)

    def _set_scale(self, X: np.ndarray) -> None:
        """Note the shape of a row's image, and which numbers are black and white."""
        shape = (1, X.shape[1], 1) if self.image_shape is None else self.image_shape
        self._image_shape = as_sizes("image_shape", shape)
        if prod(self._image_shape) != X.shape[1]:
            raise ValueError(
                f"image_shape={self._image_shape} has {prod(self._image_shape)} numbers, a row of "
                f"X has {X.shape[1]}: give (height, width, channels) of a row"
            )
        black, white = (X.min(), X.max()) if self.pixel_range is None else self.pixel_range
        if self.pixel_range is not None and not black < white:
            raise ValueError(f"pixel_range={self.pixel_range}: give (black, white), black lower")
        self.black_, self.white_ = float(black), float(white)

    def _as_images(self, X: np.ndarray) -> np.ndarray:
        """Return rows as uint8 images, of which black is 0 and white is 255."""
        span = self.white_ - self.black_ or 1.0  # all numbers are one: all is black
        levels = np.round(255 * np.clip((X - self.black_) / span, 0, 1))
        return levels.astype(np.uint8).reshape(len(X), *self._image_shape)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what Keras draws the first weights from, which is Python's generator, for a while."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
