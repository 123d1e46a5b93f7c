"""The simple attack: how much noise does the model see in an image that has none? (Rao et al. 2025)"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import Attack, concatenated, named
from cmr_bench.stats import Array
from cmr_bench.types import HasPredict, Images, Masks


def norms(model: HasPredict, images: Images, masks: Masks, times: Sequence[float]) -> Tensor:
    """(B, len(times)) mean fourth power of eps(a z, t), to the power 1/4; z is the image in the model's space.

    a z is x_t without its noise. On the variance-preserving chain a is near 1 at the small times
    that tell most, and this is the query of arXiv 2509.25003 and the norm of its code; on the
    straight path the bare image would lie off the path.
    """
    z = model.encode(images)
    columns = []
    for time in times:
        t = torch.full((len(z),), float(time), dtype=torch.float64, device=z.device)
        a = model.path(t)[0].to(z).reshape(-1, *[1] * (z.ndim - 1))
        eps = model.predict(a * z, t, masks)[1]
        columns.append(eps.double().pow(4).flatten(1).mean(1).pow(0.25))
    return torch.stack(columns, 1)


class SimA(Attack):
    """A member is a mode of the model's density, where the score, and so the predicted noise, is small.

    One query an image and time, no noise drawn.
    """

    names = named("sima")
    needs = ("predict",)

    def __init__(
        self,
        times: Sequence[float] = (0.1,),
        fpr: float = 0.01,
        blind: bool = True,
        slices: int | None = None,
    ) -> None:
        super().__init__(fpr, blind, slices)
        self.times = tuple(times)

    def suspicions(self, evidence: Evidence, names: tuple[str, ...]) -> Array:
        return concatenated([evidence.asked(name, self._norms) for name in names])

    def _norms(self, model: HasPredict, images: Images, masks: Masks) -> Tensor:
        return norms(model, images, masks, self.times)
