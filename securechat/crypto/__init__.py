"""Ciphers in batches: A256CBC-HS512, engines, the worker, GPUCrypto. Imports nothing else of ours."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from securechat.crypto.aead import CryptoError, OpenError
    from securechat.crypto.auto import AutoEngine
    from securechat.crypto.batch import Batch
    from securechat.crypto.cpu import CpuEngine
    from securechat.crypto.engine import Engine
    from securechat.crypto.engines import EngineUnavailable, choose
    from securechat.crypto.figures import AutoStats
    from securechat.crypto.gpu_crypto import GPUCrypto
    from securechat.crypto.native import NativeEngine
    from securechat.crypto.worker import BacklogFull, CryptoWorker, WorkerStopped
    from securechat.crypto.worker_stats import WorkerStats

__all__ = [
    "AutoEngine",
    "AutoStats",
    "BacklogFull",
    "Batch",
    "CpuEngine",
    "CryptoError",
    "CryptoWorker",
    "Engine",
    "EngineUnavailable",
    "GPUCrypto",
    "NativeEngine",
    "OpenError",
    "WorkerStats",
    "WorkerStopped",
    "choose",
]

_HOMES: Final = {
    "AutoEngine": "auto",
    "AutoStats": "figures",
    "BacklogFull": "worker",
    "Batch": "batch",
    "CpuEngine": "cpu",
    "CryptoError": "aead",
    "CryptoWorker": "worker",
    "Engine": "engine",
    "EngineUnavailable": "engines",
    "GPUCrypto": "gpu_crypto",
    "NativeEngine": "native",
    "OpenError": "aead",
    "WorkerStats": "worker_stats",
    "WorkerStopped": "worker",
    "choose": "engines",
}


def __getattr__(name: str) -> object:
    """Import a public name at its first use: numpy and Twisted are not loaded for those who need neither."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
