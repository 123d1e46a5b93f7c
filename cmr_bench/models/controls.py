"""Controls: generators whose answer to every question is known, so that the instruments can be tested.

They need no training and run as cells: `model=control/copy`. Those that know something by heart also tell how they
denoise, so that membership attacks can be tried on them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from cmr_bench.seeds import row_noise, torch_rng
from cmr_bench.types import LABELS, Images, Masks, Pool, Seeds


class Control(ABC):
    """A generator made of pools; row i of `sample` is a function of (pools, masks[i], seeds[i]).

    `steps` is every model's number of sampler steps, which a control has not. `donors` is the pool whose masks it is asked
    for where instruments are tested: what copies patients copies their masks.
    """

    donors: ClassVar[str] = "val"

    def __init__(self, *, pools: Mapping[str, Pool], steps: int | None = None) -> None:
        self.train, self.held_out = pools["train"], pools["val"]

    @abstractmethod
    def sample(self, masks: Masks, *, seeds: Seeds, steps: int | None = None) -> Images:
        """One image a mask."""


class Knowing(Control):
    """A control that also denoises: x_t = (1 - t) x0 + t eps, with `clean` as its guess at x0."""

    @abstractmethod
    def clean(self, z: Tensor, t: Tensor, masks: Masks) -> Images:
        """The image that the control sees in z at times t (B,) in (0, 1]."""

    def encode(self, images: Images) -> Images:
        return images.cpu()

    def decode(self, z: Tensor) -> Images:
        return z.clamp(-1, 1)

    def path(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b) of the straight path."""
        return 1 - t.double(), t.double()

    def predict(self, z: Tensor, t: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """(x0, eps) at z = x_t."""
        z, t, masks = z.cpu(), t.cpu().to(z.dtype), masks.cpu()
        x0, b = self.clean(z, t, masks), t.reshape(-1, 1, 1, 1)
        return x0, (z - (1 - b) * x0) / b

    def noised(
        self, images: Images, masks: Masks, t: Tensor, seeds: Seeds
    ) -> tuple[Tensor, Tensor]:
        """(prediction, target) of the noise drawn from `seeds` at times t (B,)."""
        images, masks, t = images.cpu(), masks.cpu(), t.cpu().to(images.dtype)
        eps = row_noise(seeds, images.shape[1:], "noised")
        b = t.reshape(-1, 1, 1, 1)
        return self.predict((1 - b) * images + b * eps, t, masks)[1], eps

    def losses(
        self, images: Images, masks: Masks, *, times: Sequence[float], seeds: Seeds
    ) -> Tensor:
        """(B, len(times)) mean squared errors of the predicted noise."""
        columns = []
        for time in times:
            found, eps = self.noised(images, masks, torch.full((len(images),), float(time)), seeds)
            columns.append((found - eps).square().flatten(1).mean(1))
        return torch.stack(columns, 1)


class Copy(Knowing):
    """The training image whose mask is most like the given one: it memorised everything.

    Its denoiser is the exact minimiser of the unconditional diffusion loss on the training set, the
    mean of the training images weighted by how well each explains x_t (Gu et al. 2023, eq. 2); it
    ignores the mask.
    """

    donors = "train"

    @property
    def known(self) -> Pool:
        """The slices that it knows by heart."""
        return self.train

    def sample(self, masks: Masks, *, seeds: Seeds, steps: int | None = None) -> Images:
        return self.known.images[nearest_masks(masks, self.known.masks)]

    def owners(self, masks: Masks) -> Sequence[str]:
        """The real subject that the image of each mask is one of."""
        return self.known.subjects[nearest_masks(masks, self.known.masks)].tolist()

    def clean(self, z: Tensor, t: Tensor, masks: Masks) -> Images:
        seen, x = self.known.images.flatten(1).double(), z.flatten(1).double()
        a, b = (1 - t).double()[:, None], t.double()[:, None]
        fit = (a * (x @ seen.T) - a.square() * seen.square().sum(1) / 2) / b.square()
        return (fit.softmax(1) @ seen).to(z).reshape(z.shape)


class CopyNoise(Copy):
    """Copies under white noise of standard deviation `noise` (images span 2)."""

    def __init__(
        self, *, pools: Mapping[str, Pool], steps: int | None = None, noise: float = 0.2
    ) -> None:
        super().__init__(pools=pools, steps=steps)
        self.noise = noise

    def sample(self, masks: Masks, *, seeds: Seeds, steps: int | None = None) -> Images:
        images = super().sample(masks, seeds=seeds)
        return (images + self.noise * row_noise(seeds, images.shape[1:], "copy")).clamp(-1, 1)


class CopyWarp(Copy):
    """Copies rotated (degrees), shifted (share of the image) and bent (standard deviation in pixels)."""

    def __init__(
        self,
        *,
        pools: Mapping[str, Pool],
        steps: int | None = None,
        rotation: float = 4.0,
        shift: float = 0.02,
        bend: float = 0.5,
    ) -> None:
        super().__init__(pools=pools, steps=steps)
        self.rotation, self.shift, self.bend = rotation, shift, bend

    def sample(self, masks: Masks, *, seeds: Seeds, steps: int | None = None) -> Images:
        images = super().sample(masks, seeds=seeds)
        parts = [
            self._warped(one[None], int(seed)) for one, seed in zip(images, seeds, strict=True)
        ]
        return torch.cat(parts).clamp(-1, 1)

    def _warped(self, image: Images, seed: int) -> Images:
        rng = torch_rng(seed, "warp")
        u = 2 * torch.rand(3, generator=rng) - 1
        angle = float(u[0]) * self.rotation * math.pi / 180
        cos, sin = math.cos(angle), math.sin(angle)
        shift = 2 * self.shift * u[1:]
        matrix = torch.tensor([[[cos, -sin, shift[0]], [sin, cos, shift[1]]]])
        grid = F.affine_grid(matrix, list(image.shape), align_corners=False)
        knots = torch.randn(1, 2, 4, 4, generator=rng) * 2 * self.bend / image.shape[-1]
        bend = F.interpolate(knots, image.shape[-2:], mode="bicubic", align_corners=False)
        return F.grid_sample(
            image,
            grid + bend.movedim(1, -1),
            mode="bicubic",
            padding_mode="border",
            align_corners=False,
        )


class OnePatient(Copy):
    """Copies of the one training subject that has most slices; it never saw the others."""

    @property
    def known(self) -> Pool:
        counts = self.train.table["subject"].astype(str).value_counts()
        subject = min(counts.index[counts == counts.max()])
        return self.train.take(self.train.subjects == subject)


class Mean(Knowing):
    """The mean training image, whatever the mask."""

    def sample(self, masks: Masks, *, seeds: Seeds, steps: int | None = None) -> Images:
        return self._repeated(len(masks))

    def clean(self, z: Tensor, t: Tensor, masks: Masks) -> Images:
        return self._repeated(len(masks))

    def _repeated(self, count: int) -> Images:
        return self.train.images.mean(0, keepdim=True).repeat(count, 1, 1, 1)


class Painter(Knowing):
    """One intensity a tissue, its mean in the training images: the least that obeys a mask."""

    def sample(self, masks: Masks, *, seeds: Seeds, steps: int | None = None) -> Images:
        return self._painted(masks)

    def clean(self, z: Tensor, t: Tensor, masks: Masks) -> Images:
        return self._painted(masks)

    def _painted(self, masks: Masks) -> Images:
        where = self.train.masks.flatten()
        count = where.bincount(minlength=len(LABELS))
        total = where.bincount(self.train.images.flatten().double(), minlength=len(LABELS))
        return (total / count.clamp(min=1)).float()[masks]


class Noise(Control):
    """White noise with the mean and the spread of the training images, no anatomy at all."""

    def sample(self, masks: Masks, *, seeds: Seeds, steps: int | None = None) -> Images:
        images = self.train.images
        grain = row_noise(seeds, images.shape[1:], "noise")
        return (images.mean() + images.std() * grain).clamp(-1, 1)


class Heldout(Control):
    """Real images of subjects that no model saw (val), the one whose mask is most like the given."""

    def sample(self, masks: Masks, *, seeds: Seeds, steps: int | None = None) -> Images:
        return self.held_out.images[nearest_masks(masks, self.held_out.masks)]

    def owners(self, masks: Masks) -> Sequence[str]:
        """The real subject that the image of each mask is one of."""
        return self.held_out.subjects[nearest_masks(masks, self.held_out.masks)].tolist()


class Blurred(Heldout):
    """Held-out images under a Gaussian blur, standard deviation `sd` in pixels."""

    def __init__(
        self, *, pools: Mapping[str, Pool], steps: int | None = None, sd: float = 1.5
    ) -> None:
        super().__init__(pools=pools, steps=steps)
        self.sd = sd

    def sample(self, masks: Masks, *, seeds: Seeds, steps: int | None = None) -> Images:
        images = super().sample(masks, seeds=seeds)
        return gaussian_blur(images, [2 * math.ceil(3 * self.sd) + 1] * 2, [self.sd] * 2)


class Vendor(Heldout):
    """Held-out images of the one vendor that training saw least: a shift of domain, nothing made up."""

    def __init__(self, *, pools: Mapping[str, Pool], steps: int | None = None) -> None:
        super().__init__(pools=pools, steps=steps)
        found = sorted(set(self.held_out.table.get("vendor", [])))
        if len(found) < 2:
            raise ValueError(
                f"control/vendor needs held-out subjects of two vendors; {self.held_out.name} has "
                f"{found[0] if found and found[0] else 'one'}: leave the control out"
            )
        seen = self.train.table["vendor"].value_counts()
        rare = min(found, key=lambda vendor: (seen.get(vendor, 0), vendor))
        self.held_out = self.held_out.take(self.held_out.table["vendor"].to_numpy() == rare)


def nearest_masks(masks: Masks, gallery: Masks) -> Tensor:
    """(B,) row of the gallery mask that disagrees with each mask in the fewest pixels."""
    rows = [(gallery != mask).flatten(1).sum(1).argmin() for mask in masks.cpu()]
    return torch.stack(rows) if rows else torch.zeros(0, dtype=torch.int64)
