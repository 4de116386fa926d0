"""The CUDA engine on a device of the host: the engines' contract, and what happens when a device fails."""

from twisted.trial.unittest import SkipTest

from securechat.crypto.cuda import CudaEngine
from securechat.crypto.engine import Engine
from tests.crypto.contract import EngineContract
from tests.kernels.builds import built
from tests.kernels.host import NO_COMPILER, have_compiler
from tests.kernels.host_device import HostDevice


class CudaContractTests(EngineContract):
    """The contract of the engines on the whole of the CUDA engine but PyCUDA."""

    def make_engine(self) -> Engine:
        """Give an engine on the unchanged kernels."""
        if not have_compiler():
            raise SkipTest(NO_COMPILER)
        return CudaEngine(lambda: HostDevice(built()))


# Trial would run the contract itself, which has no engine.
del EngineContract
