"""Diffusion in the latent space of an autoencoder."""

from cmr_bench.models.diffusion import Diffusion


class LDM(Diffusion):
    """Latent diffusion model (Rombach et al. 2022).

    z = E(x) standardised, z_t = sqrt(abar_t) z + sqrt(1 - abar_t) eps, image = D(z_0); the autoencoder is trained first
    and frozen. Defaults: latent space, 1000-step scaled chain, v target, DDIM (Song et al. 2021).
    """
