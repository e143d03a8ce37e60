"""The clinic: each sick twin makes its one mistake, and lesson, study and exercise use the same."""

import inspect
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import course
import generate
from helpers import clinic, data, evaluation, training
from helpers.course import records
from helpers.course.exercises import lesson_08
from helpers.vae import VAE

sys.path.insert(0, str(course.ROOT / "tools" / "studies"))
import clinic_study

X = (np.random.default_rng(0).random((5, 28, 28, 1)) < 0.2).astype("f4")
SEED = (3, 4)
TAUGHT = {"MeanPixels", "MeanKL", "QuietNoise", "SigmoidTwice", "SummedLogDet", "take_masks_away"}


def healthy(**changes):
    """A VAE with three latent dimensions, and posteriors that are narrower than the prior."""
    keras.utils.set_random_seed(1)
    vae = VAE(**dict(latent_dim=3, hidden_dim=(6,), kl="analytic") | changes)
    vae.encoder.weights[-1].assign_add(tf.fill(vae.encoder.weights[-1].shape, -2.0))
    return vae


def with_flow():
    return healthy(kl="monte_carlo", iaf_steps=2, iaf_hidden=8)


def under(cls, vae):
    """The weights of a model in another class."""
    other = cls.from_config(vae.get_config())
    other.set_weights(vae.get_weights())
    return other


def terms(vae, x=X):
    """log p(x|z) and KL of the training loss, (2, images)."""
    return np.array(vae.elbo_terms(x, seed=SEED))


# --- Each makes its mistake, and no other ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "factors"),
    {
        "MeanPixels": (1 / 784, 1),
        "MeanKL": (1, 1 / 3),
        "MeanBoth": (1 / 784, 1 / 3),
        "HeavyKL": (1, 10),
    }.items(),
)
def test_a_part_of_the_loss_has_the_wrong_weight(name, factors):
    vae = healthy()
    expected = terms(vae) * np.reshape(factors, (2, 1))
    assert np.allclose(terms(under(getattr(clinic, name), vae)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "noise"),
    {
        "QuietNoise": lambda log_var, eps: 1e-4 * np.exp(log_var / 2) * eps,
        "VarianceAsSd": lambda log_var, eps: np.exp(log_var) * eps,
    }.items(),
)
def test_the_draw_has_the_wrong_noise_and_the_kl_is_right(name, noise):
    vae = healthy()
    z_mean, z_log_var, _ = (part if part is None else part.numpy() for part in vae.encode(X))
    z = z_mean + noise(z_log_var, tf.random.stateless_normal(z_mean.shape, SEED).numpy())
    log_px_z, kl = terms(under(getattr(clinic, name), vae))
    assert np.allclose(log_px_z, vae.likelihood(z).log_prob(X), rtol=1e-6)
    assert not np.allclose(log_px_z, terms(vae)[0], rtol=1e-6)
    assert np.allclose(kl, terms(vae)[1], rtol=1e-6)


def test_squared_errors_are_summed_and_not_halved():
    vae = healthy()
    x_hat = vae.likelihood(vae.posterior(X).sample(seed=SEED)).mean().numpy()
    squares, kl = terms(under(clinic.SquaredError, vae))
    assert np.allclose(squares, -((X - x_hat) ** 2).sum(axis=(1, 2, 3)), rtol=1e-5)
    assert np.allclose(kl, terms(vae)[1], rtol=1e-5)


def test_a_second_sigmoid_leaves_nothing_black_or_white():
    vae = healthy()
    z = 50 * np.random.default_rng(2).normal(size=(40, 3)).astype("f4")
    p, squashed = vae.likelihood(z).mean(), under(clinic.SigmoidTwice, vae).likelihood(z).mean()
    assert np.allclose(squashed, 1 / (1 + np.exp(-p)), rtol=1e-5)
    assert np.min(squashed) >= 0.5 and np.max(squashed) < 0.7311


def test_a_summed_log_determinant_comes_from_the_neighbours():
    vae = with_flow()
    summed = under(clinic.SummedLogDet, vae)
    assert np.allclose(terms(summed, X[:1]), terms(vae, X[:1]), rtol=1e-5)
    z_0 = vae.posterior(X).base.sample(seed=SEED)
    log_det = vae.flow(z_0, vae.encode(X)[2])[1].numpy()
    assert log_det.max() < 0  # so that the value can only fall
    more = log_det - log_det.sum()
    assert np.allclose(terms(summed) - terms(vae), [0 * more, more], atol=1e-3)


def test_without_masks_the_gates_are_not_the_log_determinant():
    vae = with_flow()
    off = {}
    for name, model in {"masked": vae, "unmasked": clinic.take_masks_away(with_flow())}.items():
        z_0 = tf.random.stateless_normal((5, 3), SEED)
        with tf.GradientTape() as tape:
            tape.watch(z_0)
            z, claimed = model.flow(z_0, model.encode(X)[2])
        true = np.linalg.slogdet(tape.batch_jacobian(z, z_0).numpy())[1]
        off[name] = np.abs(claimed - true).max()
    assert off["masked"] < 1e-4 < 1e-2 < off["unmasked"]


# --- The routine ----------------------------------------------------------------------------------


def patterns(n, seed, noise=0.04):
    """Images of five patterns, 8 x 8, whose pixels are nearly black or nearly white: uint8."""
    shapes = np.random.default_rng(7).integers(0, 2, (5, 8, 8, 1))
    p = np.clip(shapes[np.random.default_rng(seed).integers(0, 5, n)], noise, 1 - noise)
    return np.uint8(np.round(255 * p))


TRAIN, HELD_OUT = patterns(600, 1), patterns(200, 2)
X_TRAIN = data.prepare(TRAIN[:200], "dynamic", seed=3)
X_HELD_OUT = data.prepare(HELD_OUT, "dynamic", seed=4)


def trained(images=TRAIN, epochs=40, **options):
    keras.utils.set_random_seed(0)
    options = dict(latent_dim=2, image_shape=(8, 8, 1), hidden_dim=(32,)) | options
    vae = VAE(activation="relu", **options)
    settings = dict(batch_size=50, protocol="dynamic", seed=0, learning_rate=1e-2, verbose=0)
    training.fit(vae, images, epochs=epochs, **settings)
    return vae


@pytest.fixture(scope="module")
def well():
    return trained()


@pytest.fixture(scope="module")
def flowing():
    return trained(iaf_steps=2, iaf_hidden=8)


def examined(vae, **options):
    """Names of the symptoms of a model."""
    lines = dict(
        baseline=evaluation.independent_pixels(TRAIN, HELD_OUT, "dynamic", seed=4).mean(),
        floor=evaluation.noise_floor(HELD_OUT),
        train=X_TRAIN,
    )
    return {finding.name for finding in clinic.examine(vae, X_HELD_OUT, **lines | options)}


def test_a_healthy_model_has_no_symptom(well, flowing, capsys):
    assert examined(well) == set()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11 and not any("<--" in line for line in lines)
    assert examined(flowing) == set()
    assert "log-det: claimed − autodiff" in capsys.readouterr().out


RECONSTRUCTION, KL = "log p(x|z): own − honest", "KL: own − honest"


@pytest.mark.parametrize(
    ("name", "symptoms"),
    {
        "MeanPixels": {"own ELBO", RECONSTRUCTION},
        "MeanKL": {KL},
        "HeavyKL": {KL},
        "QuietNoise": {RECONSTRUCTION},
        "VarianceAsSd": {RECONSTRUCTION},
        "SquaredError": {RECONSTRUCTION},
    }.items(),
)
def test_a_wrong_loss_is_found_and_told_which_part_is_wrong(name, symptoms, well):
    found = examined(under(getattr(clinic, name), well))
    assert symptoms <= found <= symptoms | {"own ELBO"}


def test_a_second_sigmoid_is_found_in_the_pixels(well):
    assert examined(under(clinic.SigmoidTwice, well)) == {"darkest pixel", "brightest pixel"}


def test_a_collapsed_code_is_found():
    found = examined(trained(epochs=10, beta=1000.0))
    assert {"KL, honest", "active units", f"log p, k = {clinic.DRAWS}"} <= found


def test_faults_of_a_flow_are_found(flowing):
    assert {"moved by neighbours"} <= examined(under(clinic.SummedLogDet, flowing))
    unmasked = clinic.take_masks_away(under(VAE, flowing))
    assert "log-det: claimed − autodiff" in examined(unmasked)
    assert "log-det: claimed − autodiff" not in examined(flowing)


def test_images_that_were_learnt_by_heart_are_found():
    few = np.random.default_rng(5).integers(0, 2, (30, 8, 8, 1), dtype=np.uint8) * 255
    vae = trained(few, epochs=300, latent_dim=8)
    x = (np.random.default_rng(6).random((100, 8, 8, 1)) < 0.5).astype("f4")
    found = clinic.examine(vae, x, train=few / np.float32(255))
    assert found[-1].name == "training − held-out ELBO" and found[-1].value > 10


def test_other_likelihoods_are_examined_too(capsys):
    names = dict(likelihood="discretised_logistic", decoder="gaussian_mlp")
    vae = VAE(2, (8, 8, 1), hidden_dim=8, **names)
    train, test = patterns(300, 1, noise=0.2), patterns(80, 2, noise=0.2)
    training.fit(
        vae, train, epochs=30, batch_size=50, protocol="grey", seed=0, learning_rate=1e-2, verbose=0
    )
    x = data.prepare(test, "grey")
    assert clinic.examine(vae, x, train=data.prepare(train, "grey")) == []
    assert "pixel" not in capsys.readouterr().out
    doubled = under(clinic.HeavyKL, vae)
    assert [finding.name for finding in clinic.examine(doubled, x)] == [KL]
    grey = VAE(2, (8, 8, 1), hidden_dim=8, likelihood="grey_bernoulli")
    assert "honest ELBO" in {finding.name for finding in clinic.examine(grey, x)}


def test_nan_and_images_that_do_not_fit_are_refused(well):
    with pytest.raises(ValueError, match="pixels other than 0 and 1"):
        clinic.examine(well, X_HELD_OUT / 2)
    broken = under(VAE, well)
    broken.decoder.logits_head.bias.assign(np.full(64, np.nan))
    with pytest.raises(ValueError, match=r"bias.*NaN"):
        clinic.examine(broken, X_HELD_OUT)


# --- One home -------------------------------------------------------------------------------------


def test_the_lesson_shows_what_was_trained():
    (path,) = course.notebook_paths("08")
    shown = {name for name, _ in generate.taught_cells(course.read(path))}
    assert {f"helpers.clinic:{name}" for name in TAUGHT} <= shown
    options = [*clinic_study.VARIANTS.values(), *clinic_study.SMALL.values()]
    trained = {option["cls"] for option in options if "cls" in option}
    assert {cls.__module__ for cls in trained} == {"helpers.clinic"}
    classes = inspect.getmembers(clinic, inspect.isclass)
    sick = {name for name, cls in classes if issubclass(cls, VAE) and cls is not VAE}
    assert sick == {cls.__name__ for cls in trained}


def test_patients_are_trained_as_they_are_examined():
    for name, options in clinic_study.SMALL.items():
        patient = lesson_08.patient(name)
        illness = options.get("cls", VAE)
        assert type(patient).__bases__ == (illness,)
        assert illness is VAE or illness.__name__ not in f"{patient!r} {type(patient)}"
    with pytest.raises(ValueError, match="there are a, b, c"):
        lesson_08.patient("d")


def test_twins_were_trained_for_equally_many_epochs():
    found, twins = records.read_results(), set()
    for name in clinic_study.VARIANTS:
        for seed in ("", "_seed43", "_seed44"):
            entry = found[f"08/mnist/dynamic/clinic_{name}{seed}/log_px"]
            assert entry["test_images"] == 500 and entry["samples"] == 100
            twins.add((entry["epochs"], entry["batch_size"]))
    assert twins == {(clinic_study.EPOCHS, clinic_study.BATCH)}
    long = found["08/mnist/dynamic/clinic_healthy_long/log_px"]["epochs"]
    assert long == 2 * clinic_study.EPOCHS
