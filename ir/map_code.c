// Building the scalar code of a map step. Equal instructions get one value number, so the expansions of
// expand_math.c can ask for the same constant or sub-expression as often as they like. A linear search: code is
// at most MAP_MAX_CODE long and most of it is found or refused within a few comparisons.
#include "float_bits.h"
#include "plan.h"

static int append(MapCode *m, ScalarInstr i)
{
    for (int k = 0; k < m->n; k++) {
        const ScalarInstr *s = &m->code[k];
        if (s->op == i.op && s->a == i.a && s->b == i.b && s->c == i.c && s->imm == i.imm) return k;
    }
    if (m->n == MAP_MAX_CODE) {
        m->overflow = true;
        return 0;
    }
    m->code[m->n] = i;
    return m->n++;
}

int map_arg(MapCode *m, int operand) { return append(m, (ScalarInstr){.op = S_arg, .imm = (uint32_t)operand}); }

int map_imm(MapCode *m, uint32_t word) { return append(m, (ScalarInstr){.op = S_imm, .imm = word}); }

int map_float(MapCode *m, float value) { return map_imm(m, word_of(value)); }

int map_op(MapCode *m, ScalarOp op, int a, int b, int c)
{
    int operands = scalar_operands(op); // what is not an operand is 0, so that equal instructions compare equal
    return append(m, (ScalarInstr){.op = (uint16_t)op,
                                   .a = (uint16_t)(operands > 0 ? a : 0),
                                   .b = (uint16_t)(operands > 1 ? b : 0),
                                   .c = (uint16_t)(operands > 2 ? c : 0)});
}
