"""Flow matching in pixel space."""

from cmr_bench.models.diffusion import Diffusion


class FlowMatching(Diffusion):
    """Conditional flow matching on the straight path (Lipman et al. 2023; Liu et al. 2023).

    x_t = (1 - t) x0 + t eps, with t = 0 the data; the network predicts the velocity eps - x0 and sampling integrates
    dx/dt from t = 1 to 0. Defaults: pixel space, linear path, flow target, Euler.
    """
