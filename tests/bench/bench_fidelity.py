"""Fidelity beside other libraries on the same features, and its cost at 1,000 against 1,000 images of 128 x 128.

    python tests/bench/bench_fidelity.py --images 1000 --side 128 --threads 2

Agreement: FID, KID and precision, recall, density, coverage of ours, torchmetrics, torch-fidelity and prdc. Cost:
seconds of every fidelity metric of metric=standard once features and segmentations are there, and the growth of the
process's peak memory. Shapes and textures are drawn, segmentations are masks moved by a pixel, the cardiac network
is untrained: cost does not depend on what images show.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from monai.networks.nets.dynunet import DynUNet
from omegaconf import OmegaConf
from prdc import compute_prdc
from torch import Tensor, nn
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from cmr_bench.config import build, conf_path
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.frechet import frechet_distance
from cmr_bench.metrics.fidelity.kid import kid
from cmr_bench.metrics.fidelity.prdc import prdc
from cmr_bench.networks.encoders import Bottleneck, EfficientNetLite0
from cmr_bench.seeds import numpy_rng, row_noise, torch_rng
from cmr_bench.types import Pool

SLICES = 10
SPACES = ("features", "cardiac")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    agreement(torch_normal("real", 800), torch_normal("fake", 800) * 1.1 + 0.1)
    cost(options.images, options.side)


def agreement(x: Tensor, y: Tensor) -> None:
    """Every library on the same features (N, 64), float32."""
    ours = prdc(x, y, k=5)
    theirs = compute_prdc(x.numpy(), y.numpy(), 5)
    rows = {
        "FID ours": frechet_distance(y, x),
        "FID torchmetrics": updated(FrechetInceptionDistance(feature=AsIs()), x, y),
        "FID torch-fidelity": fid_statistics_to_metric(
            *(fid_features_to_statistics(v) for v in (y, x)), verbose=False
        )["frechet_inception_distance"],
        "KID ours": kid(y, x, repeats=2).value,
        "KID torchmetrics (1 subset of all)": updated(
            KernelInceptionDistance(feature=AsIs(), subsets=1, subset_size=len(x)), x, y
        ),
        "KID torch-fidelity (1 subset of all)": kid_features_to_metric(
            y, x, kid_subsets=1, kid_subset_size=len(x), verbose=False
        )[KEY_METRIC_KID_MEAN],
    }
    for name, value in theirs.items():
        rows[f"{name} ours"] = float(getattr(ours, name).mean())
        rows[f"{name} prdc"] = value
    for name, value in rows.items():
        print(f"{name:<40} {float(value):.9f}")


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


def torch_normal(name: str, count: int) -> Tensor:
    return torch.randn(count, 64, generator=torch_rng("bench", name))


def cost(images: int, side: int) -> None:
    """Seconds of each metric and the growth of peak memory, after features and segmentations."""
    pools = {name: pool(name, images, side) for name in ("train", "test", "synthetic")}
    test = pools["test"]
    pools["matched"] = Pool(
        "matched", pools["synthetic"].images, test.masks, test.table, test.spacing_mm
    )
    widths = (16, 32, 64, 128)
    strides = [1, 2, 2, 2]
    network = DynUNet(2, 1, 4, [3] * 4, strides, strides[1:], filters=list(widths))
    evidence = Evidence(
        pools,
        model=Painter(),
        encode=EfficientNetLite0(),
        segment=lambda arm, seed, pool: pool.masks.roll(1, dims=-1),
        spaces={"cardiac": lambda: Bottleneck(network)},
    )
    start = time.perf_counter()
    for space in SPACES:
        evidence.vectors(space, "train", "test", "synthetic")
    print(f"features of {3 * images} images in {len(SPACES)} spaces: {seconds(start):.1f} s")
    before, total = peak(), 0.0
    for node in (Path(conf_path()) / "metric" / "fidelity").glob("*.yaml"):
        if node.stem.startswith("paper") or node.stem == "reconstruction":
            continue
        metric, start = build(OmegaConf.load(node)), time.perf_counter()
        scores = metric.scores(evidence)
        spent = seconds(start)
        total += spent
        reason = next((s.reason for s in scores if s.reason), "")
        print(f"{node.stem:<12} {spent:7.1f} s  {len(scores)} scores  {reason[:60]}")
    print(f"all: {total:.0f} s; peak memory {before:.0f} MB before, {peak():.0f} MB after")


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
            "thickness_mm": 10.0,
        }
    )
    made = Painter().sample(labels, seeds=torch.from_numpy(rows) + len(name))
    return Pool(name, made, labels, table, 1.5)


def seconds(start: float) -> float:
    return time.perf_counter() - start


def peak() -> float:
    """Largest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
