"""Fidelity as the study counts it: pairs on [0, 1], cut MS-SSIM weights, FID of at most 1000 images."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.agreement import NOTE
from cmr_bench.metrics.fidelity.frechet import FID, frechet_distance
from cmr_bench.metrics.fidelity.lpips import LPIPS
from cmr_bench.metrics.fidelity.two_samples import SPLITS
from cmr_bench.stats import Array, Estimate, reweighted, row_mean
from cmr_bench.types import Images, Score

MOST = 1000
BETAS = (0.0448, 0.2856, 0.3001, 0.2363)
"""The first four of five weights, which sum to 0.8668 and not to 1: every value is raised."""
LEAST = 11 * (len(BETAS) - 1) ** 2
"""Pixels of a side that torchmetrics asks for with so many scales."""


def unit(images: Images) -> Tensor:
    """[-1, 1] to [0, 1]."""
    return ((images + 1) / 2).clamp(0, 1)


def ssim(a: Images, b: Images) -> Tensor:
    """(B,) SSIM with data range 1, Gaussian window of 11."""
    pair = unit(a), unit(b)
    return torch.atleast_1d(
        structural_similarity_index_measure(*pair, data_range=1.0, reduction="none")
    )


def ms_ssim(a: Images, b: Images) -> Tensor:
    """(B,) MS-SSIM with data range 1 and BETAS; for images of LEAST pixels or more."""
    pair = unit(a), unit(b)
    return torch.atleast_1d(
        multiscale_structural_similarity_index_measure(
            *pair, data_range=1.0, betas=BETAS, reduction="none"
        )
    )


def psnr(a: Images, b: Images, subjects: np.ndarray, seed: int = 0) -> Estimate:
    """10 log10(1 / mean squared difference over all pixels of all pairs) in dB, data range 1."""
    error = (unit(a) - unit(b)).square().flatten(1).mean(1).double().numpy()
    _, group = np.unique(subjects, return_inverse=True)
    total, count = np.bincount(group, error), np.bincount(group)

    def pooled(w: Array) -> Array:
        with np.errstate(divide="ignore"):
            return -10 * np.log10((w @ total) / (w @ count))

    return reweighted(pooled, len(total), seed=seed)


class PaperImages(Metric):
    """PSNR, SSIM and MS-SSIM of the first 1000 pairs of (matched, test)."""

    axis = "fidelity"
    names = ("fidelity/paper_psnr", "fidelity/paper_ssim", "fidelity/paper_ms_ssim")
    pools = ("test", "matched")
    higher_is_better = True
    untested = "a pair is neither better nor worse for being alike"

    def compute(self, evidence: Evidence) -> list[Score]:
        a, b = (evidence.pools[name].images[:MOST] for name in ("matched", "test"))
        subjects, seed = evidence.subjects("test")[:MOST], evidence.seed
        found = {"psnr": psnr(a, b, subjects, seed)}
        large = min(a.shape[-2:]) >= LEAST
        for name, measure in {"ssim": ssim, **({"ms_ssim": ms_ssim} if large else {})}.items():
            pairs = zip(a.split(64), b.split(64), strict=True)
            values = torch.cat([measure(*pair) for pair in pairs])
            found[name] = row_mean(values, subjects, seed=seed)
        about: dict[str, float | str] = {"images": len(a), "note": NOTE}
        n = len(set(subjects))
        scores = [
            score(f"fidelity/paper_{name}", value, n=n, better="", extra=about)
            for name, value in found.items()
        ]
        if not large:
            reason = f"four scales need images of {LEAST} pixels or more"
            scores.append(Score("fidelity/paper_ms_ssim", np.nan, reason=reason))
        return scores


class PaperFID(FID):
    """Frechet distance of the first 1000 images of matched and of test, which share their masks.

    In the features of the run; the study's own are those of encoder=inception. Fewer images than
    dimensions, and no floor beside it in the study: here as many images of train against test, as
    far as there are so many.
    """

    names = ("fidelity/paper_fid",)
    rankings: ClassVar = {}
    untested = "controls are given other masks than those of test"
    pools = ("train", "test", "matched")

    def __init__(self, splits: int = SPLITS) -> None:
        super().__init__(splits)

    def compute(self, evidence: Evidence) -> list[Score]:
        names = ("matched", "test", "train")
        x, y, real = (evidence.features(name)[:MOST] for name in names)
        if min(len(x), len(y), len(real)) < 2:
            return self.blank("needs two images in each of train, test and matched")
        xs, ys = (evidence.subjects(name)[:MOST] for name in names[:2])
        return [
            score(
                self.names[0],
                self._interval(x, y, xs, ys, evidence.seed)[0],
                n=len(x),
                unit="images",
                better="lower",
                reference=frechet_distance(real[: len(x)], y),
                reference_name="real train against real test",
                extra={"dimensions": x.shape[1]},
            )
        ]


class PaperLPIPS(LPIPS):
    """LPIPS of the first 1000 pairs of (matched, test) with the backbone of the study, VGG; mean over images."""

    names = ("fidelity/paper_lpips",)

    def __init__(self) -> None:
        super().__init__("vgg")

    def compute(self, evidence: Evidence) -> list[Score]:
        distance = self.distance()
        a, b = (evidence.pools[name].images[:MOST] for name in ("matched", "test"))
        subjects = evidence.subjects("test")[:MOST]
        pairs = zip(a.split(64), b.split(64), strict=True)
        values = torch.cat([distance(*pair) for pair in pairs])
        return [
            score(
                self.names[0],
                row_mean(values, subjects, seed=evidence.seed),
                n=len(set(subjects)),
                better="",
                extra={"images": len(a), "note": NOTE},
            )
        ]
