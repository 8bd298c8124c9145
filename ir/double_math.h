// Elementary functions in double that give the same bits on every host (double_*.c): what ends in an output file is
// computed with these, + - * / and sqrt alone, never with the host's libm.
#pragma once
#include <stddef.h>

#define ERF_SLOPE 1.1283791670955126 // 2 / sqrt pi: erf's slope at 0
#define LOG_ERF_SLOPE 0.12078223763524522

double double_exp(double x);
double double_expm1(double x);
double double_log(double x);
double double_log1p(double x);
double double_pow(double x, double y);
double double_sin(double x);
double double_cos(double x);
double double_tan(double x);
double double_asin(double x);
double double_acos(double x);
double double_atan(double x);
double double_sinh(double x);
double double_cosh(double x);
double double_tanh(double x);
double double_asinh(double x);
double double_acosh(double x);
double double_atanh(double x);
double double_erf(double x);
void double_erf_many(const double *x, double *out, size_t n); // out[i] = double_erf(x[i]), the same bits, faster
double double_erfinv(double x);
double double_log_gamma(double x); // x > 0
