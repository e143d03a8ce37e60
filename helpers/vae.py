"""The variational autoencoder: three distributions, the bound they give, and how to train it."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from helpers import flows
from helpers.data import check_choice, check_whole
from helpers.networks import DECODERS, ENCODERS, as_sizes

tfd = tfp.distributions

CONTEXT_DIM = 128  # numbers that a named encoder tells each step of the flow about its image
LIKELIHOODS = ("bernoulli", "grey_bernoulli", "gaussian", "discretised_logistic")


def kl_to_standard_normal(z_mean, z_log_var):
    """KL(N(z_mean, exp(z_log_var)) || N(0, I)) in nats, summed over the latent dimensions.

    Kingma & Welling 2013, appendix B. Built in notebook 02.

    Parameters
    ----------
    z_mean, z_log_var : tf.Tensor
        Shape (batch, latent).

    Returns
    -------
    tf.Tensor
        Shape (batch,).
    """
    per_dim = 0.5 * (tf.square(z_mean) + tf.exp(z_log_var) - z_log_var - 1.0)  # (batch, latent)
    return tf.reduce_sum(per_dim, axis=-1)


def reparameterise(z_mean, z_log_var, seed):
    """Draw z ~ N(z_mean, exp(z_log_var)) so that gradients reach both parameters.

    ``z = mean + std * eps``, eps ~ N(0, I): Kingma & Welling 2013, section 2.4.
    Built in notebook 02.

    Parameters
    ----------
    z_mean, z_log_var : tf.Tensor
        Shape (batch, latent).
    seed : tf.Tensor or pair of int
        Stateless seed: the same seed gives the same draw.

    Returns
    -------
    tf.Tensor
        Shape (batch, latent).
    """
    eps = tf.random.stateless_normal(tf.shape(z_mean), seed)
    return z_mean + tf.exp(0.5 * z_log_var) * eps


def discretised_logistic_log_prob(x, mean, log_scale):
    """Log-probability of 8-bit pixels under a logistic density integrated over each grey level.

    Salimans et al. 2017 (PixelCNN++), eq. 2. The difference of two sigmoids is computed as
    ``sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a))``, which never cancels.
    Built in notebook 02.

    Parameters
    ----------
    x : tf.Tensor
        Grey levels divided by 255, any shape.
    mean, log_scale : tf.Tensor
        Same shape, in the units of `x`.

    Returns
    -------
    tf.Tensor
        Same shape, nats per pixel; over the 256 levels the probabilities sum to 1.
    """
    inverse_scale = tf.exp(-log_scale)
    upper = (x + 0.5 / 255.0 - mean) * inverse_scale
    lower = (x - 0.5 / 255.0 - mean) * inverse_scale
    first, last = x < 0.5 / 255.0, x > 254.5 / 255.0  # open-ended bins: all mass beyond the edge
    log_upper = tf.where(last, 0.0, tf.math.log_sigmoid(upper))
    log_lower = tf.where(first, 0.0, tf.math.log_sigmoid(-lower))
    width = tf.math.log1p(-tf.exp(-inverse_scale / 255.0))
    return log_upper + log_lower + tf.where(first | last, 0.0, width)


class Bernoulli(tfd.Bernoulli):
    """TFP's Bernoulli with its log-probability in fewer passes over the pixels."""

    def _log_prob(self, x):
        logits = self._logits_parameter_no_checks()
        return x * logits - tf.nn.softplus(logits)


class DiscretisedLogistic(tfd.Logistic):
    """8-bit pixels, each with a logistic density integrated over its grey level."""

    def _log_prob(self, x):
        return discretised_logistic_log_prob(x, self.loc, tf.math.log(self.scale))

    def _mean(self):
        return tf.clip_by_value(self.loc, 0.0, 1.0)

    def _sample_n(self, n, seed=None):
        draws = tf.clip_by_value(super()._sample_n(n, seed), 0.0, 1.0)
        return tf.round(draws * 255.0) / 255.0


@keras.saving.register_keras_serializable(package="vae")
class VAE(keras.Model):
    """Variational autoencoder (Kingma & Welling 2013) of which the reader chooses every part.

    Takes images (batch, height, width, channels). `encoder` and `decoder` are names in
    `networks.ENCODERS` and `networks.DECODERS`, or networks that return a triple; `hidden_dim` the
    encoder's widths (the decoder mirrors them). `likelihood`: "bernoulli" (binary pixels),
    "gaussian" (dequantised), "discretised_logistic" (8-bit), or "grey_bernoulli": grey pixels under
    a Bernoulli, which is no likelihood. `kl`: "monte_carlo" or "analytic" (closed form); `beta`
    weighs it in the training loss, rising from 0 over the first `beta_warmup` steps. `iaf_steps`
    gated steps of networks `iaf_hidden` wide make the posterior an inverse autoregressive flow
    (notebook 04). Noise of step t is a function of (`seed`, t) alone. A wrong argument is a
    ValueError that names the allowed ones. Built in notebook 02.
    """

    def __init__(self, latent_dim, image_shape=(28, 28, 1), *, encoder="gaussian_mlp",
                 decoder="bernoulli_mlp", likelihood="bernoulli", hidden_dim=(200, 200),
                 activation="tanh", kl="monte_carlo", beta=1.0, beta_warmup=0, iaf_steps=0,
                 iaf_hidden=(320,), seed=0, name=None):
        super().__init__(name=name)
        check_whole(latent_dim=(latent_dim, 1))
        check_whole(seed=(seed, 0), iaf_steps=(iaf_steps, 0), beta_warmup=(beta_warmup, 0))
        self.latent_dim = int(latent_dim)
        self.image_shape = as_sizes(image_shape, "image_shape")
        if len(self.image_shape) != 3:
            raise ValueError(f"image_shape={image_shape!r}: give (height, width, channels)")
        check_choice("likelihood", likelihood, LIKELIHOODS)
        check_choice("kl", kl, ("monte_carlo", "analytic"))
        if not isinstance(beta, int | float | np.number) or not 0.0 <= beta < float("inf"):
            raise ValueError(f"beta={beta!r}: give a finite number >= 0")
        if iaf_steps and kl == "analytic":
            raise ValueError("kl='analytic' with iaf_steps > 0: a flow's KL has no closed form, "
                             "use 'monte_carlo'")
        self.likelihood_name, self.kl, self.beta, self.seed = likelihood, kl, float(beta), int(seed)
        self.beta_warmup = beta_warmup
        widths = list(as_sizes(hidden_dim, "hidden_dim"))
        self._config = dict(
            latent_dim=self.latent_dim, image_shape=list(self.image_shape), encoder=encoder,
            decoder=decoder, likelihood=likelihood, hidden_dim=widths, activation=activation,
            kl=kl, beta=self.beta, beta_warmup=beta_warmup, iaf_steps=int(iaf_steps),
            iaf_hidden=list(as_sizes(iaf_hidden, "iaf_hidden")), seed=self.seed, name=self.name)
        context = {"context_dim": CONTEXT_DIM} if iaf_steps else {}
        self.encoder = _network(
            "encoder", encoder, ENCODERS, widths, latent_dim, activation, **context)
        self.decoder = _network("decoder", decoder, DECODERS, widths[::-1], image_shape, activation)
        self.dropout = False
        # Built at once: a subclassed model that was never built saves a file without weights.
        for network, shape in (self.encoder, self.image_shape), (self.decoder, (self.latent_dim,)):
            if not network.built:
                network.build((None, *shape))
        self.flow = None
        if iaf_steps:
            context = self.encode(tf.zeros((1, *self.image_shape)))[2]
            if context is None:
                raise ValueError(f"iaf_steps={iaf_steps} needs an encoder with context_dim > 0")
            self.flow = flows.IAF(self.latent_dim, iaf_steps, iaf_hidden, context.shape[-1])
        self.built = True
        codes = self.encode(tf.zeros((1, *self.image_shape)))[0]
        pixels, log_var, _ = self.decode(tf.zeros((1, self.latent_dim)))
        got, want = (codes.shape[1:], pixels.shape[1:]), ((self.latent_dim,), self.image_shape)
        if got != want:
            raise ValueError(f"encoder and decoder give shapes {got}: want {want}")
        has_log_var = log_var is not None
        if has_log_var != (likelihood in ("gaussian", "discretised_logistic")):
            good = LIKELIHOODS[2:] if has_log_var else LIKELIHOODS[:2]
            raise ValueError(f"likelihood={likelihood!r} does not fit the decoder {decoder!r}; "
                             f"with it use one of {', '.join(good)}")
        self.trackers = {k: keras.metrics.Mean(k) for k in ("loss", "reconstruction", "kl")}

    def encode(self, x):
        """Return ``(z_mean, z_log_var, context)``, the first two of shape (batch, latent)."""
        return _float32(self.encoder(x, training=self.dropout))

    def decode(self, z):
        """Return the decoder's triple for z of shape (batch, latent)."""
        return _float32(self.decoder(z))

    def posterior(self, x):
        """Return q(z|x), a distribution over (latent,) for each of the batch's images."""
        z_mean, z_log_var, context = self.encode(x)
        base = tfd.MultivariateNormalDiag(z_mean, tf.exp(0.5 * z_log_var))
        return base if self.flow is None else flows.FlowPosterior(base, self.flow, context)

    def carry(self, z, context):
        """Return what the flow makes of z (batch, latent); z itself where there is none."""
        return z if self.flow is None else self.flow(z, context)[0]

    def code(self, x):
        """Return the z that stands for each image, (batch, latent): the mean of q, or, where there
        is a flow, what it makes of the mean of its base."""
        z_mean, _, context = self.encode(x)
        return self.carry(z_mean, context)

    def prior(self):
        """Return p(z) = N(0, I)."""
        return tfd.MultivariateNormalDiag(tf.zeros(self.latent_dim), tf.ones(self.latent_dim))

    def likelihood(self, z):
        """Return p(x|z), a distribution over (height, width, channels) for each z (..., latent)."""
        if z.shape[-1] != self.latent_dim:
            raise ValueError(f"z of shape {z.shape}: the last dimension must be {self.latent_dim}")
        mean_or_logits, log_var, _ = self.decode(tf.reshape(z, (-1, self.latent_dim)))
        shape = tf.concat([tf.shape(z)[:-1], self.image_shape], axis=0)
        mean_or_logits = tf.reshape(mean_or_logits, shape)
        if log_var is None:
            return tfd.Independent(Bernoulli(logits=mean_or_logits, dtype=tf.float32), 3)
        pixel = tfd.Normal if self.likelihood_name == "gaussian" else DiscretisedLogistic
        scale = tf.exp(0.5 * tf.reshape(log_var, shape))
        return tfd.Independent(pixel(mean_or_logits, scale), 3)

    def elbo_terms(self, x, *, seed):
        """Return ``(log_px_z, kl)`` of one posterior draw per image, each of shape (batch,)."""
        q = self.posterior(x)
        z, log_qz_x = q.experimental_sample_and_log_prob(seed=seed)  # (batch, latent), (batch,)
        log_px_z = self.likelihood(z).log_prob(x)
        if self.kl == "analytic":
            return log_px_z, q.kl_divergence(self.prior())
        return log_px_z, log_qz_x - self.prior().log_prob(z)

    def elbo(self, x, *, seed):
        """Evidence lower bound of each image, in nats, shape (batch,).

        ``log p(x|z) + log p(z) - log q(z|x)``, or with the closed-form KL
        (Kingma & Welling 2013, eq. 2 and 3).
        """
        log_px_z, kl = self.elbo_terms(x, seed=seed)
        return log_px_z - kl

    def train_step(self, data):
        """One gradient step on the mean loss of the whole batch (Keras calls it from `fit`).

        Every replica calls it with its share of the batch, and all take the same step. Built in
        notebook 07.
        """
        x, *_ = keras.utils.unpack_x_y_sample_weight(data)
        step = tf.cast(self.optimizer.iterations, tf.int32)
        self.dropout = True  # read when the step is traced: only training drops units
        try:
            with tf.GradientTape() as tape:
                log_px_z, kl = self.elbo_terms(x, seed=self.noise(step))
                beta = self.beta
                if self.beta_warmup:
                    beta *= tf.minimum(1.0, tf.cast(step + 1, tf.float32) / self.beta_warmup)
                loss = tf.reduce_mean(beta * kl - log_px_z)
                # Keras sums gradients over the replicas and scales only losses of its own.
                replicas = tf.distribute.get_replica_context().num_replicas_in_sync
                scaled = self.optimizer.scale_loss(loss / replicas)
        finally:
            self.dropout = False
        gradients = tape.gradient(scaled, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self._track(log_px_z, kl)

    def noise(self, step):
        """Seed of a step's draws, a function of (seed, replica, step) alone: a resumed training
        draws what it would have, and no two replicas draw the same. Built in notebook 07."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.stack([self.seed + replica * 1_000_003, step])

    def test_step(self, data):
        """Loss of a batch; its noise depends on seed, replica and the batch's place alone."""
        x, *_ = keras.utils.unpack_x_y_sample_weight(data)
        seen = tf.cast(self.trackers["loss"].count, tf.int32)
        return self._track(*self.elbo_terms(x, seed=self.noise(seen)))

    def _track(self, log_px_z, kl):
        # Per-example values, so that a ragged last batch weighs as much as it holds.
        self.trackers["loss"].update_state(self.beta * kl - log_px_z)
        self.trackers["reconstruction"].update_state(-log_px_z)
        self.trackers["kl"].update_state(kl)
        # Shape (1,): with several workers Keras averages over the first axis.
        return {name: tracker.result()[None] for name, tracker in self.trackers.items()}

    @property
    def metrics(self):
        return list(self.trackers.values())

    def call(self, x):
        return self.reconstruct(x)

    def get_config(self):
        return keras.saving.serialize_keras_object(self._config)

    @classmethod
    def from_config(cls, config):
        return cls(**keras.saving.deserialize_keras_object(config))

    def reconstruct(self, x):
        """Mean of p(x|z) at the posterior mean, shape (batch, height, width, channels)."""
        return self.likelihood(self.code(x)).mean()

    def sample(self, n, *, seed, draw=False):
        """Return n images from the prior: the mean of p(x|z), or with ``draw`` a draw from it."""
        check_whole(n=(n, 1), seed=(seed, 0))
        p = self.likelihood(tf.random.stateless_normal((n, self.latent_dim), (seed, 0)))
        return p.sample(seed=(seed, 1)) if draw else p.mean()

    def check_images(self, x):
        """Raise unless `x` (eager) is a batch of images that this likelihood can score."""
        x = np.asarray(x)
        if x.dtype.kind != "f":
            raise TypeError(f"images of dtype {x.dtype}: give floats, see helpers.data.prepare")
        if x.ndim != 4 or x.shape[1:] != self.image_shape or not len(x):
            raise ValueError(f"images of shape {x.shape}: give {self.image_shape}, batch >= 1")
        if not (x.min() >= 0 and x.max() <= 1):  # false for NaN too
            raise ValueError(f"pixels from {x.min():g} to {x.max():g}: give [0, 1], without NaN")
        if self.likelihood_name == "bernoulli" and not np.isin(x, (0, 1)).all():
            raise ValueError("likelihood='bernoulli' takes pixels 0 and 1 only: binarise with "
                             "helpers.data.prepare, or ask for 'grey_bernoulli' (no likelihood)")
        off_grid = np.abs(x * 255 - np.rint(x * 255)).max() > 0.01
        if self.likelihood_name == "discretised_logistic" and off_grid:
            raise ValueError("pixels off the 256 grey levels k/255: prepare them by 'grey'")

    def check_weights(self):
        """Raise a ValueError that names the first weight that holds NaN or infinity."""
        for weight in self.weights:
            if not np.isfinite(np.asarray(weight)).all():
                raise ValueError(f"weight {weight.path!r} holds NaN or infinity: train again")


def _float32(triple):
    """A mixed-precision policy ends here: losses and densities want all 24 bits."""
    return tuple(None if t is None else tf.cast(t, tf.float32) for t in triple)


def _network(role, choice, registry, hidden_dim, output_shape, activation, **context):
    if isinstance(choice, keras.layers.Layer):
        return choice
    check_choice(role, choice, registry)
    return registry[choice](hidden_dim, output_shape, activation=activation, **context)
