# A number that f32 cannot hold.
func @f() {
    a: f32[] = constant 1e39   # error: '1e39' is not a number of type f32
    return a
}
