"""Everything under two replicas; run in a process of its own by test_distribute.py.

Prints one line of JSON. Logical devices have to exist before TensorFlow's first use.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from helpers import training  # noqa: E402
from helpers.priors import FlowPrior, StandardNormal, VampPrior  # noqa: E402
from helpers.vae import VAE  # noqa: E402

tf.config.experimental.enable_op_determinism()
ONE, TWO = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
X, EPS = (IMAGES[:8] > 127).astype("f4"), RNG.normal(size=(8, 2)).astype("f4")


SHAPE = (4, 4, 1)
PRIORS = {  # each is made in the scope of a strategy
    "standard_normal": lambda: StandardNormal(2, SHAPE),
    "vamp": lambda: VampPrior(2, SHAPE, 4),
    "flow": lambda: FlowPrior(2, SHAPE, steps=2, hidden=5),
}


class GivenNoise(VAE):
    """Takes the noise beside the images, so that replicas can be compared with one device."""

    def elbo_terms(self, x, *, seed, training=False):
        images, eps = x
        q = self.posterior(images)
        z = q.mean() + q.stddev() * eps
        kl = q.log_prob(z) - self.prior().log_prob(z)
        return self.likelihood(z).log_prob(images), kl


class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations.numpy() == 5:
            raise KeyboardInterrupt


def build(strategy, cls=VAE, prior="standard_normal", **kwargs):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        return cls(2, SHAPE, hidden_dim=5, seed=3, prior=PRIORS[prior](), **kwargs)


def flat(weights):
    return np.concatenate([np.zeros(0), *(np.ravel(weight) for weight in weights)])


def steps(strategy, prior="standard_normal", *, undivided=False):
    """How three steps of SGD change the averaged weights: all of them, and those of the prior."""
    model = build(strategy, GivenNoise, prior)
    with strategy.scope():
        optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
        training.raise_momentum(optimizer)
        model.compile(optimizer, jit_compile=False)
    if undivided:
        optimizer.scale_loss = lambda loss: loss * strategy.num_replicas_in_sync
    parts = (model, model.prior_layer)
    before = [flat(part.get_weights()) for part in parts]
    batches = tf.data.Dataset.from_tensors(((X, EPS),)).repeat(3)
    model.fit(batches, shuffle=False, verbose=0)
    after = [flat(part.get_weights()) for part in parts]
    return [(old - new).tolist() for old, new in zip(before, after, strict=True)]


def seeds():
    """The seeds of step 5, and the terms of the same image, on each replica."""
    model = build(TWO)
    found = TWO.experimental_local_results(TWO.run(model.step_seed, args=(tf.constant(5),)))
    # Only the noise can make their terms differ.
    # (What the trackers hold, Keras may have averaged over the replicas already.)
    model.trackers["loss"].reset_state()
    with mock.patch.object(model, "_track", lambda terms: terms.log_px_z):
        drawn = TWO.run(model.test_step, args=(tf.constant(X[:1]),))
    terms = TWO.experimental_local_results(drawn)
    return [seed.numpy().tolist() for seed in found], [float(term[0]) for term in terms]


def train(model=None, **changes):
    model = model or build(TWO)
    settings = dict(epochs=2, batch_size=8, protocol="dynamic", seed=7, verbose=0)
    settings |= dict(steps_per_execution=3, validation=X, validation_freq=2, ema_momentum=0.9)
    history = training.fit(model, IMAGES, **settings | changes)
    return flat(model.get_weights()).tolist(), history["loss"].tolist()


def message(error, **settings):
    """What an error of a training says."""
    try:
        train(**settings)
    except error as caught:
        return str(caught)
    return ""


def resumed(folder):
    """How many checkpoints an interrupted run leaves, and how it ends."""
    try:
        train(run_dir=folder, callbacks=[Stop()])
    except KeyboardInterrupt:
        kept = len(list(Path(folder).glob("epoch-*.npz")))
    return kept, train(run_dir=folder)


def main(folder):
    found = {"alone": {}, "together": {}, "undivided": steps(TWO, undivided=True)}
    for prior in PRIORS:
        found["alone"][prior], found["together"][prior] = steps(ONE, prior), steps(TWO, prior)
    learner = build(TWO, prior="flow", bound="dreg", num_samples=3)
    found["dreg"] = train(learner, epochs=6, learning_rate=0.03)[1]
    found["seeds"], found["evaluated"] = seeds()
    found["whole"] = train()
    found["kept"], found["resumed"] = resumed(folder)
    broken = build(TWO)
    broken.weights[-1].assign(np.full(broken.weights[-1].shape, np.nan))
    found["diverged"] = message(training.TrainingDiverged, model=broken)
    found["batch"] = message(ValueError, model=broken, batch_size=7)
    found["validation"] = message(ValueError, model=broken, validation=X[:5])
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
