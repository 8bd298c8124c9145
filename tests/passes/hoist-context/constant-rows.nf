# W [x; y] of a constant y: W_y y is added behind the product, whose own addend is read from lanes of a row.
module stage=derived
port in "obs" f32[2] batch 0
port in "x" f32[2] batch 0
port out "z" f32[1,2] batch 0
func @run(obs: f32[1,2], x: f32[1,2]) {
    c: f32[1,4] = move x, [3, 4] [0..3]
    h: f32[1,2] = linear c, [[1, 2], [3, 4], [5, 6], [7, 8]], [1, 1]
    z: f32[1,2] = add h, obs
    return z
}
func @to_latent(obs: f32[1,2], x: f32[2]) {
    c: f32[1,4] = move x, [3, 4] [0..3]
    h: f32[1,2] = linear c, [[1, 2], [3, 4], [5, 6], [7, 8]], [1, 1]
    s: f32[1,2] = add h, obs
    z: f32[2] = move s
    return z
}
func @to_event(obs: f32[1,2], z: f32[2]) {
    c: f32[1,4] = move z, [3, 4] [0..3]
    h: f32[1,2] = linear c, [[1, 2], [3, 4], [5, 6], [7, 8]], [1, 1]
    s: f32[1,2] = add h, obs
    x: f32[2] = move s
    return x
}
----
module stage=fused
port in "obs" f32[2] batch 0
port in "x" f32[2] batch 0
port out "z" f32[1,2] batch 0
func @run(obs: f32[1,2], x: f32[1,2]) {
    %2: f32[2] = constant [1, 1]
    %3: f32[2,2] = constant [[1, 2], [3, 4]]
    %4: f32[1,2] = constant [[43, 50]]
    %5: f32[1,2] = linear x, %3, %2
    %6: f32[1,2] = add %5, %4
    z: f32[1,2] = add %6, obs
    return z
}

func @to_latent(p: f32[2], x: f32[2]) {
    %2: f32[1,2] = move x
    %5: f32[1,2] = linear %2, [[1, 2], [3, 4]], [1, 1]
    %7: f32[1,2] = add %5, [[43, 50]]
    %8: f32[1,2] = move p
    s: f32[1,2] = add %7, %8
    %10: f32[2] = move s
    return z=%10
}

func @to_event(p: f32[2], z: f32[2]) {
    %2: f32[1,2] = move z
    %5: f32[1,2] = linear %2, [[1, 2], [3, 4]], [1, 1]
    %7: f32[1,2] = add %5, [[43, 50]]
    %8: f32[1,2] = move p
    s: f32[1,2] = add %7, %8
    %10: f32[2] = move s
    return x=%10
}

func @late(e: f32[2]) {
    return p=e
}

func @encode(obs: f32[1,2]) {
    %1: f32[2] = move obs
    return e=%1
}
