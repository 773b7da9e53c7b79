"""All commands of the command line and their options, for settings, help and checks."""

from collections.abc import Iterator
from dataclasses import dataclass

from cyclopts import App
from cyclopts.argument import Argument


@dataclass(frozen=True)
class Command:
    """One command that can be run."""

    names: tuple[str, ...]
    """As typed after `mesoface`, for example ("studio", "render")."""
    app: App

    @property
    def title(self) -> str:
        return " ".join(self.names)

    @property
    def arguments(self) -> list[Argument]:
        """What can be given to it."""
        return [one for one in self.app.assemble_argument_collection(parse_docstring=True) if one.parse]


def all_commands(app: App, names: tuple[str, ...] = ()) -> Iterator[Command]:
    """Every command below `app`, in the order of its registration; --help, --version and the like left out."""
    for name in app:
        if name.startswith("-"):
            continue
        below = app[name]
        if below.default_command is not None:
            yield Command((*names, name), below)
        yield from all_commands(below, (*names, name))


def option_names(argument: Argument) -> tuple[str, ...]:
    """The names of an option in kebab case without dashes, its --no-... forms left out; () for a bare positional."""
    return tuple(name[2:] for name in argument.names if name.startswith("--") and name not in argument.negatives)
