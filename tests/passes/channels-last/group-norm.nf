# Sums over groups of channels become sums over the places of each channel and small ones over a group's; a group's mean is
# made for each of its channels, so that it lies as a place does.
module stage=normal
func @main(x: f32[6,1]) {
    a: f32[6,4] = linear x, [[1, 2, 3, 4]]
    p: f32[2,12] = move a [0..20:4, 1..21:4, 2..22:4, 3..23:4]
    s: f32[2] = reduce_sum p
    m: f32[2] = div s, f32 12
    q: f32[24] = move a [0..20:4, 1..21:4, 2..22:4, 3..23:4]
    t: f32[24] = move m [0*12, 1*12]
    d: f32[24] = sub q, t
    e: f32[24] = mul d, d
    f: f32[2,12] = move e
    v: f32[2] = reduce_sum f
    i: f32[2] = sqrt v
    j: f32[24] = move i [0*12, 1*12]
    n: f32[24] = div d, j
    w: f32[4,12] = move n [0, 6, 12, 18, 1, 7, 13, 19, 2, 8, 14, 20, 1, 7, 13, 19, 2, 8, 14, 20, 3, 9, 15, 21, 2, 8, 14, 20, 3, 9, 15, 21, 4, 10, 16, 22, 3, 9, 15, 21, 4, 10, 16, 22, 5, 11, 17, 23]
    return w=w
}
----
module stage=normal
func @main(x: f32[6,1]) {
    a: f32[6,4] = linear x, [[1, 2, 3, 4]]
    %3: f32[4,6] = move a [0..20:4, 1..21:4, 2..22:4, 3..23:4]
    %4: f32[4] = reduce_sum %3
    %5: f32[2,2] = move %4
    %6: f32[2] = reduce_sum %5
    %7: f32[] = constant 12
    %8: f32[4] = move %6 [0, 0, 1, 1]
    %9: f32[4] = div %8, %7
    %10: f32[6,4] = move %9 [0..3*6]
    d: f32[6,4] = sub a, %10
    e: f32[6,4] = mul d, d
    %13: f32[4,6] = move e [0..20:4, 1..21:4, 2..22:4, 3..23:4]
    %14: f32[4] = reduce_sum %13
    %15: f32[2,2] = move %14
    %16: f32[2] = reduce_sum %15
    %17: f32[4] = move %16 [0, 0, 1, 1]
    %18: f32[4] = sqrt %17
    %19: f32[6,4] = move %18 [0..3*6]
    n: f32[6,4] = div d, %19
    %21: f32[4,12] = move n [0..11, 4..15, 8..19, 12..23]
    return w=%21
}
