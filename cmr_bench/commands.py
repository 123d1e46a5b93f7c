"""A verb on the command line: Hydra around a task, and a user's mistake in one line with the remedy."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from cmr_bench.config import conf_path, unknown
from cmr_bench.interruption import INTERRUPTED, Stopped

HOME = re.compile(r"^([\w.@/+]+=)~(?=/|$)")
"""A path in the home folder, which no shell expands behind a key."""

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
"""What a system says of a folder that cannot be written to."""


def verb(name: str, task: Callable[[Any], None]) -> None:
    """Run a task under Hydra with conf/<name>.yaml; a user's mistake is one line and exit code 2."""
    import hydra

    sys.argv[1:] = [HOME.sub(rf"\1{Path.home()}", word) for word in sys.argv[1:]]
    loud = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    told = nullcontext if loud else partial(one_line, name)
    main = hydra.main(version_base="1.3", config_path=conf_path(), config_name=name)

    @main
    def within(config: Any) -> None:
        with told():  # here, before Hydra adds words of its own
            task(config)

    try:
        with told():
            refuse_domain(sys.argv[1:])
            within()
    except Stopped:
        print("cmr_bench: stopped: the same line goes on", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def refuse_domain(words: Sequence[str]) -> None:
    """Refuse an external domain that does not exist: Hydra leaves it out, since a data set may come without one."""
    options = [path.stem for path in Path(conf_path(), "data").glob("*.yaml")]
    for word in words:
        group, _, values = word.lstrip("+").partition("=")
        for option in values.strip("[]").split(",") if group == "data@external" else ():
            if option not in (*options, "null"):
                raise ValueError(
                    unknown(
                        f"{group}={option}", [f"{group}={o}" for o in sorted(options)], "an option"
                    )
                )


@contextmanager
def one_line(name: str) -> Iterator[None]:
    """End with one line where the block finds a user's mistake."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from cmr_bench.store import Busy

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        stop(explain(error, name))
    except (ValueError, OSError, Busy) as error:
        stop(unwritable(error) or str(error))


def unwritable(error: Exception) -> str:
    """Where the store cannot be made or written to, the key that says so; "" for any other error."""
    typed = [word.partition("=")[2] for word in sys.argv if word.startswith("store.root=")]
    root = typed[-1] if typed else "runs"
    store, name = Path(root).expanduser().absolute(), getattr(error, "filename", None)
    refused = getattr(error, "errno", None) in REFUSED or not store.exists()
    if not refused or not isinstance(name, str | Path):
        return ""
    place = Path(name).absolute()
    if not (store.is_relative_to(place) or place.is_relative_to(store)):
        return ""
    return f"store.root={root}: {getattr(error, 'strerror', '')}: {place}; choose a folder that you may write to"


def stop(words: str) -> NoReturn:
    """End with a user's mistake: one line on stderr, exit code 2."""
    print(f"cmr_bench: {words}".rstrip(), file=sys.stderr)
    sys.exit(2)


def explain(error: Exception, name: str) -> str:
    """A refused override, or the mistake that a component found, in one line with the remedy."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    libraries = (HydraException, OmegaConfBaseException)
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ValueError | OSError) and not isinstance(inner, libraries):
            return str(inner)
        inner = inner.__cause__
    text = str(error)
    key = re.search(r"Could not override '([^']+)'", text)
    if key and key[1].startswith("hydra."):
        return f"{key[1]} is not set so far: a new key of Hydra's own takes a plus, +{key[1]}"
    if key:
        groups = [
            path.relative_to(conf_path()).as_posix()
            for path in Path(conf_path()).rglob("*")
            if path.is_dir()
        ]
        group, _, option = key[1].rpartition("/")
        if key[1] in groups and group:  # a folder of options of another group
            inside = sorted(path.stem for path in Path(conf_path(), key[1]).glob("*.yaml"))
            wanted = (
                f"+{key[1]}@{group}.NAME=NAME" if group == "metric" else f"{group}={option}/NAME"
            )
            return f"{key[1]} is a folder of options: give {wanted}, one of {', '.join(inside)}"
        if key[1].partition(".")[0] == "external":
            return f"{key[1]}: there is no external domain yet: take data@external=OPTION beside it"
        return unknown(key[1], groups if "/" in key[1] else list(known_keys(name)))
    option = re.search(r"Could not (?:find|load) '([^']+/[^']+)'", text)
    if option:
        group, choice = typed_as(option[1])
        folder = Path(conf_path(), group.partition("@")[0])
        options = [p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")]
        return unknown(f"{group}={choice}", [f"{group}={o}" for o in sorted(options)], "an option")
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def typed_as(path: str) -> tuple[str, str]:
    """(group, option) as they were typed of the place where Hydra looked for them."""
    for word in sys.argv[1:]:
        group, _, values = word.lstrip("+").partition("=")
        for choice in values.strip("[]").split(","):
            if f"{group.partition('@')[0]}/{choice.strip()}" == path:
                return group, choice.strip()
    group, _, choice = path.rpartition("/")
    return group, choice


def known_keys(name: str) -> Iterator[str]:
    """Every key of the verb's configuration, with the group choices given on the command line where they compose."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    choices = [word for word in sys.argv[1:] if re.fullmatch(r"[\w/@]+=[\w/]+", word)]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=conf_path()):
        for overrides in (choices, []):
            try:
                config = hydra.compose(name, overrides)
                break
            except HydraException:
                continue
        else:
            return
    yield from walk(OmegaConf.to_container(config, resolve=False))


def walk(node: Any, where: str = "") -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            name = f"{where}.{key}" if where else str(key)
            yield name
            yield from walk(value, name)
