#!/bin/sh
# no_libm.sh LIBRARY.a...: fails where an object refers to a function of libm whose last bits differ between hosts.
set -eu
inexact='exp exp2 exp10 expm1 log log2 log10 log1p sin cos sincos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh
         erf erfc pow hypot cbrt tgamma lgamma lgamma_r'
code=0
for library in "$@"; do
    symbols=$(nm "$library" 2>/dev/null | sed -n 's/^ *U //p' | sort -u)
    [ -n "$symbols" ] || { echo "$library: no symbols read"; code=1; }
    for name in $inexact; do
        for found in $(printf '%s\n' "$symbols" | grep -xE "(__)?$name(f|l)?(_finite)?" || true); do
            echo "$library refers to $found; ir/double_math.h has functions of the same bits everywhere"
            code=1
        done
    done
done
exit $code
