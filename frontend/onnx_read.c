// Bytes -> Onnx__ModelProto, and the external data files of a model.
//
// protobuf-c allocates from the arena: small pieces from blocks of their own (an arena allocation is at least one
// cache line), large ones, the weights, directly, so that they are aligned to 64 and used where they are.
#define _GNU_SOURCE // O_PATH
#include "onnx_import.h"

#include "base/parallel.h"
#include "sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 16, LARGE = 1 << 12 };

typedef struct {
    Arena *arena;
    char *chunk;
    size_t left;
} Bump;

static void *bump_alloc(void *user, size_t size)
{
    Bump *bump = user;
    size_t want = (size + 15) & ~(size_t)15;
    if (want < size || want > LARGE) return arena_alloc(bump->arena, size);
    if (bump->left < want) {
        bump->chunk = arena_alloc(bump->arena, CHUNK);
        bump->left = CHUNK;
    }
    void *p = bump->chunk;
    bump->chunk += want;
    bump->left -= want;
    return p;
}

static void bump_free(void *user, void *p)
{
    (void)user;
    (void)p; // the arena goes as a whole
}

static ProtobufCAllocator bump_allocator(Bump *bump) { return (ProtobufCAllocator){bump_alloc, bump_free, bump}; }

// Files that are handed over by mistake, by their first bytes, none of which an ONNX file can have.
static const struct {
    const char *magic, *what, *hint;
} other_files[] = {
    {"\177ELF", "this is a compiled program, no model",
     "a compiled policy is for nfcc info, nfcc run and nfcc selftest"},
    {"PK\3\4", "this is a zip archive, such as a PyTorch .pt or .npz file, no ONNX file",
     "export the model with torch.onnx.export"},
    {"\200\2", "this is a Python pickle, such as an old PyTorch .pt file, no ONNX file",
     "export the model with torch.onnx.export"},
    {"\223NUMPY", "this is an array of NumPy, no ONNX file",
     "the model comes first: nfcc run MODEL.onnx ENTRY x=x.npy"},
    {"\211HDF", "this is an HDF5 file, no ONNX file", "export the model to ONNX"},
    {"version https://git-lfs", "this is the pointer of Git LFS, not the model itself", "git lfs pull fetches it"},
};

static bool is_other_file(Context *cx, const char *bytes, size_t size)
{
    for (size_t i = 0; i < sizeof other_files / sizeof *other_files; i++) {
        size_t n = strlen(other_files[i].magic);
        if (size < n || memcmp(bytes, other_files[i].magic, n) != 0) continue;
        diag_error(cx, NULL, other_files[i].hint, "%s", other_files[i].what);
        return true;
    }
    return false;
}

Onnx__ModelProto *onnx_parse(Context *cx, const void *bytes, size_t size)
{
    const char *hint = "export the model again; nfcc reads the ONNX files that torch.onnx.export and jax2onnx write";
    if (is_other_file(cx, bytes, size)) return NULL;
    const char *problem = size ? wire_scan(bytes, size, cx->arena) : "the file is empty";
    if (problem) {
        diag_error(cx, NULL, hint, "%s", problem);
        return NULL;
    }
    Bump bump = {cx->arena, NULL, 0};
    ProtobufCAllocator allocator = bump_allocator(&bump);
    Onnx__ModelProto *model = onnx__model_proto__unpack(&allocator, size, bytes);
    if (!model) diag_error(cx, NULL, hint, "not an ONNX model");
    return model;
}

const ProtobufCMessageUnknownField *unknown_field(const ProtobufCMessage *base, uint32_t number, int nth)
{
    for (unsigned i = 0; i < base->n_unknown_fields; i++)
        if (base->unknown_fields[i].tag == number &&
            base->unknown_fields[i].wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED && nth-- == 0)
            return &base->unknown_fields[i];
    return NULL;
}

// Bytes of an unknown field without its length.
static const unsigned char *payload(const ProtobufCMessageUnknownField *f, size_t *size)
{
    size_t at = 0;
    while (at < f->len && f->data[at] > 127) at++;
    at++;
    *size = at <= f->len ? f->len - at : 0;
    return f->data + (at <= f->len ? at : f->len);
}

const char *unknown_string(Arena *arena, const ProtobufCMessage *base, uint32_t number)
{
    const ProtobufCMessageUnknownField *f = unknown_field(base, number, 0);
    if (!f) return "";
    size_t size = 0;
    const unsigned char *text = payload(f, &size);
    char *copy = arena_alloc(arena, size + 1);
    memcpy(copy, text, size);
    return copy;
}

ProtobufCMessage *unknown_message(Arena *arena, const ProtobufCMessageDescriptor *type,
                                  const ProtobufCMessageUnknownField *f)
{
    size_t size = 0;
    const unsigned char *bytes = payload(f, &size);
    Bump bump = {arena, NULL, 0};
    ProtobufCAllocator allocator = bump_allocator(&bump);
    return protobuf_c_message_unpack(type, &allocator, size, bytes);
}

// ---- files

// All bytes of an open file, in the arena or (NULL) in malloc'd memory; NULL with errno set.
static unsigned char *read_all(int fd, Arena *arena, size_t *size)
{
    struct stat st;
    if (fstat(fd, &st)) return NULL;
    if (!S_ISREG(st.st_mode)) {
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        return NULL;
    }
    size_t n = (size_t)st.st_size, at = 0;
    unsigned char *bytes = arena ? arena_alloc(arena, n) : malloc(n ? n : 1);
    while (bytes && at < n) {
        ssize_t got = read(fd, bytes + at, n - at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        at += (size_t)got;
    }
    *size = n;
    if (at == n) return bytes;
    if (!arena) free(bytes);
    return NULL;
}

unsigned char *read_model_file(Context *cx, const char *path, size_t *size)
{
    errno = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    unsigned char *bytes = fd >= 0 ? read_all(fd, NULL, size) : NULL;
    int why = errno;
    if (fd >= 0) close(fd);
    if (!bytes)
        diag_io_error(cx, why == EINVAL ? "save what comes through a pipe to a file first" : NULL, "%s: %s", path,
                      why == EINVAL ? "not a regular file"
                      : why         ? strerror(why)
                                    : "cannot be read");
    return bytes;
}

// ---- external data

struct DataFile {
    struct DataFile *next;
    const char *location;
    const unsigned char *bytes; // NULL: refused before
    size_t size;
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// Opens DIR and then the file in it, following no link and leaving DIR by no path.
static int open_below(const char *dir, const char *location)
{
    int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char part[256];
    while (at >= 0) {
        size_t n = strcspn(location, "/");
        if (!n || n >= sizeof part || (n <= 2 && !strncmp(location, "..", n))) break; // "", ".", ".." or too long
        memcpy(part, location, n);
        part[n] = 0;
        bool last = !location[n];
        int next = openat(at, part, O_NOFOLLOW | O_CLOEXEC | (last ? O_RDONLY | O_NONBLOCK : O_PATH | O_DIRECTORY));
        close(at);
        if (last) return next;
        at = next;
        location += n + 1;
    }
    if (at >= 0) close(at);
    return -1;
}

static const char *directory_of(Arena *arena, const char *path)
{
    const char *base = base_name(path);
    if (base == path) return ".";
    char *dir = arena_string(arena, path);
    dir[base - path] = 0;
    return dir;
}

// The sibling MODEL.onnx.data, compared byte for byte with the model's own name, or any file below --external-data.
static bool allowed(const Source *s, const char *location)
{
    if (!s->path) return false;
    if (s->options && s->options->external_data) return true;
    size_t n = strlen(base_name(s->path));
    return !strncmp(location, base_name(s->path), n) && !strcmp(location + n, ".data");
}

static void refuse_location(Source *s, const char *location, const char *tensor)
{
    if (!s->path) {
        diag_error(s->cx, NULL, "export with external_data=False",
                   "tensor '%.200s' is stored in another file, '%.200s'", tensor, location);
        return;
    }
    diag_error(s->cx, NULL,
               "export with external_data=False, or say --external-data DIR for the directory that holds it",
               "tensor '%.200s' is stored in '%.200s'; only '%.200s.data' beside the model is read unasked", tensor,
               location, base_name(s->path));
}

static void open_data(Source *s, struct DataFile *f, const char *tensor)
{
    if (!allowed(s, f->location)) {
        refuse_location(s, f->location, tensor);
        return;
    }
    const char *given = s->options ? s->options->external_data : NULL;
    const char *dir = given ? given : directory_of(s->cx->arena, s->path);
    errno = 0;
    int fd = open_below(dir, f->location);
    f->bytes = fd >= 0 ? read_all(fd, s->cx->arena, &f->size) : NULL;
    s->size += f->bytes ? f->size : 0;
    int why = errno;
    if (fd >= 0) close(fd);
    if (!f->bytes)
        diag_error(
            s->cx, NULL,
            "keep the data file beside the model, a regular file and no link, or export with external_data=False",
            "tensor '%.200s': external data '%.200s' in '%.200s': %s", tensor, f->location, dir,
            why == ELOOP    ? "it is a link"
            : why == EINVAL ? "not a regular file"
            : why           ? strerror(why)
                            : "the path leaves the directory");
}

static struct DataFile *data_file(Source *s, const char *location, const char *tensor)
{
    struct DataFile **at = &s->files;
    for (; *at; at = &(*at)->next)
        if (!strcmp((*at)->location, location)) return *at;
    struct DataFile *f = *at = ARENA_NEW(s->cx->arena, struct DataFile);
    f->location = location;
    open_data(s, f, tensor);
    return f;
}

const unsigned char *source_bytes(Source *s, const char *location, int64_t offset, int64_t length, int64_t wanted,
                                  const char *tensor)
{
    struct DataFile *f = data_file(s, location, tensor);
    if (!f->bytes) return NULL;
    int64_t size = (int64_t)f->size;
    bool inside =
        offset >= 0 && offset <= size && length >= -1 && (length == -1 ? size - offset : length) <= size - offset;
    if (inside && (length == -1 ? size - offset >= wanted : length == wanted)) return f->bytes + offset;
    diag_error(s->cx, NULL, "copy the data file that was exported with this model",
               "tensor '%.200s' needs %lld bytes at offset %lld of '%.200s', which has %lld", tensor, (long long)wanted,
               (long long)offset, location, (long long)size);
    return NULL;
}

// ---- a model

// A file that is being imported and, beside it, hashed: neither needs the other.
typedef struct {
    Context *cx;
    const unsigned char *bytes;
    size_t size;
    Source source;
    Sha256 *sha;
    Module *m;
} Load;

static void load_or_hash(void *user, int i)
{
    Load *l = user;
    if (i == 0)
        l->m = onnx_load_source(l->cx, l->bytes, &l->source);
    else
        sha256_add(l->sha, l->bytes, l->size);
}

// As if they were the end of the model's file.
static void hash_data(Sha256 *sha, const struct DataFile *f)
{
    for (; f; f = f->next)
        if (f->bytes) sha256_add(sha, f->bytes, f->size);
}

Module *onnx_load(Context *cx, const char *path, const ImportOptions *options, unsigned char hash[32])
{
    size_t size = 0;
    unsigned char *bytes = read_model_file(cx, path, &size);
    if (!bytes) return NULL;
    Load l = {.cx = cx, .bytes = bytes, .size = size, .source = {.options = options, .path = path, .size = size}};
    if (hash) l.sha = sha256_begin();
    parallel_for(hash ? 2 : 1, load_or_hash, &l);
    if (hash) {
        hash_data(l.sha, l.source.files);
        sha256_end(l.sha, hash);
    }
    free(bytes);
    return l.m;
}
