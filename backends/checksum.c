// The checksum of a compiled file: zlib's CRC-32 of all its bytes, the four that hold it counted as zeros. It stands in
// the descriptor, which is found by its section, so that any damage on the way from the compiler shows, also where no
// golden row looks. It is no signature: who changes a file on purpose can mend it.
#include "abi.h"
#include "file.h"

#include <fcntl.h>
#include <string.h>
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

static bool crc_of(int fd, uint64_t word, uint32_t *sum)
{
    unsigned char buffer[1 << 16];
    uLong crc = crc32(0, NULL, 0);
    uint64_t at = 0;
    ssize_t n;
    for (; (n = pread(fd, buffer, sizeof buffer, (off_t)at)) > 0; at += (uint64_t)n) {
        for (uint64_t i = word; i < word + sizeof *sum; i++)
            if (i - at < (uint64_t)n) buffer[i - at] = 0;
        crc = crc32(crc, buffer, (uInt)n);
    }
    *sum = (uint32_t)crc;
    return n == 0;
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
