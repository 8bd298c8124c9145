// See same_module.h. Nodes are compared by position; numbers by bits.
#include "same_module.h"

#include <string.h>

static bool same_text(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

static bool same_data(const Node *a, const Node *b)
{
    static const size_t size[] = {4, 8, 8, 1};
    size_t bytes = (size_t)type_lanes(a->type) * size[a->type.dtype];
    return a->data == b->data || !bytes || (a->data && b->data && !memcmp(a->data, b->data, bytes));
}

static bool same_map(const Node *a, const Node *b)
{
    size_t lanes = (size_t)type_lanes(a->type);
    if (!a->n_in) return true;
    return !a->map == !b->map && (!a->map || !memcmp(a->map, b->map, lanes * sizeof *a->map));
}

static const char *node_difference(const Node *a, const Node *b)
{
    if (a->id != b->id) return "a node's id";
    if (a->op != b->op) return "a node's op";
    if (!type_equal(a->type, b->type)) return "a node's type";
    if (!same_text(a->name, b->name)) return "a node's name";
    if (memcmp(&a->alpha, &b->alpha, sizeof a->alpha)) return "an alpha";
    if (a->n_in != b->n_in) return "an operand count";
    for (int k = 0; k < a->n_in; k++)
        if (!a->in[k] != !b->in[k] || (a->in[k] && a->in[k]->id != b->in[k]->id)) return "an operand";
    if (!same_map(a, b)) return "a map";
    return a->op != OP_constant || same_data(a, b) ? NULL : "a constant's data";
}

static const char *function_difference(const Function *a, const Function *b)
{
    if (!same_text(a->name, b->name)) return "a function's name";
    if (a->n_nodes != b->n_nodes) return "a node count";
    if (a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs) return "a count of inputs or outputs";
    for (int i = 0; i < a->n_nodes; i++) {
        const char *why = node_difference(a->nodes[i], b->nodes[i]);
        if (why) return why;
    }
    for (int i = 0; i < a->n_inputs; i++)
        if (a->inputs[i]->id != b->inputs[i]->id) return "an input";
    for (int i = 0; i < a->n_outputs; i++)
        if (!same_text(a->outputs[i].name, b->outputs[i].name) || a->outputs[i].node->id != b->outputs[i].node->id)
            return "an output";
    return NULL;
}

static const char *ports_difference(const Port *a, const Port *b, int n)
{
    for (int i = 0; i < n; i++)
        if (!same_text(a[i].name, b[i].name) || !type_equal(a[i].type, b[i].type) || a[i].batch_axis != b[i].batch_axis)
            return "a port";
    return NULL;
}

static bool same_pairs(const Property *a, int n, const Property *b, int m)
{
    bool same = n == m;
    for (int i = 0; same && i < n; i++) same = same_text(a[i].key, b[i].key) && same_text(a[i].value, b[i].value);
    return same;
}

const char *module_difference(const Module *a, const Module *b)
{
    if (a->stage != b->stage) return "the stage";
    if (a->n_functions != b->n_functions) return "the function count";
    if (a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs) return "the port count";
    for (int i = 0; i < a->n_functions; i++) {
        const char *why = function_difference(a->functions[i], b->functions[i]);
        if (why) return why;
    }
    if (!same_pairs(a->properties, a->n_properties, b->properties, b->n_properties)) return "a property";
    if (!same_pairs(a->notes, a->n_notes, b->notes, b->n_notes)) return "a note";
    const char *why = ports_difference(a->inputs, b->inputs, a->n_inputs);
    return why ? why : ports_difference(a->outputs, b->outputs, a->n_outputs);
}
