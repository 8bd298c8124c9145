# sign(x) log(1 + |x|) as a choice; sign(x) (1 + |x|) jumps at 0 and stays.
func @main(x: f32[1,3]) {
    s: f32[1,3] = sign x
    m: f32[1,3] = abs x
    p: f32[1,3] = add m, 1
    l: f32[1,3] = log p
    a: f32[1,3] = mul s, l
    b: f32[1,3] = mul p, s
    return a, b
}
----
module stage=normal
func @main(x: f32[1,3]) {
    s: f32[1,3] = sign x
    m: f32[1,3] = abs x
    p: f32[1,3] = add m, 1
    l: f32[1,3] = log p
    %6: f32[1,3] = neg l
    %8: bool[1,3] = lt x, 0
    %9: f32[1,3] = select %8, %6, l
    b: f32[1,3] = mul p, s
    return a=%9, b
}
