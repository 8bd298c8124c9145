// Unit tests of the text form that .nf files cannot say: the bin file, odd modules made node by node, random modules,
// and broken modules that only the verifier can meet.
#include "same_module.h"

#include "fixture.h"
#include "scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

// Each in a folder of its own, where the bin file lies.
static int setup(void **state) { return scratch_make(state) ? -1 : fixture_setup(state); }
static int teardown(void **state) { return fixture_teardown(state) | scratch_remove(state); }

static const char *bin_path(Fixture *f) { return arena_format(f->cx.arena, "%s/m.nf.bin", scratch); }

// ---- writing and reading

typedef struct {
    const char *text, *bin;
    size_t bin_size;
} Written;

static Written write_module(Fixture *f, const Module *m)
{
    char *text, *bin;
    size_t text_size, bin_size;
    FILE *to_text = open_memstream(&text, &text_size), *to_bin = open_memstream(&bin, &bin_size);
    assert_true(to_text && to_bin);
    module_write(m, to_text, to_bin, "m.nf.bin");
    fclose(to_text);
    fclose(to_bin);
    Written w = {arena_string(f->cx.arena, text), arena_alloc(f->cx.arena, bin_size), bin_size};
    memcpy((char *)w.bin, bin, bin_size);
    free(text);
    free(bin);
    return w;
}

static void save_bin(Fixture *f, const char *bin, size_t size)
{
    FILE *file = fopen(bin_path(f), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bin, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static Module *read_text(Fixture *f, const char *text)
{
    return module_read(&f->cx, text, strlen(text), scratch, NULL);
}

// m, written and read, is m; written again it is the same text.
static Module *assert_round_trip(Fixture *f, const Module *m)
{
    Written first = write_module(f, m);
    save_bin(f, first.bin, first.bin_size);
    Module *again = read_text(f, first.text);
    if (!again) fail_msg("%s\n%s", f->diag.list[0].text, first.text);
    const char *why = module_difference(m, again);
    if (why) fail_msg("%s differs:\n%s", why, first.text);
    Written second = write_module(f, again);
    assert_string_equal(second.text, first.text);
    assert_int_equal(second.bin_size, first.bin_size);
    return again;
}

static void assert_refused(Fixture *f, const char *text, const char *why)
{
    assert_null(read_text(f, text));
    assert_true(f->diag.errors > 0);
    const char *message = f->diag.list[f->diag.n - 1].text;
    if (!strstr(message, why)) fail_msg("got '%s', wanted '%s'", message, why);
}

static Module *module_of(Fixture *f, const Function *fn) { return module_new(&f->cx, STAGE_NORMAL, 1, &fn, NULL); }

// ---- a module made node by node

typedef struct {
    Fixture *f;
    Node *nodes[256];
    const Node *inputs[256];
    Output outputs[256];
    Function fn;
} Made;

static Node *make(Made *m, Op op, Type type, const char *name, int n_in, const Node *const *in)
{
    Node *n = ARENA_NEW(m->f->cx.arena, Node);
    *n = (Node){.id = m->fn.n_nodes, .op = op, .type = type, .name = name, .n_in = n_in};
    if (n_in) n->in = arena_copy(m->f->cx.arena, in, (size_t)n_in * sizeof *in);
    m->nodes[m->fn.n_nodes++] = n;
    if (op == OP_input) m->inputs[m->fn.n_inputs++] = n;
    return n;
}

static Node *make_const(Made *m, Type type, const void *data)
{
    Node *n = make(m, OP_constant, type, NULL, 0, NULL);
    n->data = data;
    return n;
}

static void give(Made *m, const char *name, const Node *n) { m->outputs[m->fn.n_outputs++] = (Output){name, n}; }

static Made *made_new(Fixture *f)
{
    Made *m = ARENA_NEW(f->cx.arena, Made);
    m->f = f;
    m->fn = (Function){.name = "f", .nodes = (const Node *const *)m->nodes, .inputs = m->inputs, .outputs = m->outputs};
    return m;
}

static Module *made_module(Made *m)
{
    const Function *fn = &m->fn;
    return module_of(m->f, fn);
}

static void test_equal_and_odd_names(void **state)
{
    Made *m = made_new(*state);
    const char *names[] = {"a", "a", "a~2", "a",      "_",      "f32", "bin",   "é\n\t\"\\",
                           "#", "1", "%3",  "/x/y.0", "return", "nan", "splat", " "};
    const Node *x = make(m, OP_input, type_vector(2), "a", 0, NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) x = make(m, OP_neg, type_vector(2), names[i], 1, &x);
    for (size_t i = 1; i < 8; i++) give(m, names[i + 3], m->nodes[i]);
    m->fn.name = "main graph";
    assert_round_trip(*state, made_module(m));
}

// Constants not right before their user, used twice, in another order, or named must keep their place.
static void test_constants_keep_their_place(void **state)
{
    Made *m = made_new(*state);
    static const float one = 1, two[2] = {2, 3};
    const Node *x = make(m, OP_input, type_vector(2), "x", 0, NULL);
    const Node *a = make_const(m, type_scalar(), &one), *b = make_const(m, type_vector(2), two);
    const Node *n = make(m, OP_add, type_vector(2), NULL, 2, (const Node *[]){b, a}); // order
    const Node *c = make_const(m, type_scalar(), &one);
    n = make(m, OP_add, type_vector(2), NULL, 2, (const Node *[]){n, c}); // inline
    const Node *d = make_const(m, type_vector(2), two);
    n = make(m, OP_add, type_vector(2), NULL, 2, (const Node *[]){d, d}); // twice
    const Node *e = make_const(m, type_vector(2), two), *g = make_const(m, type_scalar(), &one);
    n = make(m, OP_select, type_vector(2), NULL, 3, (const Node *[]){e, x, g}); // both inline around x
    Node *h = make_const(m, type_scalar(), &one);
    h->name = "h";
    n = make(m, OP_add, type_vector(2), NULL, 2, (const Node *[]){n, h}); // named
    const Node *o = make_const(m, type_scalar(), &one);
    give(m, "n", n);
    give(m, "o", o);
    Module *again = assert_round_trip(*state, made_module(m));
    assert_non_null(strstr(write_module(*state, again).text, "select [2, 3], x, 1"));
}

static void test_inputs_in_the_middle(void **state)
{
    Made *m = made_new(*state);
    const Node *x = make(m, OP_input, type_vector(2), "x", 0, NULL);
    const Node *n = make(m, OP_neg, type_vector(2), NULL, 1, &x);
    const Node *y = make(m, OP_input, type_vector(2), "y", 0, NULL);
    give(m, "n", make(m, OP_add, type_vector(2), NULL, 2, (const Node *[]){n, y}));
    assert_round_trip(*state, made_module(m));
}

static void test_large_constants_in_the_bin_file(void **state)
{
    Fixture *f = *state;
    Made *m = made_new(f);
    float *a = ARENA_ARRAY(f->cx.arena, float, 100);
    double *b = ARENA_ARRAY(f->cx.arena, double, 65);
    uint8_t *c = ARENA_ARRAY(f->cx.arena, uint8_t, 77);
    int64_t *d = ARENA_ARRAY(f->cx.arena, int64_t, 300);
    for (int i = 0; i < 100; i++) a[i] = i % 7 ? (float)i / 3 : NAN;
    for (int i = 0; i < 65; i++) b[i] = i % 5 ? i / 3.0 : -0.0;
    for (int i = 0; i < 77; i++) c[i] = i % 3 == 0;
    for (int i = 0; i < 300; i++) d[i] = INT64_MAX - i;
    give(m, "a", make_const(m, type_vector(100), a));
    give(m, "b", make_const(m, type_make(T_F64, 2, (int64_t[]){13, 5}), b));
    give(m, "c", make_const(m, type_make(T_BOOL, 1, (int64_t[]){77}), c));
    give(m, "d", make_const(m, type_make(T_I64, 2, (int64_t[]){300, 1}), d));
    give(m, "a2", make_const(m, type_make(T_F32, 2, (int64_t[]){10, 10}), a));
    Module *again = assert_round_trip(f, made_module(m));
    const Node *const *nodes = again->functions[0]->nodes;
    assert_ptr_equal(nodes[0]->data, nodes[4]->data); // stored once
    struct stat bin;
    assert_int_equal(stat(bin_path(f), &bin), 0);
    assert_int_equal(bin.st_size, 448 + 576 + 128 + 2400);
}

static void test_header(void **state)
{
    Fixture *f = *state;
    Made *m = made_new(f);
    m->fn.name = "run";
    give(m, "x", make(m, OP_input, type_vector(2), "x", 0, NULL));
    make(m, OP_input, type_make(T_BOOL, 2, (int64_t[]){4, 3}), "mask", 0, NULL);
    make(m, OP_input, type_vector(1), "s", 0, NULL);
    Module *mod = made_module(m);
    Property properties[] = {{"nfcc.event", "x"}, {"", "a \"quoted\"\nline"}};
    Property notes[] = {{"pass", "derive"}, {"flow.event", "a \"quoted\"\nline"}};
    Port in[] = {
        {"x:0", type_vector(2), 0}, {"mask", type_make(T_BOOL, 2, (int64_t[]){3, 4}), 1}, {"", type_scalar(), -1}};
    Port out[] = {{"x:0", type_vector(2), 1}};
    mod->stage = STAGE_LOWERED;
    mod->properties = properties;
    mod->n_properties = 2;
    mod->notes = notes;
    mod->n_notes = 2;
    mod->inputs = in;
    mod->n_inputs = 3;
    mod->outputs = out;
    mod->n_outputs = 1;
    assert_round_trip(f, mod);
}

static void test_origin_is_the_line(void **state)
{
    Fixture *f = *state;
    const Module *m = read_text(f, "# c\nfunc @f(x: f32[1]) {\n    a: f32[1] = neg x\n    return a\n}\n");
    assert_non_null(m);
    assert_string_equal(m->functions[0]->nodes[1]->origin->node, "a");
    assert_string_equal(m->functions[0]->nodes[1]->origin->source, "line 3");
}

// ---- random modules

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static const float *random_floats(Fixture *f, uint64_t *seed, int64_t n)
{
    float *data = ARENA_ARRAY(f->cx.arena, float, n);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)(next(seed) << 16 ^ next(seed)); // NaNs of all kinds, denormals
        if (next(seed) % 4) bits = (uint32_t)next(seed) % 3 * 0x3f800000;
        memcpy(&data[i], &bits, sizeof bits);
    }
    return data;
}

static Node *random_move(Made *m, uint64_t *seed, const Node *const *in)
{
    int64_t lanes = (int64_t)(next(seed) % 40), total = type_lanes(in[0]->type) + type_lanes(in[1]->type);
    if (!total) lanes = 0;
    int32_t *map = ARENA_ARRAY(m->f->cx.arena, int32_t, lanes);
    for (int64_t i = 0; i < lanes; i++) {
        int32_t step = (int32_t)(next(seed) % 5) - 2, to = i ? map[i - 1] + step : 0;
        map[i] = next(seed) % 8 && to >= 0 && to < total && i > 3 ? map[i - 3] : to >= 0 && to < total ? to : 0;
    }
    Node *n = make(m, OP_move, type_vector(lanes), next(seed) % 2 ? "m" : NULL, 2, in);
    n->base = move_bases(m->f->cx.arena, n->n_in, n->in);
    n->map = map;
    return n;
}

static Made *random_function(Fixture *f, uint64_t *seed)
{
    Made *m = made_new(f);
    make(m, OP_input, type_vector(3), "x", 0, NULL);
    for (int i = 0; i < 40; i++) {
        const Node *in[2] = {m->nodes[next(seed) % (uint64_t)m->fn.n_nodes], m->nodes[m->fn.n_nodes - 1]};
        int64_t lanes = (int64_t)(next(seed) % 6 ? next(seed) % 5 : next(seed) % 90);
        switch (next(seed) % 4) {
        case 0: make_const(m, type_vector(lanes), random_floats(f, seed, lanes)); break;
        case 1: random_move(m, seed, in); break;
        case 2: make(m, OP_exp, in[0]->type, next(seed) % 2 ? "e" : NULL, 1, in); break;
        default: {
            Node *n = make(m, OP_elu, in[1]->type, "", 1, in + 1);
            n->name = next(seed) % 2 ? "a b" : NULL;
            n->alpha = (double)next(seed) / 1e7;
        }
        }
    }
    give(m, "out", m->nodes[m->fn.n_nodes - 1]);
    return m;
}

static void test_random_modules(void **state)
{
    Fixture *f = *state;
    uint64_t seed = 7;
    for (int i = 0; i < 300; i++) {
        Module *m = made_module(random_function(f, &seed));
        if (!module_verify(m, &f->cx)) fail_msg("%s", f->diag.list[0].text);
        assert_round_trip(f, m);
    }
}

// ---- bin files that lie

#define HEADER "bin \"m.nf.bin\"\nfunc @f() {\n"
#define FOOTER "\n    return a\n}\n"

static void test_bin_file_cut_off(void **state)
{
    Fixture *f = *state;
    save_bin(f, (const char[7]){0}, 7);
    assert_refused(f, HEADER "a: f32[2] = constant bin[0,8]" FOOTER, "line 3: bin[0,8] is outside the file of 7 bytes");
    assert_refused(f, HEADER "a: f32[1] = constant bin[8,4]" FOOTER, "outside the file");
    assert_refused(f, HEADER "a: f32[1] = constant bin[9223372036854775800,4]" FOOTER, "outside the file");
    assert_refused(f, HEADER "a: f32[1] = constant bin[1,4]" FOOTER, "not a multiple of 8");
    assert_refused(f, HEADER "a: f32[1] = constant bin[-8,4]" FOOTER, "offset -8 is not in");
    assert_non_null(read_text(f, HEADER "a: f32[1] = constant bin[0,4]" FOOTER));
    assert_null(module_read(&f->cx, HEADER "a: f32[1] = constant bin[0,4]" FOOTER,
                            strlen(HEADER "a: f32[1] = constant bin[0,4]" FOOTER), NULL, NULL));
}

static void test_bin_file_bool(void **state)
{
    Fixture *f = *state;
    save_bin(f, (const char[8]){0, 2}, 8);
    assert_refused(f, HEADER "a: bool[2] = constant bin[0,2]" FOOTER, "element 1 of a bool constant is 2");
}

static void test_bin_file_is_no_file(void **state)
{
    Fixture *f = *state;
    assert_int_equal(mkfifo(bin_path(f), 0600), 0);
    assert_refused(f, HEADER "a: f32[1] = constant bin[0,4]" FOOTER, "not a regular file");
}

static void test_long_and_odd_bytes(void **state)
{
    Fixture *f = *state;
    static const char zero[] = "func @f(x: f32[1]) {\n    return x\0\n}\n";
    assert_null(module_read(&f->cx, zero, sizeof zero - 1, NULL, NULL));
    size_t size = 1 << 20;
    char *deep = arena_alloc(f->cx.arena, size + 1);
    memset(deep, '[', size);
    memcpy(deep, "func @f() {\na: f32[1] = constant ", 33);
    assert_refused(f, deep, "line 2: brackets are nested too deep");
    assert_null(module_read(&f->cx, "", 0, NULL, NULL));
}

// ---- modules that only code can break

static void assert_broken(Made *m, const char *why)
{
    Fixture *f = m->f;
    assert_false(module_verify(made_module(m), &f->cx));
    const char *message = f->diag.list[f->diag.n - 1].text;
    if (!strstr(message, why)) fail_msg("got '%s', wanted '%s'", message, why);
}

static Made *small(Fixture *f)
{
    Made *m = made_new(f);
    const Node *x = make(m, OP_input, type_vector(2), "x", 0, NULL);
    const Node *n = make(m, OP_neg, type_vector(2), "n", 1, &x);
    give(m, "y", make(m, OP_exp, type_vector(2), "e", 1, &n));
    assert_true(module_verify(made_module(m), &f->cx));
    return m;
}

static void test_broken_nodes(void **state)
{
    Made *m = small(*state);
    m->nodes[2]->id = 7;
    assert_broken(m, "its id is 7, but its position is 2");
    m = small(*state);
    m->nodes[1]->in = (const Node *const *)&m->nodes[2];
    assert_broken(m, "func @f, value 'n' (neg): operand 0 is not an earlier node");
    m = small(*state);
    m->nodes[1]->in = &small(*state)->inputs[0];
    assert_broken(m, "operand 0 is not an earlier node");
    m = small(*state);
    m->nodes[1]->op = OP_COUNT;
    assert_broken(m, "unknown op number");
    m = small(*state);
    m->nodes[1]->type.rank = 9;
    assert_broken(m, "rank 9");
    m = small(*state);
    m->nodes[1]->type.dtype = (DType)4;
    assert_broken(m, "unknown element type");
    m = small(*state);
    m->nodes[1]->type.dim[0] = -1;
    assert_broken(m, "dim -1 is negative");
    m = small(*state);
    m->nodes[1]->map = (int32_t[]){0, 1};
    assert_broken(m, "neg has no map");
    m = small(*state);
    m->nodes[1]->op = OP_constant;
    m->nodes[1]->n_in = 0;
    assert_broken(m, "a constant without data");
}

static void test_broken_lists(void **state)
{
    Made *m = small(*state);
    m->fn.n_inputs = 0;
    assert_broken(m, "not listed among the inputs");
    m = small(*state);
    m->inputs[m->fn.n_inputs++] = m->nodes[1];
    assert_broken(m, "an input is listed that is no node");
    m = small(*state);
    m->outputs[0].node = small(*state)->nodes[2];
    assert_broken(m, "output 'y' is no node");
    m = small(*state);
    m->outputs[0].name = NULL;
    assert_broken(m, "output 0 has no name");
    m = small(*state);
    m->nodes[0]->name = NULL;
    assert_broken(m, "an input needs a name");
    m = small(*state);
    m->fn.name = NULL;
    Module *mod = made_module(m);
    assert_false(module_verify(mod, &((Fixture *)*state)->cx));
}

static void test_broken_ports(void **state)
{
    Fixture *f = *state;
    Module *m = made_module(small(f));
    Port two[] = {{"x", type_vector(2), 0}, {"x", type_vector(2), 0}}, axis = {"x", type_vector(2), 2};
    m->inputs = two;
    m->n_inputs = 2;
    assert_false(module_verify(m, &f->cx));
    m->inputs = &axis;
    m->n_inputs = 1;
    assert_false(module_verify(m, &f->cx));
    m->n_inputs = 0;
    m->stage = (Stage)9;
    assert_false(module_verify(m, &f->cx));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_equal_and_odd_names),
        TEST(test_constants_keep_their_place),
        TEST(test_inputs_in_the_middle),
        TEST(test_large_constants_in_the_bin_file),
        TEST(test_header),
        TEST(test_origin_is_the_line),
        TEST(test_random_modules),
        TEST(test_bin_file_cut_off),
        TEST(test_bin_file_bool),
        TEST(test_bin_file_is_no_file),
        TEST(test_long_and_odd_bytes),
        TEST(test_broken_nodes),
        TEST(test_broken_lists),
        TEST(test_broken_ports),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
