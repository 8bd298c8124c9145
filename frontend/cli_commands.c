// The commands: one table (Command of cli.h), which finds them and makes the help text.
#include "cli.h"

const Command cli_commands[N_COMMANDS] = {
    {"compile", CMD_COMPILE, 0, 1, cmd_compile, "nfcc MODEL.onnx -o POLICY.so", "[options]",
     "Compile a flow exported to ONNX into a self-contained shared object, checked against a double-precision oracle.\n"
     "MODEL may also be a .nf file, as --stop-after writes them."},
    {"run", CMD_RUN, 2, MANY_ARGS, cmd_run, "nfcc run MODEL.onnx|POLICY.so ENTRY [NAME=FILE.npy ...] -o DIR",
     "[--samples K] [--seed S]\n"
     "                [--first-row R] [--temperature T] [--threads N] [--backend llvm|openblas|interp]",
     "Run one entry on NumPy files and write DIR/OUTPUT.npy for each output.\n"
     "Entries: to_latent (x -> z, log_det), to_event (z -> x, log_det), log_prob and score (x), sample,\n"
     "sample_and_log_prob, act, sample_best (the most likely of --samples K), and run (the graph's own inputs and\n"
     "outputs, by their own names).\n"
     "Inputs: x, z and the contexts by their ONNX names; a context itself called x or z is ctx.x or ctx.z. z=\n"
     "replaces the drawn noise. N is the most rows of any input, 0 where one has none; one row is shared.\n"
     "Outputs are [N, ...]; with --samples K [N, K, ...] ([K, ...] without contexts). / in a name is written _."},
    {"check", CMD_CHECK, 1, 1, cmd_check, "nfcc check MODEL.onnx", "[--explain] [--json]",
     "Say what the model is: roles, entries, and every problem found. --explain prints the inverse program."},
    {"verify", CMD_VERIFY, 1, 1, cmd_verify, "nfcc verify MODEL.onnx",
     "[--inputs FILE.npz] [--reference FILE.npz] [--json]",
     "Check the model in double, the Plan in float32 and the compiled code bit for bit, on drawn or given rows.\n"
     "Keys of the files: contexts by their ONNX names, x, z (or noise), and for --reference also log_det, log_prob,\n"
     "score, to_event.x and to_event.log_det; the graph's own names of its inputs and outputs serve as well."},
    {"bench", CMD_BENCH, 1, 1, cmd_bench, "nfcc bench MODEL.onnx",
     "[--backend LIST] [--entries LIST] [--rows LIST] [--samples K] [--threads LIST]\n"
     "                  [--seconds S] [--rate HZ | --cold] [--pin CPUS] [--json FILE] [--html FILE]",
     "Time the model's entries with each backend, and say how near to what this machine can do at most they come.\n"
     "Backends: llvm, openblas, interp (the interpreter in double). Entries: to_latent, to_event, log_prob, sample,\n"
     "sample_and_log_prob, sample_best, act, score, run; prepare (what depends on the contexts alone), and\n"
     "prepare+sample, prepare+act, ... for a whole decision: the others work on contexts that are prepared already.\n"
     "With several threads, preparing is a part of every call. --samples K: events for each of the rows."},
    {"selftest", CMD_SELFTEST, 1, MANY_ARGS, cmd_selftest, "nfcc selftest POLICY.so...", "",
     "Compare each file with its checksum, and the golden rows stored in it with what this machine computes, bit for\n"
     "bit; of an object (.o) the checksum alone. Exit code 3: a file was damaged or changed. 1: one cannot run here,\n"
     "or computes other bits."},
    {"info", CMD_INFO, 1, 1, cmd_info, "nfcc info POLICY.so", "[--json]",
     "Say what a compiled policy is, also one for another machine: shapes, entries, base, target, sizes, and whether\n"
     "the file is as it was written (exit code 3 if its checksum is another)."},
    {"test", CMD_TEST, 1, MANY_ARGS, cmd_test, "nfcc test DIR...",
     "[--backend llvm|openblas|interp] [--rtol R] [--atol A]",
     "Run ONNX backend tests, model.onnx and test_data_set_*/{input,output}_*.pb, through the entry run in float32.\n"
     "DIR is a case or a folder of cases. PASS, FAIL, or UNSUPPORTED with the reason; exit code 1 if one failed.\n"
     "interp: the Plan's interpreter, whose bits the llvm backend has. Inputs that set shapes are taken as constants."},
};

static void print_other_commands(FILE *out)
{
    fputs("\nother commands (nfcc COMMAND --help):\n", out);
    for (int i = 1; i < N_COMMANDS; i++) fprintf(out, "  %s %s\n", cli_commands[i].usage, cli_commands[i].options);
    fputs("\nexit codes: 0 done, 1 the model is not supported or not right, 2 usage, 3 input or output, 4 internal\n",
          out);
}

void command_help(FILE *out, const Command *command)
{
    fprintf(out, "usage: %s %s\n\n%s\n", command->usage, command->options, command->meaning);
    options_print(out, command->bit);
    if (command->bit == CMD_COMPILE) print_other_commands(out);
}
