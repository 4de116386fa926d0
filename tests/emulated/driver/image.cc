// As much of a cubin as tells its kernels' names and its architecture. A section .text.NAME is a kernel.
//
// The driver isn't told how long an image is. What is no cubin is refused by its first bytes, and nothing
// behind them is read.
#include "image.h"

#include <elf.h>

#include <cstring>

namespace {

const Elf64_Half MACHINE_CUDA = 190;
const unsigned char SECOND_ABI = 8; // CUDA 13 keeps the architecture in other bits than those before
const char TEXT[] = ".text.";

int architecture(const Elf64_Ehdr &header)
{
    return header.e_ident[EI_ABIVERSION] >= SECOND_ABI ? header.e_flags >> 8 & 255 : header.e_flags & 255;
}

} // namespace

CUresult read_image(const void *image, int capability, std::set<std::string> &kernels)
{
    if (!image)
        return CUDA_ERROR_INVALID_VALUE;
    if (std::strncmp((const char *)image, ELFMAG, SELFMAG))
        return CUDA_ERROR_INVALID_IMAGE;
    const Elf64_Ehdr &header = *(const Elf64_Ehdr *)image;
    if (header.e_machine != MACHINE_CUDA || header.e_ident[EI_CLASS] != ELFCLASS64)
        return CUDA_ERROR_INVALID_IMAGE;
    // A cubin runs where the major number is its own and the minor one not smaller.
    const int compiled_for = architecture(header);
    if (compiled_for / 10 != capability / 10 || compiled_for > capability)
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    const Elf64_Shdr *const sections = (const Elf64_Shdr *)((const char *)image + header.e_shoff);
    const char *const names = (const char *)image + sections[header.e_shstrndx].sh_offset;
    for (int i = 0; i < header.e_shnum; ++i) {
        const char *const name = names + sections[i].sh_name;
        if (!std::strncmp(name, TEXT, sizeof TEXT - 1))
            kernels.insert(name + sizeof TEXT - 1);
    }
    return CUDA_SUCCESS;
}
