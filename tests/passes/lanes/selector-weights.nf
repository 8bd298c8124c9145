# A product with a permutation matrix is a lane map.
module stage=normal
func @main(x: f32[1,3]) {
    p: f32[1,3] = linear x, [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    y: f32[1,3] = tanh p
    return y
}
----
module stage=normal
func @main(x: f32[1,3]) {
    %1: f32[3] = move x [2, 0, 1]
    %2: f32[3] = tanh %1
    %3: f32[1,3] = move %2
    return y=%3
}
