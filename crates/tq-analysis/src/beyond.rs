//! What lies beyond the codes.

use tq_qtypes::{Rounding, affine};

/// Whether a number is further than half a step from the code that it becomes, which is then an end: it is cut off. `codes` are the
/// smallest and the largest one.
pub(crate) fn is_beyond(x: f32, scale: f32, zero: i32, codes: (i32, i32)) -> bool {
    let code = affine::quantize_f32(x, scale, zero, codes.0, codes.1, Rounding::Divide);
    let (held, step) = (affine::dequantize_f64(code, f64::from(scale), zero), f64::from(scale));
    (code == codes.0 || code == codes.1) && (f64::from(x) - held).abs() > 0.5 * step
}

#[cfg(test)]
mod tests {
    use super::is_beyond;

    #[test]
    fn half_a_step_beyond_the_last_code_is_that_code_still() {
        for (x, expected) in
            [(0.0, false), (25.5, false), (25.74, false), (25.76, true), (-0.2, false), (-0.3, true)]
        {
            assert_eq!(is_beyond(x, 0.5, 0, (0, 51)), expected, "{x}");
        }
        assert!(is_beyond(f32::INFINITY, 0.5, 0, (0, 51)));
    }
}
