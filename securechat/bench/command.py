"""`securechat bench crypto`: its options, and what it prints where.

Standard output has the result: the table, or with --json exactly one list of rows, the keys being those of
rows.Row. Standard error has the rest: what could not be measured and why, and with --json what the machine is and
the table as it grows.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TextIO

from securechat.bench import gpu, gpu_kernels, ipsec_mb, openssl
from securechat.bench.crossover import crossovers
from securechat.bench.crypto import (
    COUNTS,
    MEMORY_BYTES,
    QUICK_COUNTS,
    QUICK_SIZES,
    SIZES,
    BenchError,
    Ways,
    Yardstick,
    check,
    grid,
    measure_cell,
)
from securechat.bench.facts import machine, one_line
from securechat.bench.ipsec_mb import IpsecMb, NoYardstick
from securechat.bench.measure import Clock
from securechat.bench.plot import plot
from securechat.bench.report import HEAD, as_json, crossover_line, line
from securechat.bench.rows import PATHS, Row, beside_loop
from securechat.bench.units import parse_count, parse_size, size_name
from securechat.crypto import engines
from securechat.crypto.aead import CryptoError
from securechat.crypto.device import Device
from securechat.crypto.engine import Engine
