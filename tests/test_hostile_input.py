"""Bad input to every public function: the right type of error, and a message that names the value.

One row of `CASES` for each: what is called, the call (with an empty folder), error, message.
"""

import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from helpers import data, flows, networks, training, vae
from helpers.networks import BernoulliMLP, GaussianMLP

BYTES = np.zeros((6, 4, 4, 1), np.uint8)
FLOATS = np.zeros((6, 4, 4, 1), np.float32)
OBJECTS = np.array([[[[None]]]], object)
RAGGED = [[1.0], [1.0, 2.0]]
NAN, INF = float("nan"), float("inf")
Z = np.zeros((3, 2), np.float32)


def small(*args, **kwargs):
    return vae.VAE(*(args or (2, (4, 4, 1))), **{"hidden_dim": 4} | kwargs)


MODEL = small()
FLOW = flows.IAF(2, 1, 4)
MADE = flows.MADE([1, 2], 4)


def fit(model=MODEL, images=BYTES, **changes):
    settings = dict(epochs=1, batch_size=4, protocol="threshold", seed=0, verbose=0)
    return training.fit(model, images, **settings | changes)


def optimizer(peak=0.1, total_steps=10, **changes):
    return training.make_optimizer(peak, total_steps, **changes)


def written(path, content):
    path.write_text(content)
    return path


def broken_run(folder):
    written(folder / "settings.json", "{")
    return fit(run_dir=folder)


def with_bad_weight(value):
    model = small()
    model.decoder.logits_head.bias.assign(np.full(16, value))
    return model


TF_ERROR = tf.errors.InvalidArgumentError
# What is called, the call, the error, and what its message says.
CASES = [
    # --- networks
    ("bounded_log_var", lambda t: networks.bounded_log_var("x"), TypeError, "'str' and 'float'"),
    ("as_sizes", lambda t: networks.as_sizes((4, 0), "widths"), ValueError, r"widths=\(4, 0\)"),
    ("as_sizes", lambda t: networks.as_sizes(True, "widths"), ValueError, "widths=True"),
    ("as_sizes", lambda t: networks.as_sizes(NAN, "widths"), ValueError, "widths=nan"),
    ("GaussianMLP", lambda t: GaussianMLP(4, 0), ValueError, "output_shape=0"),
    ("GaussianMLP", lambda t: GaussianMLP(4, 2, activation="reluu"), ValueError, "reluu"),
    ("GaussianMLP", lambda t: GaussianMLP(4, 2, context_dim=-1), ValueError, "context_dim=-1"),
    ("context_layer", lambda t: networks.context_layer(2.5, "tanh"), ValueError, "context_dim=2.5"),
    ("GaussianMLP", lambda t: GaussianMLP(4, 2)("x"), ValueError, "x .of type <class 'str'>"),
    ("BernoulliMLP", lambda t: BernoulliMLP("wide", (2, 2, 1)), ValueError, "hidden_dim='wide'"),
    ("BernoulliMLP", lambda t: BernoulliMLP(4, ()), ValueError, r"output_shape=\(\)"),
    ("ConvNet", lambda t: networks.ConvNet(None, 2), ValueError, "filters=None"),
    ("ConvEncoder", lambda t: networks.ConvEncoder((4,), 2, kernel_size=0), ValueError,
     "kernel_size=0"),
    ("ConvDecoder", lambda t: networks.ConvDecoder((4, 4), (5, 5, 1)), ValueError,
     r"output_shape=\(5, 5, 1\).*multiples of 4"),
    ("GaussianConvDecoder", lambda t: networks.GaussianConvDecoder((4,), 7), ValueError,
     r"output_shape=\(7,\)"),
    ("Residual", lambda t: networks.Residual(0, 3, "relu"), ValueError, "filters=0"),
    ("ResidualDecoder", lambda t: networks.ResidualDecoder((4, 4), (4, 4, 1), blocks=7),
     ValueError, r"blocks=7.*0 to 1"),
    ("Pyramid", lambda t: networks.Pyramid((4, 4), 2), ValueError, r"filters=\(4, 4\): give four"),
    ("PyramidEncoder", lambda t: networks.PyramidEncoder((4, 4, 4, 4), 2, blocks=0), ValueError,
     "blocks=0"),
    ("PyramidDecoder", lambda t: networks.PyramidDecoder((4, 4, 4, 4), (6, 6, 1)), ValueError,
     r"output_shape=\(6, 6, 1\)"),
    # --- flows
    ("made_masks", lambda t: flows.made_masks([1, 1], 4), ValueError, r"degrees=\[1, 1\]"),
    ("made_masks", lambda t: flows.made_masks("ab", 4), ValueError, "degrees='ab'"),
    ("made_masks", lambda t: flows.made_masks([1, NAN], 4), ValueError, r"degrees=\[1, nan\]"),
    ("MADE", lambda t: flows.MADE([], 4), ValueError, r"degrees=\[\]"),
    ("MADE", lambda t: flows.MADE([1], 4, context_dim=-1), ValueError, r"\(-1, 4\)"),
    ("MADE", lambda t: MADE(np.zeros((3, 5), "f4")), ValueError, r"z of shape \(3, 5\).*be 2"),
    ("check_tensor", lambda t: flows.check_tensor("z", None, 2), ValueError, "z of shape None"),
    ("gated_step", lambda t: flows.gated_step(MADE, Z + INF), ValueError, "z holds NaN or inf"),
    ("undo_step", lambda t: flows.undo_step(MADE, np.zeros((3, 3), "f4")), ValueError,
     r"z of shape \(3, 3\)"),
    ("IAF", lambda t: flows.IAF(0, 1, 4), ValueError, r"degrees=\[\]"),
    ("IAF", lambda t: flows.IAF(2, "1", 4), TypeError, "'str'"),
    ("IAF", lambda t: FLOW(Z * NAN), ValueError, "z holds NaN"),
    ("IAF", lambda t: FLOW.inverse(Z[:, :1]), ValueError, r"z of shape \(3, 1\)"),
    ("FlowPosterior", lambda t: flows.FlowPosterior(
        tfp.distributions.MultivariateNormalDiag(tf.zeros((1, 3))), FLOW).sample(seed=(0, 1)),
     ValueError, r"z of shape \(1, 3\)"),
    # --- vae: pieces, construction, calls
    ("kl_to_standard_normal", lambda t: vae.kl_to_standard_normal(Z, Z[:, :1].T), TF_ERROR,
     r"\[3,2\] vs. \[1,3\]"),
    ("kl_to_standard_normal", lambda t: vae.kl_to_standard_normal(None, Z), ValueError, "None"),
    ("reparameterise", lambda t: vae.reparameterise(Z, Z, 5), TF_ERROR, r"shape \[2\], not \[\]"),
    ("discretised_logistic_log_prob",
     lambda t: vae.discretised_logistic_log_prob(Z, np.zeros(5, "f4"), 0.0), ValueError,
     r"\(3,2\) \(5,\)"),
    ("VAE", lambda t: small(0), ValueError, "latent_dim must be at least 1, got 0"),
    ("VAE", lambda t: small((2, 3)), TypeError, r"latent_dim .*got \(2, 3\)"),
    ("VAE", lambda t: small(NAN), TypeError, "latent_dim .*got nan"),
    ("VAE", lambda t: small(2, (28, 28)), ValueError, r"image_shape=\(28, 28\)"),
    ("VAE", lambda t: small(2, "mnist"), ValueError, "image_shape='mnist'"),
    ("VAE", lambda t: small(seed="a"), TypeError, "seed .*got 'a'"),
    ("VAE", lambda t: small(seed=1.5), TypeError, "seed .*got 1.5"),
    ("VAE", lambda t: small(beta=NAN), ValueError, "beta=nan"),
    ("VAE", lambda t: small(beta="1"), ValueError, "beta='1'"),
    ("VAE", lambda t: small(beta_warmup=-1), ValueError, "beta_warmup .*got -1"),
    ("VAE", lambda t: small(iaf_steps=1.5), TypeError, "iaf_steps .*got 1.5"),
    ("VAE", lambda t: small(iaf_steps=1, iaf_hidden=0), ValueError, "iaf_hidden=0"),
    ("VAE", lambda t: small(kl="exact"), ValueError, "kl must .*'analytic'.*got 'exact'"),
    ("VAE", lambda t: small(encoder="resnet"), ValueError, "encoder must .*got 'resnet'"),
    ("VAE", lambda t: small(decoder=3), ValueError, "decoder must .*got 3"),
    ("VAE", lambda t: small(likelihood="poisson"), ValueError, "likelihood .*got 'poisson'"),
    ("VAE", lambda t: small(likelihood="gaussian"), ValueError, "'gaussian' does not fit"),
    ("VAE", lambda t: small(activation="nope"), ValueError, "nope"),
    ("VAE", lambda t: small(encoder=GaussianMLP(4, 3)), ValueError, r"shapes \(\(3,\)"),
    ("VAE", lambda t: small(decoder=BernoulliMLP(4, (5, 5, 1))), ValueError, r"\(5, 5, 1\)"),
    ("VAE.encode", lambda t: MODEL.encode(np.zeros((2, 5, 5, 1), "f4")), ValueError, r"\(2, 25\)"),
    ("VAE.likelihood", lambda t: MODEL.likelihood(np.zeros((2, 3), "f4")), ValueError,
     r"z of shape \(2, 3\): the last dimension must be 2"),
    ("VAE.elbo", lambda t: MODEL.elbo(FLOATS, seed="a"), TypeError, "'a'"),
    ("VAE.sample", lambda t: MODEL.sample(0, seed=1), ValueError, "n must .*got 0"),
    ("VAE.sample", lambda t: MODEL.sample(2.0, seed=1), TypeError, "n must .*got 2.0"),
    ("VAE.sample", lambda t: MODEL.sample(1, seed="a"), TypeError, "seed .*got 'a'"),
    ("VAE.check_images", lambda t: MODEL.check_images(BYTES), TypeError, "dtype uint8"),
    ("VAE.check_images", lambda t: MODEL.check_images(OBJECTS), TypeError, "dtype object"),
    ("VAE.check_images", lambda t: MODEL.check_images(FLOATS[0]), ValueError, r"\(4, 4, 1\)"),
    ("VAE.check_images", lambda t: MODEL.check_images(FLOATS + INF), ValueError, "inf to inf"),
    ("VAE.check_images", lambda t: MODEL.check_images(FLOATS + 0.5), ValueError, "0 and 1 only"),
    ("VAE.check_images", lambda t: MODEL.check_images(RAGGED), ValueError, "inhomogeneous"),
    ("VAE.check_weights", lambda t: with_bad_weight(NAN).check_weights(), ValueError, "bias.*NaN"),
    # --- training
    ("make_optimizer", lambda t: optimizer(peak=0.0), ValueError, "peak=0.0"),
    ("make_optimizer", lambda t: optimizer(peak=NAN), ValueError, "peak=nan"),
    ("make_optimizer", lambda t: optimizer(peak=INF), ValueError, "peak=inf"),
    ("make_optimizer", lambda t: optimizer(peak="fast"), ValueError, "peak='fast'"),
    ("make_optimizer", lambda t: optimizer(total_steps=0), ValueError, "total_steps .*got 0"),
    ("make_optimizer", lambda t: optimizer(total_steps=2.5), TypeError, "total_steps .*got 2.5"),
    ("make_optimizer", lambda t: optimizer(warmup=1.0), ValueError, "warmup=1.0"),
    ("make_optimizer", lambda t: optimizer(clipnorm=-1), ValueError, "clipnorm=-1"),
    ("make_optimizer", lambda t: optimizer(ema_momentum=1.0), ValueError, "ema_momentum=1.0"),
    ("make_optimizer", lambda t: optimizer(schedule="step"), ValueError, "schedule='step'"),
    ("fit", lambda t: fit(model=None), ValueError, "model=None"),
    ("fit", lambda t: fit(images=None), ValueError, r"images must be uint8.*object \(\)"),
    ("fit", lambda t: fit(images=FLOATS), ValueError, "float32"),
    ("fit", lambda t: fit(images=BYTES[:0]), ValueError, r"\(0, 4, 4, 1\)"),
    ("fit", lambda t: fit(images=np.zeros((6, 5, 5, 1), np.uint8)), ValueError, r"\(4, 5, 5, 1\)"),
    ("fit", lambda t: fit(images=BYTES + 100, protocol="grey"), ValueError, "0 and 1 only"),
    ("fit", lambda t: fit(epochs=0), ValueError, "epochs .*got 0"),
    ("fit", lambda t: fit(epochs="1"), TypeError, "epochs .*got '1'"),
    ("fit", lambda t: fit(batch_size=2.5), TypeError, "batch_size .*got 2.5"),
    ("fit", lambda t: fit(steps_per_execution=None), TypeError, "steps_per_execution .*None"),
    ("fit", lambda t: fit(validation_freq=0), ValueError, "validation_freq .*got 0"),
    ("fit", lambda t: fit(protocol="binary"), ValueError, "protocol .*got 'binary'"),
    ("fit", lambda t: fit(seed=-1), ValueError, "seed .*got -1"),
    ("fit", lambda t: fit(seconds=NAN), ValueError, "seconds=nan"),
    ("fit", lambda t: fit(seconds="60"), ValueError, "seconds='60'"),
    ("fit", lambda t: fit(verbose=2), ValueError, "verbose=2"),
    ("fit", lambda t: fit(learning_rate=-1.0), ValueError, "peak=-1.0"),
    ("fit", lambda t: fit(optimizer="adam"), ValueError, "optimizer='adam'"),
    ("fit", lambda t: fit(validation=BYTES), TypeError, "dtype uint8"),
    ("fit", lambda t: fit(validation=FLOATS * NAN), ValueError, "pixels from nan"),
    ("fit", lambda t: fit(validation=FLOATS[:0]), ValueError, r"\(0, 4, 4, 1\)"),
    ("fit", lambda t: fit(run_dir=3), TypeError, "not int"),
    ("fit", lambda t: fit(run_dir=written(t / "file", "")), FileExistsError, "file"),
    ("fit", broken_run, ValueError, "settings.json is damaged"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "message"), [case[1:] for case in CASES],
    ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)],
)  # fmt: skip
def test_bad_input_is_named(call, error, message, tmp_path):
    with pytest.raises(error) as caught:
        call(tmp_path)
    assert caught.type is error or issubclass(caught.type, error)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


# --- Data that turn to NaN -----------------------------------------------------------------------


def test_data_that_turn_to_nan_stop_training_at_once(tmp_path, monkeypatch):
    """The batch of step 8 (epoch 3, place 2) holds NaN: step 8 is named, epoch 2 is kept."""
    images = np.random.default_rng(0).integers(0, 2, (12, 4, 4, 1), dtype=np.uint8) * 255
    settings = dict(images=images, epochs=4, run_dir=tmp_path)
    good = data.apply_protocol

    def turning(images, protocol, key):
        x = good(images, protocol, key)
        bad = tf.reduce_all(tf.equal(key, data.noise_key(0, 2, 1)))
        return tf.where(bad, x * NAN, x)

    with monkeypatch.context() as patch:
        patch.setattr(data, "apply_protocol", turning)
        with pytest.raises(training.TrainingDiverged, match="is nan at step 8, epoch 3") as caught:
            fit(small(), **settings)
    assert (caught.value.step, caught.value.epoch) == (8, 3)
    kept = sorted(path.name.split(".")[0] for path in tmp_path.glob("epoch-*.npz"))
    assert kept == ["epoch-00001", "epoch-00002"]
    model = small()
    history = fit(model, **settings)  # the data are mended: the same command goes on
    model.check_weights()
    assert len(history.epochs) == 4 and np.isfinite(history["loss"]).all()
