"""Is a synthetic image a copy? Nearest training images, calibrated on held-out subjects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from cmr_bench.metrics.base import Metric, score
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.spaces import each_space
from cmr_bench.metrics.privacy.calibration import share_below, threshold
from cmr_bench.metrics.privacy.neighbours import Neighbours, closest, groups, neighbours
from cmr_bench.stats import FEWEST, row_mean
from cmr_bench.types import Images, Score

Array = NDArray[np.float64]
Search = Callable[..., tuple[Neighbours, Array]]
"""Pool names -> neighbours of their rows, one after the other, among the training rows, and how near a copy each is."""


CALIBRATE = 5
"""Held-out subjects that a threshold takes at least: of fewer its false-positive rate is anybody's guess."""


def too_few(evidence: Evidence, fewest: int = FEWEST) -> str:
    """Why there are too few subjects to tell copies, in one line; empty if there are enough."""
    known, people = set(evidence.subjects("train")), set(evidence.subjects(*evidence.held_out))
    if len(known) < 2:
        return "needs training images of two subjects at least; there is one"
    if len(people) < fewest:
        return (
            f"needs {fewest} held-out subjects at least; there are {len(people)}: "
            "give more of them by data.split.val or data.split.test"
        )
    return ""


def crops(images: Images, shift: int) -> Iterator[Tensor]:
    """(N, d) images low-passed by 2 x 2 means, seen through a window less than them by 2 `shift` pixels; the centre first.

    Then through the window at each other place up to `shift` pixels off. Scaled so that a Euclidean
    distance is a root mean square difference of intensity.
    """
    height, width = (side - 2 * shift for side in images.shape[-2:])
    places = [(y, x) for y in range(2 * shift + 1) for x in range(2 * shift + 1)]
    for y, x in sorted(places, key=lambda place: place != (shift, shift)):
        small = F.avg_pool2d(images[..., y : y + height, x : x + width], 2).flatten(1)
        yield small / small.shape[1] ** 0.5


class Copies(Metric):
    """The place of each synthetic image between its nearest training image and the nearest of another subject.

    `copy_rate` counts places (see `places`; 0 is the training image itself) below a threshold that
    real held-out subjects (val, test) pass at the false-positive rate `fpr`, or at the lowest that
    so many subjects support, which is stated and is the rate to expect of images that copy nobody;
    that few held-out subjects leave the threshold uncertain is in the intervals. `nn_ratio` is the mean of the usual ratio
    d1 / d2 of the two distances, which noise on a copy brings near 1. `copied_subjects` is the
    share of training subjects with at least one near-copy, beside the share to expect from false
    positives alone. In pixel space
    (low-passed, the nearest of all shifts up to `shift` pixels), and as `*_features` and
    `*_cardiac` in those of the encoders. The table `copies` of the cell has each image.
    """

    axis = "privacy"
    names = ("privacy/copy_rate", "privacy/nn_ratio", "privacy/copied_subjects")
    pools = ("train", "test", "synthetic")
    higher_is_better = False
    catches = ("copy", "copy_noise", "copy_warp")
    spares = (
        "heldout",
        "painter",
    )  # a space may take what it does not know for the patient who lies nearest

    def __init__(
        self,
        fpr: float = 0.05,
        spaces: Sequence[str] = ("pixels", "features"),
        shift: int = 2,
    ) -> None:
        self.fpr = fpr
        self.spaces = tuple(spaces)
        self.shift = shift

    def compute(self, evidence: Evidence) -> list[Score]:
        if reason := too_few(evidence, CALIBRATE):
            return self.blank(reason)
        tables: list[pd.DataFrame] = []

        def answer(space: str, evidence: Evidence) -> list[Score]:
            scores, table = judged(self.names, self._search(space, evidence), evidence, self.fpr)
            tables.append(table.assign(space=space))
            return scores

        scores = each_space(evidence, self.names, self.spaces, answer, default="pixels")
        if tables:
            evidence.tables["copies"] = pd.concat(tables, ignore_index=True)
        return scores

    def _search(self, space: str, evidence: Evidence) -> Search:
        subjects = evidence.subjects("train")
        if space != "pixels":
            train = evidence.vectors(space, "train")
        else:
            train = next(crops(evidence.pools["train"].images, self.shift))

        def search(*names: str) -> tuple[Neighbours, Array]:
            if space != "pixels":
                found = neighbours(evidence.vectors(space, *names), train, subjects)
                return found, places(found, apart(train[found.row], train[found.other]))
            images = torch.cat([evidence.pools[name].images for name in names])
            parts = (neighbours(part, train, subjects) for part in crops(images, self.shift))
            found = closest(parts, subjects)
            shifted = crops(evidence.pools["train"].images[found.row], self.shift)
            each = [apart(part, train[found.other]) for part in shifted]
            return found, places(found, torch.stack(each).amin(0))

        return search


def judged(
    names: Sequence[str], search: Search, evidence: Evidence, fpr: float, unit: str = "images"
) -> tuple[list[Score], pd.DataFrame]:
    """(rate of copies, mean ratio, share of subjects copied, under these names; one row a synthetic image).

    The rows have how near a copy each is and the threshold `limit` of it, the ratio of distances,
    the distance to the nearest training row, that row and its subject.
    """
    group = groups(subjects := evidence.subjects("train"))
    (found, near), (real, real_near) = search("synthetic"), search(*evidence.held_out)
    people, own = evidence.subjects(*evidence.held_out), evidence.subjects("synthetic")
    limit, rate = threshold(real_near, people, fpr)
    copied, ratio, all_owners = near < limit, ratios(found), int(group.max()) + 1
    nearest = np.full(all_owners, np.inf)
    np.minimum.at(nearest, group[found.row].numpy(), near)
    each, hit = np.arange(all_owners), int((nearest < limit).sum())
    scores = [
        score(
            names[0],
            share_below(near, own, real_near, people, fpr, seed=evidence.seed),
            n=len(copied),
            unit=unit,
            better="lower",
            reference=rate,
            reference_name="false positives on held-out subjects"
            + (f", the lowest rate that {len(set(people))} support" if rate > fpr else ""),
            extra={
                "threshold": limit,
                "held_out_images": len(real_near),
                "held_out_subjects": len(set(people)),
            },
        ),
        score(
            names[1],
            row_mean(ratio, own, seed=evidence.seed),
            n=len(ratio),
            unit=unit,
            better="higher",
            reference=float(ratios(real).mean()),
            reference_name="held-out subjects",
            extra={"smallest": float(ratio.min())},
        ),
        score(
            names[2],
            share_below(nearest, each, real_near, people, fpr, seed=evidence.seed),
            n=all_owners,
            better="lower",
            reference=_expected(group[real.row].numpy(), people, all_owners, rate, len(ratio)),
            reference_name="expected from false positives",
            extra={
                "in_words": f"{hit} of {all_owners} training subjects have at least one synthetic near-copy"
            },
        ),
    ]
    table = pd.DataFrame(
        {
            "row": np.arange(len(ratio)),
            "near": near,
            "limit": limit,
            "ratio": ratio,
            "distance": found.first.numpy(),
            "train_row": found.row.numpy(),
            "subject": subjects[found.row.numpy()],
        }
    )
    return scores, table


def apart(one: Tensor, other: Tensor) -> Tensor:
    """(N,) squared Euclidean distance of rows."""
    return (one.double() - other.double()).square().sum(1)


def places(found: Neighbours, between: Tensor) -> Array:
    """|1 - (d2^2 - d1^2) / D^2|, D^2 (`between`, (N,)) being the squared distance of the two neighbours to each other; 1 if it is 0.

    Twice the place of the query on the way from its nearest image to the nearest of another
    subject: 0 is the nearest image, 1 is half way, and as far on the other side counts alike. What lies across the way, as almost all of a
    noise does, is in both distances alike and cancels; in the ratio d1 / d2 it hides a copy. Where d1 and d2 are the
    least of several shifts D is too, so that an exact copy is at 0.
    """
    nearer = found.second.square() - found.first.square()
    return torch.where(between > 0, (1 - nearer / between).abs(), 1.0).numpy()


def ratios(found: Neighbours) -> Array:
    """d1 / d2; two identical neighbours of different subjects give 1."""
    first, second = found.first.numpy(), found.second.numpy()
    return np.divide(first, second, out=np.ones_like(first), where=second > 0)


def _expected(
    owners: NDArray[np.intp], people: ArrayLike, subjects: int, rate: float, images: int
) -> float:
    """Share of training subjects that false positives alone would flag among so many images.

    An image of nobody falls to a training subject with probability q, and the subject stays
    unflagged with probability (1 - rate q)^images. q: each held-out subject (`people`) has one vote,
    shared among the `owners` that its images fall to, and each training subject one before any is
    counted (Laplace), since few votes would make q, and so the share, too uneven.
    """
    votes = pd.DataFrame({"owner": owners, "who": np.asarray(people)})
    each = 1 / votes.groupby("who")["owner"].transform("size").to_numpy()
    cast = np.bincount(owners, each, minlength=subjects)
    q = (cast + 1) / (cast.sum() + subjects)
    return float((1 - (1 - rate * q) ** images).mean())
