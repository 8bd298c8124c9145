# x - c v (v . x), written with a product, a sum over lanes and as two products; v = (1, 2, 2), then (2, -1, 2).
module stage=derived
func @run(x: f32[1,3]) {
    d: f32[1,1] = linear x, [[1], [2], [2]]
    s: f32[1,3] = mul d, [0.25, 0.5, 0.5]
    a: f32[1,3] = sub x, s
    e: f32[1,3] = mul a, [2, -1, 2]
    f: f32[1] = reduce_sum e
    g: f32[1,1] = move f
    h: f32[1,1] = mul g, [2]
    i: f32[1,3] = linear h, [[0.25, -0.125, 0.25]]
    b: f32[1,3] = sub a, i
    return b
}
----
module stage=derived
func @run(x: f32[1,3]) {
    %1: f32[3] = constant [0, 0, 0]
    %3: f32[1,3] = linear x, [[0.25, -0.25, -1], [1, -0.75, 0.5], [-0.5, -1, 0]], %1
    return b=%3
}
