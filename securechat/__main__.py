"""The `securechat` command."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        # Ctrl-C while the program is loading; later the reactor takes it.
        return 130


def _run(arguments: Sequence[str] | None) -> int:
    import argparse

    from securechat import __version__
    from securechat.client.cli import add_commands
    from securechat.client.errors import EXIT_HELP
    from securechat.crypto.engines import NAMES
    from securechat.disk.cores import forbid_core_files
    from securechat.relay.admin.cli import add_relay

    forbid_core_files()
    parser = argparse.ArgumentParser(
        prog="securechat",
        description="A private chat over a relay of your own. Start a relay with: twistd -n securechat",
        epilog=EXIT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"securechat {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_commands(commands)
    add_relay(commands)
    demo = commands.add_parser("demo", help="a relay and two clients, shown step by step")
    demo.add_argument("--engine", choices=NAMES, default="auto", help="what seals and opens (default auto)")
    demo.set_defaults(run=lambda options: _demo(options.engine))
    engines = commands.add_parser("engines", help="what can seal and open here, and why the rest cannot")
    engines.add_argument("-v", "--verbose", action="store_true", help="what auto knows of their costs")
    engines.set_defaults(run=lambda options: _engines(options.verbose))
    _add_bench(commands)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _add_bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from securechat.bench.options import add_options

    bench = commands.add_parser("bench", help="how fast this machine seals and opens")
    subjects = bench.add_subparsers(title="subjects", required=True, metavar="SUBJECT")
    crypto = subjects.add_parser(
        "crypto",
        help="every engine against a loop of single messages",
        description="Time every engine against a loop of single messages, over sizes and numbers of messages.",
    )
    add_options(crypto)
    crypto.set_defaults(run=_bench)


def _bench(options: "argparse.Namespace") -> int:
    from securechat.bench.command import run

    return run(options)


def _demo(engine: str) -> int:
    from securechat.demo import run_demo

    return run_demo(engine)


def _engines(verbose: bool) -> int:
    from securechat.crypto.auto import AutoEngine
    from securechat.crypto.engines import choose, survey
    from securechat.crypto.figures import lines

    for name, reason in survey().items():
        print(f"{name:<8}{'usable' if reason is None else f'not usable: {reason}'}")
    engine = choose("auto")
    try:
        if not isinstance(engine, AutoEngine):
            print(f"auto    takes {engine.name}")
            if verbose:
                print("        always: without a GPU there is nothing to choose between, and nothing was measured")
            return 0
        print(f"auto    takes {engine.host}, and a GPU where that is faster")
        if verbose:
            engine.prepare()
            for line in lines(engine.stats):
                print(f"        {line}")
        return 0
    finally:
        engine.close()


if __name__ == "__main__":
    sys.exit(main())
