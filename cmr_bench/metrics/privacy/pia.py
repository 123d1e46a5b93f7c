"""Proximal initialisation: is the noise that the model sees in an image seen again where it leads? (Kong et al. 2024)"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cmr_bench.diffusion.paths import Pair
from cmr_bench.diffusion.targets import mix
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import Attack, concatenated, named
from cmr_bench.stats import Array
from cmr_bench.types import HasPredict, Images, Masks


def gaps(
    model: HasPredict, images: Images, masks: Masks, times: Sequence[float], *, start: float
) -> Tensor:
    """(B, len(times)) mean fourth power, to the power 1/4, of eps0 - eps(a z + b eps0, t).

    eps0 = eps(z, start), scaled to the mean size sqrt(2 / pi) of noise (the paper's PIAN), so that
    x_t lies where the model was trained whatever its path (Kong et al. 2024, eq. 9 to 11).
    """
    z = model.encode(images)

    def at(time: float) -> Tensor:
        return torch.full((len(z),), float(time), dtype=torch.float64, device=z.device)

    a = Pair(*model.path(at(start))).x0.to(z).reshape(-1, *[1] * (z.ndim - 1))
    first = model.predict(a * z, at(start), masks)[1]
    size = first.abs().flatten(1).mean(1).clamp(min=1e-6).reshape(a.shape)
    first = first / size * (2 / torch.pi) ** 0.5
    columns = []
    for time in times:
        t = at(time)
        again = model.predict(mix(Pair(*model.path(t)), z, first), t, masks)[1]
        columns.append((first - again).double().pow(4).flatten(1).mean(1).pow(0.25))
    return torch.stack(columns, 1)


class PIA(Attack):
    """Like the loss, with the noise that the model itself sees in the image: two queries, none drawn."""

    names = named("pia")
    needs = ("predict",)

    def __init__(
        self,
        times: Sequence[float] = (0.3,),
        start: float = 0.02,
        fpr: float = 0.01,
        blind: bool = True,
        slices: int | None = None,
    ) -> None:
        super().__init__(fpr, blind, slices)
        self.times = tuple(times)
        self.start = start

    def suspicions(self, evidence: Evidence, names: tuple[str, ...]) -> Array:
        return concatenated([evidence.asked(name, self._gaps) for name in names])

    def _gaps(self, model: HasPredict, images: Images, masks: Masks) -> Tensor:
        return gaps(model, images, masks, self.times, start=self.start)
