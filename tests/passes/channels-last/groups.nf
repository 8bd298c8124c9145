# Products of windows of two channels each (a grouped convolution) are a picture, too: its columns are those of all groups.
module stage=normal
func @main(x: f32[4,1]) {
    a: f32[4,4] = linear x, [[1, 2, 3, 4]]
    p: f32[4,4] = move a [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]
    e: f32[4,4] = exp p
    f: f32[3,4] = move e [0, 1, 4, 5, 1, 2, 5, 6, 2, 3, 6, 7]
    g: f32[3,4] = move e [8, 9, 12, 13, 9, 10, 13, 14, 10, 11, 14, 15]
    s: f32[3,2] = linear f, [[1, 2], [3, 4], [5, 6], [7, 8]]
    t: f32[3,2] = linear g, [[2, 1], [4, 3], [6, 5], [8, 7]]
    b: f32[12] = move s, t [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]
    c: f32[12] = exp b
    d: f32[3,4] = move c [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    y: f32[3,1] = linear d, [[1], [2], [3], [4]]
    return y=y
}
----
module stage=normal
func @main(x: f32[4,1]) {
    a: f32[4,4] = linear x, [[1, 2, 3, 4]]
    e: f32[4,4] = exp a
    %4: f32[3,4] = move e [0, 4, 1, 5, 4, 8, 5, 9, 8, 12, 9, 13]
    %5: f32[3,4] = move e [2, 6, 3, 7, 6, 10, 7, 11, 10, 14, 11, 15]
    s: f32[3,2] = linear %4, [[1, 2], [3, 4], [5, 6], [7, 8]]
    t: f32[3,2] = linear %5, [[2, 1], [4, 3], [6, 5], [8, 7]]
    %10: f32[3,4] = move s, t [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]
    c: f32[3,4] = exp %10
    y: f32[3,1] = linear c, [[1], [2], [3], [4]]
    return y
}
