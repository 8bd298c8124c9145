# Short text must not become much memory.
func @f() {
    a: f32[50000000] = constant splat 1
    b: f32[50000000] = constant splat 1   # error: expand to too many bytes
    return a, b
}
