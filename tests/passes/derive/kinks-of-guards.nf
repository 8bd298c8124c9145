# ELU's inverse as pyro writes it: the guard moves one of the kinks by 1e-8, which is still the other's place.
module stage=normal
port in "z" f32[2] batch 0
port out "x" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(z: f32[1,2]) {
    p: f32[1,2] = max z, 0
    s: f32[1,2] = add z, 1e-8
    l: f32[1,2] = log1p s
    n: f32[1,2] = min l, 0
    x: f32[1,2] = add p, n
    log_det: f32[1] = constant [0]
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
    s: f32[1,2] = add z, 1e-08
    l: f32[1,2] = log1p s
    n: f32[1,2] = min l, %1
    x: f32[1,2] = add p, n
    %8: f32[1] = constant [0]
    return x, log_det=%8
}

func @to_latent(x: f32[2]) {
    %1: f32[] = constant 0
    %2: f32[1] = constant [0]
    %3: f32[] = constant 1e-08
    %4: bool[2] = le %2, x
    %5: f32[2] = expm1 x
    %6: f32[2] = sub %5, %3
    %7: f32[2] = select %4, x, %6
    %8: f32[2] = neg x
    %9: bool[2] = le %2, %7
    %10: f32[2] = select %9, %1, %8
    %11: f32[] = reduce_sum %10
    %12: f32[1] = move %11
    %13: f32[1] = neg %12
    %14: f32[2] = mul %7, %7
    %15: f32[] = reduce_sum %14
    %16: f32[1] = move %15
    %18: f32[1] = mul %16, -0.5
    %20: f32[1] = add %18, f64 -1.8378770664093453
    %21: f32[1] = add %13, %20
    %22: f32[] = constant -inf
    %23: bool[1] = eq %21, %21
    %24: f32[1] = select %23, %21, %22
    return z=%7, log_det=%13, log_prob=%24
}

func @to_event(z: f32[2]) {
    %1: f32[] = constant 0
    %2: f32[1] = constant [0]
    %3: f32[2] = max z, %2
    %5: f32[2] = add z, [1e-08]
    %6: f32[2] = log1p %5
    %7: f32[2] = min %6, %2
    %8: f32[2] = add %3, %7
    %9: f32[2] = neg %8
    %10: bool[2] = le %2, z
    %11: f32[2] = select %10, %1, %9
    %12: f32[] = reduce_sum %11
    %13: f32[1] = move %12
    %14: f32[1] = neg %13
    %15: f32[2] = mul z, z
    %16: f32[] = reduce_sum %15
    %17: f32[1] = move %16
    %19: f32[1] = mul %17, -0.5
    %21: f32[1] = add %19, f64 -1.8378770664093453
    %22: f32[1] = add %14, %21
    %23: f32[] = constant -inf
    %24: bool[1] = eq %22, %22
    %25: f32[1] = select %24, %22, %23
    return x=%8, log_det=%13, log_prob=%25
}

func @score(x: f32[2]) {
    %1: f32[1] = constant [0]
    %2: bool[2] = le %1, x
    %3: f32[2] = expm1 x
    %5: f32[2] = sub %3, [1e-08]
    %6: f32[2] = select %2, x, %5
    %7: bool[2] = le %1, %6
    %8: f32[] = constant 0
    %10: f32[2] = mul [-0.5], %6
    %12: f32[2] = select %7, %8, [-1]
    %13: f32[2] = neg %12
    %14: f32[2] = add %10, %10
    %15: f32[2] = select %2, %14, %8
    %16: f32[2] = select %2, %8, %14
    %17: f32[2] = exp x
    %18: f32[2] = mul %16, %17
    %19: bool[2] = eq %16, %8
    %20: f32[2] = select %19, %8, %18
    %21: f32[2] = add %13, %15
    %22: f32[2] = add %21, %20
    return score=%22
}
