from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_bench.seeds import mix, numpy_rng, row_noise, torch_rng

PARTS = st.lists(st.integers() | st.text(max_size=5), min_size=1, max_size=4)


@given(PARTS)
def test_a_seed_is_a_function_of_its_parts(parts):
    assert mix(*parts) == mix(*parts)
    assert 0 <= mix(*parts) < 2**63


def test_seeds_do_not_change_between_versions():
    """Stored artefacts are keyed by what was drawn: another number here is another benchmark."""
    assert mix(0, "noise", 7) == 4742882823771301809
    assert mix("a") != mix("b") and mix(1, 23) != mix(12, 3) and mix("a", "b") != mix("ab")


def test_many_seeds_do_not_collide():
    assert len({mix(run, "step", k) for run in range(20) for k in range(500)}) == 10_000


def test_generators_repeat():
    assert torch.equal(
        torch.rand(5, generator=torch_rng(1, "x")), torch.rand(5, generator=torch_rng(1, "x"))
    )
    assert np.array_equal(numpy_rng(1, "x").random(5), numpy_rng(1, "x").random(5))
    assert not np.array_equal(numpy_rng(1, "x").random(5), numpy_rng(1, "y").random(5))


def test_a_row_of_noise_hangs_on_its_own_seed_alone():
    whole = row_noise([3, 1, 4, 1], (2, 5), "salt")
    assert whole.shape == (4, 2, 5)
    assert torch.equal(whole[1], whole[3]) and not torch.equal(whole[0], whole[1])
    assert torch.equal(row_noise(torch.tensor([4]), (2, 5), "salt")[0], whole[2])
    assert not torch.equal(row_noise([3], (2, 5), "pepper")[0], whole[0])


def test_noise_is_standard_normal():
    noise = row_noise(range(500), (200,))
    assert abs(noise.mean().item()) < 0.01 and abs(noise.std().item() - 1) < 0.01
    assert abs(torch.corrcoef(noise[:50]).triu(1)).max() < 0.35
