"""What a metric may need, and what is said, in one line, of a cell that has it not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmr_bench.types import (
    HasLosses,
    HasNoised,
    HasPredict,
    HasReconstruct,
    MaskToImage,
    Pool,
)

FROM_MODELS = {
    "losses": (HasLosses, "the model does not tell its losses"),
    "noised": (HasNoised, "the model does not show its denoiser"),
    "predict": (HasPredict, "the model does not tell what noise it sees"),
    "reconstruct": (HasReconstruct, "the model has no autoencoder"),
    "sample": (MaskToImage, "there is no model to sample from"),
}
"""What a metric may need of the model, and what is said of one that cannot give it."""


FROM_POOLS = {
    **{name: f"give data.split.{name} more" for name in ("train", "val", "test")},
    "external": "give external",
    "synthetic": "give synthesis.count",
    "matched": "give data.split.test more",
    "reconstructed": "only a latent model has it",
    "canaries": "give data.canaries",
    "canaries_held_out": "give data.canaries",
}
"""What fills a pool."""


def unfilled(pools: Mapping[str, Pool], names: Sequence[str]) -> str | None:
    """Which of the named pools is missing or empty, and what fills it; None if none is."""
    for name in names:
        if name not in pools:
            return f"there is no pool {name}: {FROM_POOLS.get(name, 'none was given')}"
        if not len(pools[name]):
            return f"pool {name} is empty: {FROM_POOLS.get(name, 'none was given')}"
    return None


def unanswered(model: object | None, needs: Sequence[str]) -> str | None:
    """What the model cannot be asked of these needs of FROM_MODELS; None if it answers all."""
    if needs and model is None:
        return "there is no model to ask, only images"
    return next(
        (FROM_MODELS[n][1] for n in needs if not isinstance(model, FROM_MODELS[n][0])), None
    )
