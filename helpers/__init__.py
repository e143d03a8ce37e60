"""Shared code of the course "Variational autoencoders, hands on".

Data flows one way: data -> networks -> flows -> likelihoods -> priors -> vae -> training ->
evaluation -> clinic -> transformer -> plots. `helpers.cluster` and `helpers.shards` are for several
machines, and `helpers.course` holds what no lesson teaches.

Import it before TensorFlow, whose start-up log would land in the output of every notebook.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow leaves oneDNN off on CPUs without AVX-512, where it trains convolutions faster too
# (tools/studies/onednn_speed.py).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Lines written before logging is set up obey no level: file descriptor 2 points at nothing.
_saved, _nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(_nothing, 2)
try:
    import tensorflow
finally:
    os.dup2(_saved, 2)
    os.close(_saved)
    os.close(_nothing)

tensorflow.get_logger().setLevel("ERROR")  # it counts the models of a notebook as retracing


def _check_keras() -> None:
    """Refuse a Keras that somebody set to another backend or image format, whose errors are odd."""
    try:
        import keras

        found = f"{keras.config.backend()} and {keras.config.image_data_format()}"
    except ImportError as error:  # a backend that is not installed
        found = f"a backend that fails with: {error}"
    if found != "tensorflow and channels_last":
        raise RuntimeError(
            f"The course needs Keras with tensorflow and channels_last, but it is set to {found}; "
            "change KERAS_BACKEND or ~/.keras/keras.json and restart Python."
        )


_check_keras()
