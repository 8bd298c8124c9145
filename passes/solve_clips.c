// Clips that the inverse takes for the identity: min or max with a constant all of whose readers lead, through affine
// ops and more clips, to atanh, logit or log. Such a clip only keeps the argument inside the domain, so it is the
// identity on the flow's range.
#include "solve.h"

// Of a node, by all that reads it: whether it is read, and whether all of them are guarded.
typedef struct {
    bool read, elsewhere;
} Readers;

static void note_reader(Readers *readers, const Node *n, bool guarded)
{
    for (int k = 0; k < n->n_in; k++) {
        const Node *v = n->in[k];
        for (int j = 0; v && j < (v->op == OP_move ? v->n_in : 1); j++) {
            Readers *r = &readers[v->op == OP_move ? v->in[j]->id : v->id];
            r->read = true;
            r->elsewhere = r->elsewhere || !guarded;
        }
    }
}

const bool *solve_clips(Context *cx, const Function *f)
{
    bool *clips = ARENA_ARRAY(scratch_arena(cx), bool, f->n_nodes + 1);
    Readers *readers = ARENA_ARRAY(scratch_arena(cx), Readers, f->n_nodes + 1);
    for (int i = f->n_nodes - 1; i >= 0; i--) {
        const Node *n = f->nodes[i];
        bool guarded = readers[i].read && !readers[i].elsewhere;
        switch ((int)n->op) {
        case OP_atanh:
        case OP_logit:
        case OP_log:
        case OP_log1p: guarded = true; break;
        case OP_min:
        case OP_max: clips[i] = guarded = guarded && (node_is_const(n->in[0]) || node_is_const(n->in[1])); break;
        case OP_add:
        case OP_sub:
        case OP_mul:
        case OP_div:
        case OP_neg: break;
        default: guarded = false; break;
        }
        if (n->op != OP_move) note_reader(readers, n, guarded);
    }
    return clips;
}
