"""Arms: which subjects and images, nested and repeatable, and refusals in one line."""

from __future__ import annotations

import numpy as np
import pytest

from cmr_bench.metrics.utility.arms import ARMS, Arm, named, training_pools


def test_few_subjects_are_nested_whole_and_a_function_of_the_seed(train):
    sizes = (2, 5, 9)
    sets = [set(training_pools(Arm("few", subjects=n), train, None, 0)[0].subjects) for n in sizes]
    assert [len(s) for s in sets] == list(sizes)
    assert sets[0] < sets[1] < sets[2]
    (pool,) = training_pools(Arm("few", subjects=2), train, None, 0)
    assert len(pool) == np.isin(train.subjects, list(sets[0])).sum()
    others = [
        set(training_pools(Arm("few", subjects=2), train, None, s)[0].subjects) for s in range(9)
    ]
    assert len({frozenset(s) for s in others}) > 1


def test_the_three_arms_that_metrics_may_name(train, test):
    real, synthetic, both = (
        training_pools(ARMS[n], train, test, 0) for n in ("real", "synthetic", "both")
    )
    assert [p.name for p in real] == ["train"] and len(real[0]) == len(train)
    assert [p.name for p in synthetic] == ["test"] and len(synthetic[0]) == len(test)
    assert [p.name for p in both] == ["train", "test"]
    assert [ARMS[n].kind for n in ("real", "synthetic", "both")] == ["real", "synthetic", "both"]


@pytest.mark.parametrize("ratio", [0.5, 1, 2, 4])
def test_ratio_counts_synthetic_images_and_repeats_them_evenly(train, test, ratio):
    real, synthetic = training_pools(Arm("mix", ratio=ratio), train, test, 0)
    assert len(synthetic) == round(ratio * len(real))
    _, times = np.unique(synthetic.images.flatten(1).sum(1).numpy(), return_counts=True)
    assert times.max() - times.min() <= 1
    assert len(times) == min(len(test), len(synthetic))


def test_ratio_goes_by_the_real_images_that_the_arm_has(train, test):
    real, synthetic = training_pools(Arm("mix", subjects=3, ratio=1), train, test, 0)
    assert len(real) == len(synthetic) == 18


def test_impossible_arms_are_refused(train):
    with pytest.raises(ValueError, match="arm none has no real subjects"):
        Arm("none", subjects=0)
    with pytest.raises(ValueError, match="pretrain needs synthetic images"):
        Arm("early", pretrain=True)
    with pytest.raises(ValueError, match="there is no arm reel: take one of real"):
        named("reel")
    assert Arm("many", subjects=99).lacks(train) == (
        "99 real subjects are wanted and the training pool has 12"
    )
    assert ARMS["real"].lacks(train) is None


def test_what_lies_on_the_learning_curve():
    assert Arm("few", subjects=4).on_curve and Arm("few", subjects=4, ratio=None).on_curve
    assert not Arm("strong", strong=True).on_curve
    assert not Arm("mix", ratio=2).on_curve
    assert not Arm("first", ratio=None, pretrain=True).on_curve
