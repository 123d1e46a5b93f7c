"""One person under two names is one subject: no copy hides behind the other name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cmr_bench.metrics.evidence import Evidence
from cmr_bench.metrics.privacy.authenticity import Authenticity
from cmr_bench.metrics.privacy.copies import Copies
from cmr_bench.metrics.privacy.mask_copies import MaskCopies
from cmr_bench.types import join


@pytest.mark.parametrize(
    ("metric", "name", "copied"),
    [
        (Copies(fpr=0.1, spaces=["pixels"]), "privacy/copy_rate", 1.0),
        (MaskCopies(fpr=0.1), "privacy/mask_copy_rate", 1.0),
        (Authenticity(spaces=["pixels"]), "privacy/authenticity_pixels", 0.0),
    ],
)
def test_copies_of_a_person_under_two_names_are_copies(metric, name, copied, train, new_cohort):
    second = replace(train, table=train.table.assign(subject=[f"twin of {s}" for s in train.subjects]))  # fmt: skip
    grain = torch.randn(2, *train.images.shape, generator=torch.Generator().manual_seed(0))
    second = replace(second, images=train.images + 0.01 * grain[0])
    pools = {
        "train": join("train", train, second),
        "test": new_cohort("test", 12, seed=7),
        "synthetic": replace(train, name="synthetic", images=train.images + 0.05 * grain[1]),
    }
    people = {twin: own for own, twin in zip(train.subjects, second.subjects, strict=True)}
    rates = [
        {s.name: s.value for s in metric.scores(Evidence(pools, people=who))}[name]
        for who in (people, None)
    ]
    assert rates[0] == pytest.approx(copied, abs=0.05)
    assert abs(rates[1] - copied) > 0.5


def test_a_longer_name_is_not_cut(train):
    some = sorted(set(train.subjects))[0]
    found = Evidence({"train": train}, people={some: "a name longer than all others"})
    assert set(found.subjects("train")) - set(train.subjects) == {"a name longer than all others"}
    assert np.array_equal(Evidence({"train": train}).subjects("train"), train.subjects)
