"""The report at the end of a run or a sweep."""

from __future__ import annotations

from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class Report(Callback):
    """Prints the table of the store and says where the page is."""

    def on_run_end(self, config: DictConfig, job_return: JobReturn | None = None, **_: Any) -> None:
        if config.get("dry_run") or (
            job_return is not None and job_return.status is JobStatus.FAILED
        ):
            return  # a plan and a refused configuration have nothing to report
        from cmr_bench.reporting import report

        print(report(config.store.root))
        print(f"{config.store.root}/report/index.html")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        self.on_run_end(config)
