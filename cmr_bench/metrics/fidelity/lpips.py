"""LPIPS to the image that owned the mask (Zhang et al. 2018); a low value can mean memorisation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from cmr_bench.metrics.base import Metric
from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.fidelity.agreement import paired
from cmr_bench.types import Images, Score

FILES = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}


class LPIPS(Metric):
    """Perceptual distance with an ImageNet backbone, whose weights must lie on this machine."""

    axis = "fidelity"
    names = ("fidelity/lpips",)
    pools = ("test", "matched")
    higher_is_better = False
    untested = "a pair is neither better nor worse for being alike"

    def __init__(self, net: str = "alex") -> None:
        if net not in FILES:
            raise ValueError(f"net is {net}, not one of {', '.join(FILES)}")
        self.net = net

    @property
    def weights(self) -> Path:
        return Path(torch.hub.get_dir()) / "checkpoints" / FILES[self.net]

    def skip(self, evidence: Evidence) -> str | None:
        """Also where the backbone's weights are missing: nothing is downloaded."""
        reason = super().skip(evidence)
        if reason is None and not self.weights.is_file():
            return f"backbone weights are missing: put torchvision's file at {self.weights}"
        if reason is None and len(evidence.pools["matched"]) != len(evidence.pools["test"]):
            return "pool matched has not one image for each test mask"
        return reason

    def compute(self, evidence: Evidence) -> list[Score]:
        return [paired("fidelity/lpips", self.distance(), evidence)]

    def distance(self) -> Callable[[Images, Images], Tensor]:
        """(B, 1, H, W) pairs to (B,) distances."""
        import lpips

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips asks torchvision by a deprecated name
            network = lpips.LPIPS(net=self.net, verbose=False).eval()

        def distance(a: Images, b: Images) -> Tensor:
            with torch.no_grad():
                return network(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)).flatten()

        return distance
