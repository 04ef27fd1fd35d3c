"""From a configuration to plugins: which ones, from where, and each with its section."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

from wegent.core.config import Tree, build, from_environment, from_settings, merge, read_toml, unknown_section
from wegent.core.errors import ConfigError
from wegent.core.kernel import KernelConfig
from wegent.core.ports.plugin import Plugin

GROUP = "wegent.plugins"
PRESET = "default"


@frozen
class PluginsConfig:
    """Names of entry points, or `module:Class`. `add` and `remove` change what the preset loads."""

    load: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """What is to be loaded, in order, each once."""
        unknown = [name for name in self.remove if name not in (*self.load, *self.add)]
        if unknown:
            message = f"[plugins] remove names {', '.join(unknown)}, which would not be loaded anyway"
            raise ConfigError(message)
        return [name for name in dict.fromkeys((*self.load, *self.add)) if name not in self.remove]


@frozen
class LogConfig:
    """`level` as the standard library names it; `format`: text or json."""

    level: str = "INFO"
    format: Literal["text", "json"] = "text"


@frozen
class Assembly:
    """A deployment, ready to be given to a kernel."""

    plugins: Sequence[tuple[Plugin, Any]]
    kernel: KernelConfig
    log: LogConfig


def read_tree(
    config: Path | None, environ: Mapping[str, str], settings: Iterable[str], *, preset: str = PRESET
) -> Tree:
    """The whole configuration: preset (that of this name, unless another is set), file, environment, settings; later
    ones win.
    """
    given = merge(read_toml(config) if config else {}, from_environment(environ), from_settings(settings))
    preset = given.pop("preset", preset)
    return merge(read_preset(str(preset)), given)


def read_preset(name: str) -> Tree:
    """A preset's tree, by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    folder = files("wegent.presets")
    found = folder / f"{name}.toml"
    if not found.is_file():
        names = sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))
        message = f"there is no preset {name!r}; there are {', '.join(names)}"
        raise ConfigError(message)
    return read_toml(Path(str(found)))


def assemble(tree: Tree) -> Assembly:
    """The plugins that the tree lists, each with its section built.

    Raises:
        ConfigError: a plugin or section is not known, or a value is wrong.
    """
    rest = dict(tree)
    kernel = build(KernelConfig, rest.pop("kernel", {}), "kernel")
    log = build(LogConfig, rest.pop("log", {}), "log")
    chosen = build(PluginsConfig, rest.pop("plugins", {}), "plugins")
    installed = {point.name: point for point in entry_points(group=GROUP)}
    plugins: list[tuple[Plugin, Any]] = []
    for name in chosen.names():
        plugin = load_plugin(name, installed)
        section = rest.pop(plugin.name, None)
        if section is None:
            section = rest.pop(plugin.name.replace("-", "_"), {})
        if not isinstance(section, Mapping):
            message = f"{plugin.name} is a section, not a value"
            raise ConfigError(message)
        plugins.append((plugin, build(plugin.Config, section, plugin.name)))
    for section in rest:
        if section not in installed and section.replace("_", "-") not in installed:
            raise unknown_section(section, [plugin.name for plugin, _ in plugins])
    return Assembly(plugins, kernel, log)


def load_plugin(name: str, installed: Mapping[str, EntryPoint]) -> Plugin:
    """A new instance of a plugin, by the name of its entry point or as `module:Class`.

    Raises:
        ConfigError: there is none, or it can't be imported; the sentence says why.
    """
    try:
        if name in installed:
            found = installed[name].load()
        elif ":" in name:
            module, _, attribute = name.partition(":")
            found = getattr(importlib.import_module(module), attribute)
        else:
            message = f"there is no plugin {name!r}; installed are {', '.join(sorted(installed))}"
            raise ConfigError(message)
    except (ImportError, AttributeError) as error:
        message = f"plugin {name!r} can't be loaded: {error}"
        raise ConfigError(message) from error
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        message = f"{name!r} is no plugin: it should be a subclass of wegent.core.ports.plugin.Plugin"
        raise ConfigError(message)
    return found()
