"""The commands `chat`, `send` and `listen`: their options, and the one place that puts a client together."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall

from securechat.client.archive import DiskArchive
from securechat.client.conversation import Conversation
from securechat.client.errors import EXIT_HELP, ClientError, Exit
from securechat.client.events import Event
from securechat.client.home import Pins, home_directory
from securechat.client.keeping import Keeper
from securechat.client.keys import KeyFile
from securechat.client.ledger import DiskLedger
from securechat.client.link import Link
from securechat.client.login import Login
from securechat.client.options import add_places, checked, command, history_days, positive, relay_address
from securechat.client.passphrase import ask_on_terminal, change_passphrase, read_passphrase
from securechat.client.pipe import Pipe, failure_line
from securechat.client.sealed_file import SealedFile
from securechat.crypto.engines import EngineUnavailable, choose
from securechat.crypto.worker import CryptoWorker
from securechat.e2e.body import BodyError, check_text
from securechat.wire.address import Address
from securechat.wire.names import LOBBY

CLOSE_S = 5.0
"""Seconds for goodbyes and for the output to be taken when the program ends."""

EXPIRE_S = 3600.0
"""Seconds until it is looked again for what was kept for long enough."""

OPENING_MOST = 4_096
"""Messages on their way through the worker before the link is read no further."""


class Front(Protocol):
    """The side of the program that a person or a script sees."""

    def tell(self, event: Event) -> None:
        """Something happened."""

    def is_taken(self) -> bool:
        """Whether all that was told is out of our hands, as far as that can be done now."""

    def close(self) -> Deferred[None]:
        """Tell nothing more; fires when the terminal or the pipe is as it was."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this module's commands to the program's parser."""
    chat = command(commands, "chat", "talk: on a terminal with a screen, in a pipe line by line", run_chat)
    chat.add_argument("name", metavar="NAME", help="your name: lower-case letters, digits, '.', '_', '-'")
    chat.add_argument("--room", default=LOBBY, help=f"the room to start in (default {LOBBY})")
    chat.add_argument("--json", action="store_true", help="JSON lines in and out, also on a terminal")
    days = "for how many days what is said in rooms that you found is kept to be read again (default 0: not at all)"
    chat.add_argument("--history", type=history_days, metavar="DAYS", default=0, help=days)
    chat.add_argument(
        "--no-archive", action="store_true", help="keep no text on this machine, whatever rooms let you"
    )
    send = command(commands, "send", "send one message, and exit once the relay has it", run_send)
    send.add_argument("name", metavar="NAME", help="your name")
    send.add_argument("room", metavar="ROOM", help="#room, or @name for one person")
    send.add_argument("text", metavar="TEXT", help="what to say; '-' reads it from standard input")
    send.add_argument("--json", action="store_true", help="JSON lines out")
    listen = command(commands, "listen", "print what is said in a room", run_listen)
    listen.add_argument("name", metavar="NAME", help="your name")
    listen.add_argument("room", metavar="ROOM", help="#room, or @name for one person")
    listen.add_argument("--json", action="store_true", help="JSON lines out")
    listen.add_argument("--count", type=positive, metavar="N", help="exit after N messages")
    _add_passphrase(commands)


def _add_passphrase(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    lock = commands.add_parser(
        "passphrase",
        help="put your keys under a passphrase, or under none",
        description="Put your keys for one relay under a passphrase, another passphrase, or none.",
        epilog=EXIT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    lock.set_defaults(run=run_passphrase)
    lock.add_argument("name", metavar="NAME", help="your name")
    add_places(lock)
    lock.add_argument("--new-passphrase-file", metavar="FILE", help="has the new passphrase; else it is asked for")
    lock.add_argument("--remove", action="store_true", help="no passphrase from now on")


def _open_closed_streams() -> None:
    """Put /dev/null where a standard stream is closed: Python has None there, and the reactor takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def run_chat(options: argparse.Namespace) -> int:
    """Talk, on a terminal or in a pipe."""
    _open_closed_streams()
    if not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        from securechat.client.terminal import usable

        if usable(sys.stdin, sys.stdout, os.environ):
            return _run(options, _interactive, has_ledger=True)
    return _run(options, lambda client: _piped(client, stdin=0), has_ledger=True)


def run_send(options: argparse.Namespace) -> int:
    """Send one message."""
    _open_closed_streams()
    text = options.text
    if text == "-":
        try:
            text = sys.stdin.buffer.read().decode().removesuffix("\n")
        except UnicodeDecodeError:
            print("securechat: the input is not UTF-8", file=sys.stderr)
            return Exit.BAD_DATA

    def build(client: Client) -> None:
        pipe = _piped(client, stdin=None)
        if options.room.startswith("@"):
            client.conversation.direct(options.room[1:], text)
        else:
            client.conversation.say(options.room, text)
        pipe.readConnectionLost()

    try:
        check_text(text)
    except BodyError as wrong:
        print(f"securechat: {wrong}", file=sys.stderr)
        return Exit.BAD_DATA
    return _run(options, build)


def run_listen(options: argparse.Namespace) -> int:
    """Print what is said."""
    _open_closed_streams()
    return _run(options, lambda client: _piped(client, stdin=None))


def run_passphrase(options: argparse.Namespace) -> int:
    """Set or remove the passphrase of a key store."""
    _open_closed_streams()
    try:
        address = relay_address(options)
        file = KeyFile(home_directory(options.home, os.environ), address.place, options.name)
        new = None if options.new_passphrase_file is None else read_passphrase(options.new_passphrase_file)
        said = change_passphrase(file, _now_ms(), _passphrase(options), new, remove=options.remove)
    except ClientError as wrong:
        print(failure_line(wrong), file=sys.stderr)
        return wrong.status
    print(said, file=sys.stderr)
    return Exit.DONE


class Client:
    """One run of a client: what it consists of, and how it ends."""

    def __init__(
        self, options: argparse.Namespace, reactor: Any, address: Address, home: Path, *, has_ledger: bool
    ) -> None:
        self.options = options
        self.reactor = reactor
        self.home = home
        self.front: Front
        self.status: Exit = Exit.INTERRUPTED
        self._text = ""
        self._ending = False
        self.worker = CryptoWorker(choose(options.engine), reactor)
        file = KeyFile(home, address.place, options.name)
        store = file.open(_now_ms(), _passphrase(options), lambda: ask_on_terminal("passphrase of your keys: "))
        self._keeper = Keeper(file, store, reactor, self._gave_up)
        self._ledger = archive = None
        if has_ledger:
            sealed = SealedFile(file.ledger_path, store.secrets.person.identity.seed)
            self._ledger = DiskLedger(sealed)
            archive = None if options.no_archive else DiskArchive(sealed)
        login = Login(store.secrets, _now_ms, self._keeper.store)
        self.link = Link(_endpoint(reactor, address), address, login, reactor, Pins(home), self._gave_up)
        self.conversation = Conversation(
            store.secrets,
            self.worker,
            self.link.send,
            self._tell,
            _now_ms,
            self._keeper.soon,
            keep_now=self._keeper.now,
            later=reactor.callLater,
            ledger=self._ledger,
            archive=archive,
            failed=self._lost_ledger,
            history_days=getattr(options, "history", 0),
            is_taken=lambda: self.front.is_taken(),
        )
        self._keeper.pack = self.conversation.pack
        self._keeper.stored = self.conversation.stored
        self._keeper.is_taken = lambda: self.front.is_taken()
        self._expiring = LoopingCall(self.conversation.expire)
        self._expiring.clock = reactor

    def start(self) -> None:
        """Begin, as soon as the reactor runs; `front` must be there."""
        self.worker.startService()
        self.reactor.addSystemEventTrigger("before", "shutdown", self._shut_down)
        self.conversation.begin()
        self._expiring.start(EXPIRE_S)
        self.link.start(self.conversation)

    def finish(self, status: Exit, text: str = "") -> None:
        """End the program with a status, and one line on stderr if there is anything to say."""
        if not self._ending:
            self._ending = True
            self.status, self._text = status, text
            self.reactor.callLater(0, self.reactor.stop)

    def report(self) -> int:
        """Say what is left to say, once the reactor has stopped; the exit status."""
        if self._text:
            print(failure_line(ClientError(self._text)), file=sys.stderr)
        return self.status

    def _tell(self, event: Event) -> None:
        self.front.tell(event)
        if self.conversation.opening > OPENING_MOST:
            self.link.hold("worker")
        elif not self.conversation.opening:
            self.link.release("worker")

    def _lost_ledger(self, error: ClientError) -> None:
        """What cannot be read or written stays as it is: a run that can may find in it what was said."""
        self._ledger = None
        self._gave_up(error)

    def _gave_up(self, error: ClientError) -> None:
        self.finish(error.status, str(error))

    def _shut_down(self) -> Deferred[Any]:
        """Whatever ended us: close the link, the worker and the front, in bounded time."""
        self._ending = True
        self._expiring.stop()
        closing = DeferredList([self.link.stop(), self.front.close()])
        closing.addCallback(lambda _: self.worker.stopService())
        closing.addCallback(lambda _: self._close())
        bounded: Deferred[Any] = Deferred()
        call = self.reactor.callLater(CLOSE_S, bounded.callback, None)

        def closed(_: object) -> None:
            if call.active():
                call.cancel()
                bounded.callback(None)

        closing.addCallback(closed)
        return bounded

    def _close(self) -> None:
        self._keeper.now()
        try:
            if self._ledger is not None:
                self._ledger.close()
        except ClientError as wrong:
            self._gave_up(wrong)
        self._keeper.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _passphrase(options: argparse.Namespace) -> str | None:
    """What the file says that was named, if one was."""
    return None if options.passphrase_file is None else read_passphrase(options.passphrase_file)


def _run(options: argparse.Namespace, build: Callable[[Client], object], *, has_ledger: bool = False) -> int:
    from twisted.internet import reactor as the_reactor

    reactor: Any = the_reactor
    # The wall clock can be set back or forward; timers then fire late or all at once (RELIABILITY.md §4).
    reactor.seconds = time.monotonic
    try:
        address = checked(options)
        client = Client(options, reactor, address, home_directory(options.home, os.environ), has_ledger=has_ledger)
        build(client)
    except (ClientError, EngineUnavailable) as wrong:
        print(failure_line(ClientError(str(wrong))), file=sys.stderr)
        return wrong.status if isinstance(wrong, ClientError) else Exit.FAILED
    client.start()
    # A closed terminal window ends the program as SIGTERM does, so that the screen is put back; nohup prevents it.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(client.finish, Exit.INTERRUPTED))
    reactor.run()
    return client.report()


def _endpoint(reactor: Any, address: Address) -> Any:
    from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint

    if address.path:
        return UNIXClientEndpoint(reactor, address.path)
    return HostnameEndpoint(reactor, address.host, address.port)


def _interactive(client: Client) -> None:
    """The screen."""
    from securechat.client.terminal import Terminal

    options = client.options
    terminal = Terminal(
        client.reactor,
        client.conversation,
        options.room,
        quit=lambda: client.finish(Exit.DONE),
        color=not options.no_color and not os.environ.get("NO_COLOR"),
        now=lambda: datetime.now().astimezone(),
    )
    client.front = terminal
    terminal.start()
    client.conversation.enter(terminal.room)


def _piped(client: Client, stdin: int | None) -> Pipe:
    """The line mode, reading standard input where it is given."""
    from securechat.client.standard import Standard

    options = client.options
    pipe = Pipe(
        client.reactor,
        options.room,
        options.json,
        client.finish,
        count=getattr(options, "count", None),
        chatty=options.verbose,
    )
    client.front = pipe
    # A command that reads nothing gets a pipe that never ends, rather than an end that it would take for its own.
    Standard(pipe, os.pipe()[0] if stdin is None else stdin, reactor=client.reactor)
    pipe.start(client.conversation, client.link)
    return pipe
