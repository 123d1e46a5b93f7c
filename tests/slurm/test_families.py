"""Where a cell runs does not show in it: a cluster and a single process end in the same scores, bit for bit."""

from __future__ import annotations

from pathlib import Path

from slurm_support import ON_SLURM, Cluster, scores_of, typed, until

from cmr_bench.store import Store

GRID = ["model=ddpm,ldm,fm", "seed=0,1", "fit.steps=20"]


def outcomes(place: Path) -> dict[tuple[str, int], dict[str, tuple[float, ...]]]:
    """Scores of the finished cells of a store, by model and seed."""
    return {
        (cell.about["model"], cell.about["seed"]): scores_of(cell)
        for cell in Store(place / "runs").cells()
        if cell.status.state == "done"
    }


def test_three_families_and_two_seeds_score_alike_on_slurm_and_in_one_process(
    cluster: Cluster, tmp_path: Path
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for place in (there, here):
        place.mkdir()
    sent = typed(there, *ON_SLURM, *GRID)
    assert sent.returncode == 0 and sent.stdout.count("submitted as") == 6, sent.stdout
    basic = typed(here, "hydra/launcher=basic", *GRID)
    assert basic.returncode == 0, basic.stderr
    until(lambda: len(outcomes(there)) == 6, "six cells done")
    assert outcomes(there) == (wanted := outcomes(here))
    assert len({str(scores) for scores in wanted.values()}) == 6, "no two cells are the same"
    assert all(len(scores) > 10 for scores in wanted.values())
