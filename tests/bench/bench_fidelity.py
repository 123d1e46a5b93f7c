"""Fidelity beside independent implementations on the same features, masks and images, and what all of it costs.

    python tests/bench/bench_fidelity.py --images 1000 --side 128 --threads 2

Agreement: ours, torchmetrics, torch-fidelity, prdc and MONAI in one table, with the reason where they differ. Cost:
seconds of the wall and of the processor of every fidelity metric of metric=standard once features and segmentations
are there, and the growth of the process's peak memory; then the growth of peak memory of the distances of sets of
features, each in a process of its own, at one, two, four and eight times as many images. Shapes and textures are
drawn, segmentations are masks moved by a pixel, the cardiac network is untrained: cost does not depend on what
images show.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from monai.metrics.fid import get_fid_score
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import compute_dice
from monai.metrics.meaniou import compute_iou
from monai.metrics.regression import MultiScaleSSIMMetric, PSNRMetric, SSIMMetric
from monai.metrics.surface_distance import compute_average_surface_distance
from monai.networks.utils import one_hot
from omegaconf import OmegaConf
from prdc import compute_prdc
from torch import Tensor, nn
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.functional.segmentation import dice_score
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from cmr_bench.config import build, conf_path
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.agreement import BETAS, ms_ssim, psnr, ssim
from cmr_bench.metrics.fidelity.frechet import frechet_distance
from cmr_bench.metrics.fidelity.kid import kid
from cmr_bench.metrics.fidelity.prdc import prdc
from cmr_bench.metrics.volumes import overlap
from cmr_bench.networks.encoders import Cardiac, EfficientNetLite0
from cmr_bench.networks.segmenter import dynunet
from cmr_bench.seeds import numpy_rng, row_noise, torch_rng
from cmr_bench.types import LABELS, Pool

SLICES, SPACING, THICKNESS = 10, 1.5, 10.0
SPACES = ("features", "cardiac")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    with contextlib.redirect_stdout(io.StringIO()):  # prdc prints its counts
        rows = [*of_features(), *of_masks(), *of_images()]
    table = pd.DataFrame(rows).dropna(axis=1, how="all")
    print(table.to_string(index=False, na_rep="", float_format="{:.7g}".format))
    cost(options.images, options.side)
    memory([options.images * times for times in (1, 2, 4, 8)], options.threads)


class Row(NamedTuple):
    """One measure by each library that has it."""

    measure: str
    ours: float
    torchmetrics: float = np.nan
    torch_fidelity: float = np.nan
    prdc: float = np.nan
    monai: float = np.nan
    why: str = ""


def of_features(count: int = 800) -> Iterator[Row]:
    """Two Gaussians (count, 64) in float32."""
    real, fake = (torch.randn(count, 64, generator=torch_rng("bench", k)) for k in ("real", "fake"))
    fake = fake * 1.1 + 0.1
    quiet = {"verbose": False}
    yield Row(
        "FID",
        frechet_distance(fake, real),
        torchmetrics=updated(FrechetInceptionDistance(feature=AsIs()), real, fake),
        torch_fidelity=fid_statistics_to_metric(
            *(fid_features_to_statistics(v) for v in (fake, real)), **quiet
        )["frechet_inception_distance"],
        monai=float(get_fid_score(fake, real)),
        why="float32 sums in torchmetrics",
    )
    for subsets, size, why in (
        (1, count, "one subset of all images: float32 kernels in both"),
        (100, count // 2, "subsets drawn by chance around our mean over all pairs"),
    ):
        options = {"subsets": subsets, "subset_size": size}
        theirs = KernelInceptionDistance(feature=AsIs(), **options)
        yield Row(
            f"KID, {subsets} of {size}",
            kid(fake, real, repeats=2).value,
            torchmetrics=updated(theirs, real, fake),
            torch_fidelity=kid_features_to_metric(
                fake, real, kid_subsets=subsets, kid_subset_size=size, **quiet
            )["kernel_inception_distance_mean"],
            why=why,
        )
    ours, theirs = prdc(real, fake, k=5), compute_prdc(real.numpy(), fake.numpy(), 5)
    other = prc_features_to_metric(fake, real, prc_neighborhood=5, **quiet)
    for name, value in theirs.items():
        here = float(getattr(ours, name).mean())
        yield Row(name, here, torch_fidelity=other.get(name, np.nan), prdc=value)


def of_masks() -> Iterator[Row]:
    """Four volumes of two subjects against themselves moved by a pixel, then with one cavity left out."""
    truth = pool("test", 4 * SLICES, 64)
    moved = truth.masks.roll(1, dims=-1)
    torn = moved.clone()
    torn[:SLICES][torn[:SLICES] == 1] = 0
    spacing = [SPACING, SPACING, THICKNESS]
    for title, drawn, why in (
        ("", moved, ""),
        (
            ", a cavity missed",
            torn,
            "MONAI leaves distances to nothing out, ours count the diagonal",
        ),
    ):
        found = overlap(truth.masks, drawn, pool=truth, labels=(1, 2, 3))
        a, b = (
            one_hot(v.reshape(4, SLICES, 64, 64).movedim(1, -1)[:, None], len(LABELS))
            for v in (truth.masks, drawn)
        )
        theirs = {
            "dice": compute_dice(b, a, include_background=False),
            "iou": compute_iou(b, a, include_background=False),
            "hd95": compute_hausdorff_distance(b, a, percentile=95, spacing=spacing),
            "asd": compute_average_surface_distance(b, a, symmetric=True, spacing=spacing),
        }
        also = dice_score(b.long(), a.long(), len(LABELS), include_background=False)
        for name, values in theirs.items():
            there = float(values[values.isfinite()].mean())
            second = float(also.mean()) if name == "dice" else np.nan
            reason = why if name in ("hd95", "asd") else ""
            yield Row(
                name + title, found[name].mean(), torchmetrics=second, monai=there, why=reason
            )


def of_images() -> Iterator[Row]:
    """Images of a painter against others of the same masks; ours are torchmetrics' functions."""
    masks = pool("test", 40, 128).masks
    a, b = (Painter().sample(masks, seeds=torch.arange(40) + k) for k in (0, 1000))
    kept = BETAS[:4]
    same = tuple(weight / sum(kept) for weight in kept)
    yield Row("PSNR", float(psnr(a, b).mean()), monai=float(PSNRMetric(2.0)(a, b).mean()))
    border = "torchmetrics mirrors the border, MONAI leaves it out"
    theirs = float(SSIMMetric(2, 2.0)(a, b).mean())
    yield Row("SSIM", float(ssim(a, b).mean()), monai=theirs, why=border)
    for name, weights, why in (
        ("MS-SSIM at 128 pixels", same, f"{border}; four weights made to sum to 1"),
        ("MS-SSIM as published for four", kept, "the four weights cut off sum to 0.87 alone"),
    ):
        theirs = MultiScaleSSIMMetric(2, 2.0, weights=weights)(a, b).mean()
        yield Row(name, float(ms_ssim(a, b).mean()), monai=float(theirs), why=why)


class AsIs(nn.Module):
    """An encoder whose images are features already."""

    num_features = 64

    def forward(self, x: Tensor) -> Tensor:
        return x


def updated(metric: nn.Module, real: Tensor, fake: Tensor) -> float:
    metric.update(real, real=True)
    metric.update(fake, real=False)
    found = metric.compute()
    return float(found[0] if isinstance(found, tuple) else found)


def cost(images: int, side: int) -> None:
    """Seconds of each metric and the growth of peak memory, after features and segmentations."""
    pools = {name: pool(name, images, side) for name in ("train", "test", "synthetic")}
    test = pools["test"]
    drawn = pools["synthetic"].images
    pools["matched"] = Pool("matched", drawn, test.masks, test.table, test.spacing_mm)
    evidence = Evidence(
        pools,
        model=Painter(),
        encode=EfficientNetLite0(),
        segment=lambda arm, seed, pool: pool.masks.roll(1, dims=-1),
        spaces={"cardiac": lambda: Cardiac(dynunet((16, 32, 64, 128)), pools["train"].images)},
    )
    start = clocks()
    for space in SPACES:
        evidence.vectors(space, "train", "test", "synthetic")
    print(f"features of 3 x {images} images in {len(SPACES)} spaces: {spent(start)}")
    first, begin = peak(), clocks()
    for file in sorted((Path(conf_path()) / "metric" / "fidelity").glob("*.yaml")):
        if file.stem.startswith("paper") or file.stem == "reconstruction":
            continue
        before, start = peak(), clocks()
        scores = build(OmegaConf.load(file)).scores(evidence)
        reason = next((s.reason for s in scores if s.reason), "")
        more = f"{peak() - before:5.0f} MB more, {len(scores)} scores"
        print(f"{file.stem:<12} {spent(start)}  {more}  {reason[:60]}")
    print(f"{'all':<12} {spent(begin)}; peak memory {first:.0f} MB before, {peak():.0f} MB after")


def memory(sizes: Sequence[int], threads: int) -> None:
    """Peak memory that distances of two sets add to that of their features (n, 1280), each image a subject."""
    for measure in (kid, frechet_distance, prdc):
        grown = []
        for n in sizes:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                grown.append(f"{alone.submit(growth, measure, n, threads).result():.0f}")
        print(
            f"{measure.__name__:<16} {', '.join(grown)} MB at {', '.join(map(str, sizes))} a side"
        )


def growth(measure: Callable[[Tensor, Tensor], object], n: int, threads: int) -> float:
    torch.set_num_threads(threads)
    x, y = (torch.randn(n, 1280, generator=torch_rng("bench", side)) for side in "xy")
    before = peak()
    measure(x, y)
    return peak() - before


class Painter:
    """A generator that costs nothing."""

    def sample(self, masks: Tensor, *, seeds: Tensor, steps: int | None = None) -> Tensor:
        return (masks / 2 - 0.75 + 0.1 * row_noise(seeds, masks.shape[1:])).clamp(-1, 1)


def pool(name: str, images: int, side: int) -> Pool:
    """Rings with a cavity beside them, in subjects of two phases of SLICES slices; synthetic ones stand alone."""
    rng = numpy_rng("bench", name)
    y, x = np.mgrid[:side, :side] / side - 0.5
    masks = np.zeros((images, 1, side, side), dtype=np.int64)
    for mask in masks:
        r, cx, cy = rng.uniform(0.08, 0.14), *rng.uniform(-0.05, 0.05, 2)
        mask[0][np.hypot(x - cx + 1.8 * r, y - cy) < r] = 3
        mask[0][np.hypot(x - cx, y - cy) < 1.5 * r] = 2
        mask[0][np.hypot(x - cx, y - cy) < r] = 1
    labels = torch.from_numpy(masks)
    rows = np.arange(images)
    alone = name == "synthetic"
    table = pd.DataFrame(
        {
            "subject": [f"{name}{i if alone else i // (2 * SLICES):05d}" for i in rows],
            "phase": "" if alone else np.where(rows // SLICES % 2, "ES", "ED"),
            "slice": 0 if alone else rows % SLICES,
            "level": "" if alone else np.array(["base", "middle", "apex"])[rows % SLICES // 4],
            "thickness_mm": THICKNESS,
        }
    )
    made = Painter().sample(labels, seeds=torch.from_numpy(rows) + len(name))
    return Pool(name, made, labels, table, SPACING)


def clocks() -> tuple[float, float]:
    """Seconds of the wall and of the processor."""
    return time.perf_counter(), time.process_time()


def spent(start: tuple[float, float]) -> str:
    wall, processor = (now - then for now, then in zip(clocks(), start, strict=True))
    return f"{wall:7.1f} s, {processor:6.1f} s of processor"


def peak() -> float:
    """Largest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
