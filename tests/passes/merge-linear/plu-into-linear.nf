# A swap after a scaling is one matrix.
module stage=derived
func @run(x: f32[1,2]) {
    h: f32[1,2] = linear x, [[2, 0], [0, 3]], [1, 1]
    y: f32[1,2] = linear h, [[0, 1], [1, 0]], [0, 5]
    return y
}
----
module stage=derived
func @run(x: f32[1,2]) {
    %1: f32[2] = constant [1, 6]
    %3: f32[1,2] = linear x, [[0, 2], [3, 0]], %1
    return y=%3
}
