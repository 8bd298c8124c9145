# Inputs that are no neighbours (the second channel's are a place further) stay products of their own.
module stage=normal
func @main(x: f32[4,1]) {
    a: f32[4,2] = linear x, [[1, 2]]
    p: f32[2,4] = move a [0..6:2, 1..7:2]
    e: f32[2,4] = exp p
    f: f32[4,3] = move 0, e [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 0]
    g: f32[4,3] = move 0, e [5, 6, 7, 6, 7, 8, 7, 8, 0, 8, 0, 0]
    s: f32[4,1] = linear f, [[1], [2], [3]]
    t: f32[4,1] = linear g, [[4], [5], [6]]
    b: f32[8] = move s, t
    c: f32[8] = exp b
    d: f32[4,2] = move c [0, 4, 1, 5, 2, 6, 3, 7]
    y: f32[4,1] = linear d, [[1], [2]]
    return y=y
}
----
module stage=normal
func @main(x: f32[4,1]) {
    a: f32[4,2] = linear x, [[1, 2]]
    p: f32[2,4] = move a [0..6:2, 1..7:2]
    e: f32[2,4] = exp p
    f: f32[4,3] = move 0, e [0..2, 1..3, 2..4, 3, 4, 0]
    g: f32[4,3] = move 0, e [5..7, 6..8, 7, 8..0:-8*2, 0]
    s: f32[4,1] = linear f, [[1], [2], [3]]
    t: f32[4,1] = linear g, [[4], [5], [6]]
    b: f32[8] = move s, t
    c: f32[8] = exp b
    d: f32[4,2] = move c [0, 4, 1, 5, 2, 6, 3, 7]
    y: f32[4,1] = linear d, [[1], [2]]
    return y
}
