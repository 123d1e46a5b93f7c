"""Denoising diffusion in pixel space."""

from cmr_bench.models.diffusion import Diffusion


class DDPM(Diffusion):
    """Denoising diffusion probabilistic model (Ho et al. 2020).

    x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps; sampling walks the chain's posterior (eq. 7), at a subset of its 1000
    times. Defaults: pixel space, 1000-step linear chain, ancestral sampler, and the v target (Salimans and Ho 2022),
    from which the paper's eps (eq. 14) is b x + a v; model/target=epsilon trains on eps itself. Times are drawn around
    the one where signal and noise are equal (model/law=uniform: the paper's uniform ones).
    """
