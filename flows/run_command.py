"""Running one command line: settings in, the command, its log, and every way of failing as an exit code."""

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from ..capture.errors import REFUSALS, UserError
from .command_tree import all_commands
from .run_log import RunLog, run_log
from .settings import Settings, load_settings

DONE, REMARKS, MISTAKE, DEFECT, INTERRUPTED = 0, 1, 2, 70, 130
"""Exit codes; docs/commands.md says what each means. 70 is EX_SOFTWARE of sysexits.h."""

ASKING = {"--help", "-h", "--version", "--install-completion"}
"""Answered even beside a broken settings file."""


@dataclass(frozen=True)
class GlobalOptions:
    """The options that every command has."""

    config: Path | None = None
    log: bool = True


def run_command(app: App, arguments: list[str]) -> int:
    """Run a command line and return its exit code; nothing is raised for a mistake, a defect or an interruption."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        options, words = split_global_options(arguments)
        names = tuple(app.parse_commands(words)[0])
        asks = not ASKING.isdisjoint(words)
        settings = Settings(None, {}, {}) if asks else load_settings(app, options.config)
        app.config = (settings.fill,)
        try:
            command, bound, injected = app.parse_args(words, exit_on_error=False, print_error=True)
        finally:
            app.config = ()
    except CycloptsError:
        return MISTAKE
    except UserError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}")
        return MISTAKE
    if command not in {known.app.default_command for known in all_commands(app)}:
        result = app(
            words, exit_on_error=False, result_action="return_value"
        )  # --help, --version, --install-completion
        return result if isinstance(result, int) else DONE
    with run_log(names, bound, options.log) as log:
        code = _run(
            command, bound, {name: _injected(hint, app, settings) for name, hint in injected.items()}, log, errors
        )
        log.close(code)
    return code


def split_global_options(arguments: list[str]) -> tuple[GlobalOptions, list[str]]:
    """Take --config FILE and --no-log out of a command line, wherever they stand before a `--`."""
    config, log = None, True
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return GlobalOptions(config, log), [*rest, word, *words]
        if word == "--no-log":
            log = False
        elif word == "--config" or word.startswith("--config="):
            name = word.partition("=")[2] or next(words, "")
            if not name or name.startswith("--"):
                raise UserError("--config: name a settings file, for example: --config mesoface.toml")
            config = Path(name)
        else:
            rest.append(word)
    return GlobalOptions(config, log), rest


def _run(
    command: Callable[..., Any], bound: inspect.BoundArguments, injected: dict[str, Any], log: RunLog, errors: Console
) -> int:
    try:
        result = command(*bound.args, **bound.kwargs, **injected)
        return result if isinstance(result, int) else DONE
    except ValidationError as error:
        for problem in error.errors():
            where = "-".join(str(part) for part in problem["loc"])
            errors.print(f"[bold red]error:[/] {escape(where)}: {escape(problem['msg'])}, found {problem['input']!r}")
        log.error(error, whole=False)
        return MISTAKE
    except UserError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}")
        log.error(error, whole=False)
        return MISTAKE
    except KeyboardInterrupt:
        return _interrupted(log, errors)
    except OSError as error:
        if error.errno not in REFUSALS:
            return _defect(error, log, errors)
        where = f"{error.filename}: " if error.filename else ""
        advice = "mend that and run the same command again: every finished file is kept"
        errors.print(f"[bold red]error:[/] {escape(f'{where}{REFUSALS[error.errno]}; {advice}')}")
        log.error(error, whole=True)
        return MISTAKE
    except Exception as error:
        if _is_interruption(error):
            return _interrupted(log, errors)
        return _defect(error, log, errors)


def _defect(error: Exception, log: RunLog, errors: Console) -> int:
    log.error(error, whole=True)
    what = " ".join(str(error).split())
    if log.path is None:
        errors.print(escape("".join(traceback.format_exception(error))))
    where = f"the whole story is in {log.path}" if log.path else "the whole story is above; no log was written"
    errors.print(f"[bold red]defect:[/] {escape(f'{type(error).__name__}: {what}; {where}')}")
    return DEFECT


def _interrupted(log: RunLog, errors: Console) -> int:
    errors.print("interrupted; every finished file is kept, run the same command again to continue")
    log.write("interrupted")
    return INTERRUPTED


def _is_interruption(error: BaseException | None) -> bool:
    """Ctrl-C, also when it struck inside a compiled kernel, which turns it into the cause of a SystemError."""
    if not isinstance(error, SystemError):
        return False
    found: BaseException | None = error
    while found is not None and not isinstance(found, KeyboardInterrupt):
        found = found.__cause__ or found.__context__
    return found is not None


def _injected(hint: Any, app: App, settings: Settings) -> Any:
    """What a command asks for by its type alone (`Parameter(parse=False)`)."""
    return {App: app, Settings: settings}[hint]
