// Module images: the cubins that nvcc makes.
#pragma once
#include <cuda.h>

#include <set>
#include <string>

// The kernels in an image for a device of this compute capability (10 * major + minor).
CUresult read_image(const void *image, int capability, std::set<std::string> &kernels);
