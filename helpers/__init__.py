"""Shared code of the course "Variational autoencoders, hands on".

Data flows one way: data -> networks -> flows -> vae -> training -> evaluation -> plots.

Import this package before TensorFlow: TensorFlow writes a start-up log from C++, which would land
in the stored output of every notebook.
"""

import contextlib
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def _stderr_closed():
    """Point file descriptor 2 at nothing: lines written before logging is set up obey no level."""
    saved, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nothing)


with _stderr_closed():
    import tensorflow

tensorflow.get_logger().setLevel("ERROR")  # it counts the models of a notebook as retracing
