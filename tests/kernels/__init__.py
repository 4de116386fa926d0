"""Tests of the CUDA kernels without a GPU."""
