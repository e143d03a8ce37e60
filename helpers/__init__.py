"""Shared code of the course "Variational autoencoders, hands on".

Data flows one way: data -> networks -> flows -> vae -> training -> evaluation -> plots.
"""

import os

# TensorFlow writes its start-up log from C++: silence it before the first import, or it lands in
# the stored output of every notebook.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
