"""Our exact search for the nearest image beside `torch.cdist` in one piece, in seconds and in memory.

    python tests/bench/bench_neighbours.py --images 10000 --side 128 --threads 2

Medians of 1 + `--repeats` runs in turns. `--check` rows are compared with float64 brute force. Both methods start from the same float32 images.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from cmr_bench.metrics.privacy.neighbours import nearest


def peak() -> float:
    """GiB that the process has held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(search: Callable[[Tensor, Tensor], Tensor], *pools: Tensor) -> tuple[Tensor, float]:
    start = time.perf_counter()
    found = search(*pools)
    return found, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (
        ("images", 10_000),
        ("side", 128),
        ("threads", 2),
        ("check", 50),
        ("repeats", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rng = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randn(args.images, args.side**2, generator=rng) for _ in range(2))

    def whole(a: Tensor, b: Tensor) -> Tensor:
        return torch.cdist(a, b).argmin(1)

    whole(queries[:100], gallery[:100])  # threads and libraries start once
    before = peak()
    (_, rows), first = timed(nearest, queries, gallery)
    beyond = peak() - before
    other, second = timed(whole, queries, gallery)
    runs = {"ours": [first], "cdist": [second]}
    for name, search in args.repeats * (("cdist", whole), ("ours", nearest)):
        runs[name].append(timed(search, queries, gallery)[1])
    ours, theirs = (median(runs[name]) for name in ("ours", "cdist"))
    picks = torch.arange(len(queries))[:: max(1, len(queries) // args.check)][: args.check]
    right = 0
    for pick in picks:
        exact = torch.cat([(part.double() - queries[pick].double()).norm(dim=1) for part in gallery.split(500)])  # fmt: skip
        right += int(exact.argmin() == rows[pick])
    print(f"ours {ours:.1f} s and {beyond:.2f} GiB beyond the data, cdist {theirs:.1f} s, ratio {ours / theirs:.2f}")  # fmt: skip
    print(f"rows equal to float64 brute force: {right} of {len(picks)}; to cdist: {(rows == other).double().mean():.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
