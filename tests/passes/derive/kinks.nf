# Two kinks at one place: max(z, 0) takes z where min(e^z - 1, 0) takes 0 (elu), so two branches, each a chain.
module stage=normal
port in "z" f32[2] batch 0
port out "x" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(z: f32[1,2]) {
    p: f32[1,2] = max z, 0
    e: f32[1,2] = exp z
    m: f32[1,2] = sub e, 1
    n: f32[1,2] = min m, 0
    x: f32[1,2] = add p, n
    l: f32[1,2] = min z, 0
    log_det: f32[1] = reduce_sum l
    return x, log_det
}
----
module stage=derived
port in "z" f32[2] batch 0
port out "x" f32[2] batch 0
port out "log_det" f32[] batch 0
func @run(z: f32[1,2]) {
    %1: f32[] = constant 0
    p: f32[1,2] = max z, %1
    e: f32[1,2] = exp z
    m: f32[1,2] = sub e, 1
    n: f32[1,2] = min m, %1
    x: f32[1,2] = add p, n
    l: f32[1,2] = min z, %1
    log_det: f32[1] = reduce_sum l
    return x, log_det
}

func @to_latent(x: f32[2]) {
    %1: f32[] = constant 0
    %2: f32[1] = constant [0]
    %3: f32[] = constant 1
    %4: bool[2] = le %2, x
    %5: f32[2] = add x, %3
    %6: f32[2] = log %5
    %7: f32[2] = select %4, x, %6
    %8: bool[2] = le %2, %7
    %9: f32[2] = select %8, %1, %7
    %10: f32[] = reduce_sum %9
    %11: f32[1] = move %10
    %12: f32[1] = neg %11
    %13: f32[2] = mul %7, %7
    %14: f32[] = reduce_sum %13
    %15: f32[1] = move %14
    %17: f32[1] = mul %15, -0.5
    %19: f32[1] = add %17, f64 -1.8378770664093453
    %20: f32[1] = add %12, %19
    %21: f32[] = constant -inf
    %22: bool[1] = eq %20, %20
    %23: f32[1] = select %22, %20, %21
    return z=%7, log_det=%12, log_prob=%23
}

func @to_event(z: f32[2]) {
    %1: f32[] = constant 0
    %2: f32[1] = constant [0]
    %3: f32[2] = max z, %2
    %4: f32[2] = exp z
    %6: f32[2] = sub %4, [1]
    %7: f32[2] = min %6, %2
    %8: f32[2] = add %3, %7
    %9: bool[2] = le %2, z
    %10: f32[2] = select %9, %1, z
    %11: f32[] = reduce_sum %10
    %12: f32[1] = move %11
    %13: f32[1] = neg %12
    %14: f32[2] = mul z, z
    %15: f32[] = reduce_sum %14
    %16: f32[1] = move %15
    %18: f32[1] = mul %16, -0.5
    %20: f32[1] = add %18, f64 -1.8378770664093453
    %21: f32[1] = add %13, %20
    %22: f32[] = constant -inf
    %23: bool[1] = eq %21, %21
    %24: f32[1] = select %23, %21, %22
    return x=%8, log_det=%12, log_prob=%24
}

func @score(x: f32[2]) {
    %1: f32[1] = constant [0]
    %2: bool[2] = le %1, x
    %4: f32[2] = add x, [1]
    %5: f32[2] = log %4
    %6: f32[2] = select %2, x, %5
    %7: bool[2] = le %1, %6
    %8: f32[] = constant 0
    %10: f32[2] = mul [-0.5], %6
    %12: f32[2] = select %7, %8, [-1]
    %13: f32[2] = add %10, %10
    %14: f32[2] = add %13, %12
    %15: f32[2] = select %2, %14, %8
    %16: f32[2] = select %2, %8, %14
    %17: f32[2] = div %16, %4
    %18: bool[2] = eq %16, %8
    %19: f32[2] = select %18, %8, %17
    %20: f32[2] = add %15, %19
    return score=%20
}
