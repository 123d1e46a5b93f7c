"""Reconstruction in the middle frequencies: how well does the model draw an image again from its noised self? (FCRE, Zhao et al. 2025)"""

from __future__ import annotations

import torch
from torch import Tensor

from cmr_bench.diffusion.paths import Pair
from cmr_bench.diffusion.targets import mix
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import Attack, concatenated, named
from cmr_bench.metrics.privacy.fcre import features
from cmr_bench.seeds import row_noise
from cmr_bench.stats import Array
from cmr_bench.types import HasPredict, Images, Masks


def reconstructed(
    model: HasPredict, images: Images, masks: Masks, *, time: float, steps: int
) -> Images:
    """The images after noise up to `time`, one and the same for all, and the deterministic way back in equal steps."""
    z = model.encode(images)
    eps = row_noise(torch.zeros(len(z), dtype=torch.int64), z.shape[1:], "reconstructed").to(z)

    def at(k: int) -> Tensor:
        return torch.full((len(z),), k * time / steps, dtype=torch.float64, device=z.device)

    x = mix(Pair(*model.path(at(steps))), z, eps)
    for k in range(steps, 0, -1):
        x0, eps = model.predict(x, at(k), masks)
        x = mix(Pair(*model.path(at(k - 1))), x0, eps)
    return model.decode(x0)


class Frequency(Attack):
    """A member comes back as it was: little error in the middle band of frequencies, and high SSIM.

    The study's namesake of this attack (`fcre.py`) compares noise with noise; here, as published, images are compared
    with images. The abstract of Zhao et al. names these two quantities and no weights, times or thresholds: both count
    alike once standardised, and `time` and `steps` are ours.
    """

    names = named("frequency")
    needs = ("predict",)

    def __init__(
        self,
        time: float = 0.3,
        steps: int = 4,
        fpr: float = 0.01,
        blind: bool = True,
        slices: int | None = None,
    ) -> None:
        super().__init__(fpr, blind, slices)
        self.time = time
        self.steps = steps

    def suspicions(self, evidence: Evidence, names: tuple[str, ...]) -> Array:
        return concatenated([evidence.asked(name, self._errors) for name in names])

    def _errors(self, model: HasPredict, images: Images, masks: Masks) -> Tensor:
        again = reconstructed(model, images, masks, time=self.time, steps=self.steps)
        return features(again.to(images), images)
