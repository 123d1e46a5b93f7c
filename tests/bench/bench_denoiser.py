"""Our denoiser beside MONAI's and diffusers' U-Nets of the same widths: seconds of a training step and of a forward.

    python tests/bench/bench_denoiser.py --side 64 --batch 8 --repeats 10 --threads 2

All run in one process, one after another within each repeat, so that a busy machine slows them alike; compare the
minima, and the ratios before the seconds. Weights and inputs are channels-last.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import UNet2DModel
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from omegaconf import OmegaConf
from torch import Tensor, nn

from cmr_bench.config import conf_path
from cmr_bench.networks.denoisers import Concat, planes

WIDTHS = (32, 64, 128)
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


class Masked(nn.Module):
    """A library's U-Net with the mask concatenated to its input at full resolution."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor, t: Tensor, masks: Tensor) -> Tensor:
        y = self.net(torch.cat([z, planes(masks, 1)], 1), 1000 * t)
        return y if isinstance(y, Tensor) else y.sample


def networks() -> dict[str, nn.Module]:
    """Ours as configured; the others in the layout of their tutorials: two residual blocks, attention at the bottom."""
    size = OmegaConf.load(Path(conf_path()) / "size" / "small.yaml")
    monai = DiffusionModelUNet(
        2,
        in_channels=5,
        out_channels=1,
        channels=WIDTHS,
        attention_levels=(False, False, True),
        num_res_blocks=2,
        num_head_channels=32,
        use_flash_attention=True,
    )
    diffusers = UNet2DModel(
        in_channels=5,
        out_channels=1,
        block_out_channels=WIDTHS,
        layers_per_block=2,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        attention_head_dim=32,
    )
    found = {
        "cmr_bench": Concat(1, factor=1, **OmegaConf.to_container(size)),
        "monai": Masked(monai),
        "diffusers": Masked(diffusers),
    }
    return {name: net.to(memory_format=torch.channels_last) for name, net in found.items()}


def trainer(net: nn.Module, precision: torch.dtype | None, inputs: tuple) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    z = inputs[0]

    def step() -> None:
        with torch.autocast("cpu", precision, enabled=precision is not None):
            loss = (net(*inputs).float() - z).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def forward(net: nn.Module, precision: torch.dtype | None, inputs: tuple) -> Callable[[], None]:
    @torch.inference_mode()
    def step() -> None:
        with torch.autocast("cpu", precision, enabled=precision is not None):
            net(*inputs)

    return step


def measure(
    runs: dict[tuple[str, ...], Callable[[], None]], repeats: int
) -> dict[tuple[str, ...], list[float]]:
    """Seconds of each run, interleaved, after one turn of warming up."""
    seconds: dict[tuple[str, ...], list[float]] = {key: [] for key in runs}
    for repeat in range(repeats + 1):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:
                seconds[key].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name, value in {
        "side": 64,
        "batch": 8,
        "repeats": 10,
        "threads": torch.get_num_threads(),
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    wish = parser.parse_args()
    torch.set_num_threads(wish.threads)
    torch.manual_seed(0)

    z = torch.randn(wish.batch, 1, wish.side, wish.side).to(memory_format=torch.channels_last)
    inputs = (z, torch.rand(wish.batch), torch.randint(0, 4, z.shape))
    nets = networks()
    runs = {
        (task.__name__, label, name): task(net, precision, inputs)
        for task in (trainer, forward)
        for label, precision in PRECISIONS.items()
        for name, net in nets.items()
    }
    seconds = measure(runs, wish.repeats)

    print(
        f"torch {torch.__version__}, {wish.threads} threads, batch {wish.batch}, {wish.side} x {wish.side}, {wish.repeats} repeats"
    )
    print(
        f"{'task':<8} {'precision':<10}{'network':<10} {'parameters':>10} {'min s':>8} {'median s':>9} {'x ours (min)':>13}"
    )
    for (task, label, name), times in seconds.items():
        count = sum(p.numel() for p in nets[name].parameters())
        ratio = min(times) / min(seconds[task, label, "cmr_bench"])
        row = f"{count:>10,} {min(times):>8.4f} {statistics.median(times):>9.4f} {ratio:>13.2f}"
        print(f"{'training' if task == 'trainer' else task:<8} {label:<10}{name:<10} {row}")


if __name__ == "__main__":
    main()
