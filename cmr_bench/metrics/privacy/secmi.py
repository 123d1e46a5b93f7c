"""Step-wise error: does the model come back after one step along its own trajectory? (Duan et al. 2023)"""

from __future__ import annotations

import torch
from torch import Tensor

from cmr_bench.diffusion.paths import Pair
from cmr_bench.diffusion.targets import mix
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import Attack, concatenated, named
from cmr_bench.stats import Array
from cmr_bench.types import HasPredict, Images, Masks

START = 0.005


def step_error(
    model: HasPredict, images: Images, masks: Masks, *, time: float, steps: int
) -> Tensor:
    """(B, 1) mean square of x_t - back(forth(x_t)) (Duan et al. 2023, eq. 9; SecMI_stat).

    x_t is reached from the image by `steps` deterministic steps of equal length up to `time`, each
    keeping the model's (x0, eps); forth is one step more, and back undoes it by the same rule.
    """
    z = model.encode(images)
    length = time / steps

    def at(k: int) -> Tensor:
        return torch.full(
            (len(z),), k * length if k else START, dtype=torch.float64, device=z.device
        )

    def move(x: Tensor, k: int, to: int) -> Tensor:
        x0, eps = model.predict(x, at(k), masks)
        return mix(Pair(*model.path(at(to))), x0, eps)

    x = z
    for k in range(steps):
        x = move(x, k, k + 1)
    again = move(move(x, steps, steps + 1), steps + 1, steps)
    return (x - again).double().square().flatten(1).mean(1, keepdim=True)


class SecMI(Attack):
    """The trajectory of a member is learnt so well that a step and its inverse lose little.

    `steps` + 2 queries an image, no noise drawn. The first query is made at START, because
    no model is trained at time 0. On models that know their training images by heart small times
    can turn the answer around: the trajectory of a member carries no noise.
    """

    names = named("secmi")
    needs = ("predict",)

    def __init__(
        self,
        time: float = 0.2,
        steps: int = 4,
        fpr: float = 0.01,
        blind: bool = True,
        slices: int | None = None,
    ) -> None:
        super().__init__(fpr, blind, slices)
        self.time = time
        self.steps = steps

    def suspicions(self, evidence: Evidence, names: tuple[str, ...]) -> Array:
        return concatenated([evidence.asked(name, self._error) for name in names])

    def _error(self, model: HasPredict, images: Images, masks: Masks) -> Tensor:
        return step_error(model, images, masks, time=self.time, steps=self.steps)
