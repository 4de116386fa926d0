"""What may stand on the command line of `chat`, `send`, `listen` and `passphrase`, and whether it makes sense."""

import argparse
import os
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from securechat.client.errors import EXIT_HELP, ClientError, Exit
from securechat.crypto.engines import NAMES
from securechat.signed.entries import HISTORY_DAYS
from securechat.wire.address import DEFAULT_HOST, DEFAULT_PORT, Address, AddressError, parse
from securechat.wire.codes import REASONS
from securechat.wire.names import is_room, name_refusal

DEFAULT_RELAY: Final = f"securechat://{DEFAULT_HOST}:{DEFAULT_PORT}"


def command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    help_text: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """A command with the options that all of them have that talk to a relay."""
    parser = commands.add_parser(
        name,
        help=help_text,
        description=f"{help_text[0].upper()}{help_text[1:]}.",
        epilog=EXIT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    add_places(parser)
    parser.add_argument("--engine", choices=NAMES, default="auto", help="what seals and opens (default auto)")
    parser.add_argument("--no-color", action="store_true", help="no colours (also by $NO_COLOR)")
    parser.add_argument(
        "--insecure-plaintext", action="store_true", help="allow securechat+tcp:// to another machine"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="tell more on stderr")
    return parser


def add_places(parser: argparse.ArgumentParser) -> None:
    """Where the relay is, and the keys."""
    parser.add_argument(
        "--relay",
        metavar="ADDRESS",
        default=os.environ.get("SECURECHAT_RELAY", DEFAULT_RELAY),
        help="securechat://host:port/#fingerprint, securechat+tcp://host:port or securechat+unix:///path "
        f"(default: $SECURECHAT_RELAY, or {DEFAULT_RELAY})",
    )
    parser.add_argument("--home", metavar="DIR", help="where your keys and relays' are kept ($SECURECHAT_HOME)")
    parser.add_argument("--passphrase-file", metavar="FILE", help="has your keys' passphrase, if they have one")


def positive(text: str) -> int:
    """A number of at least 1. Raises ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def history_days(text: str) -> int:
    """A number of days that a room's policy may have. Raises ValueError."""
    number = int(text)
    if not 0 <= number <= HISTORY_DAYS:
        raise ValueError
    return number


def checked(options: argparse.Namespace) -> Address:
    """The relay's address, if the command line makes sense. Raises `ClientError`."""
    address = relay_address(options)
    room = options.room
    if not is_room(room) and not (room.startswith("@") and name_refusal(room[1:]) is None):
        raise ClientError("a room is written #name, or @name for one person", Exit.USAGE)
    if not address.tls and not address.path and not options.insecure_plaintext and not _is_loopback(address.host):
        raise ClientError(
            "without TLS anybody on the way can read along; use securechat://, or say --insecure-plaintext",
            Exit.USAGE,
        )
    return address


def relay_address(options: argparse.Namespace) -> Address:
    """The relay's address, if name and address can be ones. Raises `ClientError`."""
    refusal = name_refusal(options.name)
    if refusal is not None:
        raise ClientError(REASONS[refusal], Exit.USAGE)
    try:
        return parse(options.relay)
    except AddressError as wrong:
        raise ClientError(f"--relay: {wrong}", Exit.USAGE) from wrong


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
