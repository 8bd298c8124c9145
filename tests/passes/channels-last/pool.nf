# A pool's windows, each of one channel, are those of a place, channel after channel; what comes of them is a picture again.
module stage=normal
func @main(x: f32[6,1]) {
    a: f32[6,2] = linear x, [[1, 2]]
    p: f32[2,6] = move a [0..10:2, 1..11:2]
    e: f32[2,6] = exp p
    f: f32[12,3] = move -inf, e [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5, 4, 5, 6, 5, 6, 0, 0, 7, 8, 7, 8, 9, 8, 9, 10, 9, 10, 11, 10, 11, 12, 11, 12, 0]
    g: f32[12] = reduce_max f
    w: f32[4,6] = move g [0, 6, 1, 7, 2, 8, 1, 7, 2, 8, 3, 9, 2, 8, 3, 9, 4, 10, 3, 9, 4, 10, 5, 11]
    return w=w
}
----
module stage=normal
func @main(x: f32[6,1]) {
    a: f32[6,2] = linear x, [[1, 2]]
    e: f32[6,2] = exp a
    %5: f32[12,3] = move -inf, e [0, 1, 3, 0..4:2, 1..5:2, 2..6:2, 3..7:2, 4..8:2, 5..9:2, 6..10:2, 7..11:2, 8..12:2, 9, 11, 0, 10, 12, 0]
    %6: f32[12] = reduce_max %5
    %7: f32[4,6] = move %6 [0..5, 2..7, 4..9, 6..11]
    return w=%7
}
