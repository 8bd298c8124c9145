# Two lanes rotated op by op, beside what is known: they are found together, by one product.
module stage=normal
port in "obs" f32[1] batch 0
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(obs: f32[1,1], x: f32[1,2]) {
    p: f32[1,1] = move x [0]
    q: f32[1,1] = move x [1]
    cp: f32[1,1] = mul p, 1.2
    sq: f32[1,1] = mul q, 1.6
    sp: f32[1,1] = mul p, 1.6
    cq: f32[1,1] = mul q, 1.2
    d: f32[1,1] = sub cp, sq
    a: f32[1,1] = add d, obs
    b: f32[1,1] = add sp, cq
    z: f32[1,2] = move a, b
    log_det: f32[1] = constant [1.3862943611198906]
    return z, log_det
}
----
module stage=derived
port in "obs" f32[1] batch 0
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @run(obs: f32[1,1], x: f32[1,2]) {
    %2: f32[1,1] = move x [0]
    %3: f32[1,1] = move x [1]
    %4: f32[] = constant 1.2
    cp: f32[1,1] = mul %2, %4
    %6: f32[] = constant 1.6
    sq: f32[1,1] = mul %3, %6
    sp: f32[1,1] = mul %2, %6
    cq: f32[1,1] = mul %3, %4
    d: f32[1,1] = sub cp, sq
    a: f32[1,1] = add d, obs
    b: f32[1,1] = add sp, cq
    %13: f32[1,2] = move a, b
    %14: f32[1] = constant [1.3862944]
    return z=%13, log_det=%14
}

func @to_latent(obs: f32[1,1], x: f32[2]) {
    %2: f32[1] = move x [0]
    %3: f32[1] = constant [1.2]
    %4: f32[1] = mul %2, %3
    %5: f32[1] = move x [1]
    %6: f32[1] = constant [1.6]
    %7: f32[1] = mul %5, %6
    %8: f32[1] = mul %2, %6
    %9: f32[1] = mul %5, %3
    %10: f32[1] = sub %4, %7
    %11: f32[1] = move obs
    %12: f32[1] = add %10, %11
    %13: f32[1] = add %8, %9
    %14: f32[2] = move %12, %13
    %15: f64[1] = constant [1.3862944088036062]
    %16: f32[2] = mul %14, %14
    %17: f32[] = reduce_sum %16
    %18: f32[1] = move %17
    %20: f32[1] = mul %18, -0.5
    %22: f32[1] = add %20, f64 -1.8378770664093453
    %23: f32[1] = add %15, %22
    %24: f32[] = constant -inf
    %25: bool[1] = eq %23, %23
    %26: f32[1] = select %25, %23, %24
    return z=%14, log_det=%15, log_prob=%26
}

func @to_event(obs: f32[1,1], z: f32[2]) {
    %2: f32[1] = move z [0]
    %3: f32[1] = move obs
    %4: f32[1] = sub %2, %3
    %5: f64[2,2] = constant [[0.3999999868869785, 0.29999999761581414], [0.29999999761581403, -0.39999998688697846]]
    %6: f32[1,2] = move z, %4 [1, 2]
    %7: f32[1,2] = linear %6, %5
    %8: f32[2] = move %7
    %9: f64[1] = constant [1.3862944088036062]
    %10: f64[1] = constant [-1.3862944088036062]
    %11: f32[2] = mul z, z
    %12: f32[] = reduce_sum %11
    %13: f32[1] = move %12
    %15: f32[1] = mul %13, -0.5
    %17: f32[1] = add %15, f64 -1.8378770664093453
    %18: f32[1] = add %9, %17
    %19: f32[] = constant -inf
    %20: bool[1] = eq %18, %18
    %21: f32[1] = select %20, %18, %19
    return x=%8, log_det=%10, log_prob=%21
}

func @score(obs: f32[1,1], x: f32[2]) {
    %2: f32[1] = move x [0]
    %3: f32[1] = constant [1.2]
    %4: f32[1] = mul %2, %3
    %5: f32[1] = move x [1]
    %6: f32[1] = constant [1.6]
    %7: f32[1] = mul %5, %6
    %8: f32[1] = mul %2, %6
    %9: f32[1] = mul %5, %3
    %10: f32[1] = sub %4, %7
    %11: f32[1] = move obs
    %12: f32[1] = add %10, %11
    %13: f32[1] = add %8, %9
    %14: f32[2] = move %12, %13
    %16: f32[2] = mul [-0.5], %14
    %17: f32[1] = move %16 [1]
    %18: f32[1] = add %17, %17
    %19: f32[1] = move %16 [0]
    %20: f32[1] = add %19, %19
    %21: f32[1] = neg %20
    %22: f32[1] = mul %18, %3
    %23: f32[1] = mul %18, %6
    %24: f32[1] = mul %21, %6
    %25: f32[1] = mul %20, %3
    %26: f32[1] = add %23, %25
    %27: f32[1] = add %22, %24
    %28: f32[2] = move %26, %27
    return score=%28
}
