"""Shared code of the course "Variational autoencoders, hands on".

Data flows one way: data -> networks -> flows -> vae -> training -> evaluation -> plots.

Import it before TensorFlow, whose start-up log would land in the output of every notebook.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow leaves oneDNN off on CPUs without AVX-512, where it trains convolutions faster too
# (tests/benchmarks/onednn_speed.py).
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
