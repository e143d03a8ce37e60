"""A training that is killed again and again: run in a process of its own by test_runs.py.

That process starts the others while TensorFlow has no thread yet: import nothing here that makes a
tensor.
"""

import json
import os
import signal
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from helpers import training
from helpers.vae import VAE

EPOCHS, STEPS = 5, 5  # steps of an epoch


class Kill(keras.callbacks.Callback):
    """Die, without a last word, after so many steps over all epochs."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def die_while_writing(epoch):
    """Die after the checkpoint of an epoch was written, and before it gets its name."""
    replace = os.replace

    def deadly(source, target):
        if f"epoch-{epoch:05d}" in str(target):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = deadly


def train_vae(**changes):
    """Train a VAE with a flow; return its weights, its optimizer's, and its history."""
    images = np.random.default_rng(0).integers(0, 256, (130, 8, 8, 1), dtype=np.uint8)
    # Names count up through a process, and TensorFlow orders (and so rounds) sums by name.
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    vae = VAE(3, (8, 8, 1), hidden_dim=16, iaf_steps=1, iaf_hidden=8, beta_warmup=9, seed=3)
    settings = dict(epochs=EPOCHS, batch_size=32, protocol="dynamic", seed=3, verbose=1)
    history = training.fit(vae, images, **settings, ema_momentum=0.9, **changes)
    state = [variable.numpy() for variable in (*vae.variables, *vae.optimizer.variables)]
    return state, [{k: v for k, v in row.items() if k != "seconds"} for row in history.epochs]


def in_a_process(function):
    """Call a function in a process of its own; return how that one ended."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        tf.config.experimental.enable_op_determinism()
        function()
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
    os._exit(0)


def names(folder):
    """Names of the checkpoints, without their digests; "unfinished" for what is left of one."""
    left = ["unfinished" for path in folder.glob(".epoch-*.unfinished")]
    return sorted(path.name.split(".")[0] for path in folder.glob("epoch-*.npz")) + left


def compare(folder):
    """Let the run end, and compare it with one that nobody killed."""
    one, history = train_vae(run_dir=folder)
    other, expected = train_vae()
    assert all(map(np.array_equal, one, other)), "weights or optimizer differ"
    assert history == expected, "the histories differ"


def main(folder, *steps):
    """Kill a training at these steps, at the last one while it writes; let it end, and compare."""
    folder, found = Path(folder), []

    def train(step):
        if step < EPOCHS * STEPS:
            train_vae(run_dir=folder, callbacks=[Kill(step)])
        else:
            die_while_writing(EPOCHS)
            train_vae(run_dir=folder)

    for step in map(int, steps):
        found.append((in_a_process(partial(train, step)), names(folder)))
    found.append((in_a_process(partial(compare, folder)), names(folder)))
    print(json.dumps(found))
