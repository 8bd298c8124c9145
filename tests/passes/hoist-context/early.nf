# What is prepared of a context row is so long that a direction exists a second time, from what the products read.
module stage=derived
port in "obs" f32[2] batch 0
port in "x" f32[2] batch 0
port out "z" f32[1] batch 0
func @run(obs: f32[1,2], x: f32[1,2]) {
    w: f32[4,4096] = constant splat 0.25
    c: f32[1,4] = move x, obs
    h: f32[1,4096] = linear c, w
    z: f32[1] = reduce_sum h
    return z
}
func @to_latent(obs: f32[1,2], x: f32[2]) {
    w: f32[4,4096] = constant splat 0.25
    c: f32[1,4] = move x, obs
    h: f32[1,4096] = linear c, w
    z: f32[1] = reduce_sum h
    return z=z
}
----
module stage=fused
port in "obs" f32[2] batch 0
port in "x" f32[2] batch 0
port out "z" f32[1] batch 0
func @run(obs: f32[1,2], x: f32[1,2]) {
    %2: f32[2,4096] = constant splat 0.25
    %3: f32[2,4096] = constant splat 0.25
    %4: f32[1,4096] = linear obs, %3
    %5: f32[1,4096] = linear x, %2, _, %4
    z: f32[1] = reduce_sum %5
    return z
}

func @to_latent(p: f32[4096], x: f32[2]) {
    %2: f32[1,2] = move x
    %3: f32[2,4096] = constant splat 0.25
    %4: f32[1,4096] = move p
    %5: f32[1,4096] = linear %2, %3, _, %4
    z: f32[1] = reduce_sum %5
    return z
}

func @to_latent_early(e: f32[2], x: f32[2]) {
    %2: f32[1,2] = move x
    %3: f32[2,4096] = constant splat 0.25
    %4: f32[2,4096] = constant splat 0.25
    %5: f32[1,2] = move e
    %6: f32[1,4096] = linear %5, %4
    %7: f32[1,4096] = linear %2, %3, _, %6
    z: f32[1] = reduce_sum %7
    return z
}

func @late(e: f32[2]) {
    %1: f32[2,4096] = constant splat 0.25
    %2: f32[1,2] = move e
    %3: f32[1,4096] = linear %2, %1
    %4: f32[4096] = move %3
    return p=%4
}

func @encode(obs: f32[1,2]) {
    %1: f32[2] = move obs
    return e=%1
}
