// nfcc: an ahead-of-time compiler for normalizing-flow policies. This file finds the command, parses its options and
// turns what cannot be handled anywhere else (a bug, a full disk behind stdout) into an exit code.
#include "base/parallel.h"
#include "cli.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static bool stack_is_small(struct rlimit *limit)
{
    return !getrlimit(RLIMIT_STACK, limit) && limit->rlim_cur < PARALLEL_STACK;
}

// LLVM and the linker need more than some containers and ulimit -s give. The limit of now is what the stack grows to.
static void raise_stack(void)
{
    struct rlimit limit;
    if (!stack_is_small(&limit)) return;
    limit.rlim_cur = limit.rlim_max < PARALLEL_STACK ? limit.rlim_max : PARALLEL_STACK;
    (void)setrlimit(RLIMIT_STACK, &limit);
}

#ifdef __SANITIZE_ADDRESS__ // whose own report says more
static void catch_bugs(Arena *arena) { (void)arena; }
#else
static void crashed(int number)
{
    static const char bug[] =
        "nfcc: internal error: a bug in nfcc (or the code of a damaged POLICY.so); no output was written\n";
    static const char small[] = "nfcc: error: the stack ended; no output was written\n"
                                "  hint: the system limits it: ulimit -s 8192\n";
    struct rlimit limit;
    bool ended = number == SIGSEGV && stack_is_small(&limit);
    if (write(STDERR_FILENO, ended ? small : bug, ended ? sizeof small - 1 : sizeof bug - 1) < 0) _exit(INTERNAL);
    _exit(INTERNAL);
}

// On a stack of their own: it may be the other's end that crashed.
static void catch_bugs(Arena *arena)
{
    enum { SIGNAL_STACK = 1 << 16 }; // more than the registers of any processor
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_ONSTACK};
    sigaltstack(&(stack_t){.ss_sp = arena_alloc(arena, SIGNAL_STACK), .ss_size = SIGNAL_STACK}, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
}
#endif

// A closed pipe and a limit of the file size are errors of writing, which are told and leave nothing behind.
static void ignore_write_signals(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

// A stream that is closed (nfcc ... >&-) would lend its number to a file or to the pipe from the linker: what is printed
// went there. Writing to these fails as to a closed one.
static void occupy_streams(void)
{
    for (int stream = 0; stream <= 2; stream++)
        if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != stream) _exit(IO_FAILED);
}

// The command named by the first word; a model's name means compile.
static const Command *find_command(int argc, char **argv)
{
    for (int i = 0; i < N_COMMANDS; i++)
        if (argc > 1 && !strcmp(argv[1], cli_commands[i].name)) return &cli_commands[i];
    return NULL;
}

// A word without a dot or slash is no file: the user meant a command.
static bool refuse_misspelt(Arena *arena, int argc, char **argv)
{
    if (argc < 2 || argv[1][0] == '-' || strpbrk(argv[1], "./") || access(argv[1], F_OK) == 0) return false;
    const char *names[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++) names[i] = cli_commands[i].name;
    usage_error("'%.200s' is neither a command nor a file%s", argv[1], nearest_word(arena, argv[1], names, N_COMMANDS));
    return true;
}

static int run_command(Arena *arena, const Command *command, int argc, char **argv)
{
    Options o;
    if (!options_parse(&o, arena, command->bit, argc, argv)) return WRONG_USAGE;
    if (o.value[OPT_help]) {
        command_help(stdout, command);
        return DONE;
    }
    if (o.n_args < command->least_args) return usage_error("usage: %s", command->usage);
    if (o.n_args > command->most_args)
        return usage_error("unexpected '%.200s'; usage: %s", o.args[command->most_args], command->usage);
    return command->run(&o);
}

static int dispatch(Arena *arena, int argc, char **argv)
{
    const Command *command = find_command(argc, argv);
    if (command) return run_command(arena, command, argc - 2, argv + 2);
    if (refuse_misspelt(arena, argc, argv)) return WRONG_USAGE;
    if (argc < 2) {
        command_help(stderr, &cli_commands[0]);
        return WRONG_USAGE;
    }
    return run_command(arena, &cli_commands[0], argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    Arena *arena = arena_new();
    occupy_streams();
    raise_stack();
    catch_bugs(arena);
    ignore_write_signals();
    int code = dispatch(arena, argc, argv);
    if (fflush(stdout) || ferror(stdout)) {
        fputs("nfcc: error: standard output cannot be written\n", stderr);
        if (code == DONE) code = IO_FAILED;
    }
    arena_free(arena);
    return code;
}
