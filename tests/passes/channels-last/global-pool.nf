# Without windows, sums over channels are enough.
module stage=normal
func @main(x: f32[8,1]) {
    a: f32[8,2] = linear x, [[1, 2]]
    p: f32[2,8] = move a [0..14:2, 1..15:2]
    e: f32[2,8] = exp p
    s: f32[2] = reduce_sum e
    return s=s
}
----
module stage=normal
func @main(x: f32[8,1]) {
    a: f32[8,2] = linear x, [[1, 2]]
    e: f32[8,2] = exp a
    %4: f32[2,8] = move e [0..14:2, 1..15:2]
    %5: f32[2] = reduce_sum %4
    return s=%5
}
