// Where a node comes from, for messages: its name, the module path and the user's own source line, as torch's exporter
// leaves them in the node's metadata.
#include "onnx_import.h"

#include <stddef.h>
#include <string.h>

static bool in_library(const char *path)
{
    return strstr(path, "site-packages") || strstr(path, "dist-packages") || strstr(path, "torch/nn/") ||
           strstr(path, "torch/_");
}

// The user's own frame of a Python traceback: the last one outside installed packages.
static const char *user_line(Arena *arena, const char *trace)
{
    const char *best = NULL;
    for (const char *at = strstr(trace, "File \""); at; at = strstr(at + 6, "File \"")) {
        size_t n = strcspn(at + 6, "\"");
        char *path = arena_copy(arena, at + 6, n + 1);
        path[n] = 0;
        if (!best || !in_library(path)) best = at;
    }
    if (!best) return NULL;
    size_t n = strcspn(best + 6, "\"");
    const char *path = best + 6, *rest = path + n;
    for (const char *p = path; p < rest; p++)
        if (*p == '/' || *p == '\\') path = p + 1;
    const char *line = strstr(rest, "line "), *code = line ? strchr(line, '\n') : NULL;
    if (!line) return NULL;
    int head = (int)(code ? code - line : (ptrdiff_t)strlen(line)) - 5;
    if (!code) return arena_format(arena, "%.*s:%.*s", (int)(rest - path), path, head, line + 5);
    while (*code == '\n' || *code == ' ') code++;
    return arena_format(arena, "%.*s:%.*s: %.*s", (int)(rest - path), path, head, line + 5, (int)strcspn(code, "\n"),
                        code);
}

// "['', 'm', 'm.blocks.0', 'slice_1']" -> "m.blocks.0": the last but one.
static const char *module_path(Arena *arena, const char *scopes)
{
    const char *last = NULL, *before = NULL;
    for (const char *p = strchr(scopes, '\''); p; p = strchr(p + 1, '\'')) {
        before = last;
        last = p + 1;
        p = strchr(p + 1, '\'');
        if (!p) break;
    }
    if (!before || *before == '\'') return NULL;
    return arena_format(arena, "%.*s", (int)strcspn(before, "'"), before);
}

const Origin *node_origin(Arena *arena, const Onnx__NodeProto *node)
{
    Origin *o = ARENA_NEW(arena, Origin);
    o->op = node->op_type;
    o->node = node->name && *node->name ? node->name : node->n_output ? node->output[0] : "";
    for (int i = 0;; i++) {
        const ProtobufCMessageUnknownField *f = unknown_field(&node->base, 9, i);
        if (!f) return o;
        Onnx__StringStringEntryProto *e =
            (void *)unknown_message(arena, &onnx__string_string_entry_proto__descriptor, f);
        if (!e || !e->key || !e->value) continue;
        if (!strcmp(e->key, "pkg.torch.onnx.stack_trace")) o->source = user_line(arena, e->value);
        if (!strcmp(e->key, "pkg.torch.onnx.name_scopes")) o->module = module_path(arena, e->value);
    }
}
