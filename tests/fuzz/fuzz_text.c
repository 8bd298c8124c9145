// Fuzz target of the text reader: whatever is read keeps the rules of form, and writes to text that reads back to the
// same module. Any message is fine; a crash, a leak of time or memory, or a difference is a bug.
#include "same_module.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_and_compare(Context *cx, const Module *m)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) abort();
    module_write(m, out, NULL, NULL);
    fclose(out);
    if (!strstr(text, "= constant ...")) { // a large constant, whose numbers would stand in a file beside the text
        const Module *again = module_read(cx, text, size, NULL, NULL);
        if (!again || module_difference(m, again)) abort();
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Diag diag = {.arena = arena_new()};
    Context cx = {.arena = diag.arena, .diag = &diag};
    const Module *m = module_read(&cx, (const char *)data, size, NULL, NULL);
    if (!m != (diag.errors > 0)) abort();
    if (m && !module_verify(m, &cx)) abort();
    if (m) write_and_compare(&cx, m);
    arena_free(diag.arena);
    return 0;
}
