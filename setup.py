"""The optional C extension of the native engine; everything else about the package is in setup.cfg.

Without a C compiler, Python's headers or those of OpenSSL 3 the installation succeeds all the same, and
says here what is missing (pip shows it with -v); `auto` then takes the CPU engine.
"""

import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MISSING = """securechat: the native engine was not built (%s).
securechat works without it, only slower. To have it, install a C compiler, Python's headers and those of
OpenSSL 3 (Debian and Ubuntu: apt install gcc python3-dev libssl-dev), and install securechat again.
"""


class OptionalBuild(build_ext):
    """Builds the extension, or says why there is none."""

    def build_extension(self, ext: Extension) -> None:
        """Build it. Whatever a compiler may do wrong is a message, and no reason to install nothing."""
        try:
            super().build_extension(ext)
        except Exception as error:
            sys.stderr.write(MISSING % " ".join(str(error).split()))


setup(
    ext_modules=[
        Extension(
            "securechat.crypto._native",
            ["securechat/crypto/_native.c"],
            libraries=["crypto"],
            extra_compile_args=["-std=c11", "-pthread"],
            extra_link_args=["-pthread"],
            optional=True,
        )
    ],
    cmdclass={"build_ext": OptionalBuild},
)
