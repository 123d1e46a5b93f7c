"""Strong augmentation of training batches by torchio: the control that synthetic images have to beat."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torchio as tio

from cmr_bench.types import Images, Masks

SIDE = 100.0
CONTROL_POINTS = (7, 7, 5)


@dataclass(frozen=True)
class Strong:
    """Geometry, intensities and artefacts of MRI, drawn anew for each slice (Pérez-García et al. 2021).

    Geometry acts on image and mask alike: rotation (degrees), zoom and shift (share of the image)
    uniform within +- their range, an elastic deformation whose control points move by up to
    `elastic` of the side. Intensities and artefacts act on the image, moved to [0, 1]: x^exp(u) with
    u in +- gamma, a polynomial bias field, Gaussian noise, ghosts along either side, and motion
    (two rigid moves of up to `motion` of the side and as many degrees as percent). Elastic
    deformation and each of the latter come with probability `share`. What a batch becomes is a
    function of (batch, state of `rng`); the global generator is as it was.
    """

    rotation: float = 30.0
    zoom: float = 0.25
    shift: float = 0.1
    elastic: float = 0.06
    gamma: float = 0.4
    bias: float = 0.4
    noise: float = 0.08
    ghosting: float = 0.5
    motion: float = 0.04
    share: float = 0.3

    def __call__(self, images: Images, masks: Masks, rng: torch.Generator) -> tuple[Images, Masks]:
        seed = int(torch.randint(2**62, (), generator=rng))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # the CPU's alone
            pairs = [self._one(*pair) for pair in zip(images, masks, strict=True)]
        one, other = (torch.stack(part) for part in zip(*pairs, strict=True))
        return one, other

    def _one(self, image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Lengths are in percent of the side, so that one setting serves every image size.
        affine = np.diag([SIDE / image.shape[-2], SIDE / image.shape[-1], 1.0, 1.0])
        subject = tio.Subject(
            image=tio.ScalarImage(tensor=((image + 1) / 2)[..., None], affine=affine),
            mask=tio.LabelMap(tensor=mask[..., None], affine=affine),
        )
        found = self._transform(subject)
        return 2 * found.image.data[..., 0].clamp(0, 1) - 1, found.mask.data[..., 0].round().long()

    @cached_property
    def _transform(self) -> tio.Compose:
        low, high, far = 1 - self.zoom, 1 + self.zoom, self.shift * SIDE
        sometimes: Any = {"p": self.share}
        return tio.Compose(
            [
                tio.RandomAffine(
                    scales=(low, high, low, high, 1, 1),
                    degrees=(0, 0, 0, 0, -self.rotation, self.rotation),
                    translation=(-far, far, -far, far, 0, 0),
                ),
                tio.RandomElasticDeformation(
                    num_control_points=CONTROL_POINTS,
                    max_displacement=(self.elastic * SIDE, self.elastic * SIDE, 0),
                    **sometimes,
                ),
                tio.RandomBiasField(coefficients=self.bias, **sometimes),
                tio.RandomGamma(log_gamma=self.gamma, **sometimes),
                tio.RandomMotion(
                    degrees=self.motion * SIDE,
                    translation=self.motion * SIDE,
                    num_transforms=2,
                    **sometimes,
                ),
                tio.RandomGhosting(
                    num_ghosts=(2, 6), axes=(0, 1), intensity=(0, self.ghosting), **sometimes
                ),
                tio.RandomNoise(std=(0, self.noise), **sometimes),
            ]
        )
