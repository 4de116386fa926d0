"""The passphrase of a key store: where it comes from, and the command that sets or removes it.

Never an argument, which everybody on the machine can see: it is the first line of a file, or is asked for on the
terminal. Standard input is not asked, as in a pipe it holds what is to be said.
"""

import os
from collections.abc import Callable
from typing import Final

from securechat.client.errors import ClientError, Exit
from securechat.client.keys import KeyFile

FILE_BYTES: Final = 4_096
"""The longest passphrase file."""

Ask = Callable[[str], str]
"""Shows a prompt and gives what was typed, unseen."""


def read_passphrase(path: str) -> str:
    """The first line of a file. Raises `ClientError` where it cannot be read, or holds no passphrase."""
    try:
        with open(path, "rb") as file:
            text = file.read(FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as wrong:
        why = wrong.strerror if isinstance(wrong, OSError) else "it is not UTF-8"
        raise ClientError(f"cannot read {path}: {why}", Exit.USAGE) from wrong
    passphrase = text.split("\n", 1)[0].removesuffix("\r")
    if not passphrase:
        raise ClientError(f"there is no passphrase in {path}", Exit.USAGE)
    return passphrase


def ask_on_terminal(prompt: str) -> str:
    """Ask the person at the terminal. Raises `ClientError` where there is none."""
    from getpass import getpass

    try:
        # Looked for first: without one `getpass` would read standard input, and show what it reads.
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        return getpass(prompt)
    except (OSError, EOFError):
        raise ClientError(
            "your keys have a passphrase: name a file with --passphrase-file, or be at a terminal",
            Exit.NOT_PERMITTED,
        ) from None


def change_passphrase(
    file: KeyFile, now_ms: int, old: str | None, new: str | None, *, remove: bool, ask: Ask = ask_on_terminal
) -> str:
    """Set, change or remove the passphrase of a store; gives the sentence to show.

    `old` and `new` are asked for where they are None and needed. Raises `ClientError`.
    """
    if not file.exists:
        raise ClientError(f"there are no keys at {file.path}; they are made when you first log in", Exit.USAGE)
    store = file.open(now_ms, old, lambda: ask("passphrase of your keys: "))
    try:
        if not remove and new is None:
            new = _asked_twice(ask)
        file.lock(store, None if remove else new)
        file.save(store)
    finally:
        file.close()
    return "your keys have no passphrase now" if remove else "your keys have a new passphrase now"


def _asked_twice(ask: Ask) -> str:
    """Whatever is typed unseen may be mistyped, and would lock its owner out."""
    new = ask("new passphrase: ")
    if not new:
        raise ClientError("a passphrase has at least one character; --remove removes it", Exit.USAGE)
    if ask("the same again: ") != new:
        raise ClientError("the two were not the same; nothing was changed", Exit.USAGE)
    return new
