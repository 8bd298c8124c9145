# x - p floor(x / p) is mod(x, p); with a second use of the floor (a bin's number) it stays; nearest multiples, too.
func @main(x: f32[1,3]) {
    a: f32[1,3] = div x, 6
    b: f32[1,3] = floor a
    c: f32[1,3] = mul b, 6
    d: f32[1,3] = sub x, c
    e: f32[1,3] = floor x
    f: f32[1,3] = sub x, e
    g: f32[1,3] = mul x, 0.25
    h: f32[1,3] = round g
    i: f32[1,3] = mul 4, h
    j: f32[1,3] = sub x, i
    k: f32[1,3] = mul x, 8
    l: f32[1,3] = floor k
    m: f32[1,3] = sub k, l
    return d, f, j, l, m
}
----
module stage=normal
func @main(x: f32[1,3]) {
    %2: f32[1,3] = mod x, 6
    %4: f32[1,3] = mod x, 1
    %5: f32[] = constant 4
    %6: f32[] = constant 2
    %7: f32[1,3] = add x, %6
    %8: f32[1,3] = mod %7, %5
    %9: f32[1,3] = sub %8, %6
    k: f32[1,3] = mul x, 8
    l: f32[1,3] = floor k
    m: f32[1,3] = sub k, l
    return d=%2, f=%4, j=%9, l, m
}
