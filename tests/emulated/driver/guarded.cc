// A fault of the memory becomes an error of the device, as on a device, rather than the end of the process.
#include "guarded.h"

#include <csetjmp>
#include <csignal>

namespace {

const int FAULTS[] = {SIGSEGV, SIGBUS};

thread_local volatile bool is_guarding;
thread_local sigjmp_buf way_out;

void on_fault(int signal, siginfo_t *, void *)
{
    if (is_guarding)
        siglongjmp(way_out, 1);
    // Another thread's fault, which happens again without this handler.
    std::signal(signal, SIG_DFL);
}

} // namespace

CUresult guarded(const std::function<CUresult()> &perform)
{
    if (is_guarding)
        return perform(); // work waits for an event, for which other work is done
    struct sigaction ours = {}, before[2];
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO;
    for (int i = 0; i < 2; ++i)
        sigaction(FAULTS[i], &ours, &before[i]);
    volatile CUresult result = CUDA_ERROR_ILLEGAL_ADDRESS;
    if (!sigsetjmp(way_out, 1)) {
        is_guarding = true;
        result = perform();
    }
    is_guarding = false;
    for (int i = 0; i < 2; ++i)
        sigaction(FAULTS[i], &before[i], nullptr);
    return result;
}
