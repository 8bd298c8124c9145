# All programs merge the same matrices in the same order, so that their weights stand once in the file.
module stage=fused
func @run(x: f32[1]) {
    y: f32[1] = exp x
    return y
}
func @to_latent(x: f32[1]) {
    v: f32[1,16] = constant [[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3]]
    w: f32[1,16] = constant [[1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4]]
    a: f32[16] = linear x, v
    b: f32[16] = linear x, w
    z: f32[16] = sub a, b
    return z
}
func @to_event(z: f32[1]) {
    w: f32[1,16] = constant [[1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4]]
    v: f32[1,16] = constant [[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3]]
    b: f32[16] = linear z, w
    a: f32[16] = linear z, v
    x: f32[16] = sub b, a
    return x
}
----
module stage=fused
func @run(x: f32[1]) {
    y: f32[1] = exp x
    return y
}

func @to_latent(x: f32[1]) {
    %1: f32[2,1,16] = constant [[[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3]], [[1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4]]]
    %2: f32[2,16] = linear x, %1
    %3: f32[16] = move %2 [0..15]
    %4: f32[16] = move %2 [16..31]
    z: f32[16] = sub %3, %4
    return z
}

func @to_event(z: f32[1]) {
    %1: f32[2,1,16] = constant [[[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3]], [[1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4]]]
    %2: f32[2,16] = linear z, %1
    %3: f32[16] = move %2 [0..15]
    %4: f32[16] = move %2 [16..31]
    x: f32[16] = sub %4, %3
    return x
}
