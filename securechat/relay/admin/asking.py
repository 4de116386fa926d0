"""A command's end of the admin socket."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from securechat.relay.admin.errors import AdminError, Exit
from securechat.relay.admin.listening import SOCKET_FILE
from securechat.relay.admin.messages import ANSWER_BYTES, Answer, Done, Failed, Request, line, read_answer
from securechat.relay.admin.short import short_path

PATIENCE_S: Final = 60.0
"""How long a relay may say nothing."""


class Link:
    """A link to a running relay."""

    def __init__(self, directory: Path) -> None:
        """Connect. Raises `FileNotFoundError` or `ConnectionRefusedError` where no relay runs, or `OSError`."""
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(PATIENCE_S)
            self._socket.connect(short_path(directory / SOCKET_FILE))
        except BaseException:
            self._socket.close()
            raise

    def ask(self, request: Request) -> Iterator[Answer]:
        """Ask once; the answers, of which the last is a `Done`. Raises `AdminError`."""
        try:
            self._socket.sendall(line(request))
            with self._socket.makefile("rb") as answers:
                while text := answers.readline(ANSWER_BYTES):
                    answer = read_answer(text)
                    if isinstance(answer, Failed):
                        raise AdminError(answer.text, _status(answer.status))
                    yield answer
                    if isinstance(answer, Done):
                        return
        except (msgspec.MsgspecError, ValueError) as wrong:
            raise AdminError("the relay's answer is not understood; is it of another version?") from wrong
        except OSError as wrong:
            raise AdminError(f"the relay does not answer: {wrong.strerror or wrong}") from wrong
        raise AdminError("the relay has ended the link; it may not be yours to ask", Exit.NOT_PERMITTED)

    def close(self) -> None:
        """End the link."""
        self._socket.close()


def connect(directory: Path) -> Link | None:
    """A link to the relay that runs on a directory, None where none does. Raises `AdminError`."""
    try:
        return Link(directory)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except PermissionError as wrong:
        raise AdminError(f"{directory} is not yours to use; try as root", Exit.NOT_PERMITTED) from wrong
    except OSError as wrong:
        raise AdminError(f"cannot reach the relay on {directory}: {wrong.strerror}") from wrong


def _status(number: int) -> Exit:
    try:
        return Exit(number)
    except ValueError:
        return Exit.FAILED
