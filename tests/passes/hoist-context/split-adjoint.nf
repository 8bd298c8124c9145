# The adjoint of a product that is split is split too, on the same parts; the context's part is not needed and goes.
module stage=derived
port in "obs" f32[2] batch 0
port in "x" f32[2] batch 0
port out "z" f32[1,2] batch 0
func @run(obs: f32[1,2], x: f32[1,2]) {
    c: f32[1,4] = move x, obs
    z: f32[1,2] = linear c, [[1, 2], [3, 4], [5, 6], [7, 8]], [1, 1]
    return z
}
func @score(obs: f32[1,2], x: f32[2]) {
    c: f32[1,4] = move x, obs
    w: f32[4,2] = constant [[1, 2], [3, 4], [5, 6], [7, 8]]
    h: f32[1,2] = linear c, w, [1, 1]
    a: f32[1,4] = linear_t h, w
    s: f32[2] = move a [0, 1]
    return score=s
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

func @score(p: f32[2], x: f32[2]) {
    %2: f32[1,2] = move x
    %3: f32[2,2] = constant [[1, 2], [3, 4]]
    %4: f32[2] = constant [1, 1]
    %5: f32[1,2] = move p
    %6: f32[1,2] = linear %2, %3, %4, %5
    %7: f32[1,2] = linear_t %6, %3
    %8: f32[2] = move %7
    return score=%8
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
