# The normal's distribution function is a chain: erf back by erfinv, its log slope in the latent.
module stage=normal
port in "z" f32[2] batch 0
port out "x" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(z: f32[1,2]) {
    s: f32[1,2] = mul z, 0.7071067811865476
    e: f32[1,2] = erf s
    o: f32[1,2] = add e, 1
    x: f32[1,2] = mul o, 0.5
    q: f32[1,2] = mul z, z
    h: f32[1,2] = mul q, -0.5
    l: f32[1,2] = add h, -0.9189385332046727
    log_det: f32[1] = reduce_sum l
    return x, log_det
}
----
module stage=derived
port in "z" f32[2] batch 0
port out "x" f32[2] batch 0
port out "log_det" f32[] batch 0
func @run(z: f32[1,2]) {
    s: f32[1,2] = mul z, 0.70710677
    e: f32[1,2] = erf s
    o: f32[1,2] = add e, 1
    x: f32[1,2] = mul o, 0.5
    q: f32[1,2] = mul z, z
    h: f32[1,2] = mul q, -0.5
    l: f32[1,2] = add h, -0.9189385
    log_det: f32[1] = reduce_sum l
    return x, log_det
}

func @to_latent(x: f32[2]) {
    %2: f32[2] = div x, [0.5]
    %4: f32[2] = sub %2, [1]
    %5: f32[2] = erfinv %4
    %7: f32[2] = div %5, [0.70710677]
    %8: f32[2] = mul %5, %5
    %9: f32[] = reduce_sum %8
    %10: f32[1] = move %9
    %11: f32[1] = neg %10
    %13: f32[1] = add %11, f64 [-1.8378771006378878]
    %14: f32[1] = neg %13
    %15: f32[2] = mul %7, %7
    %16: f32[] = reduce_sum %15
    %17: f32[1] = move %16
    %19: f32[1] = mul %17, -0.5
    %21: f32[1] = add %19, f64 -1.8378770664093453
    %22: f32[1] = add %14, %21
    %23: f32[] = constant -inf
    %24: bool[1] = eq %22, %22
    %25: f32[1] = select %24, %22, %23
    return z=%7, log_det=%14, log_prob=%25
}

func @to_event(z: f32[2]) {
    %2: f32[2] = mul z, [0.70710677]
    %3: f32[2] = erf %2
    %5: f32[2] = add %3, [1]
    %7: f32[2] = mul %5, [0.5]
    %8: f32[2] = mul z, z
    %9: f32[] = constant -0.5
    %10: f32[2] = mul %2, %2
    %11: f32[] = reduce_sum %10
    %12: f32[1] = move %11
    %13: f32[1] = neg %12
    %15: f32[1] = add %13, f64 [-1.8378771006378878]
    %16: f32[1] = neg %15
    %17: f32[] = reduce_sum %8
    %18: f32[1] = move %17
    %19: f32[1] = mul %18, %9
    %21: f32[1] = add %19, f64 -1.8378770664093453
    %22: f32[1] = add %16, %21
    %23: f32[] = constant -inf
    %24: bool[1] = eq %22, %22
    %25: f32[1] = select %24, %22, %23
    return x=%7, log_det=%15, log_prob=%25
}

func @score(x: f32[2]) {
    %1: f32[1] = constant [0.5]
    %2: f32[2] = div x, %1
    %4: f32[2] = sub %2, [1]
    %5: f32[2] = erfinv %4
    %6: f32[1] = constant [0.70710677]
    %7: f32[2] = div %5, %6
    %8: f32[2] = mul %5, %5
    %10: f32[2] = mul [-0.5], %7
    %11: f32[2] = add %10, %10
    %12: f32[2] = div %11, %6
    %13: f32[2] = add %5, %5
    %14: f32[2] = add %13, %12
    %15: f32[2] = exp %8
    %17: f32[2] = mul %14, f64 0.886226925452758
    %18: f32[2] = mul %17, %15
    %19: f32[2] = div %18, %1
    return score=%19
}
