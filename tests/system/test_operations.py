"""deploy/ and docs/OPERATIONS.md against the program: what they name exists, and what exists they name."""

from __future__ import annotations

import argparse
import ast
import os
import re
import shlex
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from twisted.internet.task import Clock
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

import securechat
from securechat.relay.admin.cli import add_relay
from securechat.relay.admin.commands import COMMANDS
from securechat.relay.exposition import exposition
from securechat.relay.factory import RelayFactory
from securechat.relay.lateness import Lateness
from securechat.relay.limit_options import LIMITS
from securechat.relay.limits import RelayLimits
from securechat.relay.log import MemoryLog
from securechat.relay.measures import Disk, Measures
from securechat.relay.tap import Options
from securechat.wire.address import Address
from tests.crypto.fakes import Rig
from tests.relay.process import PATIENCE_S, TWISTD, Talker, fresh_directory
from tests.relay.scraping import names

CHECKOUT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = CHECKOUT / "deploy"
GUIDE: Final = (CHECKOUT / "docs/OPERATIONS.md").read_text(encoding="utf-8")

Unit = dict[str, dict[str, list[str]]]


def read_unit(name: str) -> Unit:
    """A unit as sections of settings, of which each may be given more than once; anything else is an error."""
    found: Unit = {}
    text = (DEPLOY / name).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), defaultdict(list))
            continue
        key, equals, value = line.partition("=")
        assert equals, line
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", key), line
        section[key].append(" ".join(value.split()))
    return found


def relay_options(words: list[str]) -> Options:
    """The relay's options in a command that begins with twistd; those of twistd itself must exist, too."""
    from twisted.scripts._twistd_unix import ServerOptions

    at = words.index("securechat")
    own = ServerOptions()
    own.parseOptions([*words[1:at], "securechat"])
    assert own["nodaemon"]
    options = Options()
    options.parseOptions(words[at + 1 :])
    return options


class UnitTests(SynchronousTestCase):
    """The units for systemd."""

    def setUp(self) -> None:
        """Read them."""
        self.service = read_unit("securechat.service")
        self.socket = read_unit("securechat.socket")

    def command(self) -> list[str]:
        """What is started, without options of the operator's."""
        (line,) = self.service["Service"]["ExecStart"]
        words = shlex.split(line)
        self.assertEqual("$OPTIONS", words.pop())
        return words

    def test_options_exist(self) -> None:
        """The command's options are options, none is given twice, and the relay runs in the foreground."""
        options = relay_options(self.command())
        self.assertEqual(["systemd:domain=INET6:index=0"], options.listen)
        self.assertTrue(options["status"].startswith("unix:/run/securechat/"))
        self.assertFalse(options["plaintext"] or options["insecure-plaintext"])

    def test_a_wrong_option_would_be_noticed(self) -> None:
        """An option that there is not fails the test above."""
        with self.assertRaises(UsageError):
            relay_options([*self.command(), "--nonsense"])

    def test_options_of_the_operator(self) -> None:
        """They come last and from the file that the guide names, and the last --status counts."""
        service = self.service["Service"]
        self.assertEqual(
            (["-/etc/default/securechat"], ["OPTIONS=", "OPENBLAS_NUM_THREADS=1"]),
            (service["EnvironmentFile"], service["Environment"]),
        )
        self.assertIn("> /etc/default/securechat", GUIDE)
        options = relay_options([*self.command(), "--status", "tcp:1:interface=127.0.0.1"])
        self.assertEqual("tcp:1:interface=127.0.0.1", options["status"])

    def test_life(self) -> None:
        """Systemd hears when it is ready, reloads it by SIGHUP, waits for it to stop, and starts it again."""
        service = self.service["Service"]
        self.assertEqual(["notify"], service["Type"])
        self.assertEqual(["/bin/kill -HUP $MAINPID"], service["ExecReload"])
        self.assertEqual(["on-failure"], service["Restart"])
        self.assertGreater(float(service["TimeoutStopSec"][0]), RelayLimits().stop_s * 2)
        # `Notifier` answers it, twice within that time.
        self.assertEqual(["30"], service["WatchdogSec"])

    def test_hardening(self) -> None:
        """What keeps a relay that was taken over from doing more is there."""
        service = self.service["Service"]
        switches = [
            "DynamicUser",
            "NoNewPrivileges",
            "ProtectHome",
            "ProtectClock",
            "ProtectHostname",
            "ProtectKernelLogs",
            "ProtectKernelModules",
            "ProtectKernelTunables",
            "ProtectControlGroups",
            "PrivateTmp",
            "PrivateDevices",
            "PrivateUsers",
            "RestrictNamespaces",
            "RestrictRealtime",
            "RestrictSUIDSGID",
            "LockPersonality",
            "RemoveIPC",
        ]
        expected = {
            **{key: ["yes"] for key in switches},
            "ProtectSystem": ["strict"],
            "ProtectProc": ["invisible"],
            "ProcSubset": ["pid"],
            "CapabilityBoundingSet": [""],
            "UMask": ["0077"],
            "StateDirectory": ["securechat"],
            "StateDirectoryMode": ["0700"],
            "RuntimeDirectory": ["securechat"],
            "LimitCORE": ["0"],
            "LimitNOFILE": ["65536"],
            "MemoryMax": ["1G"],
            "TasksMax": ["64"],
            "RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX"],
            "SystemCallArchitectures": ["native"],
            "SystemCallFilter": ["@system-service", "~@privileged @resources"],
            # Without it the filter ends the relay as it starts: OpenBLAS asks for mbind, one of @resources.
            "SystemCallErrorNumber": ["EPERM"],
            "MemoryDenyWriteExecute": ["no"],
        }
        self.assertEqual(expected, {key: service.get(key, ["missing"]) for key in expected})

    def test_socket(self) -> None:
        """The service takes the one socket of its own unit, which hears IPv6 and IPv4."""
        (listen,) = self.socket["Socket"]["ListenStream"]
        self.assertEqual("[::]:12345", listen)
        self.assertEqual(["both"], self.socket["Socket"]["BindIPv6Only"])
        self.assertEqual(["securechat.socket"], self.service["Unit"]["Requires"])
        self.assertIn("securechat.socket", self.service["Unit"]["After"][0])
        self.assertEqual(["sockets.target"], self.socket["Install"]["WantedBy"])
        self.assertEqual(["multi-user.target"], self.service["Install"]["WantedBy"])

    def test_paths(self) -> None:
        """The unit starts what the guide installs."""
        self.assertEqual("/opt/securechat/bin/twistd", self.command()[0])
        self.assertIn("python3 -m venv /opt/securechat\n", GUIDE)
        (documentation,) = self.service["Unit"]["Documentation"]
        self.assertTrue((CHECKOUT / documentation.removeprefix("file:/opt/securechat/src/")).exists())

    def test_runs(self) -> None:
        """The command of the unit, with a socket and directories as systemd gives them, is a relay with TLS."""
        directory = fresh_directory(self)
        words = [TWISTD, *self.command()[1:]]
        words = [word.replace("/run/securechat/", "") for word in words]
        server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.addCleanup(server.close)
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(told.close)
        told.bind(os.path.relpath(directory / "notify"))
        told.settimeout(PATIENCE_S)
        # systemd's protocol: the sockets are descriptors from 3 on, and belong to the process of LISTEN_PID.
        script = f"exec 3<&{server.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=x exec {shlex.join(words)}"
        relay = subprocess.Popen(
            ["/bin/bash", "-c", script],
            cwd=directory,
            pass_fds=[server.fileno()],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "STATE_DIRECTORY": str(directory), "NOTIFY_SOCKET": str(directory / "notify")},
        )
        self.addCleanup(relay.wait)
        self.addCleanup(relay.kill)
        assert relay.stdout is not None
        self.addCleanup(relay.stdout.close)
        self.assertEqual(b"READY=1", told.recv(100))
        address = Address(host="127.0.0.1", port=server.getsockname()[1])
        talker = Talker(self, address)
        talker.login("alice")
        self.assertTrue((directory / "relay.key").exists())
        relay.terminate()
        output = relay.stdout.read()
        self.assertIn(talker.binding().fingerprint.hex(), output)
        self.assertIn("status at unix:", output)
        self.assertNotIn("Traceback", output)


class ContainerTests(SynchronousTestCase):
    """The Dockerfile, read."""

    def setUp(self) -> None:
        """Read it."""
        text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        self.steps = [tuple(line.split(None, 1)) for line in lines]
        self.last_stage = self.steps[max(n for n, step in enumerate(self.steps) if step[0] == "FROM") :]

    def step(self, name: str) -> str:
        """What a step of the last stage says; there must be one."""
        (found,) = [said for word, said in self.last_stage if word == name]
        return found

    def test_relay(self) -> None:
        """It starts the relay with options that exist, its data in the volume, listening for other machines."""
        options = relay_options(ast.literal_eval(self.step("ENTRYPOINT")))
        self.assertEqual((self.step("VOLUME"), ["tcp:12345"]), (options["data"], options.listen))
        self.assertEqual("12345", self.step("EXPOSE"))
        self.assertFalse(options["plaintext"] or options["insecure-plaintext"])

    def test_without_rights(self) -> None:
        """It runs as a user of its own, who is made there and owns the volume alone."""
        user = self.step("USER")
        self.assertNotIn(user, ("0", "root"))
        self.assertIn(f"--uid {user} ", self.step("RUN"))
        self.assertIn(f"install -d -m 0700 -o securechat {self.step('VOLUME')}", self.step("RUN"))

    def test_health(self) -> None:
        """Its health is /live, asked where the relay's --status is."""
        options = relay_options(ast.literal_eval(self.step("ENTRYPOINT")))
        port = options["status"].split(":")[1]
        check = self.step("HEALTHCHECK").partition("CMD ")[2]
        _, flag, code = ast.literal_eval(check)
        self.assertEqual("-c", flag)
        self.assertIn(f"'http://127.0.0.1:{port}/live'", code)
        compile(code, "", "exec")

    def test_sources(self) -> None:
        """What is copied into it exists, and the list of what docker sees lets it through."""
        ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
        copied = [
            word
            for name, said in self.steps
            if name == "COPY" and "--from" not in said
            for word in said.split()[:-1]
        ]
        self.assertGreater(len(copied), 5)
        for name in copied:
            self.assertTrue((CHECKOUT / name).exists(), name)
            self.assertIn(f"!{name}", ignored)


def commands() -> Iterator[list[str]]:
    """The commands of the guide: lines of its blocks, but what is shown of an output."""
    for line in re.findall(r"^    (?:  )?(\S.*)$", GUIDE, re.MULTILINE):
        if not line.startswith("…"):
            yield shlex.split(line.partition(" > ")[0])


class GuideTests(SynchronousTestCase):
    """docs/OPERATIONS.md."""

    PROGRAMS: Final = {
        *(
            "apt",
            "git",
            "python3",
            "cp",
            "echo",
            "mkdir",
            "mv",
            "tar",
            "systemctl",
            "journalctl",
            "ufw",
            "curl",
            "docker",
        ),
        *("securechat", "/opt/securechat/bin/pip", "/opt/securechat/bin/twistd"),
        "/opt/securechat/bin/securechat-relay",
    }

    def rows(self, heading: str, head: str) -> list[list[str]]:
        """The rows of the table with this head, in a section, as cells."""
        section = GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        rows = section.partition(f"| {head} |\n")[2].partition("\n\n")[0].splitlines()[1:]
        self.assertTrue(rows, heading)
        return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]

    def table(self, heading: str, head: str) -> list[str]:
        """The first cells of the table whose head begins like this, in a section."""
        section = GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        rows = section.partition(f"| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
        cells = [row.split("|")[1].strip().strip("`") for row in rows]
        self.assertTrue(cells, heading)
        return cells

    def test_metrics(self) -> None:
        """Every metric that is exposed is documented, with type and labels, and every documented one exposed."""
        clock = Clock()
        factory = RelayFactory(clock, lambda: 0, MemoryLog(), RelayLimits())
        worker = Rig.new().worker
        measures = Measures(
            factory, Lateness(clock), lambda: worker.stats, lambda: 0.0, lambda: Disk(1, 0.1, 0.2, 0.3, 5, 2, 3, 4)
        )
        families = {family.name: family for family in measures.families()}
        self.assertEqual(set(families), names(exposition(families.values())))
        shown = set()
        for family in families.values():
            labels = ",".join(family.samples[0][0])
            shown.add(f"{family.name}{{{labels}}}" if labels else family.name)
            self.assertIn(
                f"` | {family.kind} | ", next(line for line in GUIDE.splitlines() if f"| `{family.name}" in line)
            )
        self.assertEqual(shown, set(self.table("Metrics", "metric")))
        for used in re.findall(r"securechat_[a-z_]+", GUIDE):
            self.assertIn(used, families)

    def test_log(self) -> None:
        """Every line that a relay logs is documented, and every documented line is logged."""
        root = Path(securechat.__file__).parent
        said = set()
        for path in [
            *(root / "relay").rglob("*.py"),
            *(root / "wire").glob("*.py"),
            *(root / "crypto").glob("*.py"),
        ]:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Attribute(
                            value=ast.Attribute(attr="log" | "_log") | ast.Name(id="_log"),
                            attr="info" | "warn" | "error" | "critical",
                        ),
                        args=[ast.Constant(value=str(line))],
                    ):
                        said.add(line)
        self.assertGreater(len(said), 10)
        self.assertEqual(said, set(self.table("The log", "line")))

    def test_words_of_ready(self) -> None:
        """Every word of /ready is documented, and no other."""
        text = (Path(securechat.__file__).parent / "relay/building.py").read_text(encoding="utf-8")
        self.assertEqual(set(re.findall(r'Probe\("([a-z-]+)"', text)), set(self.table("Status", "word")))

    def test_options(self) -> None:
        """Every option of a relay that the guide names exists, with the default that it says."""
        options = Options()
        known = {f"--{name.rstrip('=')}" for name in options.longOpt}
        others = {"--signal", "--upgrade", "--unix-socket", "--relay", "--now", "--help", "--name"}
        others |= {"--force", "--json", "--keep-old", "--rm", "--entrypoint"}
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", GUIDE))
        self.assertEqual(set(), named - known - others)
        for option in re.findall(r"^\| `(--[a-z-]+)", GUIDE, re.MULTILINE):
            self.assertIn(option, known)

    def test_limits(self) -> None:
        """Every limit that is an option is in the table, with its default, and every option in it is there."""
        options = Options()
        rows = self.rows("Limits", "option | default | what | beyond")
        shown = {name.strip("`"): default for name, default, *_ in rows}
        expected = [*(each.option for each in LIMITS), "store-limit", "disk-reserve"]
        self.assertEqual([f"--{option}" for option in expected], list(shown))
        for option in expected:
            self.assertEqual(f"{options[option]:,.10g}", shown[f"--{option}"], option)
        for row in rows:
            self.assertTrue(all(row), row)

    def test_overrides(self) -> None:
        """What is shown of the options that bend the limits can be said like that."""
        for option, *_ in self.rows("Limits", "option | what"):
            Options().parseOptions(shlex.split(option.strip("`")))

    def test_commands(self) -> None:
        """Every command begins with a program that is there by then, and names units and files of ours."""
        found = list(commands())
        self.assertGreater(len(found), 30)
        for words in found:
            self.assertIn(words[0], self.PROGRAMS, words)
            if words[0] in ("systemctl", "journalctl"):
                for unit in [word for word in words if word.endswith((".service", ".socket"))]:
                    self.assertTrue((DEPLOY / unit).exists(), unit)
            for word in words:
                if word.startswith("/opt/securechat/src/"):
                    self.assertTrue((CHECKOUT / word.removeprefix("/opt/securechat/src/")).exists(), word)

    def test_programs_of_ours(self) -> None:
        """What the guide calls of twistd and securechat they know."""
        subcommands = set()
        for words in [*commands(), *(shlex.split(each) for each in re.findall(r"`(securechat [a-z].*?)`", GUIDE))]:
            if words[0] == "securechat":
                subcommands.add(words[1])
        self.assertTrue(subcommands)
        for subcommand in subcommands:
            done = subprocess.run(
                [sys.executable, "-m", "securechat", subcommand, "--help"],
                capture_output=True,
                timeout=PATIENCE_S,
                check=False,
            )
            self.assertEqual(0, done.returncode, subcommand)

    def test_operators_commands(self) -> None:
        """What the guide calls of `securechat-relay` it knows, and its table has all that there is."""
        own = argparse.ArgumentParser()
        add_relay(own.add_subparsers())
        called = [words[1:] for words in commands() if words[0].endswith("/securechat-relay")]
        self.assertGreater(len(called), 8)
        for words in called:
            self.assertIn(own.parse_args(["relay", *words]).data, (None, "/var/lib/securechat"))
        rows = " ".join(self.table("The operator's commands", "command"))
        self.assertEqual(set(COMMANDS), set(re.findall(r"[a-z][a-z-]+", rows)))

    def test_links(self) -> None:
        """Every link leads to a file that is there, or to a heading of this one."""
        headings = {
            re.sub(r"[^a-z -]", "", line.lower()).replace(" ", "-")
            for line in re.findall(r"^#+ (.+)$", GUIDE, re.M)
        }
        links = re.findall(r"\]\(([^)]+)\)", GUIDE)
        self.assertGreater(len(links), 10)
        for link in links:
            path, _, heading = link.partition("#")
            if path:
                self.assertTrue((CHECKOUT / "docs" / path).exists(), link)
            else:
                self.assertIn(heading, headings)

    def test_certificate_words(self) -> None:
        """The messages that the guide quotes are said by the program."""
        sources: Any = "".join(path.read_text() for path in (CHECKOUT / "securechat/relay").glob("*.py"))
        for words in ("does not belong to", "others can read", "ANOTHER KEY", "cannot use"):
            self.assertIn(words, GUIDE)
            self.assertIn(words, sources)
