// --normalize NAME=FILE.npz and --unnormalize FILE.npz: files with the keys mean and std, read and put into the graph.
#include "cli.h"
#include "cli_npy.h"
#include "units.h"

#include <string.h>

static const double *numbers_of(Session *s, Npz *npz, const char *key, const char *path, size_t *n)
{
    NpyError e;
    for (size_t i = 0; i < npz->n; i++) {
        Array *a = &npz->members[i].array;
        if (strcmp(npz->members[i].name, key)) continue;
        const char *wrong = a->count ? npy_convert(a, NPY_F64, &e) : "it holds no numbers";
        if (wrong) {
            diag_error(&s->cx, NULL, NULL, "%.300s: key '%s': %s", path, key, wrong);
            return NULL;
        }
        *n = a->count;
        return arena_copy(s->arena, a->data, a->count * sizeof(double));
    }
    diag_error(&s->cx, NULL, "numpy.savez(\"FILE.npz\", mean=..., std=...) writes one", "%.300s: there is no key '%s'",
               path, key);
    return NULL;
}

// `name` NULL: the event.
static bool read_scaling(Session *s, const char *name, const char *path, Scaling *out)
{
    Npz npz;
    NpyError e;
    const char *wrong = npz_read(path, &npz, &e);
    if (wrong) {
        diag_io_error(&s->cx, NULL, "%.300s: %s", path, wrong);
        return false;
    }
    size_t n_mean = 0, n_std = 0;
    const double *mean = numbers_of(s, &npz, "mean", path, &n_mean), *std = numbers_of(s, &npz, "std", path, &n_std);
    npz_free(&npz);
    if (!mean || !std) return false;
    if (n_mean != n_std) {
        diag_error(&s->cx, NULL, "each has as many as the value has numbers",
                   "%.300s: mean has %zu numbers, std has %zu", path, n_mean, n_std);
        return false;
    }
    *out = (Scaling){name, (int64_t)n_mean, mean, std, path};
    return true;
}

// NAME=FILE, as cli_options.c has seen.
static bool read_context(Session *s, const char *text, Scaling *out)
{
    const char *equals = strrchr(text, '=');
    return read_scaling(s, arena_format(s->arena, "%.*s", (int)(equals - text), text), equals + 1, out);
}

const Module *build_units(Session *s, const Module *m)
{
    const Options *o = s->options;
    FlowOptions f;
    Scaling *list = ARENA_ARRAY(s->arena, Scaling, o->n_normalize + 1);
    int n = 0;
    bool ok = true;
    if ((!o->n_normalize && !o->value[OPT_unnormalize]) || !flow_options(s, &f)) return m;
    for (int i = 0; i < o->n_normalize; i++) ok &= read_context(s, o->normalize[i], &list[n++]);
    if (o->value[OPT_unnormalize]) ok &= read_scaling(s, NULL, o->value[OPT_unnormalize], &list[n++]);
    return ok ? units_apply(&s->cx, m, &f, n, list) : NULL;
}
