// The table of backends.
#include "target.h"

#include <string.h>

static const Backend table[] = {
#define BACKEND(id, emit, meaning) {#id, meaning, emit},
#include "backends.def"
#undef BACKEND
};

const Backend *backend_list(int *n)
{
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

const Backend *backend_find(const char *name)
{
    int n;
    const Backend *list = backend_list(&n);
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i].name, name)) return &list[i];
    return NULL;
}
