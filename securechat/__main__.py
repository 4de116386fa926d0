"""The `securechat` command."""

import sys
from collections.abc import Sequence


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

    parser = argparse.ArgumentParser(
        prog="securechat",
        description="A private chat over a relay of your own. Start a relay with: twistd -n securechat",
        epilog=EXIT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"securechat {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_commands(commands)
    demo = commands.add_parser("demo", help="a relay and two clients, shown step by step")
    demo.add_argument("--engine", choices=NAMES, default="auto", help="what seals and opens (default auto)")
    demo.set_defaults(run=lambda options: _demo(options.engine))
    engines = commands.add_parser("engines", help="what can seal and open here, and why the rest cannot")
    engines.add_argument("-v", "--verbose", action="store_true", help="what auto knows of their costs")
    engines.set_defaults(run=lambda options: _engines(options.verbose))
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _demo(engine: str) -> int:
    from securechat.demo import run_demo

    return run_demo(engine)


def _engines(verbose: bool) -> int:
    from securechat.crypto.auto import AutoEngine
    from securechat.crypto.engines import choose, survey
    from securechat.crypto.figures import lines

    reasons = survey()
    for name, reason in reasons.items():
        print(f"{name:<8}{'usable' if reason is None else f'not usable: {reason}'}")
    engine = choose("auto")
    try:
        # Where there may be a GPU but none could be opened just now, auto will find that out, too.
        gpu = ", and a GPU where that is faster" if reasons["cuda"] is None else ""
        print(f"auto    takes {engine.host if isinstance(engine, AutoEngine) else engine.name}{gpu}")
        if verbose and isinstance(engine, AutoEngine):
            engine.prepare()
            for line in lines(engine.stats):
                print(f"        {line}")
        elif verbose:
            print("        always: without a GPU there is nothing to choose between, and nothing was measured")
        return 0
    finally:
        engine.close()


if __name__ == "__main__":
    sys.exit(main())
