// Fuzz target of the importer: a file is refused with a message or becomes a module that keeps the rules of form.
#include "frontend.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Diag diag = {.arena = arena_new()};
    Context cx = {.arena = diag.arena, .diag = &diag};
    ImportOptions options = {0};
    const Module *m = onnx_load_bytes(&cx, data, size, NULL, &options);
    if (!m != (diag.errors > 0)) abort();
    if (m && !module_verify(m, &cx)) {
        diag_print(&diag, stderr);
        abort();
    }
    arena_free(diag.arena);
    return 0;
}
