// What a program needs to launch the host's kernels without knowing them: their names and their arguments.
#pragma once
#include <cstddef>
#include <vector>

struct Argument {
    size_t bytes, alignment;
    bool is_pointer;
    size_t pointee_alignment; // of what a pointer points at
};

struct Launcher {
    const char *name;
    unsigned max_threads; // in one block
    std::vector<Argument> arguments;
    // `arguments` are pointers to the kernel's arguments; 0 or DIVERGED of shim.h.
    int (*launch)(unsigned grid, unsigned block, size_t shared_bytes, void **arguments);
};

// All kernels of the module.
const std::vector<Launcher> &launchers();
