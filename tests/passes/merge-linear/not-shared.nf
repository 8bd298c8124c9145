# The inner product has a second user: merging would be more work.
module stage=derived
func @run(x: f32[1,2]) {
    h: f32[1,2] = linear x, [[2, 1], [1, 3]], [1, 1]
    e: f32[1,2] = exp h
    y: f32[1,2] = linear h, [[0, 1], [1, 1]], [0, 5]
    return e, y
}
----
module stage=derived
func @run(x: f32[1,2]) {
    h: f32[1,2] = linear x, [[2, 1], [1, 3]], [1, 1]
    e: f32[1,2] = exp h
    y: f32[1,2] = linear h, [[0, 1], [1, 1]], [0, 5]
    return e, y
}
