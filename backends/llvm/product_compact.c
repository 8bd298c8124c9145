// Sums of one row from the compact image of their weights (abi.h), a group at a time: functions, since the code of every
// step that takes such groups needs them. Units that have no image are read as they lie; where there is none at all, all.
//
//     f32      128 sums in registers; a unit is one input's weights
//     pairs    up to ONE_ROW_UNITS columns of sixteen sums; a unit is four pairs of a column. The sums of tiled products
//              (plan.h): for every 32 inputs a chain of even and one of odd ones
#include "tiles.h"

enum {
    VECTORS = GEMM_GROUP / SIDE,
    UNIT_PAIRS = 4,
    STEP_UNITS = SIDE / UNIT_PAIRS,
    UNIT_BYTES = UNIT_PAIRS * ROW_BYTES
};

typedef struct {
    Gen *g;
    Compact c;
    CompactGroup group;
} Sums;

LLVMTypeRef compact_type(Gen *g)
{
    LLVMTypeRef list[] = {g->ptr, g->ptr, g->ptr, g->i64, g->i64};
    return LLVMFunctionType(g->none, list, 5, false);
}

static Value line_at(Gen *g, Value at, int i) { return bytes_at(g, at, word_i64(g, (int64_t)i * LINE_BYTES)); }

static Value times(Gen *g, Value v, Value scale) { return scale ? LLVMBuildFMul(g->b, v, scale, "") : v; }

// A unit goes one of two ways: by its image, or as it lies. Each adds to the sums.
typedef struct {
    const Sums *s;
    Value unit; // its number in the group
    Value lies; // its address where the group has no image; NULL: that is behind the sums then, too
    const Value *x;
    int n; // sums; behind them stands the address of the next unit without an image
    bool pairs;
} Unit;
typedef void AddUnit(const Unit *u, const Value *line, Value scale, Value *sum);

static int unit_lines(bool pairs) { return pairs ? UNIT_PAIRS : VECTORS; }

// Those units are few and far between, so that no CPU foresees that they are read.
static void fetch_plain(Gen *g, Value at, bool pairs)
{
    Loop l = loop_begin(g, unit_lines(pairs));
    prefetch(g, at, mul(g, l.i, LINE_BYTES), TO_L1);
    loop_end(g, &l, NULL);
}

static void by_image(const Unit *u, AddUnit *add_unit, Value *sum)
{
    Value line[VECTORS];
    compact_lines(u->s->g, &u->s->group, u->unit, u->pairs, line);
    add_unit(u, line, u->s->group.scale, sum);
}

static void as_it_lies(const Unit *u, AddUnit *add_unit, Value *sum)
{
    Gen *g = u->s->g;
    Value line[VECTORS], at = sum[u->n];
    if (u->lies) at = where(g, u->s->group.there, at, u->lies);
    for (int i = 0; i < unit_lines(u->pairs); i++) line[i] = load(g, floats(g, SIDE), line_at(g, at, i));
    add_unit(u, line, NULL, sum);
    sum[u->n] = line_at(g, sum[u->n], unit_lines(u->pairs));
    fetch_plain(g, u->lies ? where(g, u->s->group.there, sum[u->n], at) : sum[u->n], u->pairs);
}

static void either_way(const Unit *u, AddUnit *add_unit, Value *sum)
{
    Gen *g = u->s->g;
    LLVMBasicBlockRef way[2] = {block_new(g, "image"), block_new(g, "plain")}, done = block_new(g, "added");
    Value made[2][VECTORS + 1];
    LLVMBuildCondBr(g->b, compact_is_plain(g, &u->s->group, u->unit), way[1], way[0]);
    for (int w = 0; w < 2; w++) {
        LLVMPositionBuilderAtEnd(g->b, way[w]);
        for (int i = 0; i <= u->n; i++) made[w][i] = sum[i];
        (w ? as_it_lies : by_image)(u, add_unit, made[w]);
        way[w] = LLVMGetInsertBlock(g->b);
        LLVMBuildBr(g->b, done);
    }
    LLVMPositionBuilderAtEnd(g->b, done);
    for (int i = 0; i <= u->n; i++) {
        Value both[] = {made[0][i], made[1][i]};
        sum[i] = LLVMBuildPhi(g->b, LLVMTypeOf(sum[i]), "");
        LLVMAddIncoming(sum[i], both, way, 2);
    }
}

// ---- f32

static void add_input(const Unit *u, const Value *line, Value scale, Value *sum)
{
    Gen *g = u->s->g;
    for (int i = 0; i < u->n; i++) sum[i] = fma_of(g, u->x[0], times(g, line[i], scale), sum[i]);
}

static int group_sums(const Sums *s, Value plain, Value *out)
{
    Gen *g = s->g;
    Value sum[VECTORS + 1];
    for (int i = 0; i < VECTORS; i++) sum[i] = splat_float(g, 0, SIDE);
    sum[VECTORS] = plain;
    Loop l = loop_of(g, s->c.inputs);
    for (int i = 0; i <= VECTORS; i++) sum[i] = loop_phi(g, &l, sum[i]);
    Value x = splat(g, load(g, g->f32, bytes_at(g, s->c.x, mul(g, l.i, 4))), SIDE);
    Unit u = {s, l.i, NULL, &x, VECTORS, false};
    either_way(&u, add_input, sum);
    loop_end(g, &l, sum);
    for (int i = 0; i < VECTORS; i++) out[i] = sum[i];
    return VECTORS;
}

// ---- pairs

// Halves of a unit's pairs times those of x, to the chains of even and of odd inputs.
static void add_pairs(const Unit *u, const Value *line, Value scale, Value *chain)
{
    Gen *g = u->s->g;
    for (int i = 0; i < 2 * UNIT_PAIRS; i++)
        chain[i % 2] = fma_of(g, u->x[i], times(g, pairs_half(g, line[i / 2], i % 2), scale), chain[i % 2]);
}

// Four pairs of inputs, number `row`, of all columns; behind the chains stands the next unit without an image.
static void add_row(const Sums *s, int columns, Value row, Value *chain)
{
    Gen *g = s->g;
    Value x[2 * UNIT_PAIRS], at = bytes_at(g, s->c.x, mul(g, row, 4 * UNIT_PAIRS));
    Value column = mul(g, s->c.inputs, TILE_BYTES), first = bytes_at(g, s->c.w, mul(g, row, UNIT_BYTES));
    for (int i = 0; i < 2 * UNIT_PAIRS; i++) {
        Value pair = splat(g, load(g, g->f32, bytes_at(g, at, word_i64(g, i / 2 * 4))), SIDE);
        x[i] = pairs_half(g, pair, i % 2);
    }
    for (int c = 0; c < columns; c++) {
        Value unit = add(g, mul(g, row, columns), word_i64(g, c));
        Value own[] = {chain[2 * c], chain[2 * c + 1], chain[2 * columns]};
        Unit u = {s, unit, bytes_at(g, first, mul(g, column, c)), x, 2, true};
        either_way(&u, add_pairs, own);
        chain[2 * c] = own[0], chain[2 * c + 1] = own[1], chain[2 * columns] = own[2];
    }
}

static int column_sums(const Sums *s, int columns, Value *out)
{
    Gen *g = s->g;
    Value chain[2 * ONE_ROW_UNITS + 1], sum[ONE_ROW_UNITS + 1];
    for (int c = 0; c < columns; c++) sum[c] = splat_float(g, 0, SIDE);
    sum[columns] = s->group.plain;
    Loop steps = loop_of(g, s->c.inputs);
    for (int c = 0; c <= columns; c++) sum[c] = loop_phi(g, &steps, sum[c]);
    for (int i = 0; i < 2 * columns; i++) chain[i] = splat_float(g, 0, SIDE);
    chain[2 * columns] = sum[columns];
    Loop rows = loop_begin(g, STEP_UNITS);
    for (int i = 0; i <= 2 * columns; i++) chain[i] = loop_phi(g, &rows, chain[i]);
    add_row(s, columns, add(g, mul(g, steps.i, STEP_UNITS), rows.i), chain);
    loop_end(g, &rows, chain);
    for (int c = 0; c < columns; c++)
        sum[c] = LLVMBuildFAdd(g->b, sum[c], LLVMBuildFAdd(g->b, chain[2 * c], chain[2 * c + 1], ""), "");
    sum[columns] = chain[2 * columns];
    loop_end(g, &steps, sum);
    for (int c = 0; c < columns; c++) out[c] = sum[c];
    return columns;
}

// ---- functions

void compact_sums_emit(Gen *g, int columns)
{
    Value sum[VECTORS];
    Sums s = {.g = g, .c.out = LLVMGetParam(g->fn, 0), .c.x = LLVMGetParam(g->fn, 1), .c.w = LLVMGetParam(g->fn, 2)};
    s.c.image = LLVMGetParam(g->fn, 3);
    s.c.inputs = LLVMGetParam(g->fn, 4);
    Value units = columns ? mul(g, s.c.inputs, (int64_t)STEP_UNITS * columns) : s.c.inputs;
    s.group = compact_group(g, s.c.w, s.c.image, units, columns);
    Value plain = where(g, s.group.there, s.group.plain, s.c.w);
    fetch_plain(g, plain, columns);
    int n = columns ? column_sums(&s, columns, sum) : group_sums(&s, plain, sum);
    for (int i = 0; i < n; i++) store(g, sum[i], line_at(g, s.c.out, i));
}

void compact_sums(Gen *g, int columns, Compact c, Value *sum)
{
    Value args[] = {c.out, c.x, c.w, c.image, c.inputs};
    LLVMBuildCall2(g->b, compact_type(g), g->compact_sums[columns], args, 5, "");
    for (int i = 0; i < (columns ? columns : VECTORS); i++) sum[i] = load(g, floats(g, SIDE), line_at(g, c.out, i));
}
