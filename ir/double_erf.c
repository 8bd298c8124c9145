// The error function and its inverse in double (double_math.h): Taylor series around the nearest quarter; Newton steps on
// the same series.
#include "double_math.h"
#include "double_pair.h"

static const Pair ERF_1 = {0x1.20dd750429b6dp+0, 0x1.1ae3a914fed80p-56}; // 2 / sqrt pi

// At c = i / 4: erf c as a Pair, and its slope 2 / sqrt(pi) e^(-c^2).
static const struct {
    double hi, lo, slope;
} ERF_AT[] = {
    {0x0.0p+0, 0x0.0p+0, 0x1.20dd750429b6dp+0},
    {0x1.1af54e232d609p-2, -0x1.bee921fa4172bp-56, 0x1.0f5d1602f7e41p+0},
    {0x1.0a7ef5c18edd2p-1, 0x1.5e809f1a31a28p-56, 0x1.c1efca49a5011p-1},
    {0x1.6c1c9759d0e5fp-1, 0x1.b1432f2cbc455p-55, 0x1.492e42d78d2c5p-1},
    {0x1.af767a741088bp-1, -0x1.c97f778122797p-56, 0x1.a911f096fbc26p-2},
    {0x1.d8865d98abe01p-1, -0x1.fcec4afb974d9p-55, 0x1.e4652fadcb6b2p-3},
    {0x1.eea5557137ae0p-1, -0x1.385e445f2c96dp-55, 0x1.e723726b824a9p-4},
    {0x1.f92d077f8d56dp-1, 0x1.8b55ef493fce7p-56, 0x1.b055303221015p-5},
    {0x1.fd9ae142795e3p-1, 0x1.972801904b9a3p-56, 0x1.529b9e8cf9a1ep-6},
    {0x1.ff404760319b4p-1, 0x1.f142071432025p-56, 0x1.d4143a9dfe965p-8},
    {0x1.ffcaa8f4c9beap-1, 0x1.b0cee160116f9p-55, 0x1.1d83170fbf6fbp-9},
    {0x1.fff2cfb0453d9p-1, 0x1.9a913686042a3p-55, 0x1.3360ccd23db3ap-11},
    {0x1.fffd1ac4135f9p-1, 0x1.eeafa1ecd6cefp-55, 0x1.2408e9ba3327fp-13},
    {0x1.ffff6f9f67e55p-1, 0x1.e1e4483ba034bp-55, 0x1.e9b5e8d00ce77p-16},
    {0x1.ffffe710d565ep-1, 0x1.c9ea52d76dc04p-55, 0x1.6a597219a93dap-18},
    {0x1.fffffc2f171e3p-1, 0x1.85edd0395f475p-55, 0x1.d9371e2ff7c35p-21},
    {0x1.ffffff7b91176p-1, 0x1.0b2865615db40p-56, 0x1.10b1488aeb235p-23},
    {0x1.fffffff01a8b6p-1, 0x1.23370eca5ca6ap-60, 0x1.155a09065d4f7p-26},
    {0x1.fffffffe4fa30p-1, 0x1.d166bcb681c7bp-57, 0x1.f1e3523b41d7dp-30},
    {0x1.ffffffffd759dp-1, 0x1.f7bee7eb23420p-55, 0x1.8a61745ec7d1dp-33},
    {0x1.fffffffffc9e8p-1, -0x1.a759f7738935fp-56, 0x1.13af4f04f9998p-36},
    {0x1.ffffffffffc05p-1, 0x1.07ba96a6b2e1ap-55, 0x1.5422ef5d8949dp-40},
    {0x1.fffffffffffbep-1, -0x1.182b326b228dcp-55, 0x1.7258610b3b233p-44},
    {0x1.ffffffffffffcp-1, 0x1.8115fd1b12786p-56, 0x1.63daf8b4b1e0cp-48},
    {0x1.0000000000000p+0, -0x1.8cf81557d20b6p-56, 0x1.2dc119095729fp-52},
};

// erf(c + h) = erf c + slope (h + t1 h^2 / 2 + t2 h^3 / 3 + ...), t the series of e^(-2 c h - h^2). What slope
// multiplies:
static double erf_rise(double c, double h)
{
    double before = 0, t = 1, power = h, sum = 0;
    for (int n = 1; n < 20; n++) {
        double next = -2 * (c * t + before) / n;
        before = t;
        t = next;
        power *= h;
        sum += t * power / (n + 1);
    }
    return h + sum;
}

static double erf_near(int i, double h)
{
    return ERF_AT[i].hi + (ERF_AT[i].lo + ERF_AT[i].slope * erf_rise(i * 0.25, h));
}

double double_erf(double x)
{
    double a = fabs(x);
    if (isnan(x) || x == 0) return x;
    if (a >= 6) return copysign(1, x);
    int i = (int)(a * 4 + 0.5);
    if (i) return copysign(erf_near(i, a - i * 0.25), x);
    double z = x * x, s = 0, fact = 1; // x (1 - z / 3 + z^2 / 10 - z^3 / 42 + ...)
    for (int n = 1; n < 12; n++) {
        fact *= -z / n;
        s += fact / (2 * n + 1);
    }
    Pair first = exact_product(x, ERF_1.hi);
    return first.hi + (first.lo + x * ERF_1.lo + first.hi * s);
}

// h at which erf(i / 4 + h) = a. Only the difference from erf(i / 4) counts, so that nothing is lost near 1.
static double erf_step(int i, double a)
{
    double c = i * 0.25, rise = ((a - ERF_AT[i].hi) - ERF_AT[i].lo) / ERF_AT[i].slope;
    double h = i ? -double_log1p(-2 * c * rise) / (2 * c) : rise; // right but for h^2 in the exponent
    for (int n = 0; n < 5; n++) h -= (erf_rise(c, h) - rise) / double_exp(-h * (2 * c + h));
    return h;
}

double double_erfinv(double x)
{
    double a = fabs(x);
    if (isnan(x) || x == 0) return x;
    if (a >= 1) return a == 1 ? copysign(INFINITY, x) : NAN;
    int i = 0;
    while (ERF_AT[i + 1].hi <= a) i++;
    double h = erf_step(i, a);
    if (h > 0.125) h = erf_step(++i, a);
    return copysign(i * 0.25 + h, x);
}

// Eight at a time, each by the operations of erf_near in its order, so that divisions do not wait for each other.
enum { VECTORS = 2, SIDE = 4 };
typedef double Four __attribute__((vector_size(32)));

#define INLINE static inline __attribute__((always_inline))

INLINE void erf_block(const double *x, double *out)
{
    Four c[VECTORS], h[VECTORS], before[VECTORS] = {0}, t[VECTORS], power[VECTORS], sum[VECTORS] = {0};
    int at[VECTORS][SIDE]; // 0: near zero, far out, or NaN
    for (int v = 0; v < VECTORS; v++)
        for (int s = 0; s < SIDE; s++) {
            double a = fabs(x[v * SIDE + s]);
            at[v][s] = a < 6 ? (int)(a * 4 + 0.5) : 0;
            c[v][s] = at[v][s] * 0.25;
            h[v][s] = a - c[v][s];
            t[v][s] = 1;
        }
    for (int v = 0; v < VECTORS; v++) power[v] = h[v];
    for (int n = 1; n < 20; n++)
        for (int v = 0; v < VECTORS; v++) {
            Four next = -2 * (c[v] * t[v] + before[v]) / n;
            before[v] = t[v];
            t[v] = next;
            power[v] *= h[v];
            sum[v] += t[v] * power[v] / (n + 1);
        }
    for (int i = 0; i < VECTORS * SIDE; i++) {
        int k = at[i / SIDE][i % SIDE];
        double near = h[i / SIDE][i % SIDE] + sum[i / SIDE][i % SIDE];
        out[i] = k ? copysign(ERF_AT[k].hi + (ERF_AT[k].lo + ERF_AT[k].slope * near), x[i]) : double_erf(x[i]);
    }
}

INLINE void erf_all(const double *x, double *out, size_t n)
{
    size_t i = 0;
    for (; i + VECTORS * SIDE <= n; i += VECTORS * SIDE) erf_block(x + i, out + i);
    for (; i < n; i++) out[i] = double_erf(x[i]);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void erf_avx2(const double *x, double *out, size_t n) { erf_all(x, out, n); }
#endif

void double_erf_many(const double *x, double *out, size_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        erf_avx2(x, out, n);
        return;
    }
#endif
    erf_all(x, out, n);
}
