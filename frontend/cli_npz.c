// .npz: a zip file of .npy members, stored (np.savez) or deflated (np.savez_compressed), with Zip64 sizes. The
// central directory at the end is what is read; every offset and length is checked against the file, and a member
// unpacks to at most 4 GiB and 1100 times its packed size (deflate's limit), so a hostile file costs little. A
// damaged one is found by the members' checksums.
#include "cli_npy_fail.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

typedef struct {
    const unsigned char *p;
    size_t size;
} Zip;

typedef struct {
    const unsigned char *name;
    size_t name_length, packed, unpacked, offset, next;
    unsigned method, flags, checksum;
} Entry;

static uint64_t le(const unsigned char *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

// End record: at most 64 KiB of comment behind it. Zip64 has its own before it.
static bool find_directory(Zip z, size_t *at, size_t *count)
{
    if (z.size < 22) return false;
    size_t end = z.size - 22, stop = end > 65535 ? end - 65535 : 0;
    while (le(z.p + end, 4) != 0x06054b50)
        if (end-- == stop) return false;
    *count = le(z.p + end + 10, 2);
    *at = le(z.p + end + 16, 4);
    if ((*count != 0xffff && *at != 0xffffffff) || end < 20 || le(z.p + end - 20, 4) != 0x07064b50) return true;
    size_t wide = le(z.p + end - 12, 8);
    if (wide > z.size || z.size - wide < 56 || le(z.p + wide, 4) != 0x06064b50) return false;
    *count = le(z.p + wide + 32, 8);
    *at = le(z.p + wide + 48, 8);
    return true;
}

// The Zip64 extra field holds, in order, the values that read 0xffffffff.
static void read_wide(Entry *e, const unsigned char *extra, size_t size)
{
    for (size_t at = 0; at + 4 <= size;) {
        size_t id = le(extra + at, 2), length = le(extra + at + 2, 2);
        if (length > size - at - 4) return;
        if (id == 1) {
            size_t *const field[] = {&e->unpacked, &e->packed, &e->offset};
            size_t from = at + 4;
            for (int i = 0; i < 3; i++) {
                if (*field[i] != 0xffffffff || from + 8 > at + 4 + length) continue;
                *field[i] = le(extra + from, 8);
                from += 8;
            }
        }
        at += 4 + length;
    }
}

static bool read_entry(Zip z, size_t at, Entry *e)
{
    if (at > z.size || z.size - at < 46 || le(z.p + at, 4) != 0x02014b50) return false;
    const unsigned char *p = z.p + at;
    size_t name = le(p + 28, 2), extra = le(p + 30, 2), comment = le(p + 32, 2);
    if (z.size - at - 46 < name + extra + comment) return false;
    *e = (Entry){p + 46,
                 name,
                 le(p + 20, 4),
                 le(p + 24, 4),
                 le(p + 42, 4),
                 at + 46 + name + extra + comment,
                 (unsigned)le(p + 10, 2),
                 (unsigned)le(p + 8, 2),
                 (unsigned)le(p + 16, 4)};
    read_wide(e, p + 46 + name, extra);
    return true;
}

// The packed bytes of an entry: behind its local header, whose name and extra lengths are its own.
static const unsigned char *packed_bytes(Zip z, const Entry *e)
{
    if (e->offset > z.size || z.size - e->offset < 30 || le(z.p + e->offset, 4) != 0x04034b50) return NULL;
    size_t skip = 30 + le(z.p + e->offset + 26, 2) + le(z.p + e->offset + 28, 2);
    if (z.size - e->offset < skip || z.size - e->offset - skip < e->packed) return NULL;
    return z.p + e->offset + skip;
}

static bool inflate_bytes(const unsigned char *packed, size_t n, unsigned char *out, size_t size)
{
    z_stream s = {0};
    if (n > UINT32_MAX || size > UINT32_MAX || inflateInit2(&s, -15) != Z_OK) return false;
    s.next_in = (unsigned char *)packed;
    s.avail_in = (unsigned)n;
    s.next_out = out;
    s.avail_out = (unsigned)size;
    int status = inflate(&s, Z_FINISH);
    bool ok = status == Z_STREAM_END && s.total_out == size;
    inflateEnd(&s);
    return ok;
}

static const char *parse_checked(const Entry *e, const unsigned char *bytes, size_t size, Array *out, NpyError *error)
{
    if (crc32_z(0, bytes, size) != e->checksum)
        return fail(error, "a member's checksum is not that of its bytes: the file is damaged");
    return npy_parse(bytes, size, out, error);
}

static const char *parse_member(Zip z, const Entry *e, Array *out, NpyError *error)
{
    const unsigned char *packed = packed_bytes(z, e);
    if (!packed || (e->flags & 1)) return fail(error, "a member lies outside of the file or is encrypted");
    if (e->method == 0) return parse_checked(e, packed, e->packed, out, error);
    if (e->method != 8) return fail(error, "a member is packed in an unknown way; write it with numpy.savez");
    if (e->unpacked > UINT32_MAX || e->unpacked / 1100 > e->packed + 1)
        return fail(error, "a member's size is not possible");
    unsigned char *bytes = malloc(e->unpacked + 1);
    const char *wrong = !bytes ? fail(error, "out of memory") : NULL;
    if (!wrong && !inflate_bytes(packed, e->packed, bytes, e->unpacked))
        wrong = fail(error, "a member's packed bytes are corrupt");
    if (!wrong) wrong = parse_checked(e, bytes, e->unpacked, out, error);
    free(bytes);
    return wrong;
}

static const char *add_member(Zip z, const Entry *e, Npz *out, NpyError *error)
{
    NpzMember *more = realloc(out->members, (out->n + 1) * sizeof *more);
    if (!more) return fail(error, "out of memory");
    out->members = more;
    size_t length = e->name_length;
    if (length > 4 && !memcmp(e->name + length - 4, ".npy", 4)) length -= 4;
    NpzMember *m = &out->members[out->n];
    *m = (NpzMember){calloc(length + 1, 1), {0}};
    if (!m->name) return fail(error, "out of memory");
    memcpy(m->name, e->name, length);
    out->n++;
    NpyError inner;
    const char *wrong = parse_member(z, e, &m->array, &inner);
    if (wrong) snprintf(error->text, sizeof error->text, "'%.100s': %.250s", m->name, wrong);
    return wrong ? error->text : NULL;
}

static const char *read_members(Zip z, Npz *out, NpyError *error)
{
    size_t at, count;
    if (!find_directory(z, &at, &count)) return fail(error, "not a .npz file (no zip directory)");
    if (count > 65536) return fail(error, "more members than a .npz file has");
    const char *wrong = NULL;
    size_t packed = 0;
    for (size_t i = 0; i < count && !wrong; i++) {
        Entry e;
        if (!read_entry(z, at, &e)) return fail(error, "the zip directory is corrupt");
        if (e.packed > z.size || (packed += e.packed) > z.size) return fail(error, "members of the zip file overlap");
        wrong = add_member(z, &e, out, error);
        at = e.next;
    }
    return wrong;
}

const char *npz_read(const char *path, Npz *out, NpyError *error)
{
    *out = (Npz){0};
    struct stat st;
    bool there = !stat(path, &st);
    if (there && !S_ISREG(st.st_mode)) return fail(error, "not a regular file");
    FILE *f = there ? fopen(path, "rb") : NULL;
    if (!f) return fail(error, "%s", strerror(errno));
    const char *wrong = NULL;
    size_t size = (size_t)st.st_size;
    unsigned char *bytes = malloc(size + 1);
    if (!bytes || fread(bytes, 1, size, f) != size) wrong = fail(error, "cannot be read");
    fclose(f);
    if (!wrong) wrong = read_members((Zip){bytes, size}, out, error);
    free(bytes);
    if (wrong) npz_free(out);
    return wrong;
}

void npz_free(Npz *npz)
{
    for (size_t i = 0; i < npz->n; i++) {
        free(npz->members[i].name);
        npy_free(&npz->members[i].array);
    }
    free(npz->members);
    *npz = (Npz){0};
}
