// The inverse of a small matrix and its determinant: Gauss-Jordan elimination with partial pivoting, in double. Its norm;
// and which rows of any matrix are independent, by the same elimination.
#include "small_matrix.h"

#include "double_math.h"

#include <math.h>

static void swap_rows(double *a, int64_t k, int64_t r, int64_t s)
{
    for (int64_t j = 0; j < k && r != s; j++) {
        double t = a[r * k + j];
        a[r * k + j] = a[s * k + j];
        a[s * k + j] = t;
    }
}

static int64_t largest_below(const double *a, int64_t rows, int64_t k, int64_t c)
{
    int64_t best = c;
    for (int64_t r = c + 1; r < rows; r++)
        if (fabs(a[r * k + c]) > fabs(a[best * k + c])) best = r;
    return best;
}

static void divide_row(double *row, int64_t k, double by)
{
    for (int64_t j = 0; j < k; j++) row[j] /= by;
}

static void subtract_row(double *row, const double *other, int64_t k, double factor)
{
    for (int64_t j = 0; j < k; j++) row[j] -= factor * other[j];
}

Determinant invert_matrix(double *a, double *inverse, int64_t k)
{
    Determinant det = {1, 0};
    for (int64_t i = 0; i < k * k; i++) inverse[i] = i % (k + 1) == 0;
    for (int64_t c = 0; c < k; c++) {
        int64_t best = largest_below(a, k, k, c);
        double pivot = a[best * k + c];
        if (pivot == 0 || !isfinite(pivot)) return (Determinant){0, pivot == 0 ? -INFINITY : NAN};
        swap_rows(a, k, c, best);
        swap_rows(inverse, k, c, best);
        if ((pivot < 0) == (best == c)) det.sign = -det.sign;
        det.log_size += double_log(fabs(pivot));
        divide_row(a + c * k, k, pivot);
        divide_row(inverse + c * k, k, pivot);
        for (int64_t r = 0; r < k; r++) {
            double factor = a[r * k + c];
            if (r == c || factor == 0) continue;
            subtract_row(a + r * k, a + c * k, k, factor);
            subtract_row(inverse + r * k, inverse + c * k, k, factor);
        }
    }
    return det;
}

double matrix_norm1(const double *a, int64_t k)
{
    double most = 0;
    for (int64_t j = 0; j < k; j++) {
        double sum = 0;
        for (int64_t i = 0; i < k; i++) sum += fabs(a[i * k + j]);
        if (sum > most) most = sum;
    }
    return most;
}

bool independent_rows(double *a, int rows, int cols, int *order)
{
    for (int c = 0; c < cols; c++) {
        int best = (int)largest_below(a, rows, cols, c), number;
        if (best >= rows || fabs(a[best * cols + c]) < 1e-9) return false;
        swap_rows(a, cols, c, best);
        number = order[best];
        order[best] = order[c];
        order[c] = number;
        for (int r = c + 1; r < rows; r++) {
            double factor = a[r * cols + c] / a[c * cols + c];
            if (factor != 0) subtract_row(a + r * cols, a + c * cols, cols, factor);
        }
    }
    return true;
}
