# The unknown lane is used twice: a test of its sign becomes a test of u, each branch is a relation of degree 1.
module stage=normal
port in "z" f32[2] batch 0
port out "x" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(z: f32[1,2]) {
    m: f32[1,2] = abs z
    d: f32[1,2] = add m, 1
    x: f32[1,2] = div z, d
    l: f32[1,2] = log d
    s: f32[1] = reduce_sum l
    log_det: f32[1] = mul s, -2
    return x, log_det
}
----
module stage=derived
port in "z" f32[2] batch 0
port out "x" f32[2] batch 0
port out "log_det" f32[] batch 0
func @run(z: f32[1,2]) {
    m: f32[1,2] = abs z
    d: f32[1,2] = add m, 1
    x: f32[1,2] = div z, d
    l: f32[1,2] = log d
    s: f32[1] = reduce_sum l
    log_det: f32[1] = mul s, -2
    return x, log_det
}

func @to_latent(x: f32[2]) {
    %1: f32[] = constant 0
    %2: f32[1] = constant [0]
    %3: f32[] = constant 1
    %4: bool[2] = le %2, x
    %5: f32[2] = add %3, x
    %6: bool[2] = eq %5, %1
    %7: f32[2] = select %6, %3, %5
    %8: f32[2] = div x, %7
    %9: f32[2] = select %6, %1, %8
    %10: f32[2] = sub %3, x
    %11: bool[2] = eq %10, %1
    %12: f32[2] = select %11, %3, %10
    %13: f32[2] = div x, %12
    %14: f32[2] = select %11, %1, %13
    %15: f32[2] = select %4, %14, %9
    %16: f32[] = constant -1
    %17: f32[2] = sub %15, %3
    %18: f32[2] = div %3, %17
    %19: f32[2] = mul %18, %16
    %20: f32[2] = div %19, %17
    %21: f32[2] = abs %20
    %22: f32[2] = log %21
    %23: f32[2] = neg %15
    %24: f32[2] = sub %23, %3
    %25: f32[2] = div %3, %24
    %26: f32[2] = mul %25, %16
    %27: f32[2] = div %26, %24
    %28: f32[2] = abs %27
    %29: f32[2] = log %28
    %30: bool[2] = le %1, %15
    %31: f32[2] = select %30, %29, %22
    %32: f32[] = reduce_sum %31
    %33: f32[1] = move %32
    %34: f32[1] = neg %33
    %35: f32[2] = mul %15, %15
    %36: f32[] = reduce_sum %35
    %37: f32[1] = move %36
    %39: f32[1] = mul %37, -0.5
    %41: f32[1] = add %39, f64 -1.8378770664093453
    %42: f32[1] = add %34, %41
    %43: f32[] = constant -inf
    %44: bool[1] = eq %42, %42
    %45: f32[1] = select %44, %42, %43
    return z=%15, log_det=%34, log_prob=%45
}

func @to_event(z: f32[2]) {
    %1: f32[2] = abs z
    %2: f32[] = constant 1
    %4: f32[2] = add %1, [1]
    %5: f32[2] = div z, %4
    %6: f32[] = constant 0
    %7: f32[] = constant -1
    %8: f32[2] = sub z, %2
    %9: f32[2] = div %2, %8
    %10: f32[2] = mul %9, %7
    %11: f32[2] = div %10, %8
    %12: f32[2] = abs %11
    %13: f32[2] = log %12
    %14: f32[2] = neg z
    %15: f32[2] = sub %14, %2
    %16: f32[2] = div %2, %15
    %17: f32[2] = mul %16, %7
    %18: f32[2] = div %17, %15
    %19: f32[2] = abs %18
    %20: f32[2] = log %19
    %21: bool[2] = le %6, z
    %22: f32[2] = select %21, %20, %13
    %23: f32[] = reduce_sum %22
    %24: f32[1] = move %23
    %25: f32[1] = neg %24
    %26: f32[2] = mul z, z
    %27: f32[] = reduce_sum %26
    %28: f32[1] = move %27
    %30: f32[1] = mul %28, -0.5
    %32: f32[1] = add %30, f64 -1.8378770664093453
    %33: f32[1] = add %25, %32
    %34: f32[] = constant -inf
    %35: bool[1] = eq %33, %33
    %36: f32[1] = select %35, %33, %34
    return x=%5, log_det=%24, log_prob=%36
}

func @score(x: f32[2]) {
    %1: f32[1] = constant [0]
    %2: bool[2] = le %1, x
    %3: f32[1] = constant [1]
    %4: f32[2] = add %3, x
    %5: f32[] = constant 0
    %6: bool[2] = eq %4, %1
    %7: f32[2] = select %6, %3, %4
    %8: f32[2] = div x, %7
    %9: f32[2] = select %6, %1, %8
    %10: f32[2] = sub %3, x
    %11: bool[2] = eq %10, %1
    %12: f32[2] = select %11, %3, %10
    %13: f32[2] = div x, %12
    %14: f32[2] = select %11, %1, %13
    %15: f32[2] = select %2, %14, %9
    %16: f32[2] = sub %15, %3
    %17: f32[2] = div %3, %16
    %18: f32[1] = constant [-1]
    %19: f32[2] = mul %17, %18
    %20: f32[2] = div %19, %16
    %21: f32[2] = abs %20
    %22: f32[2] = neg %15
    %23: f32[2] = sub %22, %3
    %24: f32[2] = div %3, %23
    %25: f32[2] = mul %24, %18
    %26: f32[2] = div %25, %23
    %27: f32[2] = abs %26
    %28: bool[2] = le %1, %15
    %30: f32[2] = mul [-0.5], %15
    %31: f32[2] = select %28, %18, %5
    %32: f32[2] = select %28, %5, %18
    %33: f32[2] = div %31, %27
    %34: bool[2] = eq %31, %5
    %35: f32[2] = select %34, %5, %33
    %36: bool[2] = lt %5, %26
    %37: f32[2] = select %36, %35, %5
    %38: f32[2] = neg %35
    %39: bool[2] = lt %26, %5
    %40: f32[2] = select %39, %38, %37
    %41: bool[2] = eq %35, %5
    %42: f32[2] = select %41, %5, %40
    %43: f32[2] = div %42, %23
    %44: bool[2] = eq %42, %5
    %45: f32[2] = select %44, %5, %43
    %46: f32[2] = mul %43, %26
    %47: f32[2] = neg %46
    %48: f32[2] = select %44, %5, %47
    %49: f32[2] = mul %45, %18
    %50: bool[2] = eq %45, %5
    %51: f32[2] = select %50, %5, %49
    %52: f32[2] = div %51, %23
    %53: f32[2] = mul %52, %24
    %54: f32[2] = neg %53
    %55: bool[2] = eq %51, %5
    %56: f32[2] = select %55, %5, %54
    %57: f32[2] = add %48, %56
    %58: f32[2] = neg %57
    %59: f32[2] = div %32, %21
    %60: bool[2] = eq %32, %5
    %61: f32[2] = select %60, %5, %59
    %62: bool[2] = lt %5, %20
    %63: f32[2] = select %62, %61, %5
    %64: f32[2] = neg %61
    %65: bool[2] = lt %20, %5
    %66: f32[2] = select %65, %64, %63
    %67: bool[2] = eq %61, %5
    %68: f32[2] = select %67, %5, %66
    %69: f32[2] = div %68, %16
    %70: bool[2] = eq %68, %5
    %71: f32[2] = select %70, %5, %69
    %72: f32[2] = mul %69, %20
    %73: f32[2] = neg %72
    %74: f32[2] = select %70, %5, %73
    %75: f32[2] = mul %71, %18
    %76: bool[2] = eq %71, %5
    %77: f32[2] = select %76, %5, %75
    %78: f32[2] = div %77, %16
    %79: f32[2] = mul %78, %17
    %80: f32[2] = neg %79
    %81: bool[2] = eq %77, %5
    %82: f32[2] = select %81, %5, %80
    %83: f32[2] = add %74, %82
    %84: f32[2] = add %30, %30
    %85: f32[2] = add %84, %58
    %86: f32[2] = add %85, %83
    %87: f32[2] = select %2, %86, %5
    %88: f32[2] = select %2, %5, %86
    %89: f32[2] = select %11, %5, %87
    %90: f32[2] = div %89, %12
    %91: bool[2] = eq %89, %5
    %92: f32[2] = select %91, %5, %90
    %93: f32[2] = mul %90, %13
    %94: f32[2] = neg %93
    %95: f32[2] = select %91, %5, %94
    %96: f32[2] = select %11, %5, %95
    %97: f32[2] = neg %96
    %98: f32[2] = select %6, %5, %88
    %99: f32[2] = div %98, %7
    %100: bool[2] = eq %98, %5
    %101: f32[2] = select %100, %5, %99
    %102: f32[2] = mul %99, %8
    %103: f32[2] = neg %102
    %104: f32[2] = select %100, %5, %103
    %105: f32[2] = select %6, %5, %104
    %106: f32[2] = add %92, %97
    %107: f32[2] = add %106, %101
    %108: f32[2] = add %107, %105
    return score=%108
}
