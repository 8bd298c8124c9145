# A context's products of two blocks: the second is not wanted before the first block is done.
module stage=fused
func @run(e: f32[1], x: f32[1]) {
    a: f32[16] = linear e, [[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3]]
    b: f32[16] = linear e, [[1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4]]
    c: f32[16] = linear x, [[-1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2]], _, a
    s: f32[] = reduce_max c
    m: f32[1] = move s
    d: f32[16] = linear m, [[-3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0]], _, b
    return d
}
----
module stage=fused
func @run(e: f32[1], x: f32[1]) {
    a: f32[16] = linear e, [[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3]]
    b: f32[16] = linear e, [[1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4]]
    c: f32[16] = linear x, [[-1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2]], _, a
    s: f32[] = reduce_max c
    m: f32[1] = move s
    d: f32[16] = linear m, [[-3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0]], _, b
    return d
}
