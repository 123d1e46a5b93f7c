"""Configuration: where it lies, the checks that refuse a mistake before any work, and `build`."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterator, Mapping
from inspect import Parameter, isclass, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

SPECIAL = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
SCALARS: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    bool: (bool,),
    str: (str,),
}


def conf_path() -> str:
    """The configuration folder: inside the package in a wheel, beside it in an editable install."""
    here = Path(__file__).resolve().parent
    for folder in (here / "conf", here.parent / "conf"):
        if (folder / "run.yaml").is_file():
            return str(folder)
    raise FileNotFoundError(f"no configuration beside {here}: install cmr_bench again")


def build(node: Any, *without: str, **more: Any) -> Any:
    """The object that a node with `_target_` describes, or with `_partial_` a function that makes it.

    Keys in `without` are left out, `more` are passed on.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    tree = plain(node)
    kept = {key: value for key, value in tree.items() if key not in without}
    try:
        make = instantiate({**kept, "_partial_": True}, _convert_="all")
    except (
        InstantiationException
    ) as error:  # what a part of the node says is for the user as it stands
        if isinstance(error.__cause__, ValueError | OSError):
            raise error.__cause__ from None
        raise
    return make if tree.get("_partial_") and not more else make(**more)


def plain(node: Any) -> Any:
    """A node as nested dictionaries and lists with every reference resolved."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def stopping(config: Any) -> dict[str, Any]:
    """What may end a training before its last step, and so determines the weights; empty where nothing may."""
    node = plain(config.get("callbacks")) or {}
    clock = node.get("memorisation") or {}
    stops = clock.get("stop") and node["every_n_steps"]
    return {"stopping": node | {"axes": None}} if stops else {}


def check(config: Any, allowed: Mapping[str, Any]) -> None:
    """Refuse unknown keys, wrong types and missing values anywhere in a composed configuration.

    Nodes with `_target_` are held against the signature of what they name; `allowed` gives the shape of the rest:
    a mapping of keys, a type, integers of a range (Annotated), or None for a node that is free or describes itself.

    Raises:
        ValueError: one line a mistake, each naming the key and the nearest right one.
    """
    tree = resolved(config)
    found = [*strangers(tree, allowed), *mistakes(tree), *nameless(tree)]
    if found:
        raise ValueError("; ".join(found))


def resolved(config: Any) -> Any:
    """The configuration as plain values.

    Raises:
        ValueError: if a value is missing or a reference leads nowhere.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if missing := [*missing_keys(OmegaConf.to_container(config, resolve=False))]:
        raise ValueError("; ".join(f"{key} is missing: give {key}=VALUE" for key in missing))
    try:
        return plain(config)
    except OmegaConfBaseException as error:
        raise ValueError(str(error).splitlines()[0]) from error


def missing_keys(node: Any, where: str = "") -> Iterator[str]:
    """Keys that have no value yet; those that only refer to one are not named."""
    items = node.items() if isinstance(node, Mapping) else ()
    for key, value in items:
        if value == "???":
            yield f"{where}{key}"
        yield from missing_keys(value, f"{where}{key}.")


def strangers(
    tree: Mapping[str, Any], allowed: Mapping[str, Any], where: str = ""
) -> Iterator[str]:
    """Keys of the plain part of the tree that the verb does not read, and scalars of another type or out of range."""
    for key, value in tree.items():
        name = f"{where}{key}"
        if key not in allowed:
            yield unknown(name, [f"{where}{k}" for k in allowed])
        elif isinstance(allowed[key], Mapping):
            if isinstance(value, Mapping):
                yield from strangers(value, allowed[key], f"{name}.")
        elif value is not None and not fits(value, allowed[key]):
            yield f"{name} is {value!r}, not {wanted(allowed[key])}"


def nameless(tree: Mapping[str, Any]) -> Iterator[str]:
    """Settings of metrics that no bundle brought in, and of data that no option did: nothing could be built out of them."""
    external = tree.get("external")
    if external and "_target_" not in external:
        yield "external has no _target_: take data@external=OPTION, or give external=null"
    for name, node in (tree.get("metric") or {}).items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            yield (
                f"metric.{name} has no _target_: the chosen metric=BUNDLE has no {name}; "
                f"take one that has, add +metric/AXIS@metric.{name}=METRIC, or give no metric.{name}"
            )


def mistakes(node: Any, where: str = "") -> Iterator[str]:
    """Every key or scalar that the signature behind a `_target_` does not take; nothing is built."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            yield from mistakes(item, f"{where}[{i}]")
    if not isinstance(node, Mapping):
        return
    if "_target_" in node:
        yield from against_signature(node, where)
    for key, value in node.items():
        yield from mistakes(value, f"{where}.{key}" if where else str(key))


def against_signature(node: Mapping[str, Any], where: str) -> Iterator[str]:
    from hydra.utils import get_object

    try:
        target = get_object(node["_target_"])
    except Exception as error:  # an import may fail in any way; the key is what the user can mend
        yield f"{where}._target_ names {node['_target_']}, which cannot be imported: {error}"
        return
    parameters = signature(target).parameters.values()
    taken = [
        p.name
        for p in parameters
        if p.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    ]
    open_ended = isclass(target) and any(p.kind is Parameter.VAR_KEYWORD for p in parameters)
    try:
        hints = get_type_hints(target.__init__ if isclass(target) else target, include_extras=True)
    except (NameError, TypeError, AttributeError):
        hints = {}
    for key, value in node.items():
        if key in SPECIAL:
            continue
        if key not in taken and not open_ended:
            yield unknown(f"{where}.{key}", [f"{where}.{name}" for name in taken])
        elif value is not None and not fits(value, hints.get(key)):
            yield f"{where}.{key} is {value!r}, not {wanted(hints[key])}"


def wanted(hint: Any) -> str:
    """What a key takes, in words."""
    if get_origin(hint) is Annotated:
        inner, *limits = get_args(hint)
        least = [f" of at least {limit.start}" for limit in limits if isinstance(limit, range)]
        return "".join([f"an {wanted(inner)}", *least]) if least else wanted(inner)
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(wanted(one) for one in get_args(hint) if one is not NoneType)
    return hint.__name__


def fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        inner, *limits = get_args(hint)
        return fits(value, inner) and all(value in r for r in limits if isinstance(r, range))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(fits(value, one) for one in get_args(hint) if one is not NoneType)
    kinds = SCALARS.get(hint) if isinstance(hint, Hashable) else None
    if kinds is None:
        return True
    return isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)


def unknown(name: str, right: list[str], what: str = "a key") -> str:
    near = difflib.get_close_matches(name, right, 1, 0.5)
    if near:
        return f"{name} is not {what}: did you mean {near[0]}?"
    top = min((choice.count(".") for choice in right), default=0)
    return f"{name} is not {what}: take one of {', '.join(c for c in right if c.count('.') == top)}"
