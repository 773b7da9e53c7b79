"""Settings of the command line: flags win over the environment, that over `mesoface.toml`, that over the defaults.

In the file a table per command holds its options: `[studio.render]`, `size = "medium"`. In the environment the same is
MESOFACE_STUDIO_RENDER_SIZE. Paths are taken as typed at the prompt: relative to the working folder.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import App
from cyclopts.argument import Argument, ArgumentCollection
from cyclopts.token import Token

from ..capture.errors import UserError
from .command_tree import all_commands, option_names

FILE = "mesoface.toml"
PREFIX = "MESOFACE_"
Values = str | tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """What an option is set to, and by what."""

    value: Values
    origin: str
    """Name of the environment variable, or file and key."""


@dataclass(frozen=True)
class Settings:
    """What the settings file and the environment say."""

    path: Path | None
    """The settings file, or None where there is none."""
    table: Mapping[str, Any]
    environment: Mapping[str, str]

    def of(self, names: tuple[str, ...], argument: Argument) -> Setting | None:
        """What an option of a command is set to outside its flags. Raises UserError for a value of the wrong kind."""
        for name in option_names(argument):
            variable = variable_of(names, name)
            if variable in self.environment:
                text = self.environment[variable]
                several = _takes_several(argument)
                return Setting(tuple(argument.env_var_split(text)) if several else text, variable)
        table = _below(self.table, names)
        for key, value in table.items():
            if key.replace("_", "-") in option_names(argument):
                where = f"{self.path}, [{'.'.join(names)}] {key}"
                return Setting(_values(value, _takes_several(argument), where), where)
        return None

    def fill(self, app: App, names: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Give the options that no flag names their settings; the hook `App.config` of cyclopts."""
        self._check_environment(names, arguments)
        for argument in arguments:
            if argument.has_tokens or not argument.parse:
                continue
            setting = self.of(names, argument)
            if setting is None:
                continue
            values = (setting.value,) if isinstance(setting.value, str) else setting.value
            for index, value in enumerate(values):
                argument.append(Token(keyword=argument.name, value=value, source=setting.origin, index=index))

    def _check_environment(self, names: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """A misspelt variable of the running command is a mistake, not a silent nothing."""
        beginning = variable_of(names, "")
        known = {variable_of(names, name) for argument in arguments for name in option_names(argument)}
        for variable in sorted(self.environment):
            if names and variable.startswith(beginning) and variable not in known:
                raise UserError(
                    f"environment variable {variable}: mesoface {' '.join(names)} has no such option"
                    f"{_similar(variable, known)}; unset it, or see: mesoface {' '.join(names)} --help"
                )


def variable_of(names: tuple[str, ...], option: str) -> str:
    """Name of the environment variable of an option: MESOFACE_STUDIO_RENDER_FACE_MODEL."""
    return PREFIX + "_".join((*names, option)).upper().replace("-", "_")


def load_settings(app: App, path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read `path`, or mesoface.toml of the working folder where there is one, and check it against the commands.

    Raises UserError, naming file and key, for a file that is missing or no TOML and for unknown commands and options.
    """
    chosen = path or Path(FILE)
    environment = os.environ if environment is None else environment
    if path is None and not chosen.is_file():
        return Settings(None, {}, environment)
    try:
        with chosen.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise UserError(f"--config {chosen}: cannot be read ({error.strerror}); expected a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{chosen}: is no valid TOML ({error})") from None
    options = {
        command.names: [name for argument in command.arguments for name in option_names(argument)]
        for command in all_commands(app)
    }
    _check(table, options, chosen, ())
    return Settings(chosen, table, environment)


def _check(table: Mapping[str, Any], options: Mapping[tuple[str, ...], list[str]], path: Path, names: tuple[str, ...]):
    """Raise UserError for a key that is neither an option of the command `names` nor a command below it."""
    below = sorted({known[len(names)] for known in options if known[: len(names)] == names and len(known) > len(names)})
    for key, value in table.items():
        if key in below:
            if not isinstance(value, dict):
                raise UserError(f"{path}: {'.'.join((*names, key))} is a command, expected a table [{key}]")
            _check(value, options, path, (*names, key))
            continue
        known = options.get(names, [])
        if key.replace("_", "-") in known:
            continue
        where = f"[{'.'.join(names)}] {key}" if names else f"key {key}"
        what = f"mesoface {' '.join(names)} has no such option" if known else "there is no such command"
        similar = _similar(key.replace("_", "-"), {*known, *below})
        raise UserError(f"{path}: {where}: {what}{similar}; known are {', '.join(known or below)}")


def _similar(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), 1)
    return f", did you mean {close[0]}?" if close else ""


def _below(table: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    for name in names:
        table = table.get(name, {})
    return table


def _takes_several(argument: Argument) -> bool:
    return argument.token_count()[1]


def _values(value: Any, several: bool, where: str) -> Values:
    """A TOML value as the words that would be typed."""
    if isinstance(value, list):
        if not several:
            raise UserError(f"{where}: is a list, expected one value")
        return tuple(_word(item, where) for item in value)
    word = _word(value, where)
    return (word,) if several else word


def _word(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise UserError(f"{where}: {value!r} is a {type(value).__name__}, expected text, a number, true or false")
