# log(x - lo) - log(hi - x) and the log of their quotient; of -1 to 1 it is twice an atanh
func @main(x: f32[1,3]) {
    a: f32[1,3] = sub x, 0.5
    b: f32[1,3] = sub [2, 3, 4], x
    c: f32[1,3] = log a
    d: f32[1,3] = log b
    e: f32[1,3] = sub c, d
    g: f32[1,3] = add x, 2
    h: f32[1,3] = sub 2, x
    i: f32[1,3] = div g, h
    j: f32[1,3] = log i
    k: f32[1,3] = add x, 1
    l: f32[1,3] = sub 1, x
    m: f32[1,3] = log k
    n: f32[1,3] = log l
    o: f32[1,3] = sub m, n
    return e, j, o
}
----
module stage=normal
func @main(x: f32[1,3]) {
    a: f32[1,3] = sub x, 0.5
    %4: f32[1,3] = div a, [1.5, 2.5, 3.5]
    %5: f32[1,3] = logit %4
    %6: f32[] = constant 2
    g: f32[1,3] = add x, %6
    %9: f32[1,3] = div g, 4
    %10: f32[1,3] = logit %9
    %11: f32[1,3] = atanh x
    %12: f32[1,3] = mul %11, %6
    return e=%5, j=%10, o=%12
}
