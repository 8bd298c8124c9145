# Bools are 0 and 1.
func @f() {
    a: bool[] = constant 2   # error: bool 2 is not in 0..1
    return a
}
