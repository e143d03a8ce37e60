"""An autoencoder with noise in the middle: what `fit` needs of a VAE, and no more."""

import keras
import numpy as np
import tensorflow as tf

from helpers import training

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
VALIDATION = (IMAGES[:10] > 127).astype("float32")
STEPS = 3  # of an epoch of `run`


class Tiny(keras.Model):
    """Draws the noise of step t by (seed, t); loses its mind at `bad_step`, from 1."""

    def __init__(self, units=3, seed=0, bad_step=None):
        super().__init__()
        self.config = dict(units=units, seed=seed, bad_step=bad_step)
        start = keras.initializers.GlorotUniform
        self.down = keras.layers.Dense(units, "tanh", kernel_initializer=start(seed))
        self.up = keras.layers.Dense(16, kernel_initializer=start(seed + 1))
        self.tracker = keras.metrics.Mean("loss")
        self.checked = []
        self(np.zeros((1, 4, 4, 1), "float32"))

    def get_config(self):
        return self.config

    def check_images(self, x):
        self.checked.append(tuple(x.shape))

    @property
    def metrics(self):
        return [self.tracker]

    def call(self, x):
        return self.up(self.down(tf.reshape(x, (-1, 16))))

    def _loss(self, x, noise):
        code = tf.cast(self.down(tf.reshape(x, (-1, 16))), tf.float32)
        logits = tf.cast(self.up(code + noise), tf.float32)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.reshape(x, (-1, 16)), logits)
        return tf.reduce_sum(losses, axis=1)

    def train_step(self, x):
        step = tf.cast(self.optimizer.iterations, tf.int32)
        noise = tf.random.stateless_normal(
            (tf.shape(x)[0], self.config["units"]), tf.stack([self.config["seed"], step])
        )
        with tf.GradientTape() as tape:
            losses = self._loss(x, noise)
            if self.config["bad_step"] is not None:
                losses = tf.where(step + 1 == self.config["bad_step"], np.nan, losses)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.tracker.update_state(losses)
        return {"loss": tf.reshape(self.tracker.result(), (1,))}

    def test_step(self, x):
        self.tracker.update_state(self._loss(x, 0.0))
        return {"loss": tf.reshape(self.tracker.result(), (1,))}


class Interrupt(keras.callbacks.Callback):
    """Stop as Ctrl-C does, after so many steps."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if training.steps_taken(self.model.optimizer) == self.step:
            raise KeyboardInterrupt


def run(model=None, images=IMAGES, **changes):
    """Train a tiny model for four epochs; return it and its history."""
    model = Tiny() if model is None else model
    settings = dict(epochs=4, batch_size=8, protocol="dynamic", seed=7, learning_rate=0.02)
    settings |= dict(validation=VALIDATION, verbose=0) | changes
    return model, training.fit(model, images, **settings)


def weights(model):
    return [weight.numpy() for weight in model.weights]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
