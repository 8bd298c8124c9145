// The checksum of a compiled file: zlib's CRC-32. Of an object it covers all bytes; of a shared object what is loaded,
// without the place and number of its sections, so that strip, which packaging tools call, leaves it right. It stands
// in the descriptor, which is found by its section; its own bytes count as zeros. So any damage on the way from the
// compiler shows, also where no golden row looks. It is no signature: who changes a file on purpose can mend it.
#include "abi.h"
#include "file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static bool read_at(int fd, void *to, size_t size, uint64_t at)
{
    return pread(fd, to, size, (off_t)at) == (ssize_t)size;
}

bool file_section(int fd, Elf64_Shdr *section)
{
    Elf64_Ehdr e;
    Elf64_Shdr names;
    char name[sizeof DESCRIPTOR_SECTION];
    if (!read_at(fd, &e, sizeof e, 0) || memcmp(e.e_ident, ELFMAG, SELFMAG)) return false;
    if (!read_at(fd, &names, sizeof names, e.e_shoff + e.e_shstrndx * sizeof names)) return false;
    for (unsigned i = 0; i < e.e_shnum; i++)
        if (read_at(fd, section, sizeof *section, e.e_shoff + i * sizeof *section) &&
            read_at(fd, name, sizeof name, names.sh_offset + section->sh_name) &&
            !memcmp(name, DESCRIPTOR_SECTION, sizeof name))
            return true;
    return false;
}

typedef struct {
    uint64_t at, size;
} Span;

// How many bytes count, and which of them as zeros; 0: no such file.
static uint64_t covered(int fd, uint64_t word, Span zeros[3])
{
    Elf64_Ehdr e;
    struct stat file;
    uint64_t end = 0;
    if (!read_at(fd, &e, sizeof e, 0) || fstat(fd, &file)) return 0;
    zeros[0] = (Span){word, sizeof(uint32_t)};
    zeros[1] = zeros[2] = (Span){0, 0};
    if (e.e_type == ET_REL) return (uint64_t)file.st_size;
    zeros[1] = (Span){offsetof(Elf64_Ehdr, e_shoff), sizeof e.e_shoff};
    zeros[2] = (Span){offsetof(Elf64_Ehdr, e_shnum), sizeof e.e_shnum + sizeof e.e_shstrndx};
    for (unsigned i = 0; i < e.e_phnum; i++) {
        Elf64_Phdr p;
        if (!read_at(fd, &p, sizeof p, e.e_phoff + i * sizeof p)) return 0;
        if (p.p_type == PT_LOAD && p.p_offset + p.p_filesz > end) end = p.p_offset + p.p_filesz;
    }
    return end <= (uint64_t)file.st_size ? end : 0;
}

static bool crc_of(int fd, uint64_t word, uint32_t *sum)
{
    unsigned char buffer[1 << 14];
    uLong crc = crc32(0, NULL, 0);
    Span zeros[3];
    uint64_t end = covered(fd, word, zeros);
    for (uint64_t at = 0, n; at < end; at += n) {
        n = end - at < sizeof buffer ? end - at : sizeof buffer;
        if (!read_at(fd, buffer, n, at)) return false;
        for (int z = 0; z < 3; z++)
            for (uint64_t i = zeros[z].at; i < zeros[z].at + zeros[z].size; i++)
                if (i - at < n) buffer[i - at] = 0;
        crc = crc32(crc, buffer, (uInt)n);
    }
    *sum = (uint32_t)crc;
    return end > 0;
}

uint32_t checksum_bytes(const Bytes *b)
{
    uLong crc = crc32(0, NULL, 0);
    for (; b; b = b->rest) crc = crc32_z(crc, b->data, b->size);
    return (uint32_t)crc;
}

bool checksum_write(int fd, const Elf64_Shdr *section)
{
    uint32_t sum;
    uint64_t word = section->sh_offset + offsetof(nfcc_model_header, checksum);
    return crc_of(fd, word, &sum) && pwrite(fd, &sum, sizeof sum, (off_t)word) == sizeof sum;
}

bool checksum_read(const char *path, uint32_t *stored, uint32_t *computed)
{
    Elf64_Shdr section;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool good = fd >= 0 && file_section(fd, &section);
    uint64_t word = good ? section.sh_offset + offsetof(nfcc_model_header, checksum) : 0;
    good = good && read_at(fd, stored, sizeof *stored, word) && crc_of(fd, word, computed);
    if (fd >= 0) close(fd);
    return good;
}
