"""Laws of the splits: by subject, stratified, deterministic, nested."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmr_bench.data.records import Record
from cmr_bench.data.splits import limited, split_subjects

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def cohort(*strata: int, hints: str = "") -> list[Record]:
    """Subjects with ED and ES; stratum k has strata[k] of them."""
    return [
        Record(
            f"s{k}-{i:03d}",
            phase,
            Path(),
            Path(),
            {},
            vendor=f"v{k % 2}",
            pathology=f"p{k}",
            split=hints,
        )
        for k, number in enumerate(strata)
        for i in range(number)
        for phase in ("ED", "ES")
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=8).filter(lambda n: sum(n) >= 12),
    st.integers(0, 9),
)
def test_each_stratum_has_its_share_within_one_subject(strata: list[int], seed: int) -> None:
    records = cohort(*strata)
    chosen = split_subjects(records, **SHARES, seed=seed)
    assert set(chosen) == {record.subject for record in records}
    total = Counter(chosen.values())
    for name, share in SHARES.items():
        assert abs(total[name] - share * sum(strata)) < 1
    for k, number in enumerate(strata):
        inside = Counter(split for subject, split in chosen.items() if subject.startswith(f"s{k}-"))
        for name, share in SHARES.items():
            assert abs(inside[name] - share * number) < 2


def test_order_of_records_does_not_matter_but_the_seed_does() -> None:
    records = cohort(20, 20)
    first = split_subjects(records, **SHARES, seed=1)
    assert split_subjects(records[::-1], **SHARES, seed=1) == first
    assert split_subjects(records, **SHARES, seed=2) != first


def test_groups_stay_together_and_chains_are_joined() -> None:
    for seed in range(10):
        together = [("s0-001", "s1-002"), ("s1-002", "s1-007")]
        chosen = split_subjects(cohort(10, 10), **SHARES, seed=seed, together=together)
        assert len({chosen[name] for name in ("s0-001", "s1-002", "s1-007")}) == 1
        assert len(chosen) == 20


def test_everything_in_one_split() -> None:
    chosen = split_subjects(cohort(3), train=0, val=0, test=1, seed=0)
    assert set(chosen.values()) == {"test"}


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"empty; give more subjects, or a larger data\.split\.val"
    ):
        split_subjects(cohort(2), **SHARES, seed=0)
    with pytest.raises(ValueError, match=r"data\.split"):
        split_subjects(cohort(9), train=1.2, val=-0.2, test=0, seed=0)


def test_own_splits_are_kept_and_validation_is_drawn_from_training() -> None:
    records = cohort(24, hints="train") + [
        Record(f"t{i}", "ED", Path(), Path(), {}, split="test") for i in range(6)
    ]
    chosen = split_subjects(records, **SHARES, seed=0, own=True)
    assert all(chosen[f"t{i}"] == "test" for i in range(6))
    inside = Counter(split for subject, split in chosen.items() if subject.startswith("s0"))
    assert inside == {"train": 21, "val": 3}
    with pytest.raises(ValueError, match="own"):
        split_subjects(cohort(9), **SHARES, seed=0, own=True)


def test_twins_across_own_splits_leave_the_test_set() -> None:
    records = cohort(10, hints="train") + [
        Record(f"t{i}", "ED", Path(), Path(), {}, split="test") for i in range(3)
    ]
    chosen = split_subjects(records, **SHARES, seed=0, own=True, together=[("s0-000", "t0")])
    assert chosen["t0"] == chosen["s0-000"] != "test"
    assert chosen["t1"] == "test"


def test_limited_training_sets_are_nested_stratified_and_leave_the_rest_alone() -> None:
    records = cohort(30, 20, 10)
    chosen = split_subjects(records, **SHARES, seed=0)
    others = {subject: split for subject, split in chosen.items() if split != "train"}
    before: set[str] = set()
    for limit in (1, 3, 8, 16, 500):
        kept = limited(chosen, records, limit=limit, seed=0)
        train = {subject for subject, split in kept.items() if split == "train"}
        assert len(train) == min(limit, 42)
        assert before <= train
        assert {subject: split for subject, split in kept.items() if split != "train"} == others
        if limit == 16:
            strata = Counter(subject[:2] for subject in train)
            assert abs(strata["s0"] - 8) <= 1
            assert strata["s2"] >= 1
        before = train
    with pytest.raises(ValueError, match=r"data\.limit"):
        limited(chosen, records, limit=0, seed=0)
