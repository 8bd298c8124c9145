# Short text must not become much memory.
func @f() {
    a: f64[268435456] = constant splat 1   # error: expand to too many bytes
    return a
}
