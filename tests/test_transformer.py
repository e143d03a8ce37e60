"""The VAE as an estimator: scikit-learn's own checks, pipelines, copies, and what it computes."""

import pickle

import numpy as np
import pytest
import tensorflow as tf
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from helpers.transformer import VAETransformer

TINY = dict(hidden_dim=(8,), epochs=1, batch_size=256, num_samples=2)
DIGITS, LABELS = load_digits(return_X_y=True)


@pytest.fixture
def eagerly():
    """Trace nothing: the checks fit a hundred models, each for a step."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly")
@parametrize_with_checks([VAETransformer(2, **TINY)])  # without an exception
def test_scikit_learns_own_checks(estimator, check, eagerly):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    """Trained on eight of ten digits' images, rows of 64 numbers from 0 to 16."""
    vae = VAETransformer(8, epochs=25, learning_rate=5e-3, pixel_range=(0, 16), random_state=0)
    return vae.fit(DIGITS[:1400])


def test_codes_in_a_pipeline_tell_digits_apart():
    vae = VAETransformer(8, epochs=25, learning_rate=5e-3, random_state=0)
    pipeline = make_pipeline(vae, LogisticRegression(max_iter=1000))
    pipeline.fit(DIGITS[:1400], LABELS[:1400])
    assert pipeline.score(DIGITS[1400:], LABELS[1400:]) > 0.7
    assert pipeline[:-1].get_feature_names_out()[0] == "vaetransformer0"


def test_codes_become_images_again_in_the_unit_of_the_rows(digits):
    z = digits.transform(DIGITS[1400:])
    assert z.shape == (397, 8) and z.dtype == np.float64
    rows = digits.inverse_transform(z)
    assert rows.shape == (397, 64) and 0 <= rows.min() and 10 < rows.max() <= 16
    mean = np.abs(DIGITS[:1400].mean(axis=0) - DIGITS[1400:]).mean()
    assert np.abs(rows - DIGITS[1400:]).mean() < 0.8 * mean
    assert digits.transform(np.float32(DIGITS[:3])).dtype == np.float32


def test_a_row_has_one_code_and_one_score_whatever_else_is_there(digits):
    few, alone = DIGITS[1400:1500], slice(37, 38)
    np.testing.assert_array_equal(digits.transform(few)[alone], digits.transform(few[alone]))
    scores = digits.score_samples(few)
    np.testing.assert_array_equal(scores[alone], digits.score_samples(few[alone]))
    np.testing.assert_array_equal(scores[::-1], digits.score_samples(few[::-1]))
    assert digits.score(few) == scores.mean()


def test_scores_tell_digits_from_noise_and_rise_with_the_samples(digits):
    noise = np.random.default_rng(0).permuted(DIGITS[1400:1500], axis=1)
    scores = digits.score_samples(DIGITS[1400:1500])
    assert scores.max() < 0 and scores.mean() > digits.score(noise) + 5
    one = clone(digits).set_params(num_samples=1)
    one.__dict__.update({k: v for k, v in vars(digits).items() if k != "num_samples"})
    assert digits.score(DIGITS[1400:1500]) > one.score(DIGITS[1400:1500])


@pytest.mark.parametrize(
    ("likelihood", "decoder"), [("bernoulli", "conv"), ("gaussian", "conv_gaussian")]
)
def test_other_likelihoods_and_networks(likelihood, decoder):
    names = dict(encoder="conv", decoder=decoder, hidden_dim=(2, 3), image_shape=(8, 8, 1))
    vae = VAETransformer(3, likelihood=likelihood, **TINY | names).fit(DIGITS[:64])
    assert vae.transform(DIGITS[:5]).shape == (5, 3)
    assert np.isfinite(vae.score_samples(DIGITS[:5])).all()
    assert vae.inverse_transform(np.zeros((2, 3))).shape == (2, 64)


def test_numbers_beyond_black_and_white_are_black_and_white():
    vae = VAETransformer(2, pixel_range=(-1, 3), **TINY).fit(DIGITS[:50] / 8)
    edge, beyond = np.full((1, 64), 3.0), np.full((1, 64), 99.0)
    np.testing.assert_array_equal(vae.transform(edge), vae.transform(beyond))
    assert (vae.black_, vae.white_) == (-1, 3)
    vae.fit(DIGITS[:50])
    assert (vae.black_, vae.white_) == (-1, 3)
    assert VAETransformer(2, **TINY).fit(np.full((5, 4), 7.0)).transform([[7.0] * 4]).shape == (
        1,
        2,
    )


def test_the_random_state_decides_everything_and_disturbs_nobody():
    def codes(state):
        return VAETransformer(2, random_state=state, **TINY).fit_transform(DIGITS[:50])

    import random

    random.seed(3)
    expected = random.random()
    random.seed(3)
    first = codes(0)
    assert random.random() == expected
    np.testing.assert_array_equal(first, codes(0))
    assert not np.allclose(first, codes(1))


def test_it_is_cloned_pickled_and_searched(digits):
    again = pickle.loads(pickle.dumps(digits))
    np.testing.assert_array_equal(again.transform(DIGITS[:9]), digits.transform(DIGITS[:9]))
    np.testing.assert_array_equal(again.score_samples(DIGITS[:3]), digits.score_samples(DIGITS[:3]))
    assert clone(digits).get_params() == digits.get_params() and not hasattr(clone(digits), "vae_")
    search = GridSearchCV(
        VAETransformer(**TINY | dict(random_state=0)), {"latent_dim": [1, 2]}, cv=2
    )
    assert search.fit(DIGITS[:40]).best_params_["latent_dim"] in (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(image_shape=(8, 9, 1)), r"image_shape=\(8, 9, 1\) has 72 numbers, a row of X has 64"),
        (dict(pixel_range=(16, 0)), r"pixel_range=\(16, 0\): give \(black, white\)"),
        (dict(likelihood="normal"), "likelihood must be one of 'bernoulli'"),
        (dict(decoder="bernoulli_mlp"), "does not fit the decoder"),
    ],
)
def test_what_does_not_fit_is_said_at_fit(options, message):
    with pytest.raises(ValueError, match=message):
        VAETransformer(2, **TINY | options).fit(DIGITS[:20])


def test_codes_of_another_size_are_refused(digits):
    with pytest.raises(ValueError, match="Z has 3 columns: give 8"):
        digits.inverse_transform(np.zeros((2, 3)))
