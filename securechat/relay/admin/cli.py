"""The operator's commands: `securechat-relay`, or `securechat relay`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from securechat.relay.admin.errors import EXIT_HELP, AdminError, Exit

SUMMARY: Final = "look after a relay: backups, its storage key, who is there and who may not be"

Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of `securechat-relay`, and return the exit status."""
    from securechat import __version__

    parser = _described(argparse.ArgumentParser(prog="securechat-relay"))
    parser.add_argument("--version", action="version", version=f"securechat-relay {__version__}")
    _add_commands(parser)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def add_relay(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `relay` with its commands to those of `securechat`."""
    _add_commands(_described(commands.add_parser("relay", help=SUMMARY)))


def _described(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.description = f"{SUMMARY[0].upper()}{SUMMARY[1:]}. Start a relay with: twistd -n securechat"
    parser.epilog = EXIT_HELP
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def _add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    backup = _command(commands, "backup", "copy the store, whether or not the relay runs, and check the copy")
    backup.add_argument("file", metavar="FILE", type=Path, help="where to put the backup")
    backup.add_argument("--force", action="store_true", help="replace FILE where it is there already")
    verify = _command(commands, "verify", "check that a backup is whole and opens with the storage key")
    verify.add_argument("file", metavar="FILE", type=Path, help="a backup, or the store of a relay that is stopped")
    restore = _command(commands, "restore", "put a backup in the store's place; the relay must be stopped")
    restore.add_argument("file", metavar="FILE", type=Path, help="the backup")
    for name, summary in (
        ("users", "list the names, and whose they are"),
        ("rooms", "list the rooms"),
        ("bans", "list who is banned"),
    ):
        listing = _command(commands, name, summary)
        listing.add_argument("--json", action="store_true", help="a JSON object on each line")
    remove = _command(commands, "remove-name", "free a name for somebody else; the key that had it is banned")
    remove.add_argument("name", metavar="NAME", help="the name")
    ban = _command(commands, "ban", "keep out an identity key, or all of a network")
    ban.add_argument("what", metavar="WHAT", help="a name, for its owner's key, a key, or an address[/length]")
    unban = _command(commands, "unban", "let in again what was banned")
    unban.add_argument("what", metavar="WHAT", help="a name, a key or a network, as `bans` shows them")
    rotate = _command(commands, "rotate-key", "seal the store under a new key; the relay must be stopped")
    rotate.add_argument("--keep-old", metavar="FILE", type=Path, help="put the old key there, for old backups")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=EXIT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-d",
        "--data",
        metavar="DIR",
        help="the relay's data directory (default: $STATE_DIRECTORY, or that of your user)",
    )
    parser.add_argument(
        "--storage-key", metavar="FILE", type=Path, help="the storage key, if it is not in the data directory"
    )
    parser.set_defaults(run=lambda options: _run(name, options))
    return parser


def _run(name: str, options: argparse.Namespace) -> int:
    """Carry out a command; what goes wrong is one line."""
    import sqlite3

    from securechat.relay.admin.commands import COMMANDS
    from securechat.relay.admin.explaining import explained
    from securechat.relay.admin.place import Place
    from securechat.relay.errors import RelayError
    from securechat.relay.place import data_directory

    command: Callable[[Place, argparse.Namespace], None] = COMMANDS[name]
    # Whatever is made, and SQLite makes files too, is for its owner alone.
    mask = os.umask(0o077)
    try:
        command(Place(data_directory(options.data, os.environ), options.storage_key), options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Nobody reads any more. Python would say so once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Exit.FAILED
    except AdminError as wrong:
        return _failed(wrong)
    except (RelayError, OSError, sqlite3.Error) as wrong:
        return _failed(explained(wrong))
    finally:
        os.umask(mask)
    return Exit.DONE


def _failed(wrong: AdminError) -> int:
    print(f"securechat-relay: {wrong}", file=sys.stderr)
    return wrong.status
