# A causal mask that a constant condition has put among the logits: -1e9 is -inf, where the row has another logit.
func @main(x: f32[2,2]) {
    c: f32[1] = constant [-1e9]
    l: f32[2,2] = move x, c [0, 4, 2, 3]
    m: f32[2] = reduce_max l
    return m
}
----
module stage=normal
func @main(x: f32[2,2]) {
    %2: f32[2,2] = move x, [-inf] [0, 4, 2, 3]
    m: f32[2] = reduce_max %2
    return m
}
