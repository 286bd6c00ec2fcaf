//! Colours, for light and for dark.

/// A colour: its name, for light, and for dark.
type Colour = (&'static str, &'static str, &'static str);

/// What other things stand on.
const GROUNDS: [Colour; 2] = [("bg", "#ffffff", "#10151b"), ("card", "#f4f6f9", "#1a212a")];

/// What text is written in, on either ground.
const INKS: [Colour; 9] = [
    ("fg", "#1b1f24", "#e6edf3"),
    ("muted", "#525c67", "#a3b0bd"),
    ("accent", "#0b5cad", "#79bdff"),
    ("own", "#0b5cad", "#79bdff"),
    ("inherited", "#8a5200", "#f0bf5a"),
    ("total", "#6b3fa0", "#cfaaff"),
    ("beyond", "#b3261e", "#ff8a80"),
    ("limit", "#8a5200", "#f0bf5a"),
    ("good", "#1a6b35", "#7ddf9b"),
];

/// What is no text and has to be told from the ground.
const SHAPES: [Colour; 1] = [("bar", "#31689e", "#5f9fd8")];

/// What is there for order alone.
const LINES: [Colour; 1] = [("line", "#ccd3db", "#37414c")];

/// The colours as variables of CSS.
pub(super) fn css() -> String {
    let all = |of: fn(&Colour) -> &'static str| {
        let colours = GROUNDS.iter().chain(&INKS).chain(&SHAPES).chain(&LINES);
        colours.map(|c| format!("--{}:{};", c.0, of(c))).collect::<String>()
    };
    let (light, dark) = (all(|c| c.1), all(|c| c.2));
    format!(
        ":root{{color-scheme:light dark;{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n\
         @media print{{:root{{{light}}}}}\n"
    )
}

/// Relative luminance of `#rrggbb` by WCAG 2.
fn luminance(hex: &str) -> f64 {
    let part = |i: usize| {
        let v = f64::from(u8::from_str_radix(&hex[i..i + 2], 16).unwrap_or_default()) / 255.0;
        if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
}

/// Contrast of two colours `#rrggbb` by WCAG 2.
pub(super) fn contrast(a: &str, b: &str) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_be_read_in_light_and_in_dark() {
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 1e-9);
        for ground in GROUNDS {
            let contrasts = |c: &Colour| [contrast(c.1, ground.1), contrast(c.2, ground.2)];
            for ink in INKS {
                assert!(
                    contrasts(&ink).into_iter().all(|c| c >= 4.5),
                    "{ink:?} on {ground:?}: {:?}",
                    contrasts(&ink)
                );
            }
            for shape in SHAPES {
                assert!(contrasts(&shape).into_iter().all(|c| c >= 3.0), "{shape:?} on {ground:?}");
            }
        }
    }
}
