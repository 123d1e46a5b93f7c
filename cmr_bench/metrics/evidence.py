"""What metrics may look at: pools, features, segmentations, the model's answers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from cmr_bench.metrics.needs import FROM_MODELS, unanswered, unfilled
from cmr_bench.metrics.utility.arms import Arm, named
from cmr_bench.seeds import mix
from cmr_bench.types import HasLosses, HasNoised, Images, Masks, MaskToImage, Pool, Seeds

Encode = Callable[[Images], Tensor]
Segment = Callable[[Arm, int, Pool], Masks]
T = TypeVar("T")


class Evidence:
    """Everything a finished model left to be judged by.

    `pools` are named train, val, test, external, synthetic (conditioned on masks of the mask
    source) and matched (row i conditioned on the mask of row i of test). `encode` maps images to
    (B, D) features; `segment(arm, seed, pool)` answers with a segmenter trained on an arm;
    `fit(pool)` trains a denoiser on a pool. Batches go to `device`, answers come back to the CPU;
    no answer depends on `batch_size`. `spaces` are further encoders by name, made when first asked
    for; making one that is not available raises a ValueError of one line. `judges` are segmenters
    of other architectures by name. `people` are subjects who are another one under a further name. `tables` are what metrics found in more detail than scores have, kept
    with the cell under their names.
    """

    def __init__(
        self,
        pools: Mapping[str, Pool],
        *,
        model: object | None = None,
        encode: Encode | None = None,
        segment: Segment | None = None,
        spaces: Mapping[str, Callable[[], Encode]] | None = None,
        judges: Mapping[str, Segment] | None = None,
        people: Mapping[str, str] | None = None,
        fit: Callable[[Pool], object] | None = None,
        seed: int = 0,
        batch_size: int = 64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.pools = dict(pools)
        self.model = model
        self.seed = seed
        self._encode = encode
        self._makers = dict(spaces or {})
        self._segments = ({"": segment} if segment else {}) | dict(judges or {})
        self._people = people or {}
        self._fit = fit
        self._batch_size = batch_size
        self._device = torch.device(device)
        self.tables: dict[str, pd.DataFrame] = {}
        self._memo: dict[Hashable, object] = {}

    def about(self, model: object, pools: Mapping[str, Pool]) -> Evidence:
        """The same evidence about another model, with other pools in the place of those of their names.

        What was found in pools that stay is kept.
        """
        other = copy(self)
        other.pools, other.model = {**self.pools, **pools}, model
        kept = ("encoder", "features", *self._makers, "blind")
        other._memo = {
            key: value
            for key, value in self._memo.items()
            if isinstance(key, tuple) and key[0] in kept and not set(key[1:]) & set(pools)
        }
        return other

    def lacks(self, pools: Sequence[str], needs: Sequence[str] = ()) -> str | None:
        """Why a metric with these needs cannot answer, in one line; None if it can."""
        if reason := unfilled(self.pools, pools):
            return reason
        missing = {
            "encode": (self._encode is None, "no feature encoder was given"),
            "segment": ("" not in self._segments, "no segmenter was given"),
            "masks": (
                any(not self.pools[name].labels for name in pools),
                "the synthetic images came without masks",
            ),
            "fit": (self._fit is None, "no training recipe was given"),
        }
        of_models = [need for need in needs if need in FROM_MODELS]
        return next(
            (missing[need][1] for need in needs if need in missing and missing[need][0]),
            unanswered(self.model, of_models),
        )

    def lacks_space(self, space: str) -> str | None:
        """Why the space cannot be had, in one line; None if it can."""
        if space == "features" and self._encode is None:
            return "no feature encoder was given"
        try:
            self._encoder(space)
        except ValueError as error:
            return str(error)
        return None

    def fingerprint(self, space: str) -> str:
        """First digits of the SHA-256 of the weights behind a space; empty where there are none."""
        return str(getattr(self._encoder(space), "fingerprint", ""))[:12]

    def trained_on(self, space: str) -> str:
        """The pool that the encoder of a space was trained on; empty where it is none of them."""
        return str(getattr(self._encoder(space), "trained_on", ""))

    @property
    def held_out(self) -> tuple[str, ...]:
        """The pools of real subjects that the model never saw, of the domain it was trained in."""
        return tuple(name for name in ("val", "test") if len(self.pools.get(name, ())))

    def subjects(self, *names: str) -> np.ndarray:
        """Subject of each row of the pools, one after the other; one person under two names is one subject."""
        found = np.concatenate([self.pools[name].subjects for name in names])
        return np.array([self._people.get(name, name) for name in found], dtype=str)

    def features(self, *names: str) -> Tensor:
        """(N, D) features of the pools, one after the other."""
        return self.vectors("features", *names)

    def pixels(self, *names: str) -> Tensor:
        """(N, H W / 4) images of the pools as vectors, low-passed by 2 x 2 means.

        Scaled so that a Euclidean distance is a root mean square difference of intensity.
        """
        small = [F.avg_pool2d(self.pools[name].images, 2).flatten(1) for name in names]
        return torch.cat(small) / small[0].shape[1] ** 0.5

    def vectors(self, space: str, *names: str) -> Tensor:
        """(N, D) the pools in a space: "pixels", "features" (the default encoder) or one given by name.

        Raises:
            ValueError: in one line, if there is no such space or its encoder cannot be had.
        """
        encode = self._encoder(space)
        if encode is None:
            return self.pixels(*names)
        make = partial(self._encoded, encode)
        parts = ((n, self.pools[n].images) for n in names)
        return torch.cat([self.once((space, n), partial(make, images)) for n, images in parts])

    def encoded(self, images: Images) -> Tensor:
        """(B, D) features, in the default space, of images that are in no pool."""
        return self._encoded(cast(Encode, self._encode), images)

    @property
    def judges(self) -> tuple[str, ...]:
        """Names of the architectures that segment; the default one is nameless and comes first."""
        return tuple(self._segments)

    def segmented(self, arm: Arm | str, name: str, seed: int = 0, judge: str = "") -> Masks:
        """Masks (N, 1, H, W) that the segmenter of the arm, or of its name, draws into the pool's images."""
        segment, of = self._segments[judge], named(arm)
        drawn = self.once(  # kept in a byte a pixel: there are as many as arms, seeds and pools
            ("segmented", of, name, seed, judge),
            lambda: segment(of, seed, self.pools[name]).byte().cpu(),
        )
        return drawn.long()

    def losses(self, name: str, times: Sequence[float], repeats: int) -> Tensor:
        """(N, repeats, len(times)) losses; repeat r meets every image with the same noise."""
        key = ("losses", name, tuple(times), repeats)
        return self.once(key, lambda: self._losses(name, times, repeats))

    def noised(self, name: str, t: Tensor, seeds: Seeds) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (prediction, target) of the model's denoiser on the pool's images."""
        model = cast(HasNoised, self.model)
        for rows, images, masks in self._batches(name):
            with torch.no_grad():
                answer = model.noised(images, masks, t[rows].to(self._device), seeds[rows])
            yield answer[0].float().cpu(), answer[1].float().cpu()

    def asked(self, name: str, question: Callable[[Any, Images, Masks], Tensor]) -> Tensor:
        """(N, ...) answers of question(model, images, masks) on batches of the pool."""
        with torch.no_grad():
            parts = [
                question(self.model, *batch).float().cpu() for _, *batch in self._batches(name)
            ]
        return torch.cat(parts)

    def sampled(self, name: str, rows: Sequence[int], repeats: int) -> Images:
        """(len(rows), repeats, H, W) images that the model draws for the masks of these rows."""
        key = ("sampled", name, tuple(rows), repeats)
        return self.once(key, lambda: self._sampled(name, rows, repeats))

    def fitted(self, name: str) -> object:
        """A denoiser trained on the pool."""
        assert self._fit is not None
        fit = self._fit
        return self.once(("fitted", name), lambda: fit(self.pools[name]))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What several metrics ask for, made when first asked for."""
        if key not in self._memo:
            self._memo[key] = make()
        return cast(T, self._memo[key])

    def _sampled(self, name: str, rows: Sequence[int], repeats: int) -> Images:
        masks = self.pools[name].masks[list(rows)].repeat_interleave(repeats, dim=0)
        seeds = torch.tensor(
            [mix(self.seed, "sampled", name, row, k) for row in rows for k in range(repeats)]
        )
        model, parts = cast(MaskToImage, self.model), []
        for at in torch.arange(len(masks)).split(self._batch_size):
            parts.append(model.sample(masks[at].to(self._device), seeds=seeds[at]).float().cpu())
        return torch.cat(parts).reshape(len(rows), repeats, *masks.shape[-2:])

    def _encoder(self, space: str) -> Encode | None:
        """The encoder of a space, made when first asked for; None for pixels."""
        if space == "pixels":
            return None
        if space == "features":
            return self._encode
        if space not in self._makers:
            known = ", ".join(("pixels", "features", *self._makers))
            raise ValueError(f"space is {space}, not one of {known}")
        return self.once(("encoder", space), self._makers[space])

    def _encoded(self, encode: Encode, images: Images) -> Tensor:
        with torch.no_grad():
            parts = images.split(self._batch_size)
            return torch.cat([encode(part.to(self._device)).float().cpu() for part in parts])

    def _losses(self, name: str, times: Sequence[float], repeats: int) -> Tensor:
        model = cast(HasLosses, self.model)
        parts = []
        for _, images, masks in self._batches(name):
            answers = []
            for repeat in range(repeats):
                seeds = torch.full((len(images),), mix(self.seed, "losses", repeat))
                with torch.no_grad():
                    answers.append(
                        model.losses(images, masks, times=times, seeds=seeds).float().cpu()
                    )
            parts.append(torch.stack(answers, dim=1))
        return torch.cat(parts)

    def _batches(self, name: str) -> Iterator[tuple[slice, Images, Masks]]:
        pool = self.pools[name]
        for start in range(0, len(pool), self._batch_size):
            rows = slice(start, start + self._batch_size)
            yield rows, pool.images[rows].to(self._device), pool.masks[rows].to(self._device)
