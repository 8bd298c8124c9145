# Products of one input, but of other shapes; and a net that goes another way than its neighbour.
module stage=fused
func @run(x: f32[1]) {
    a: f32[16] = linear x, [[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3]]
    b: f32[32] = linear x, [[1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3]]
    c: f32[16] = exp a
    d: f32[32] = exp b
    return c, d
}
----
module stage=fused
func @run(x: f32[1]) {
    a: f32[16] = linear x, [[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3]]
    %3: f32[1,32] = constant [[1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3]]
    b: f32[32] = linear x, %3
    c: f32[16] = exp a
    d: f32[32] = exp b
    return c, d
}
