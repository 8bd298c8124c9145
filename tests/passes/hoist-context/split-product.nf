# W [x; y] is W_x x + W_y y; the context's part moves to @late.
module stage=derived
port in "obs" f32[2] batch 0
port in "x" f32[2] batch 0
port out "z" f32[1,2] batch 0
func @run(obs: f32[1,2], x: f32[1,2]) {
    c: f32[1,4] = move x, obs
    z: f32[1,2] = linear c, [[1, 2], [3, 4], [5, 6], [7, 8]], [1, 1]
    return z
}
func @to_latent(obs: f32[1,2], x: f32[2]) {
    c: f32[1,4] = move x, obs
    h: f32[1,2] = linear c, [[1, 2], [3, 4], [5, 6], [7, 8]], [1, 1]
    z: f32[2] = move h
    return z
}
func @to_event(obs: f32[1,2], z: f32[2]) {
    c: f32[1,4] = move z, obs
    h: f32[1,2] = linear c, [[1, 2], [3, 4], [5, 6], [7, 8]], [1, 1]
    x: f32[2] = move h
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
    %5: f32[1,2] = linear obs, [[5, 6], [7, 8]]
    %6: f32[1,2] = linear x, %3, %2, %5
    return z=%6
}

func @to_latent(p: f32[2], x: f32[2]) {
    %2: f32[1,2] = move x
    %3: f32[2,2] = constant [[1, 2], [3, 4]]
    %4: f32[2] = constant [1, 1]
    %5: f32[1,2] = move p
    %6: f32[1,2] = linear %2, %3, %4, %5
    %7: f32[2] = move %6
    return z=%7
}

func @to_event(p: f32[2], z: f32[2]) {
    %2: f32[1,2] = move z
    %3: f32[2,2] = constant [[1, 2], [3, 4]]
    %4: f32[2] = constant [1, 1]
    %5: f32[1,2] = move p
    %6: f32[1,2] = linear %2, %3, %4, %5
    %7: f32[2] = move %6
    return x=%7
}

func @late(e: f32[2]) {
    %1: f32[2,2] = constant [[5, 6], [7, 8]]
    %2: f32[1,2] = move e
    %3: f32[1,2] = linear %2, %1
    %4: f32[2] = move %3
    return p=%4
}

func @encode(obs: f32[1,2]) {
    %1: f32[2] = move obs
    return e=%1
}
