// Work under the protection of the guard pages.
#pragma once
#include <cuda.h>

#include <functional>

// Do something; CUDA_ERROR_ILLEGAL_ADDRESS if it touches memory that isn't there.
CUresult guarded(const std::function<CUresult()> &perform);
