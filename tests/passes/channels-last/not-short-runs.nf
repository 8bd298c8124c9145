# Windows that read each channel by itself are longer runs of the picture as it is.
module stage=normal
func @main(x: f32[6,1]) {
    a: f32[6,2] = linear x, [[1, 2]]
    p: f32[2,6] = move a [0..10:2, 1..11:2]
    c: f32[2,6] = exp p
    w: f32[2,4,5] = move c [0..4, 1..5, 0..4, 1..5, 6..10, 7..11, 6..10, 7..11]
    return w=w
}
----
module stage=normal
func @main(x: f32[6,1]) {
    a: f32[6,2] = linear x, [[1, 2]]
    p: f32[2,6] = move a [0..10:2, 1..11:2]
    c: f32[2,6] = exp p
    w: f32[2,4,5] = move c [0..4, 1..5, 0..4, 1..10, 7..11, 6..10, 7..11]
    return w
}
