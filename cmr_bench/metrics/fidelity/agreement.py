"""Agreement with the image that owned the mask: PSNR, SSIM and MS-SSIM of pairs.

These are measures of reconstruction. A mask has many images, so a good generator need not agree
with the one that owned it: a high value can mean memorisation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.stats import interval
from cmr_bench.types import Images, Score

RANGE = 2.0
BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
NOTE = "agreement with the image that owned the mask; high agreement can mean memorisation"


def psnr(a: Images, b: Images) -> Tensor:
    """(B,) 10 log10(range^2 / mean squared difference) in dB; identical images count as 100."""
    found = peak_signal_noise_ratio(a, b, data_range=RANGE, reduction="none", dim=(1, 2, 3))
    return found.clamp(max=100)


def ssim(a: Images, b: Images) -> Tensor:
    """(B,) structural similarity, Gaussian window of 11 (Wang et al. 2004)."""
    found = structural_similarity_index_measure(a, b, data_range=RANGE, reduction="none")
    return torch.atleast_1d(found)


def ms_ssim(a: Images, b: Images) -> Tensor:
    """(B,) multi-scale structural similarity (Wang et al. 2003).

    The weights of the scales that an image of this size has (3 at 64 pixels, 4 at 128, 5 from
    176), renormalised to 1: cut weights alone would raise every value.
    """
    side = min(a.shape[-2:])
    scales = max(1, sum(side // max(1, k) ** 2 >= WINDOW for k in range(len(BETAS))))
    kept = BETAS[:scales]
    betas = tuple(weight / sum(kept) for weight in kept)
    found = multiscale_structural_similarity_index_measure(
        a, b, data_range=RANGE, betas=betas, reduction="none"
    )
    return torch.atleast_1d(found)


class Agreement(Metric):
    """Pairs (matched, test), mean over subjects; higher is not better and not worse, so no order of controls."""

    axis = "fidelity"
    names = ("fidelity/psnr", "fidelity/ssim", "fidelity/ms_ssim")
    pools = ("test", "matched")
    higher_is_better = True
    blind_to = ("copy",)
    untested = "a pair is neither better nor worse for being alike"

    def skip(self, evidence: Evidence) -> str | None:
        """Also where the rows of matched are not those of test."""
        reason = super().skip(evidence)
        if reason is None and len(evidence.pools["matched"]) != len(evidence.pools["test"]):
            return "pool matched has not one image for each test mask"
        return reason

    def compute(self, evidence: Evidence) -> list[Score]:
        measures = {"psnr": psnr, "ssim": ssim, "ms_ssim": ms_ssim}
        return [paired(f"fidelity/{name}", one, evidence) for name, one in measures.items()]


def paired(name: str, measure: Callable[[Images, Images], Tensor], evidence: Evidence) -> Score:
    """The score of a measure of image pairs (synthetic, real owner of the mask)."""
    a, b = evidence.pools["matched"].images, evidence.pools["test"].images
    values = torch.cat([measure(*pair) for pair in zip(a.split(64), b.split(64), strict=True)])
    subjects = evidence.subjects("test")
    return score(
        name,
        interval(values, subjects, seed=evidence.seed),
        n=len(set(subjects)),
        better="",
        extra={"note": NOTE},
    )
