# One affine coupling with a context: exp in one direction, its reciprocal in the other, one net in both.
module stage=normal
port in "obs" f32[1] batch 0
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(obs: f32[1,1], x: f32[1,2]) {
    a: f32[1,1] = move x [0]
    b: f32[1,1] = move x [1]
    ca: f32[1,2] = move obs, a
    st: f32[1,2] = linear ca, [[0.5, 1], [2, -1]], [0.25, 0]
    s: f32[1,1] = move st [0]
    t: f32[1,1] = move st [1]
    ls: f32[1,1] = tanh s
    e: f32[1,1] = exp ls
    be: f32[1,1] = mul b, e
    zb: f32[1,1] = add be, t
    z: f32[1,2] = move a, zb
    log_det: f32[1] = move ls
    return z, log_det
}
----
module stage=derived
port in "obs" f32[1] batch 0
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @run(obs: f32[1,1], x: f32[1,2]) {
    %2: f32[1,1] = move x [1]
    %3: f32[1,2] = move obs, x [0, 1]
    st: f32[1,2] = linear %3, [[0.5, 1], [2, -1]], [0.25, 0]
    %7: f32[1,1] = move st [0]
    %8: f32[1,1] = move st [1]
    ls: f32[1,1] = tanh %7
    e: f32[1,1] = exp ls
    be: f32[1,1] = mul %2, e
    zb: f32[1,1] = add be, %8
    %13: f32[1,2] = move x, zb [0, 2]
    %14: f32[1] = move ls
    return z=%13, log_det=%14
}

func @to_latent(obs: f32[1,1], x: f32[2]) {
    %2: f32[1,2] = move obs, x [0, 1]
    %3: f32[2] = constant [0.25, 0]
    %5: f32[1,2] = linear %2, [[0.5, 1], [2, -1]], %3
    %6: f32[1] = move %5 [0]
    %7: f32[1] = tanh %6
    %8: f32[1] = exp %7
    %9: f32[1] = move x [1]
    %10: f32[1] = mul %9, %8
    %11: f32[1] = move %5 [1]
    %12: f32[1] = add %10, %11
    %13: f32[2] = move x, %12 [0, 2]
    %14: f32[2] = mul %13, %13
    %15: f32[] = reduce_sum %14
    %16: f32[1] = move %15
    %18: f32[1] = mul %16, -0.5
    %20: f32[1] = add %18, f64 -1.8378770664093453
    %21: f32[1] = add %7, %20
    %22: f32[] = constant -inf
    %23: bool[1] = eq %21, %21
    %24: f32[1] = select %23, %21, %22
    return z=%13, log_det=%7, log_prob=%24
}

func @to_event(obs: f32[1,1], z: f32[2]) {
    %2: f32[1,2] = move obs, z [0, 1]
    %3: f32[2] = constant [0.25, 0]
    %5: f32[1,2] = linear %2, [[0.5, 1], [2, -1]], %3
    %6: f32[1] = move %5 [0]
    %7: f32[1] = tanh %6
    %8: f32[1] = move z [1]
    %9: f32[1] = move %5 [1]
    %10: f32[1] = sub %8, %9
    %11: f32[1] = neg %7
    %12: f32[1] = exp %11
    %13: f32[1] = mul %10, %12
    %14: f32[2] = move z, %13 [0, 2]
    %15: f32[2] = mul z, z
    %16: f32[] = reduce_sum %15
    %17: f32[1] = move %16
    %19: f32[1] = mul %17, -0.5
    %21: f32[1] = add %19, f64 -1.8378770664093453
    %22: f32[1] = add %7, %21
    %23: f32[] = constant -inf
    %24: bool[1] = eq %22, %22
    %25: f32[1] = select %24, %22, %23
    return x=%14, log_det=%11, log_prob=%25
}

func @score(obs: f32[1,1], x: f32[2]) {
    %2: f32[1,2] = move obs, x [0, 1]
    %3: f32[2] = constant [0.25, 0]
    %4: f32[2,2] = constant [[0.5, 1], [2, -1]]
    %5: f32[1,2] = linear %2, %4, %3
    %6: f32[1] = move %5 [0]
    %7: f32[1] = tanh %6
    %8: f32[1] = exp %7
    %9: f32[1] = move x [1]
    %10: f32[1] = mul %9, %8
    %11: f32[1] = move %5 [1]
    %12: f32[1] = add %10, %11
    %13: f32[2] = move x, %12 [0, 2]
    %14: f32[1] = constant [-0.5]
    %15: f32[] = constant 1
    %16: f32[1] = constant [1]
    %17: f32[2] = mul %14, %13
    %18: f32[1] = move %17 [1]
    %19: f32[1] = add %18, %18
    %20: f32[1] = mul %19, %8
    %21: f32[1] = mul %19, %9
    %22: f32[1] = mul %21, %8
    %23: f32[1] = add %16, %22
    %24: f32[1] = add %7, %15
    %25: f32[1] = sub %15, %7
    %26: f32[1] = mul %25, %24
    %27: f32[1] = mul %23, %26
    %28: f32[1,2] = move %27, %19
    %29: f32[1,2] = linear_t %28, %4
    %30: f32[1] = move %17 [0]
    %31: f32[1] = add %30, %30
    %32: f32[1] = move %29 [1]
    %33: f32[1] = add %31, %32
    %34: f32[2] = move %33, %20
    return score=%34
}
