# Tables and indices.
func @f(x: f32[3,2], y: i64[2,1]) {
    a: f32[2,1] = take x, y   # error: table is f32[3,2], but the index is i64[2,1]
    return a
}
