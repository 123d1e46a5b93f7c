"""The attack of the study (Edirisooriya et al. 2026) as coded, and with its split mended.

Known faults, kept on purpose in `privacy/fcre_auc` so that its figures can be compared: one time
and one noise an image; features are not scaled, so the penalty of the classifier silences the
first; slices of one subject stand on both sides of the classifier's split; no aggregation to
subjects; uniform times in [0.3, 0.6], which the study took for DDPM and LDM, for flow matching too
(the study: [0, 1]). It is not FCRE as published (Zhao et al. 2025), which compares reconstructed
images: see `frequency.py`.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from cmr_bench.discrimination import auc
from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import marked
from cmr_bench.metrics.privacy.blind import void
from cmr_bench.metrics.privacy.members import HALVES, Sides, learnt_auc
from cmr_bench.seeds import mix, torch_rng
from cmr_bench.stats import Array, Estimate
from cmr_bench.types import Score

BAND = (0.15, 0.85)
FAULT = "slices of one subject stand in the training and the test of the classifier"


def band_energy(error: Tensor) -> Tensor:
    """(B,) mean square of the error (B, C, H, W) in the band 0.15 to 0.85 of Nyquist."""
    h, w = error.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h) - h // 2, torch.arange(w) - w // 2, indexing="ij")
    radius, limit = torch.hypot(y.float(), x.float()), min(h // 2, w // 2)
    keep = (radius >= BAND[0] * limit) & (radius <= BAND[1] * limit)
    spectrum = torch.fft.fft2(error) * torch.fft.ifftshift(keep)
    return torch.fft.ifft2(spectrum).real.square().flatten(1).mean(1)


def features(prediction: Tensor, target: Tensor) -> Tensor:
    """(B, 2): band energy of the error, and 1 - SSIM of prediction and target (range 2)."""
    likeness = structural_similarity_index_measure(
        prediction, target, data_range=2.0, reduction="none"
    )
    return torch.stack([band_energy(prediction - target), 1 - torch.atleast_1d(likeness)], dim=1)


class FCRE(Metric):
    """Logistic regression on two features of the denoiser's error at one random time an image.

    Members are train, others test. `fcre_auc`: fitted on a random 80 % of the slices, AUC on the
    rest. `fcre_auc_subjects`: features standardised, cross-fitted over folds of subjects, slices
    averaged to subjects. Times are uniform in [low, high]; the study took [0.3, 0.6] for DDPM and
    LDM and [0, 1] for flow matching.
    """

    axis = "privacy"
    names = ("privacy/fcre_auc", "privacy/fcre_auc_subjects")
    pools = ("train", "test")
    needs = ("noised",)
    higher_is_better = False
    catches = ("copy",)
    spares = ("painter",)
    blind_to = ("one_patient",)

    def __init__(self, low: float = 0.3, high: float = 0.6) -> None:
        self.low = low
        self.high = high

    def compute(self, evidence: Evidence) -> list[Score]:
        names = self.pools
        subjects = evidence.subjects(*names)
        member = np.repeat([True, False], [len(evidence.pools[name]) for name in names])
        found = Sides(names, subjects, member)
        if reason := found.lack(HALVES):
            return self.blank(reason)
        x = np.concatenate([self._features(evidence, name) for name in names])
        coded, slices = as_coded(x, member, subjects, seed=evidence.seed)
        mended = learnt_auc(x, found, seed=evidence.seed)
        people = len(set(subjects))
        scores = [
            self._score("privacy/fcre_auc", coded, slices, "slices", FAULT),
            self._score("privacy/fcre_auc_subjects", mended, people, "subjects", ""),
        ]
        return marked(scores, void(evidence))

    def _score(self, name: str, found: Estimate, n: int, unit: str, note: str) -> Score:
        return score(
            name,
            found,
            n=n,
            unit=unit,
            better="lower",
            reference=0.5,
            reference_name="guessing",
            extra={"low": self.low, "high": self.high, "note": note},
        )

    def _features(self, evidence: Evidence, name: str) -> Array:
        n = len(evidence.pools[name])
        rng = torch_rng(evidence.seed, "fcre", name)
        t = self.low + (self.high - self.low) * torch.rand(n, generator=rng)
        seeds = torch.tensor([mix(evidence.seed, "fcre", name, row) for row in range(n)])
        return (
            torch.cat([features(*pair) for pair in evidence.noised(name, t, seeds)])
            .double()
            .numpy()
        )


def as_coded(x: Array, member: Array, subjects: Array, *, seed: int) -> tuple[Estimate, int]:
    """(AUC over slices with subjects resampled, slices tested) of features x (N, 2)."""
    fit, rest = train_test_split(np.arange(len(x)), test_size=0.2, random_state=42)
    attack = LogisticRegression(solver="liblinear").fit(x[fit], member[fit])
    guess, truth, who = attack.decision_function(x[rest]), member[rest] == 1, subjects[rest]
    found = auc(
        guess[truth],
        guess[~truth],
        positive_subjects=who[truth],
        negative_subjects=who[~truth],
        seed=seed,
    )
    return found, len(rest)
