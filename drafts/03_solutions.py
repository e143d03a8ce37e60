# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solve the exercises of notebook 03
#
# [Back to the lesson](../03_train_a_convolutional_vae.ipynb)
#
# Try them yourself first. Each solution stands between two marks and is followed by the check of the lesson. The first cell holds what the solutions need.

# %%
from helpers import data, evaluation, training  # first: it imports TensorFlow quietly

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from helpers.vae import VAE

tfd = tfp.distributions
PROFILE = training.profile()
SEED = training.course_seed()
training.set_seed(SEED)
mnist = data.load_mnist()

# %% [markdown]
# ## 1. Explain: a negative KL
#
# The KL is the *average* of $\log q(z \mid x) - \log p(z)$ over draws from $q$. A single draw may land where the prior is denser than $q$, and then the difference is negative. For $q = \mathcal N(1, 1)$ that happens whenever $z < ½$. Clipping would push the average up and make the bound's estimate biased; the colleague should log the mean over a batch instead.

# %%
answer_1 = None
### BEGIN SOLUTION
answer_1 = "b"
### END SOLUTION


@@CHECK:check_negative_kl@@
check_negative_kl(answer_1)

# %% [markdown]
# ## 2. Change a line: the size of an image
#
# The kernel may start at $0, s, 2s, \dots$ as long as it ends inside the image, so at $w - k$ at the latest. That makes $\lfloor (w - k) / s \rfloor + 1$ places.


# %%
answer_2 = None


### BEGIN SOLUTION
def my_width(width, kernel, stride):
    """Output width of a convolution without padding."""
    return (width - kernel) // stride + 1


answer_2 = my_width
### END SOLUTION


@@CHECK:check_width@@
check_width(answer_2)

# %% [markdown]
# ## 3. Change a line: the missing term
#
# $\log q$ is subtracted. Added, it rewards a posterior that is as narrow as possible, twice over: the "bound" grows without limit as $\sigma$ shrinks.

# %%
answer_3 = None


### BEGIN SOLUTION
def my_mc_elbo(log_px_z, z, z_mean, z_log_var):
    """ELBO of each image from one draw: (batch,)."""
    q = tfd.MultivariateNormalDiag(z_mean, tf.exp(0.5 * z_log_var))
    prior = tfd.MultivariateNormalDiag(tf.zeros_like(z_mean), tf.ones_like(z_mean))
    return log_px_z + prior.log_prob(z) - q.log_prob(z)


answer_3 = my_mc_elbo
### END SOLUTION


@@CHECK:check_mc_elbo@@
check_mc_elbo(answer_3)

# %% [markdown]
# ## 4. Small project: free bits
#
# Mean over the batch, then the maximum, then the sum. The order matters: with the maximum inside the mean, one image that uses a dimension would not pay for the others.

# %%
answer_4 = None


### BEGIN SOLUTION
def free_bits(kl, allowance):
    """Sum over dimensions of the larger of the allowance and the batch's mean KL, one number."""
    return tf.reduce_sum(tf.maximum(tf.reduce_mean(kl, axis=0), allowance))


answer_4 = free_bits
### END SOLUTION


@@CHECK:check_free_bits@@
check_free_bits(answer_4)

# %% [markdown]
# In a model, `elbo_terms` returns the KL of each image, and `train_step` takes the mean. So we hand over the penalty once per image. That is only for training; the score below uses the true posterior and prior, as always.

# %%
### BEGIN SOLUTION
class FreeBitsVAE(VAE):
    """A VAE whose loss gives every latent dimension an allowance of 0.1 nats."""

    def elbo_terms(self, x, *, seed):
        z_mean, z_log_var, _ = self.encode(x)
        z = self.posterior(x).sample(seed=seed)
        kl = 0.5 * (z_mean**2 + tf.exp(z_log_var) - z_log_var - 1.0)  # (batch, latent)
        return self.likelihood(z).log_prob(x), tf.fill(tf.shape(x)[:1], free_bits(kl, 0.1))


filters = PROFILE.choose(quick=(4, 8), class_=(32, 64), full=(32, 64))
images = mnist.train.images[: PROFILE.choose(quick=600, class_=10_000, full=20_000)]
x_test = data.prepare(mnist.test.images[:200], "dynamic", seed=data.TEST_SEED)
for cls in (VAE, FreeBitsVAE):
    training.set_seed(SEED)
    model = cls(40, encoder="conv", decoder="conv", hidden_dim=filters, activation="relu")
    training.fit(
        model, images, epochs=PROFILE.choose(quick=2, class_=3, full=3), batch_size=100,
        protocol="dynamic", seed=SEED, learning_rate=2e-3, verbose=0,
    )  # fmt: skip
    active = evaluation.active_units(evaluation.posterior_moments(model, x_test)[0])
    log_px = evaluation.log_likelihood(model, x_test, 20, seed=SEED).mean
    print(f"{cls.__name__:<12} {active} active units, log p {log_px:.1f}")
### END SOLUTION

# %% [markdown]
# The allowance keeps dimensions alive that the plain loss gives up early. Whether log p(x) gains depends on how long you train: the allowance is paid for nothing where a dimension is not needed. So judge it by the score, not by the number of active units.
