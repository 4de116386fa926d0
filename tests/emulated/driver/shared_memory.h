// How much dynamic shared memory a block may have.
#pragma once
#include "settings.h"

// Without having asked for more.
constexpr int SHARED_BYTES_UNASKED = 48 * 1024;

// At all (CUDA C++ Programming Guide, technical specifications per compute capability).
inline int max_shared_bytes()
{
    const long long capability = settings[CAPABILITY];
    if (capability < 70)
        return SHARED_BYTES_UNASKED;
    switch (capability) {
    case 70:
    case 72:
        return 96 * 1024;
    case 75:
        return 64 * 1024;
    case 80:
    case 87:
        return 163 * 1024;
    case 86:
    case 89:
        return 99 * 1024;
    default:
        return capability < 120 ? 227 * 1024 : 99 * 1024;
    }
}
