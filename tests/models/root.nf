# A flow whose inverse is no formula: z = 1.5 (e^x + x) + p, solved by a bracketed root.
module stage=normal
port in "x" f32[2] batch 0
port in "p" f32[2] batch 0
port out "z" f32[2] batch 0
func @main(x: f32[1,2], p: f32[1,2]) {
    x0: f32[2] = move x
    e: f32[2] = exp x0
    p0: f32[2] = move p
    sum: f32[2] = add e, x0
    scaled: f32[2] = mul sum, 1.5
    z0: f32[2] = add scaled, p0
    z: f32[1,2] = move z0
    return z
}
