// Small matrices of numbers, [rows][columns], in double (small_matrix.c).
#pragma once
#include <stdbool.h>
#include <stdint.h>

// sign e^log_size; sign 0: singular (log_size -inf) or not finite (NaN).
typedef struct {
    int sign;
    double log_size;
} Determinant;

// a [k][k] becomes the unit matrix, `inverse` its inverse, where it has one.
Determinant invert_matrix(double *a, double *inverse, int64_t k);
double matrix_norm1(const double *a, int64_t k); // the largest sum of a column; a's times its inverse's: the condition
// The numbers of `cols` independent rows of a [rows][cols], which is spent, come in front in `order`; false: there are
// fewer.
bool independent_rows(double *a, int rows, int cols, int *order);
