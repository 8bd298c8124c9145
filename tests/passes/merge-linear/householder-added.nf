# x + v ((-c v) . x): the sum of a value and two products of it, one of them divided, is one linear map; v = (1, 2, 2).
module stage=derived
func @run(x: f32[1,3]) {
    d: f32[1,1] = linear x, [[-1], [-2], [-2]]
    s: f32[1,3] = linear d, [[1, 2, 2]]
    t: f32[1,3] = div s, [4]
    y: f32[1,3] = add x, t
    return y
}
----
module stage=derived
func @run(x: f32[1,3]) {
    %2: f32[1,3] = linear x, [[0.75, -0.5, -0.5], [-0.5, 0, -1], [-0.5, -1, 0]]
    return y=%2
}
