"""`mesoface config show`: the settings that commands would run with, and where each comes from."""

import inspect
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.argument import Argument
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..capture.errors import UserError
from .command_tree import Command, all_commands, option_names
from .json_output import json_result
from .settings import FILE, Settings

DEFAULT = "default"


def show(
    *command: str,
    json: bool = False,
    app: Annotated[App, Parameter(parse=False)],
    settings: Annotated[Settings, Parameter(parse=False)],
) -> None:
    """Show what the settings file and the environment set, and where each setting comes from.

    Flags win over environment variables, those over the file, that over the defaults.

    Example: mesoface config show

    Example: mesoface config show studio render

    Parameters
    ----------
    command
        A command or a group of commands: shows its defaults too.
    json
        One JSON object on standard output.
    """
    chosen = [known for known in all_commands(app) if known.names[: len(command)] == command]
    if not chosen:
        raise UserError(f"mesoface {' '.join(command)}: there is no such command; see: mesoface --help")
    rows = [row for known in chosen for row in _rows(known, settings, with_defaults=bool(command))]
    console = Console(highlight=False)
    with json_result(json) as result:
        result["file"] = str(settings.path) if settings.path else None
        result["settings"] = rows
        console.print(f"file: {escape(str(settings.path or f'none (no {FILE} in this folder)'))}", soft_wrap=True)
        if not rows:
            console.print("neither a file nor the environment sets anything; a command's defaults: add its name")
            return
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("command", "option", "value", "from"):
            table.add_column(heading, overflow="fold")
        for row in rows:
            value = row["value"]
            shown = "" if value is None else " ".join(value) if isinstance(value, list) else str(value)
            table.add_row(row["command"], row["option"], escape(shown), escape(row["from"]))
        console.print(table)


def _rows(command: Command, settings: Settings, with_defaults: bool) -> list[dict[str, Any]]:
    rows = []
    for argument in command.arguments:
        names = option_names(argument)
        if not names:
            continue
        setting = settings.of(command.names, argument)
        if setting is not None:
            value = setting.value if isinstance(setting.value, str) else list(setting.value)
            rows.append(_row(command, names[0], value, setting.origin))
        elif with_defaults:
            rows.append(_row(command, names[0], _default(argument), DEFAULT if not argument.required else "required"))
    return rows


def _row(command: Command, option: str, value: Any, origin: str) -> dict[str, Any]:
    return {"command": command.title, "option": f"--{option}", "value": value, "from": origin}


def _default(argument: Argument) -> Any:
    """A default as JSON can hold it."""
    value = argument.field_info.default
    if value is inspect.Parameter.empty or value is None:
        return None
    if isinstance(value, bool | int | float | str):
        return value
    return [str(item) for item in value] if isinstance(value, list | tuple) else str(value)
