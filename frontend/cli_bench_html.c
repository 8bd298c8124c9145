// A benchmark as one HTML page without any reference outside itself: the table, and for each entry two drawings in
// SVG: how large a part of the calls took how long (percentiles on the scale that shows the tail, one line per number
// of rows), and rows a second over rows. Axes of time, rows and rates are logarithmic.
#include "cli_bench.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 560, HEIGHT = 300, LEFT = 64, RIGHT = 70, TOP = 16, BOTTOM = 44, COLORS = 6 };

typedef struct {
    double x0, x1, y0, y1; // data at the edges of the drawing, on the scales' own measure
} Frame;

static void text(FILE *out, const char *s)
{
    for (; s && *s; s++) {
        const char *entity = *s == '<'   ? "&lt;"
                             : *s == '>' ? "&gt;"
                             : *s == '&' ? "&amp;"
                             : *s == '"' ? "&quot;"
                                         : NULL;
        if (entity)
            fputs(entity, out);
        else
            fputc(*s, out);
    }
}

static double px(const Frame *f, double x) { return LEFT + (x - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT); }
static double py(const Frame *f, double y)
{
    return HEIGHT - BOTTOM - (y - f->y0) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

static void widen(double *lo, double *hi, double least)
{
    double more = fmax(0, least - (*hi - *lo)) / 2 + 0.04 * fmax(least, *hi - *lo);
    *lo -= more, *hi += more;
}

// "1", "20", "5k", "2M"
static void short_number(FILE *out, double v)
{
    static const char units[] = " kMGT";
    int unit = 0;
    while (v >= 999.5 && unit < 4) v /= 1000, unit++;
    fprintf(out, "%.3g", v);
    if (unit) fputc(units[unit], out);
}

// Lines and numbers of a logarithmic axis at 1, 2, 5 of each decade (or at 1, where there are many decades).
static void log_axis(FILE *out, const Frame *f, bool horizontal)
{
    static const double steps[] = {1, 2, 5};
    double lo = horizontal ? f->x0 : f->y0, hi = horizontal ? f->x1 : f->y1;
    int n = hi - lo > 3 ? 1 : 3;
    for (int decade = (int)floor(lo); decade <= (int)ceil(hi); decade++)
        for (int i = 0; i < n; i++) {
            double at = decade + log10(steps[i]);
            if (at < lo || at > hi) continue;
            if (horizontal)
                fprintf(out,
                        "<path class=\"grid\" d=\"M%.1f %dV%d\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">",
                        px(f, at), TOP, HEIGHT - BOTTOM, px(f, at), HEIGHT - BOTTOM + 16);
            else
                fprintf(out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">",
                        LEFT, py(f, at), WIDTH - RIGHT, LEFT - 6, py(f, at) + 4);
            short_number(out, pow(10, at));
            fputs("</text>\n", out);
        }
}

static void begin_drawing(FILE *out, const char *title, const char *x)
{
    fprintf(out, "<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", title,
            WIDTH, HEIGHT);
    text(out, title);
    fprintf(out, "\">\n<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (LEFT + WIDTH - RIGHT) / 2,
            HEIGHT - 8, x);
}

// ---- which results belong together
static bool same_series(const BenchResult *a, const BenchResult *b)
{
    return !strcmp(a->what.name, b->what.name) && a->what.threads == b->what.threads;
}

// A series is a backend with a type of weights and a number of threads; its number is its colour.
static int series_of(const BenchReport *r, int i)
{
    int n = 0;
    for (int k = 0; k < i; k++) {
        bool first = true;
        for (int j = 0; j < k; j++) first &= !same_series(&r->results[j], &r->results[k]);
        if (same_series(&r->results[k], &r->results[i])) return n;
        n += first;
    }
    return n;
}

static void series_name(FILE *out, const BenchResult *r)
{
    text(out, r->what.name);
    if (r->what.threads > 1) fprintf(out, ", %llu threads", (unsigned long long)r->what.threads);
}

static bool first_of_entry(const BenchReport *r, int i)
{
    for (int k = 0; k < i; k++)
        if (!strcmp(r->results[k].what.entry, r->results[i].what.entry)) return false;
    return true;
}

static bool is_of(const BenchReport *r, int i, const char *entry) { return !strcmp(r->results[i].what.entry, entry); }

static void legend(FILE *out, const BenchReport *r, const char *entry)
{
    fputs("<p class=\"legend\">", out);
    for (int i = 0; i < r->n_results; i++) {
        bool first = is_of(r, i, entry);
        for (int k = 0; k < i; k++) first &= !is_of(r, k, entry) || !same_series(&r->results[k], &r->results[i]);
        if (!first) continue;
        fprintf(out, "<span class=\"s%d\">&#9632;</span> ", series_of(r, i) % COLORS);
        series_name(out, &r->results[i]);
        fputs(" &nbsp; ", out);
    }
    fputs("</p>\n", out);
}

// ---- how long calls took
static void latency_frame(const BenchReport *r, const char *entry, Frame *f)
{
    *f = (Frame){1e9, -1e9, 0, 4.3};
    for (int i = 0; i < r->n_results; i++) {
        const BenchResult *b = &r->results[i];
        if (!is_of(r, i, entry)) continue;
        f->x0 = fmin(f->x0, log10(b->seconds[0] * 1e6 + 1e-3));
        f->x1 = fmax(f->x1, log10(bench_quantile(b->seconds, b->calls, 1 - 1e-4) * 1e6 + 1e-3));
    }
    widen(&f->x0, &f->x1, 0.5);
}

static void percentile_axis(FILE *out, const Frame *f)
{
    static const struct {
        double at;
        const char *name;
    } ticks[] = {{0, "min"}, {0.30103, "P50"}, {1, "P90"}, {2, "P99"}, {3, "P99.9"}, {4, "P99.99"}};
    for (size_t i = 0; i < sizeof ticks / sizeof *ticks; i++)
        fprintf(out,
                "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                LEFT, py(f, ticks[i].at), WIDTH - RIGHT, LEFT - 6, py(f, ticks[i].at) + 4, ticks[i].name);
}

// One point for each tenth of a nine, as far as the number of calls carries.
static void latency_line(FILE *out, const BenchReport *r, int i, const Frame *f)
{
    const BenchResult *b = &r->results[i];
    double most = fmin(4, log10((double)b->calls + 1e-9)), x = 0, y = 0;
    fprintf(out, "<path class=\"line s%d\" d=\"", series_of(r, i) % COLORS);
    for (double nines = 0; nines <= most + 1e-9; nines += 0.1) {
        double us = bench_quantile(b->seconds, b->calls, 1 - pow(10, -nines)) * 1e6;
        x = px(f, log10(us + 1e-3)), y = py(f, nines);
        fprintf(out, "%s%.1f %.1f", nines > 0 ? "L" : "M", x, y);
    }
    fputs("\"><title>", out);
    series_name(out, b);
    fprintf(out, ", %llu rows, %zu calls: P50 %.2f us</title></path>", (unsigned long long)b->what.rows, b->calls,
            bench_quantile(b->seconds, b->calls, 0.5) * 1e6);
    fprintf(out, "<text class=\"s%d\" x=\"%.1f\" y=\"%.1f\">%llu</text>\n", series_of(r, i) % COLORS, x + 4, y + 4,
            (unsigned long long)b->what.rows);
}

static void draw_latency(FILE *out, const BenchReport *r, const char *entry)
{
    Frame f;
    latency_frame(r, entry, &f);
    begin_drawing(out, "part of the calls that took at most so long; a number at a line: its rows",
                  "microseconds a call");
    log_axis(out, &f, true);
    percentile_axis(out, &f);
    for (int i = 0; i < r->n_results; i++)
        if (is_of(r, i, entry)) latency_line(out, r, i, &f);
    fputs("</svg></figure>\n", out);
}

// ---- rows a second
static double rate_of(const BenchResult *b)
{
    return log10((double)(b->what.rows * b->what.samples) / (b->total / (double)b->calls) + 1e-3);
}

static void draw_series(FILE *out, const BenchReport *r, int first, const Frame *f)
{
    const BenchResult *a = &r->results[first];
    const char *move = "M";
    fprintf(out, "<path class=\"line s%d\" d=\"", series_of(r, first) % COLORS);
    for (int i = first; i < r->n_results; i++) {
        const BenchResult *b = &r->results[i];
        if (!is_of(r, i, a->what.entry) || !same_series(a, b)) continue;
        fprintf(out, "%s%.1f %.1f", move, px(f, log10((double)b->what.rows)), py(f, rate_of(b)));
        move = "L";
    }
    fputs("\"/>\n", out);
    for (int i = first; i < r->n_results; i++) {
        const BenchResult *b = &r->results[i];
        if (!is_of(r, i, a->what.entry) || !same_series(a, b)) continue;
        fprintf(out,
                "<circle class=\"dot s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>%llu rows: %.4g "
                "rows/s</title></circle>\n",
                series_of(r, first) % COLORS, px(f, log10((double)b->what.rows)), py(f, rate_of(b)),
                (unsigned long long)b->what.rows, pow(10, rate_of(b)));
    }
}

static void draw_rates(FILE *out, const BenchReport *r, const char *entry)
{
    Frame f = {1e9, -1e9, 1e9, -1e9};
    for (int i = 0; i < r->n_results; i++) {
        if (!is_of(r, i, entry)) continue;
        double x = log10((double)r->results[i].what.rows), y = rate_of(&r->results[i]);
        f = (Frame){fmin(f.x0, x), fmax(f.x1, x), fmin(f.y0, y), fmax(f.y1, y)};
    }
    widen(&f.x0, &f.x1, 0.5), widen(&f.y0, &f.y1, 0.5);
    begin_drawing(out, "rows a second", "rows of a call");
    log_axis(out, &f, true);
    log_axis(out, &f, false);
    for (int i = 0; i < r->n_results; i++) {
        bool first = is_of(r, i, entry);
        for (int k = 0; k < i; k++) first &= !is_of(r, k, entry) || !same_series(&r->results[k], &r->results[i]);
        if (first) draw_series(out, r, i, &f);
    }
    fputs("</svg></figure>\n", out);
}

// ---- the page
static const char style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1a1c20;--dim:#5f6672;--grid:#e3e6ea;"
    "--s0:#2266c4;--s1:#c2561b;--s2:#157a5c;--s3:#7a4fc0;--s4:#a8324e;--s5:#6d6a12}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#15171b;--fg:#e6e8ec;--dim:#9aa2ae;--grid:#2c3038;"
    "--s0:#6aa9ff;--s1:#ff9d66;--s2:#4fd0a5;--s3:#b79aff;--s4:#ff8aa3;--s5:#d3cf5a}}\n"
    "body{margin:2rem auto;padding:0 1rem;max-width:1180px;background:var(--bg);color:var(--fg);"
    "font:15px/1.45 system-ui,sans-serif}\n"
    "h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}p{color:var(--dim);margin:.3rem 0}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}\n"
    "th{color:var(--dim);font-weight:500}th:nth-child(-n+2),td:nth-child(-n+2){text-align:left}\n"
    ".pair{display:flex;flex-wrap:wrap;gap:1rem}figure{flex:1 1 440px;margin:0;min-width:0}\n"
    "figcaption{color:var(--dim);font-size:13px}svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--dim)}\n"
    ".grid{stroke:var(--grid);fill:none}.line{fill:none!important;stroke-width:2}.dot{stroke:var(--bg);stroke-width:1."
    "5}\n"
    ".s0{color:var(--s0);stroke:var(--s0)}.s1{color:var(--s1);stroke:var(--s1)}.s2{color:var(--s2);stroke:var(--s2)}\n"
    ".s3{color:var(--s3);stroke:var(--s3)}.s4{color:var(--s4);stroke:var(--s4)}.s5{color:var(--s5);stroke:var(--s5)}\n"
    "svg text[class],svg circle{fill:currentColor;stroke:none}\n";

static void cell(FILE *out, double us) { fprintf(out, us < 100 ? "<td>%.2f</td>" : "<td>%.1f</td>", us); }

static void table(FILE *out, const BenchReport *r)
{
    bool rate = r->timing.hertz > 0;
    fprintf(out,
            "<div class=\"wide\"><table><caption>microseconds a "
            "call</caption><tr><th>backend</th><th>entry</th><th>rows</th><th>samples</th>"
            "<th>threads</th><th>min us</th><th>P50</th><th>P90</th><th>P99</th><th>P99.9</th><th>P99.99</th>"
            "<th>max</th><th>calls</th><th>rows/s</th><th>of the limit</th>%s</tr>\n",
            rate ? "<th>late P99</th><th>missed</th>" : "");
    for (int i = 0; i < r->n_results; i++) {
        static const double q[] = {0, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
        const BenchResult *b = &r->results[i];
        fputs("<tr><td>", out), text(out, b->what.name), fputs("</td><td>", out), text(out, b->what.entry);
        fprintf(out, "</td><td>%llu</td><td>%llu</td><td>%llu</td>", (unsigned long long)b->what.rows,
                (unsigned long long)b->what.samples, (unsigned long long)b->what.threads);
        for (size_t k = 0; k < sizeof q / sizeof *q; k++) {
            if (k > 1 && k < 6 && (double)b->calls * (1 - q[k]) < 0.999)
                fputs("<td>-</td>", out);
            else
                cell(out, bench_quantile(b->seconds, b->calls, q[k]) * 1e6);
        }
        fprintf(out, "<td>%zu</td><td>%.4g</td><td>%.1f%%</td>", b->calls, pow(10, rate_of(b)),
                b->seconds[0] > 0 ? 100 * b->limit / b->seconds[0] : 0);
        if (rate) {
            cell(out, bench_quantile(b->rate.late, b->calls, 0.99) * 1e6);
            fprintf(out, "<td>%llu of %llu</td>", (unsigned long long)b->rate.missed,
                    (unsigned long long)b->rate.ticks);
        }
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

static void head(FILE *out, const BenchReport *r)
{
    const Peak *p = &r->peak;
    fputs("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
          "content=\"width=device-width\"><title>nfcc bench: ",
          out);
    text(out, r->model);
    fprintf(out, "</title><style>\n%s</style>\n<h1>nfcc bench: ", style);
    text(out, r->model);
    fputs("</h1>\n<p>", out);
    text(out, r->cpu);
    fprintf(out, "; one thread computes %.1f GFLOP/s (%s) and reads %.1f GB/s from %.1f MiB, %.1f GB/s from %.0f MiB",
            p->flops * 1e-9, p->isa, p->read_l2 * 1e-9, (double)p->l2_bytes / 1048576, p->read_memory * 1e-9,
            (double)p->memory_bytes / 1048576);
    fputs("</p>\n<p>nfcc " NFCC_VERSION "; code for ", out);
    text(out, r->target_cpu);
    fprintf(out, "; %g s a line after %g s of warm-up; model ", r->timing.seconds, r->timing.warmup);
    for (int i = 0; i < 8; i++) fprintf(out, "%02x", r->hash[i]);
    fputs("</p>\n<p>The limit of a call is the larger of its FLOPs over the peak and its weight bytes over the rate at "
          "which so many bytes are read; the fastest call is compared with it.</p>\n",
          out);
    if (r->timing.hertz > 0)
        fprintf(out,
                "<p>Fixed rate: %g calls a second; a deadline is missed when no result is there at the end of its "
                "period.</p>\n",
                r->timing.hertz);
    if (r->timing.cold)
        fprintf(
            out,
            "<p>Cold: before every call %.0f MiB of other memory are read, so that no cache holds the policy.</p>\n",
            (double)p->memory_bytes / 1048576);
}

void bench_html(FILE *out, const BenchReport *r)
{
    head(out, r);
    table(out, r);
    for (int i = 0; i < r->n_results; i++) {
        const char *entry = r->results[i].what.entry;
        if (!first_of_entry(r, i)) continue;
        fputs("<h2>", out), text(out, entry), fputs("</h2>\n", out);
        legend(out, r, entry);
        fputs("<div class=\"pair\">\n", out);
        draw_latency(out, r, entry);
        draw_rates(out, r, entry);
        fputs("</div>\n", out);
    }
    fputs("</html>\n", out);
}
