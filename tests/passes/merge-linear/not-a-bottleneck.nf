# 4 -> 1 -> 4: the pair is less work than the 4 x 4 product.
module stage=derived
func @run(x: f32[1,4]) {
    h: f32[1,1] = linear x, [[1], [2], [3], [4]]
    y: f32[1,4] = linear h, [[1, 2, 3, 4]]
    return y
}
----
module stage=derived
func @run(x: f32[1,4]) {
    h: f32[1,1] = linear x, [[1], [2], [3], [4]]
    y: f32[1,4] = linear h, [[1, 2, 3, 4]]
    return y
}
