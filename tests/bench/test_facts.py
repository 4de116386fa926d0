"""What a measurement ran on."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.facts import free_memory, machine, one_line


class FactsTests(SynchronousTestCase):
    """What is told of the machine."""

    def file(self, text: str) -> Path:
        """Make a file of the system's."""
        path = Path(self.mktemp())
        path.write_text(text)
        return path

    def test_processor(self) -> None:
        """The processor is called as Linux calls it."""
        cpu_info = self.file("processor\t: 0\nmodel name\t: A Fine Processor: 3 GHz\nmodel name\t: Another\n")
        self.assertEqual(machine(cpu_info)["cpu"], "A Fine Processor: 3 GHz")

    def test_no_processor(self) -> None:
        """Where Linux does not say, Python does, also where there is no such file."""
        self.assertTrue(machine(self.file("flags : none\n"))["cpu"])
        self.assertTrue(machine(Path(self.mktemp()))["cpu"])

    def test_versions(self) -> None:
        """Cores, system and the versions of what does the work are among the facts."""
        facts = machine()
        for name in ("cores", "system", "python", "openssl", "cryptography", "numpy"):
            self.assertTrue(facts[name], name)

    def test_one_line(self) -> None:
        """For people they are one line."""
        self.assertEqual(one_line({"cpu": "fine", "cores": 2}), "cpu fine, cores 2")

    def test_free_memory(self) -> None:
        """Free memory is what Linux calls available."""
        info = self.file("MemTotal:   9000 kB\nMemFree:  10 kB\nMemAvailable:   3000 kB\n")
        self.assertEqual(free_memory(info, Path(self.mktemp())), 3000 * 1024)
        self.assertEqual(free_memory(info, self.file("max\n")), 3000 * 1024)

    def test_limited_memory(self) -> None:
        """A container's limit counts where it is less."""
        info = self.file("MemAvailable: 3000 kB\n")
        self.assertEqual(free_memory(info, self.file("65536\n")), 65536)
        self.assertEqual(free_memory(info, self.file("99999999\n")), 3000 * 1024)
        self.assertEqual(free_memory(Path(self.mktemp()), self.file("65536\n")), 65536)

    def test_unknown_memory(self) -> None:
        """Where nothing is known there is no figure."""
        self.assertIsNone(free_memory(Path(self.mktemp()), Path(self.mktemp())))
