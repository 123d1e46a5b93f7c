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


@pytest.mark.parametrize("ratio", [0.5, 2 / 3])
def test_ratio_counts_different_synthetic_images(train, test, ratio):
    real, synthetic = training_pools(Arm("mix", ratio=ratio), train, test, 0)
    assert len(synthetic) == round(ratio * len(real))
    assert len(np.unique(synthetic.images.flatten(1).numpy(), axis=0)) == len(synthetic)


def test_no_image_is_repeated(train, test):
    """The training pool has 72 slices, a subject six of them; there are 48 other images."""
    arm = Arm("mix", ratio=4)
    reason = "1:4 needs 288 synthetic images and there are 48: raise synthesis.count"
    assert arm.lacks(train, len(test)) == reason
    assert arm.lacks(train, 288) is None
    assert Arm("few", subjects=2, ratio=4).lacks(train, 48, [0, 1, 2]) is None
    assert "needs 72" in str(Arm("few", subjects=3, ratio=4).lacks(train, 48, [0, 1, 2]))
    with pytest.raises(ValueError, match=f"arm mix: {reason}"):
        training_pools(arm, train, test, 0)


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
    assert Arm("many", subjects=99).lacks(train, 0) == (
        "99 real subjects are wanted and the training pool has 12"
    )
    assert ARMS["real"].lacks(train, 0) is None


def test_what_lies_on_the_learning_curve():
    assert Arm("few", subjects=4).on_curve and Arm("few", subjects=4, ratio=None).on_curve
    assert not Arm("strong", strong=True).on_curve
    assert not Arm("mix", ratio=2).on_curve
    assert not Arm("first", ratio=None, pretrain=True).on_curve
