"""Commands of `greenshift`, each loaded when it is used, and how errors become exit codes.

SMAC and Dask take seconds to load, which `greenshift status` must not wait for. So modules of commands are imported
here, by name and nowhere else, once it is known which command is meant.
"""

from __future__ import annotations

import keyword
import logging
import sys
from importlib import import_module, metadata
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from service.cli.signals import INTERRUPTED, interrupt_on_signal, leaving_on_signal
from service.errors import InputError, ServiceError

# Command -> the module of service.cli where a function or a group of that name stands, and what --help says of it.
COMMANDS = {
    "run": ("run", "Runs a study on this machine or a Dask cluster."),
    "finalize": ("finalize", "Trains a front anew and judges it by the test split."),
    "presets": ("presets", "Lists the studies that come with the program."),
    "trial": ("trial", "Runs one trial in the foreground."),
    "worker": ("worker", "Runs workers for a Dask scheduler."),
    "certs": ("certs", "Makes certificates for a Dask cluster."),
    "cluster": ("cluster", "Runs workers as jobs of a batch system."),
    "serve": ("serve", "Runs studies that others submit."),
    "submit": ("submit", "Gives a study to the service."),
    "studies": ("studies", "Lists all studies of the service."),
    "status": ("studies", "Says how far a study is."),
    "watch": ("watch", "Shows a study while it runs."),
    "trials": ("trials", "Lists the trials of a study."),
    "front": ("front", "Shows the networks that no other dominates."),
    "report": ("report", "Writes the report of a study as one page."),
    "export": ("export", "Writes networks, or tables for other programs."),
    "import": ("importing", "Begins a study with what another optimizer found."),
    "pause": ("control", "Lets a study rest."),
    "resume": ("control", "Lets a study go on."),
    "stop": ("control", "Ends a study."),
    "retry": ("control", "Tries a trial again."),
    "cancel-trial": ("control", "Gives up a trial."),
    "logs": ("logs", "Shows what happened to a trial."),
    "workers": ("workers", "Lists the workers of the service, drains one."),
    "token": ("tokens", "Makes, lists and revokes tokens."),
}


# That of Typer, which does not name it but for errors that are one.
_USAGE_ERROR: Any = typer.BadParameter.__base__
# What anybody may have to read of one error.
_MAX_LINES = 6


class LazyCommand(TyperCommand):
    """A command of which no more than its name is known until it is used.

    Args:
        name: of the command.
        module: of `service.cli`, where it stands.
        short_help: what the list of commands says of it.
    """

    def __init__(self, name: str, module: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self._module = module

    def load(self) -> Any:
        """The command itself."""
        assert self.name is not None
        function = self.name.replace("-", "_") + "_" * keyword.iskeyword(self.name)
        with leaving_on_signal():
            found = getattr(import_module(f"service.cli.{self._module}"), function)
        holder = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=self.name)
        else:
            holder.command(self.name)(found)
        return get_group(holder).commands[self.name]

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """That of the command itself, which goes on from here; its help as well."""
        command = self.load()
        _silence_dask()
        return command.make_context(*arguments, **options)


def _silence_dask() -> None:
    """Dask tells of every connection that ends; what matters of that becomes an error of ours.

    It sets these levels itself where it is loaded, so it must have been.
    """
    for name in ("distributed", "distributed.client", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class LazyGroup(TyperGroup):
    """All commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (module, short_help) in COMMANDS.items():
            self.add_command(LazyCommand(name, module, short_help))

    def invoke(self, context: Any) -> Any:
        """What the command gives; Typer would end an interrupted one without a word."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=LazyGroup,
    name="greenshift",
    help="Finds deep shift neural networks that are accurate and frugal at once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"greenshift {metadata.version('greenshift')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Prints the version and ends.")
    ] = False,
) -> None:
    """Makes a group of it, as commands that are loaded later are not registered."""


def main() -> NoReturn:
    """Runs the command line; errors of the service end as one message and their exit code."""
    try:
        # Commands that go on for long say later what else signals do.
        interrupt_on_signal()
        sys.exit(app(standalone_mode=False) or 0)
    except _USAGE_ERROR as error:
        import_module("service.cli.usage").say(error)
        sys.exit(InputError.exit_code)
    except ServiceError as error:
        for line in str(error).splitlines()[:_MAX_LINES]:
            print(f"error: {line}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)  # noqa: T201
        sys.exit(ServiceError.exit_code)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
