"""Training masks under random affine and elastic deformation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cmr_bench.seeds import torch_rng
from cmr_bench.types import LABELS, Masks, Pool, Seeds


class Deformed:
    """Draws a training mask and bends it: rotation, zoom, stretch, shift, and a smooth displacement field.

    rotation in degrees; zoom and stretch as factors 1 +- u; shift as a share of the image; the displacement has
    standard deviation `bend_mm` and the smoothness of a cubic grid with `knots` knots a side. Labels are moved as
    one-hot planes and the largest wins, so that borders stay smooth and structures stay nested.
    """

    pool = "train"

    def __init__(
        self,
        *,
        pool: Pool,
        rotation: float,
        zoom: float,
        stretch: float,
        shift: float,
        bend_mm: float,
        knots: int,
    ) -> None:
        self.masks = pool.masks
        self.rotation, self.zoom, self.stretch, self.shift = rotation, zoom, stretch, shift
        self.bend = 2 * bend_mm / (pool.spacing_mm * pool.masks.shape[-1])
        self.knots = knots

    def sample(self, *, seeds: Seeds) -> Masks:
        return torch.cat([self.one(int(seed)) for seed in seeds])

    def one(self, seed: int) -> Masks:
        rng = torch_rng(seed, "deformed")
        mask = self.masks[int(torch.randint(len(self.masks), (), generator=rng))]
        planes = F.one_hot(mask[0], len(LABELS)).movedim(-1, 0)[None].float()
        moved = F.grid_sample(
            planes, self.field(planes, rng), padding_mode="border", align_corners=False
        )
        return moved.argmax(1, keepdim=True)

    def field(self, planes: Tensor, rng: torch.Generator) -> Tensor:
        """(1, H, W, 2) where each pixel looks, in the units of grid_sample."""
        u = 2 * torch.rand(5, generator=rng) - 1
        angle = u[0] * self.rotation * torch.pi / 180
        turn = torch.stack(
            [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
        )
        scale = (1 + self.zoom * u[1]) * torch.stack(
            [1 + self.stretch * u[2], 1 - self.stretch * u[2]]
        )
        matrix = torch.cat([turn * scale, 2 * self.shift * u[3:, None]], 1)[None]
        grid = F.affine_grid(matrix, list(planes.shape), align_corners=False)
        knots = torch.randn(1, 2, self.knots, self.knots, generator=rng) * self.bend
        bend = F.interpolate(knots, planes.shape[-2:], mode="bicubic", align_corners=False)
        return grid + bend.movedim(1, -1)
