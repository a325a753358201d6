"""Things of one kind by name: affstore's own, and those that installed plugins bring."""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from affstore.store.contract.errors import DuplicateNameError, PluginError, UnknownNameError

OWN = "affstore"
"""Where a thing comes from that is in this package."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A name that cannot be used, and why.

    Attributes:
        name: of the thing.
        origin: the distribution that brought it.
        reason: in one sentence.
        error: what asking for the name raises.
    """

    name: str
    origin: str
    reason: str
    error: type[PluginError | DuplicateNameError] = PluginError


class Registry[T]:
    """The things of one kind, filled when the first of them is asked for.

    Every module of `packages` is imported and registers what it brings. Then the entry points of `group` are loaded: an
    entry point's name is the thing's name, and its object is the thing. A name that ends in `/` stands for every name
    that begins with it. Whatever is wrong with one plugin is kept as a `Fault` and leaves the others usable.

    Attributes:
        kind: what the things are called in messages, e.g. `extractor`.
        packages: whose modules register affstore's own; those above the registry's own layer are known by name only.
        group: of entry points, e.g. `affstore.extractors`.
        contract: number of the contract that plugins of this kind must be written for; an object says which one it
            follows by its attribute `contract`.
        base: class that a plugin's object must be an instance of.
    """

    def __init__(self, kind: str, package: str, group: str, contract: int = 1, base: type[Any] = object) -> None:
        self.kind, self.group, self.contract, self.base = kind, group, contract, base
        self.packages: tuple[str, ...] = (package,)
        self._things: dict[str, T] = {}
        self._origins: dict[str, str] = {}
        self._faults: dict[str, Fault] = {}
        self._has_own = self._filled = False

    def also_from(self, package: str) -> None:
        """Let the modules of another package register things, too."""
        self.packages = (*self.packages, package)

    def register(self, name: str, thing: T, origin: str = OWN) -> T:
        """Make a thing known under a name, and return it.

        Raises:
            DuplicateNameError: the name is taken.
        """
        if name in self._things:
            owner = self._origins[name]
            raise DuplicateNameError(
                f"Two {self.kind}s are called '{name}': one of {owner} and one of {origin}. Rename one, or uninstall "
                "the package that brings it."
            )
        self._things[name], self._origins[name] = thing, origin
        return thing

    def get(self, name: str) -> T:
        """The thing of that name, or the one that answers for the name's prefix.

        Raises:
            UnknownNameError: there is none; the message suggests the nearest.
            DuplicateNameError: two plugins brought that name.
            PluginError: the plugin that brought it does not work.
        """
        self._fill()
        found = self._found(name)
        if found in self._faults:
            fault = self._faults[found]
            raise fault.error(fault.reason)
        if found not in self._things:
            known = [*self._things, *self._faults]
            raise UnknownNameError.of(self.kind, name, (f"{one}…" if one.endswith("/") else one for one in known))
        return self._things[found]

    def names(self) -> tuple[str, ...]:
        """Every name that can be used, sorted; prefixes as `timm/`."""
        self._fill()
        return tuple(sorted(self._things.keys() - self._faults.keys()))

    def own(self) -> Mapping[str, T]:
        """What affstore itself brings, by name; the installed packages are not looked through for plugins."""
        self._fill_own()
        return {name: thing for name, thing in self._things.items() if self._origins[name] == OWN}

    def own_in(self, module: str) -> Mapping[str, T]:
        """What is known of affstore's own things once a module of the first package, if it is there, was imported.

        For kinds whose modules are called as what they bring: none of the others is imported.
        """
        name = f"{self.packages[0]}.{module}"
        if not self._has_own and module.isidentifier() and importlib.util.find_spec(name):
            importlib.import_module(name)
        return {name: thing for name, thing in self._things.items() if self._origins[name] == OWN}

    def origin(self, name: str) -> str:
        """The distribution that brought a name: `affstore`, or a plugin's name and version.

        Raises:
            UnknownNameError: nothing has that name.
        """
        self._fill()
        found = self._found(name)
        if found not in self._origins:
            raise UnknownNameError.of(self.kind, name, self.names())
        return self._origins[found]

    def faults(self) -> tuple[Fault, ...]:
        """What plugins brought that cannot be used."""
        self._fill()
        return tuple(self._faults[name] for name in sorted(self._faults))

    def _found(self, name: str) -> str:
        if name in self._things or name in self._faults:
            return name
        prefixes = [one for one in (*self._things, *self._faults) if one.endswith("/") and name.startswith(one)]
        return max(prefixes, key=len, default=name)

    def _fill_own(self) -> None:
        if self._has_own:
            return
        self._has_own = True
        for name in self.packages:
            package = importlib.import_module(name)
            for module in pkgutil.walk_packages(package.__path__, f"{name}."):
                importlib.import_module(module.name)

    def _fill(self) -> None:
        if self._filled:
            return
        self._fill_own()
        self._filled = True
        for entry in sorted(
            _entry_points(tuple(sys.path)).select(group=self.group), key=lambda entry: (entry.name, _origin(entry))
        ):
            self._load(entry)

    def _load(self, entry: EntryPoint) -> None:
        origin = _origin(entry)
        try:
            thing = entry.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin's import raises, the others must work
            self._fault(entry, f"raised {type(error).__name__} when it was imported: {error}")
            return
        written_for = getattr(thing, "contract", None)
        if written_for != self.contract:
            contract = (
                "does not say which contract it follows" if written_for is None else f"follows contract {written_for}"
            )
            ours = f"this affstore has contract {self.contract} for {self.kind}s"
            self._fault(entry, f"{contract}; {ours}. Update the package")
            return
        if not isinstance(thing, self.base):
            found = f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__}"
            self._fault(entry, f"is {found}, not an object of {self.base.__module__}.{self.base.__name__}")
            return
        try:
            self.register(entry.name, thing, origin)
        except DuplicateNameError as error:
            self._faults[entry.name] = Fault(entry.name, origin, str(error), DuplicateNameError)

    def _fault(self, entry: EntryPoint, why: str) -> None:
        reason = f"The {self.kind} '{entry.name}' of {_origin(entry)} cannot be used: it {why}."
        self._faults[entry.name] = Fault(entry.name, _origin(entry), reason)


@cache
def _entry_points(places: tuple[str, ...]) -> EntryPoints:
    """What all installed packages bring, looked for once for all registries.

    Args:
        places: where Python looks for packages; they are looked for again where these have changed.
    """
    return entry_points()


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value
