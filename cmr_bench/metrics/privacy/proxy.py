"""The audit of images released without their model: a proxy trained on them is attacked in the model's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import Attack, named
from cmr_bench.metrics.privacy.membership import Membership
from cmr_bench.stats import Array


class Proxy(Attack):
    """Loss attack on a denoiser that was trained on the synthetic set alone.

    What it finds is what the images themselves give away. The synthetic masks go with the images, where there are some.
    """

    names = named("proxy")
    pools = ("train", "test", "synthetic")
    needs = ("fit",)
    catches = ()
    spares = ()
    untested = "no control has a training recipe to lend to the proxy"

    def __init__(
        self,
        times: Sequence[float] = (0.1, 0.2, 0.4),
        repeats: int = 2,
        fpr: float = 0.01,
        blind: bool = True,
        slices: int | None = None,
    ) -> None:
        super().__init__(fpr, blind, slices)
        self.loss = Membership(times, repeats)

    def suspicions(self, evidence: Evidence, names: tuple[str, ...]) -> Array:
        pools = {}
        if not evidence.pools[
            "synthetic"
        ].labels:  # the proxy learnt without masks, and is asked without them
            real = {name: evidence.pools[name] for name in names}
            pools = {k: replace(p, masks=torch.zeros_like(p.masks)) for k, p in real.items()}
        return self.loss.suspicions(evidence.about(evidence.fitted("synthetic"), pools), names)
