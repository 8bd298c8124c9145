// The lists of steps, the tables of codes, and the loops that walk them: through one list, and from part to part where
// a program has repeats.
#include "unit.h"

Value distance(Gen *g, Value to, Value from)
{
    Value bytes = LLVMConstSub(LLVMConstPtrToInt(to, g->i64), LLVMConstPtrToInt(from, g->i64));
    return LLVMConstTrunc(bytes, g->i32);
}

static Value constant_new(Gen *g, const char *name, LLVMTypeRef type, unsigned align)
{
    Value global = LLVMAddGlobal(g->module, type, name);
    LLVMSetLinkage(global, LLVMInternalLinkage);
    LLVMSetGlobalConstant(global, true);
    LLVMSetAlignment(global, align);
    return global;
}

Value text_new(Gen *g, const void *data, size_t size) { return LLVMConstStringInContext2(g->llvm, data, size, true); }

static unsigned char *put_word(unsigned char *at, uint32_t word, int bytes)
{
    for (int i = 0; i < bytes; i++) at[i] = (unsigned char)(word >> 8 * i);
    return at + bytes;
}

enum { LIST_HEAD = 4, LIST_PAD = 4 }; // bytes of the number of steps; an arg of three bytes is read as four
enum { SHAPE_FEW = 256 };             // the walk's shape is a tile's, or from here on the word of abi.h for few rows

static int step_bytes(const Unit *u, const StepKey *key)
{
    int n = u->code_bytes;
    for (int i = 0; i < key->n_args; i++) n += u->g.form[key->args[i].kind].bytes;
    return n;
}

int uses_bytes(const Unit *u, const Use *uses, int n)
{
    int bytes = 0;
    for (int i = 0; i < n; i++) bytes += step_bytes(u, &u->codes[uses[i].code].key);
    return bytes;
}

static unsigned char *put_round(Unit *u, unsigned char *at, const Use *uses, int n)
{
    at = put_word(at, (uint32_t)n, LIST_HEAD);
    for (int i = 0; i < n; i++) {
        at = put_word(at, (uint32_t)uses[i].code, u->code_bytes);
        for (int j = 0; j < u->codes[uses[i].code].key.n_args; j++) {
            ArgForm f = u->g.form[uses[i].args[j].kind];
            at = put_word(at, uses[i].args[j].value >> f.shift, f.bytes);
        }
    }
    return at;
}

// A round is its steps' bytes as one long number; the next round is this plus a constant, `by`. Args may fall: what
// they borrow comes back from `by`, which is the difference of the numbers.
static void subtract(unsigned char *by, const unsigned char *less, int bytes)
{
    int borrow = 0;
    for (int i = 0; i < bytes; i++) {
        int d = by[i] - less[i] - borrow;
        borrow = d < 0;
        by[i] = (unsigned char)d;
    }
}

enum { PART_HEAD = 8 };

// Bytes of a part that are copied before its rounds: whole words.
static int body_bytes(const Unit *u, const Use *uses, const Part *part)
{
    int bytes = LIST_HEAD + uses_bytes(u, uses + part->first, part->length);
    return part->rounds == 1 ? bytes : (bytes + LIST_PAD + 7) / 8 * 8;
}

// Rounds, bytes of a round, the first round as a list for the walk; where there are more, what is added to get the next
// one.
static unsigned char *put_part(Unit *u, unsigned char *at, const Use *uses, const Part *part)
{
    int bytes = body_bytes(u, uses, part);
    uses += part->first;
    at = put_word(put_word(at, (uint32_t)part->rounds, 4), (uint32_t)bytes, 4);
    put_round(u, at, uses, part->length);
    if (part->rounds > 1) {
        put_round(u, at + bytes, uses + part->length, part->length);
        subtract(at + bytes, at, bytes);
    }
    return at + (part->rounds > 1 ? 2 : 1) * bytes;
}

void emit_program_steps(Unit *u, int id)
{
    Gen *g = &u->g;
    const Use *uses = u->uses[id];
    Part whole = {0, u->n_uses[id], 1};
    if (!whole.length) return;
    size_t size = LIST_HEAD + LIST_PAD + (u->n_parts[id] ? 0 : (size_t)body_bytes(u, uses, &whole));
    for (int i = 0; i < u->n_parts[id]; i++)
        size += PART_HEAD + (u->parts[id][i].rounds > 1 ? 2 : 1) * (size_t)body_bytes(u, uses, &u->parts[id][i]);
    unsigned char *list = arena_alloc(g->cx->arena, size);
    unsigned char *at =
        u->n_parts[id] ? put_word(list, (uint32_t)u->n_parts[id], LIST_HEAD) : put_round(u, list, uses, whole.length);
    for (int i = 0; i < u->n_parts[id]; i++) at = put_part(u, at, uses, &u->parts[id][i]);
    const char *name = arena_format(g->cx->arena, "%s_steps", program_name(id));
    u->steps[id] = constant_new(g, name, LLVMArrayType2(g->i8, size), 1);
    LLVMSetInitializer(u->steps[id], text_new(g, list, size));
}

void emit_code_table(Unit *u, int t)
{
    Gen *g = &u->g;
    int shape = shape_slot(g, STEP_GEMM, true, t);
    unsigned n = (unsigned)u->n_codes;
    if (shape < t) {
        u->code_table[t] = u->code_table[shape];
        return;
    }
    const char *name = arena_format(g->cx->arena, "codes_t%d%s", tiles[t], level_suffix(g));
    Value table = u->code_table[t] = constant_new(g, name, LLVMArrayType2(g->i32, n), 4);
    Value *words = ARENA_ARRAY(g->cx->arena, Value, n + 1);
    for (int i = 0; i < u->n_codes; i++) words[i] = distance(g, u->codes[i].fn[u->level][t], table);
    LLVMSetInitializer(table, LLVMConstArray2(g->i32, words, n));
}

// In lengths, an entry's highest bit: the code of T = 1 takes one row.
static int each_row(const Unit *u) { return 1 << (8 * u->length_bytes - 1); }

static int most_step_bytes(const Unit *u)
{
    int most = 0;
    for (int i = 0; i < u->n_codes; i++) {
        int bytes = step_bytes(u, &u->codes[i].key);
        if (bytes > most) most = bytes;
    }
    return most;
}

// Bytes of a step by number of its code: in one byte, or two where some map learns very many numbers.
static Value lengths_new(Unit *u)
{
    Gen *g = &u->g;
    u->length_bytes = most_step_bytes(u) < 128 ? 1 : 2;
    size_t size = (size_t)u->n_codes * (size_t)u->length_bytes;
    unsigned char *bytes = arena_alloc(g->cx->arena, size + 1);
    for (int i = 0; i < u->n_codes; i++) {
        int each = takes_few(g, u->codes[i].step) ? 0 : each_row(u);
        put_word(bytes + i * u->length_bytes, (uint32_t)(step_bytes(u, &u->codes[i].key) | each), u->length_bytes);
    }
    Value lengths = constant_new(g, "lengths", LLVMArrayType2(g->i8, size), 1);
    LLVMSetInitializer(lengths, text_new(g, bytes, size));
    return lengths;
}

static Value call_step(Gen *g, Value step, Value work, Value prep, Value args)
{
    Value all[] = {work, prep, LLVMGetParam(g->fn, 2), args, LLVMGetParam(g->fn, 5)};
    return LLVMBuildCall2(g->b, g->step_type, step, all, 5, "");
}

// One step of several rows: once, or once for each of them.
static void walk_step(Gen *g, Value step, Value args, Value times)
{
    Value shape = LLVMGetParam(g->fn, 5);
    Loop l = loop_of(g, times);
    Value work = bytes_at(g, LLVMGetParam(g->fn, 0), product_of(g, l.i, few_step(g, shape, SPACE_WORK)));
    Value prep = bytes_at(g, LLVMGetParam(g->fn, 1), product_of(g, l.i, few_step(g, shape, SPACE_PREP)));
    call_step(g, step, work, prep, args);
    loop_end(g, &l, NULL);
}

// All steps of the list, with a loop over rows or without.
static void walk_steps(Unit *u, Value lengths, bool several)
{
    Gen *g = &u->g;
    Value list = LLVMGetParam(g->fn, 3), codes = LLVMGetParam(g->fn, 4), shape = LLVMGetParam(g->fn, 5);
    Value count = load_narrow(g, LIST_HEAD, list), first = bytes_at(g, list, word_i64(g, LIST_HEAD));
    Loop l = loop_of(g, count);
    Value at = loop_phi(g, &l, first);
    Value number = load_narrow(g, u->code_bytes, at), args = bytes_at(g, at, word_i64(g, u->code_bytes));
    Value offset = LLVMBuildSExt(g->b, load(g, g->i32, bytes_at(g, codes, mul(g, number, 4))), g->i64, "");
    Value entry = u->length_bytes == 1 ? number : mul(g, number, u->length_bytes);
    Value length = load_narrow(g, u->length_bytes, bytes_at(g, lengths, entry)), step = bytes_at(g, codes, offset);
    Value bytes = LLVMBuildAnd(g->b, length, word_i64(g, each_row(u) - 1), "");
    if (several) {
        Value each = LLVMBuildICmp(g->b, LLVMIntNE, bytes, length, "");
        walk_step(g, step, args, where(g, each, few_rows(g, shape), word_i64(g, 1)));
    } else {
        call_step(g, step, LLVMGetParam(g->fn, 0), LLVMGetParam(g->fn, 1), args);
    }
    Value next = bytes_at(g, at, bytes);
    loop_end(g, &l, &next);
    LLVMBuildRetVoid(g->b);
}

// void walk(work, prep, weights, list, codes, shape): six words, which all are in registers. Before the list's steps
// stands their number, which is not 0. T > 1: shape is T, with SHAPE_SHARED. One row has a loop of its own, since its
// steps are short.
void emit_walk(Unit *u)
{
    Gen *g = &u->g;
    LLVMTypeRef params[] = {g->ptr, g->ptr, g->ptr, g->ptr, g->ptr, g->i64};
    u->walk_type = LLVMFunctionType(g->none, params, 6, false);
    Value fn = u->walk = function_new(g, "walk", u->walk_type), lengths = lengths_new(u);
    Value shape = LLVMGetParam(fn, 5);
    Value few = LLVMBuildICmp(g->b, LLVMIntUGE, shape, word_i64(g, SHAPE_FEW), "");
    Value rows = exceeds(g, few_rows(g, shape), 1);
    LLVMBasicBlockRef several = block_new(g, "several"), once = block_new(g, "once");
    LLVMBuildCondBr(g->b, LLVMBuildAnd(g->b, few, rows, ""), several, once);
    LLVMPositionBuilderAtEnd(g->b, several);
    walk_steps(u, lengths, true);
    LLVMPositionBuilderAtEnd(g->b, once);
    walk_steps(u, lengths, false);
}

static Value head_word(Gen *g, Value at, int number)
{
    return LLVMBuildZExt(g->b, load_narrow(g, 4, bytes_at(g, at, word_i64(g, 4 * number))), g->i64, "");
}

static Value word_at(Gen *g, Value base, Value number) { return bytes_at(g, base, mul(g, number, 8)); }

static void copy_words(Gen *g, Value to, Value from, Value words)
{
    Loop l = loop_maybe(g, words);
    Value v = LLVMBuildLoad2(g->b, g->i64, word_at(g, from, l.i), "");
    LLVMSetAlignment(v, 1);
    LLVMBuildStore(g->b, v, word_at(g, to, l.i));
    loop_end(g, &l, NULL);
}

// to += by, both numbers of `words` words.
static void add_words(Gen *g, Value to, Value by, Value words)
{
    LLVMTypeRef wide = LLVMIntTypeInContext(g->llvm, 128);
    Loop l = loop_maybe(g, words);
    Value carry = loop_phi(g, &l, word_i64(g, 0)), place = word_at(g, to, l.i);
    Value a = LLVMBuildLoad2(g->b, g->i64, place, ""), b = LLVMBuildLoad2(g->b, g->i64, word_at(g, by, l.i), "");
    LLVMSetAlignment(b, 1);
    Value sum = add(g, add(g, LLVMBuildZExt(g->b, a, wide, ""), LLVMBuildZExt(g->b, b, wide, "")),
                    LLVMBuildZExt(g->b, carry, wide, ""));
    LLVMBuildStore(g->b, LLVMBuildTrunc(g->b, sum, g->i64, ""), place);
    Value high = LLVMBuildLShr(g->b, sum, LLVMConstInt(wide, 64, false), "");
    carry = LLVMBuildTrunc(g->b, high, g->i64, "");
    loop_end(g, &l, &carry);
}

// void rounds(work, prep, weights, list, codes, shape): a part's first round is copied, so that it can be added to
// between the rounds.
void emit_rounds(Unit *u)
{
    Gen *g = &u->g;
    Value fn = u->rounds = function_new(g, "rounds", u->walk_type), list = LLVMGetParam(fn, 3);
    Value body = LLVMBuildArrayAlloca(g->b, g->i64, word_i32(g, MOST_BODY / 8), "");
    Value start = bytes_at(g, list, word_i64(g, LIST_HEAD));
    Loop parts = loop_of(g, head_word(g, list, 0));
    Value at = loop_phi(g, &parts, start);
    Value rounds = head_word(g, at, 0), bytes = head_word(g, at, 1), first = bytes_at(g, at, word_i64(g, PART_HEAD));
    Value many = differs(g, rounds, 1);
    Value words = where(g, many, LLVMBuildLShr(g->b, bytes, word_i64(g, 3), ""), word_i64(g, 0));
    Value by = bytes_at(g, first, bytes), steps = where(g, many, body, first);
    copy_words(g, body, first, words);
    Loop l = loop_of(g, rounds);
    Value args[] = {LLVMGetParam(fn, 0), LLVMGetParam(fn, 1), LLVMGetParam(fn, 2), steps,
                    LLVMGetParam(fn, 4), LLVMGetParam(fn, 5)};
    LLVMBuildCall2(g->b, u->walk_type, u->walk, args, 6, "");
    add_words(g, body, by, words);
    loop_end(g, &l, NULL);
    Value next = where(g, many, bytes_at(g, by, bytes), by);
    loop_end(g, &parts, &next);
    LLVMBuildRetVoid(g->b);
}

// The walk's shape, from the word of abi.h.
static Value program_shape(Gen *g, Value fn, int t)
{
    Value word = LLVMGetParam(fn, 3);
    if (!t) return word;
    Value shared = equal(g, few_step(g, word, SPACE_PREP), 4 * SHARED_ROWS);
    return where(g, shared, word_i64(g, tiles[t] | SHAPE_SHARED), word_i64(g, tiles[t]));
}

void emit_program(Unit *u, int id, int t)
{
    Gen *g = &u->g;
    const char *name = arena_format(g->cx->arena, "%s_t%d%s", program_name(id), tiles[t], level_suffix(g));
    Value fn = u->program[u->level][id][t] = function_new(g, name, g->code_type);
    if (u->n_uses[id]) {
        Value args[] = {LLVMGetParam(fn, 0), LLVMGetParam(fn, 1), LLVMGetParam(fn, 2),
                        u->steps[id],        u->code_table[t],    program_shape(g, fn, t)};
        LLVMSetTailCall(LLVMBuildCall2(g->b, u->walk_type, u->n_parts[id] ? u->rounds : u->walk, args, 6, ""), true);
    }
    LLVMBuildRetVoid(g->b);
}
