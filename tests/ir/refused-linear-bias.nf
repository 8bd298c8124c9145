# The bias of linear.
func @f(x: f32[1,2]) {
    a: f32[1,2] = linear x, [[1, 0], [0, 1]], [1, 2, 3]   # error: bias is f32[3]
    return a
}
