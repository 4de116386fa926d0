"""Mistakes that the tests of the kernels must find: each is made on purpose, and found."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.kernels.builds import built, disagreements, written_unverified
from tests.kernels.host import COMPILER, NO_COMPILER, SANITIZERS, HostKernelEngine, Mutation, have_compiler

CHECKOUT = Path(__file__).resolve().parents[2]
RUNTIMES = ("libasan.so", "libubsan.so", "libstdc++.so")
RUN_TIMEOUT_S = 120
QUICK = ("-O0",)
"""Flags for mutants: most of the time goes into compiling them."""


def runtime(name: str) -> Path | None:
    """Give the path of a library that belongs to the compiler, None where it has no such library."""
    command = [COMPILER, f"-print-file-name={name}"]
    path = Path(subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout.strip())
    return path.resolve() if path.is_absolute() and path.exists() else None


def why_no_sanitizer() -> str:
    """Give the reason why nothing can be run under the sanitizers here; empty where it can."""
    if not have_compiler():
        return NO_COMPILER
    missing = [name for name in RUNTIMES if runtime(name) is None]
    return f"{COMPILER} has no {', '.join(missing)}" if missing else ""


class VectorTests(SynchronousTestCase):
    """What wrong results tell."""

    if not have_compiler():
        skip = NO_COMPILER

    def found(self, *mutations: Mutation) -> list[str]:
        """Give what is wrong with the results of changed kernels.

        Of 128 threads each fills words that others need: of 32, each would fill just its own lane.
        """
        return disagreements(HostKernelEngine(built(*mutations, flags=QUICK), 1, 128), 10, 300)

    def test_unchanged(self) -> None:
        """Nothing is wrong with the unchanged kernels."""
        self.assertEqual(self.found(), [])

    def test_missing_barrier(self) -> None:
        """A kernel that reads its table without waiting for the other threads gives other bytes."""
        for file, expected in (("cbc_encrypt.cu", "seal"), ("decrypt_keys.cu", "open"), ("cbc_decrypt.cu", "open")):
            self.assertIn(expected, self.found(Mutation(file, "    __syncthreads();\n", "")), file)

    def test_wrong_cipher_constant(self) -> None:
        """A wrong round constant, S-box, field or rotation of the cipher gives other bytes."""
        for mutation in (
            Mutation("aes.cu", "1u << (i / 8 - 1)", "1u << i / 8"),
            Mutation("aes.cu", "(mapped ^ 0x63)", "(mapped ^ 0x62)"),
            Mutation("aes.cu", "times(s, 3) << 24", "times(s, 2) << 24"),
        ):
            self.assertIn("encrypt", self.found(mutation), mutation)
        for mutation in (
            Mutation("decrypt_keys.cu", "0x1b", "0x1d"),
            Mutation("aes.cu", "times(s, 13)", "times(s, 12)"),
        ):
            found = self.found(mutation)
            self.assertLessEqual({"open", "decrypt"}, set(found), mutation)
            self.assertNotIn("seal", found, mutation)

    def test_wrong_hash_constant(self) -> None:
        """A wrong rotation, round constant, HMAC byte or length of the hash gives other tags."""
        for mutation in (
            Mutation("sha512.cu", "rotate<41>", "rotate<42>"),
            Mutation("sha512.cu", "0x428a2f98d728ae22", "0x428a2f98d728ae23"),
            Mutation("hmac.cu", "0x5c5c5c5c5c5c5c5c", "0x5c5c5c5c5c5c5c5d"),
            Mutation("hmac.cu", "associated_bytes << 3", "associated_bytes << 2"),
        ):
            self.assertEqual(self.found(mutation)[:2], ["seal", "flags"], mutation)

    def test_half_a_comparison(self) -> None:
        """A comparison that leaves out the end of the tag accepts changed ones."""
        loop = "i < 8; ++i)\n                wrong"
        self.assertIn("flags", self.found(Mutation("hmac.cu", loop, loop.replace("8", "7"))))

    def test_unmasked_failures(self) -> None:
        """Without the mask a text whose tag is wrong is written; with it there are zeros."""
        self.assertEqual(written_unverified(HostKernelEngine(built())), bytes(32))
        unmasked = Mutation("cbc_decrypt.cu", "0u - ok[m]", "~0u; (void)ok")
        self.assertIn(b"secret", written_unverified(HostKernelEngine(built(unmasked, flags=QUICK))))


class SanitizerTests(SynchronousTestCase):
    """What AddressSanitizer and UndefinedBehaviorSanitizer tell."""

    if reason := why_no_sanitizer():
        skip = reason

    def run_sanitized(self, *mutations: Mutation) -> "subprocess.CompletedProcess[str]":
        """Run changed kernels under the sanitizers, in a process of their own."""
        library = built(*mutations, flags=SANITIZERS)
        environment = os.environ | {
            "LD_PRELOAD": ":".join(str(runtime(name)) for name in RUNTIMES),
            # Python never frees all it has.
            "ASAN_OPTIONS": "detect_leaks=0",
            "PYTHONPATH": str(CHECKOUT),
        }
        command = [sys.executable, "-m", "tests.kernels.sanitized", str(library)]
        return subprocess.run(
            command, capture_output=True, check=False, env=environment, text=True, timeout=RUN_TIMEOUT_S
        )

    def test_unchanged(self) -> None:
        """The unchanged kernels stay within their buffers and within the language."""
        done = self.run_sanitized()
        self.assertEqual((done.stdout, done.returncode), ("agreed\n", 0), done.stderr)

    def assert_found(self, mutation: Mutation, finding: str = "heap-buffer-overflow") -> None:
        """Expect the sanitizer to name what a mutation does."""
        done = self.run_sanitized(mutation)
        self.assertNotEqual(done.returncode, 0, mutation)
        self.assertIn(finding, done.stderr)

    def test_missing_guard_for_messages(self) -> None:
        """Threads beyond the last message that go on are found, when sealing and when verifying."""
        guard = "        if (position >= n)\n            break;\n"
        self.assert_found(Mutation("cbc_encrypt.cu", guard, ""))
        self.assert_found(Mutation("hmac.cu", guard, ""))

    def test_missing_guard_for_keys_and_texts(self) -> None:
        """So are threads beyond the last key, and beyond the last text whose padding is checked."""
        self.assert_found(Mutation("decrypt_keys.cu", "        if (k >= n)\n            break;\n", ""))
        self.assert_found(Mutation("padding.cu", "        if (m >= n)\n            break;\n", ""))

    def test_missing_guard_for_blocks(self) -> None:
        """So are threads beyond the last block, when decrypting and when closing texts up."""
        for file in ("cbc_decrypt.cu", "pack_texts.cu"):
            self.assert_found(Mutation(file, "        if (block >= blocks)\n            break;\n", ""))

    def test_block_before_the_first(self) -> None:
        """So is a first block that takes what is before it in memory for its predecessor."""
        self.assert_found(Mutation("cbc_decrypt.cu", "number || lead ?", "number + 1 ?"))
