"""The attack on the autoencoder of a latent model: it draws its training images best."""

from __future__ import annotations

from torch import Tensor

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.attacks import Attack, concatenated, named
from cmr_bench.stats import Array
from cmr_bench.types import HasReconstruct, Images, Masks, Score


class AutoencoderAttack(Attack):
    """Suspicion is minus the mean squared error of D(E(x)).

    The autoencoder is trained on the same images and released with the model; attacks on the
    diffusion alone do not see what it remembers.
    """

    names = named("autoencoder")
    needs = ("reconstruct",)
    catches = ()
    spares = ()
    untested = "no control has an autoencoder"

    def compute(self, evidence: Evidence) -> list[Score]:
        if not any(self._errors(evidence, name).any() for name in ("train", "test")):
            return self.blank("the model draws in pixels and has no autoencoder")
        return super().compute(evidence)

    def suspicions(self, evidence: Evidence, names: tuple[str, ...]) -> Array:
        return concatenated([self._errors(evidence, name) for name in names])

    def _errors(self, evidence: Evidence, name: str) -> Tensor:
        return evidence.once(
            ("autoencoder attack", name), lambda: evidence.asked(name, reconstruction_error)
        )


def reconstruction_error(model: HasReconstruct, images: Images, masks: Masks) -> Tensor:
    """(B, 1) mean square of D(E(x)) - x."""
    again = model.reconstruct(images).to(images)
    return (again - images).double().square().flatten(1).mean(1, keepdim=True)
