// A benchmark's table and its JSON. Percentiles are nearest ranks; where there were too few calls for one the table
// says so, the JSON has the largest call and the number of calls.
#include "cli_bench.h"

#include <ctype.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static const double percents[] = {50, 90, 99, 99.9, 99.99};
static const char *const percent_keys[] = {"p50_us", "p90_us", "p99_us", "p999_us", "p9999_us"};
enum { N_PERCENTS = sizeof percents / sizeof *percents };

double bench_quantile(const double *sorted, size_t n, double q)
{
    if (!n) return 0;
    double rank = ceil(q * (double)n - 1e-9);
    size_t at = rank < 1 ? 0 : (size_t)rank - 1;
    return sorted[at < n ? at : n - 1];
}

// "AMD EPYC ..." of /proc/cpuinfo; "unknown" where it has no name.
const char *bench_cpu_name(Arena *arena)
{
    char line[256];
    const char *name = "unknown";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, "model name", 10)) continue;
        while (isspace((unsigned char)colon[1])) colon++;
        colon[1 + strcspn(colon + 1, "\n")] = 0;
        name = arena_string(arena, colon + 1);
        break;
    }
    if (f) fclose(f);
    return name;
}

void bench_print_machine(FILE *out, const BenchReport *r)
{
    const Peak *p = &r->peak;
    print_line(out, "machine", "%s, %ld processors%s%s", r->cpu, sysconf(_SC_NPROCESSORS_ONLN),
               r->pin ? ", pinned to " : "", r->pin ? r->pin : "");
    print_line(out, "one thread", "%.1f GFLOP/s (%s); reads %.1f GB/s from %.1f MiB, %.1f GB/s from %.0f MiB",
               p->flops * 1e-9, p->isa, p->read_l2 * 1e-9, (double)p->l2_bytes / 1048576, p->read_memory * 1e-9,
               (double)p->memory_bytes / 1048576);
    if (p->flops_bf16 > 0) print_line(out, "of bf16", "%.1f GFLOP/s (AVX512_BF16)", p->flops_bf16 * 1e-9);
    if (p->flops_amx > 0) print_line(out, "of tiles", "%.1f GFLOP/s (AMX_BF16)", p->flops_amx * 1e-9);
    print_line(
        out, "limit",
        "the larger of FLOPs / peak and weight bytes / their read rate, over the fastest call; above 100 %%, one row\n"
        "            read the compact image of its weights, or others used the memory while it was measured");
    if (r->timing.cold)
        print_line(out, "cold",
                   "before every call %.0f MiB of other memory are read, so that no cache holds the policy",
                   (double)p->memory_bytes / 1048576);
    print_line(out, "times", "microseconds a call; the clock's %.0f ns are part of each", p->clock_seconds * 1e9);
}

// ---- table
void bench_print_head(FILE *out, bool rate)
{
    fprintf(out, "\n%-9s %-28s %7s %7s %3s %9s %9s %9s %9s %9s %9s %9s %11s %6s", "backend", "entry", "rows", "samples",
            "thr", "min us", "P50", "P90", "P99", "P99.9", "P99.99", "max", "rows/s", "limit");
    fprintf(out, rate ? " %9s %9s %9s\n" : "\n", "late P99", "late max", "missed");
    fflush(out);
}

static void print_us(FILE *out, double seconds)
{
    double us = seconds * 1e6;
    fprintf(out, us < 99.995 ? " %9.2f" : us < 9999.95 ? " %9.1f" : " %9.0f", us);
}

static double rows_per_second(const BenchResult *r)
{
    double rows = (double)r->calls * (double)(r->what.rows * r->what.samples);
    return r->total > 0 ? rows / r->total : 0;
}

static double limit_fraction(const BenchResult *r) { return r->seconds[0] > 0 ? r->limit / r->seconds[0] : 0; }

void bench_print_result(FILE *out, const BenchResult *r)
{
    const BenchCase *w = &r->what;
    fprintf(out, "%-9s %-28s %7llu %7llu %3llu", w->name, w->entry, (unsigned long long)w->rows,
            (unsigned long long)w->samples, (unsigned long long)w->threads);
    print_us(out, r->seconds[0]);
    for (int i = 0; i < N_PERCENTS; i++) {
        bool enough = i == 0 || (double)r->calls * (1 - percents[i] / 100) > 0.999;
        if (enough)
            print_us(out, bench_quantile(r->seconds, r->calls, percents[i] / 100));
        else
            fprintf(out, " %9s", "-");
    }
    print_us(out, r->seconds[r->calls - 1]);
    fprintf(out, " %11.4g %5.1f%%", rows_per_second(r), 100 * limit_fraction(r));
    if (r->rate.ticks) {
        print_us(out, bench_quantile(r->rate.late, r->calls, 0.99));
        print_us(out, r->rate.late[r->calls - 1]);
        fprintf(out, " %llu/%llu", (unsigned long long)r->rate.missed, (unsigned long long)r->rate.ticks);
    }
    fputc('\n', out);
    fflush(out);
}

// ---- JSON
static void number(FILE *out, const char *key, double value) { fprintf(out, ", \"%s\": %.6g", key, value); }

static void json_result(FILE *out, const BenchResult *r)
{
    const BenchCase *w = &r->what;
    fputs("{\"backend\": ", out);
    json_string(out, w->backend);
    fputs(", \"entry\": ", out);
    json_string(out, w->entry);
    fprintf(out, ", \"weights\": \"%s\", \"rows\": %llu, \"samples\": %llu, \"threads\": %llu, \"calls\": %zu",
            weight_names[w->weights], (unsigned long long)w->rows, (unsigned long long)w->samples,
            (unsigned long long)w->threads, r->calls);
    number(out, "min_us", r->seconds[0] * 1e6);
    for (int i = 0; i < N_PERCENTS; i++)
        number(out, percent_keys[i], bench_quantile(r->seconds, r->calls, percents[i] / 100) * 1e6);
    number(out, "max_us", r->seconds[r->calls - 1] * 1e6);
    number(out, "mean_us", r->total / (double)r->calls * 1e6);
    number(out, "rows_per_s", rows_per_second(r));
    number(out, "limit_fraction", limit_fraction(r));
    number(out, "limit_us", r->limit * 1e6);
    number(out, "flops", r->work.flops);
    number(out, "weight_bytes", r->work.bytes);
    number(out, "read_gb_s", r->read_rate * 1e-9);
    if (r->rate.ticks) {
        fprintf(out, ", \"ticks\": %llu, \"deadline_misses\": %llu", (unsigned long long)r->rate.ticks,
                (unsigned long long)r->rate.missed);
        number(out, "late_p50_us", bench_quantile(r->rate.late, r->calls, 0.5) * 1e6);
        number(out, "late_p99_us", bench_quantile(r->rate.late, r->calls, 0.99) * 1e6);
        number(out, "late_max_us", r->rate.late[r->calls - 1] * 1e6);
    }
    fputc('}', out);
}

static void json_machine(FILE *out, const BenchReport *r)
{
    const Peak *p = &r->peak;
    fputs(",\n\"machine\": {\"cpu\": ", out);
    json_string(out, r->cpu);
    fprintf(out, ", \"processors\": %ld, \"isa\": \"%s\"", sysconf(_SC_NPROCESSORS_ONLN), p->isa);
    number(out, "fma_gflop_s", p->flops * 1e-9);
    number(out, "bf16_gflop_s", p->flops_bf16 * 1e-9);
    number(out, "amx_gflop_s", p->flops_amx * 1e-9);
    number(out, "read_l2_gb_s", p->read_l2 * 1e-9);
    number(out, "read_memory_gb_s", p->read_memory * 1e-9);
    fprintf(out, ", \"read_l2_bytes\": %zu, \"read_memory_bytes\": %zu", p->l2_bytes, p->memory_bytes);
    number(out, "clock_ns", p->clock_seconds * 1e9);
    fputc('}', out);
}

static void json_options(FILE *out, const BenchReport *r)
{
    const struct {
        const char *key, *text;
    } texts[] = {{"model", r->model}, {"backend", r->backends}, {"weights", r->weights}, {"entries", r->entries},
                 {"rows", r->rows},   {"threads", r->threads},  {"pin", r->pin},         {"cpu", r->target_cpu}};
    fputs(",\n\"options\": {", out);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        fprintf(out, "%s\"%s\": ", i ? ", " : "", texts[i].key);
        json_string(out, texts[i].text);
    }
    fprintf(out, ", \"samples\": %llu, \"seed\": %llu", (unsigned long long)r->samples,
            (unsigned long long)r->timing.seed);
    number(out, "seconds", r->timing.seconds);
    number(out, "warmup", r->timing.warmup);
    number(out, "rate", r->timing.hertz);
    fprintf(out, ", \"cold\": %s}", r->timing.cold ? "true" : "false");
}

void bench_json(FILE *out, const BenchReport *r)
{
    fputs("{\"results\": [", out);
    for (int i = 0; i < r->n_results; i++) {
        fputs(i ? ",\n " : "\n ", out);
        json_result(out, &r->results[i]);
    }
    fputs("]", out);
    json_machine(out, r);
    fputs(",\n\"model_sha256\": \"", out);
    for (int i = 0; i < 32; i++) fprintf(out, "%02x", r->hash[i]);
    fputs("\",\n\"nfcc_version\": ", out);
    json_string(out, NFCC_VERSION);
    json_options(out, r);
    fputs("}\n", out);
}
