# Attention's keys are turned, too, but read once: as they are, a product's scale costs nothing.
module stage=normal
func @main(x: f32[6,1], q: f32[3,2]) {
    a: f32[6,2] = linear x, [[1, 2]]
    p: f32[2,6] = move a [0..10:2, 1..11:2]
    c: f32[2,6] = mul p, f32 0.5
    y: f32[3,6] = matmul q, c
    return y=y
}
----
module stage=normal
func @main(x: f32[6,1], q: f32[3,2]) {
    a: f32[6,2] = linear x, [[1, 2]]
    p: f32[2,6] = move a [0..10:2, 1..11:2]
    c: f32[2,6] = mul p, 0.5
    y: f32[3,6] = matmul q, c
    return y
}
