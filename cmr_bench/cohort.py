"""The data of a cell: prepared once, seen as pools; and what each stage of the cell costs."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cmr_bench.data.canaries import canary_pools, repeated
from cmr_bench.data.pools import content_hash, load_pool, people, shared
from cmr_bench.preparation import prepared
from cmr_bench.store import Store, read_json
from cmr_bench.types import Pool, join

log = logging.getLogger(__name__)


class Cohort:
    """The subjects of one resolved configuration, and the store that they are kept in."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.store = Store(config.store.root)
        self.seconds: dict[str, float] = {}
        self.seen: set[Path] = set()

    def built(
        self, stage: str, kind: str, inputs: Mapping[str, Any], make: Callable[[Path], None]
    ) -> Path:
        """The folder of an artefact; what it cost when it was made is charged to the stage."""
        return self.charged(stage, self.store.build(kind, inputs, make))

    def charged(self, stage: str, folder: Path) -> Path:
        """Charge a stage, once, with what an artefact cost."""
        if folder not in self.seen:
            self.seen.add(folder)
            spent = float(read_json(folder / "done.json")["seconds"])
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
        return folder

    @cached_property
    def data(self) -> Path:
        return self.charged("prepare", prepared(self.store, self.config.data))

    @cached_property
    def data_hash(self) -> str:
        return content_hash(self.data)

    @cached_property
    def pools(self) -> dict[str, Pool]:
        """train, val, test, external where one is configured, and planted subjects where there are some."""
        pools = {name: load_pool(self.data, name) for name in ("train", "val", "test")}
        pools |= canary_pools(self.data)
        if self.config.get("external"):
            pools["external"] = self.external
        return pools

    @cached_property
    def people(self) -> dict[str, str]:
        """Who is in the data under a second name, and the first."""
        return people(self.data)

    @cached_property
    def training_subjects(self) -> int:
        return len(set(self.pools["train"].subjects))

    @property
    def learnt(self) -> Pool:
        """What a generator is trained on: the training subjects, and the planted ones as often as each is repeated."""
        train, planted = self.pools["train"], self.pools.get("canaries")
        return train if planted is None else join("train", train, repeated(planted))

    @cached_property
    def external_data(self) -> Path:
        try:
            folder = prepared(self.store, self.config.external)
        except ValueError as error:  # a reader knows its own keys, not whose they are
            raise ValueError(re.sub(r"(?<![\w/.])data\.", "external.", str(error))) from error
        return self.charged("prepare", folder)

    @property
    def external_hash(self) -> str | None:
        return content_hash(self.external_data) if self.config.get("external") else None

    @cached_property
    def external(self) -> Pool:
        """The other domain, less what is also in the data that the models are trained on."""
        path = self.external_data
        known = shared(self.data, path)
        for twin in known:
            log.warning("%s: %s is left out of the external pool", twin, twin.second)
        return load_pool(path, "test", name="external", without={twin.second for twin in known})
