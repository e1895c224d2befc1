//! Colors of flamegraphs: what a frame's color says, in every palette.
//!
//! ```text
//! role     own code, dependencies, library and allocator; red grew, blue shrank
//! crate    one hue a crate                              ; red grew, blue shrank
//! safe     as role, told apart with any color vision    ; orange grew, purple shrank
//! ```
//!
//! Safe colors: Okabe and Ito, "Color Universal Design" (2008); for differences the ends of ColorBrewer's PuOr.

use crate::analysis::places::{PlaceId, Places};
use crate::analysis::tree::Node;
use crate::model::frame::Role;

/// A set of colors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Palette {
    /// Whose code it is.
    #[default]
    Role,
    /// One hue a crate.
    Crate,
    /// Told apart with any color vision.
    Safe,
}

const UNNAMED: &str = "#d0d0d0";
const UNCHANGED: &str = "#ece9e2";

/// Own code, dependencies, library.
const ROLES: [&str; 3] = ["#f4a259", "#f2d479", "#b8c9b0"];
const SAFE_ROLES: [&str; 3] = ["#e69f00", "#7cc0e8", "#bfbfbf"];

impl Palette {
    /// The color of a frame.
    pub fn frame(self, table: &Places, node: &Node) -> String {
        let Some(id) = node.place else { return UNNAMED.to_owned() };
        let place = table.get(id);
        if place.unresolved.is_some() {
            return shade(UNNAMED, table, id);
        }
        let hidden = matches!(place.role, Role::Library | Role::Allocator | Role::Runtime);
        if self == Palette::Crate {
            return match place.krate {
                Some(krate) if !hidden => shade(&of_crate(table.text(krate)), table, id),
                _ => shade(ROLES[2], table, id),
            };
        }
        let roles = if self == Palette::Safe { SAFE_ROLES } else { ROLES };
        let color = match place.role {
            Role::User => roles[0],
            Role::Dependency => roles[1],
            Role::Library | Role::Allocator | Role::Runtime => roles[2],
        };
        shade(color, table, id)
    }

    /// From white to the color of the direction, by the share of the largest change.
    pub fn change(self, delta: f64, steepest: f64) -> String {
        if delta == 0.0 || steepest <= 0.0 {
            return UNCHANGED.to_owned();
        }
        // The root of the share: a change of a hundredth is still seen.
        let strength = 0.15 + 0.85 * (delta.abs() / steepest).sqrt().min(1.0);
        let (grew, shrank) = self.directions();
        let color = if delta > 0.0 { grew } else { shrank };
        let mix = |at: usize| (247.0 + (channel(color, at) - 247.0) * strength) as u8;
        format!("#{:02x}{:02x}{:02x}", mix(1), mix(3), mix(5))
    }

    /// What grew and what shrank.
    fn directions(self) -> (&'static str, &'static str) {
        if self == Palette::Safe { ("#e66101", "#5e3c99") } else { ("#d7301f", "#2b6cb0") }
    }

    /// Colors with what they mean.
    pub fn legend(self, difference: bool) -> Vec<(&'static str, &'static str)> {
        if difference {
            let (grew, shrank) = self.directions();
            return vec![(grew, "grew"), (shrank, "shrank"), (UNCHANGED, "as before"), ("", "width: the larger amount of both")];
        }
        match self {
            Palette::Crate => vec![("", "one color a crate"), (ROLES[2], "library, allocator, runtime"), (UNNAMED, "without a name")],
            Palette::Role | Palette::Safe => {
                let roles = if self == Palette::Safe { SAFE_ROLES } else { ROLES };
                vec![
                    (roles[0], "own code"),
                    (roles[1], "dependencies"),
                    (roles[2], "library, allocator, runtime"),
                    (UNNAMED, "without a name"),
                ]
            }
        }
    }
}

fn hash(text: &str) -> u32 {
    text.bytes().fold(5_381u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte))
}

/// A light color whose hue is the crate's: dark text can be read on it.
fn of_crate(krate: &str) -> String {
    // HSL with 68 % saturation and 72 % lightness (https://www.w3.org/TR/css-color-3/#hsl-color).
    let hue = f64::from(hash(krate) % 24) / 2.0;
    let (light, spread) = (0.72, 0.68 * 0.28);
    let part = |n: f64| {
        let k = (n + hue) % 12.0;
        let value = light - spread * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (value * 255.0).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", part(0.0), part(8.0), part(4.0))
}

/// The same hue, a little lighter or darker by name, so that neighbors can be told apart.
fn shade(base: &str, table: &Places, place: PlaceId) -> String {
    let factor = 0.93 + f64::from(hash(table.label(place)) % 8) * 0.02;
    let part = |at: usize| (channel(base, at) * factor).min(255.0) as u8;
    format!("#{:02x}{:02x}{:02x}", part(1), part(3), part(5))
}

/// A channel of `#rrggbb`.
fn channel(color: &str, at: usize) -> f64 {
    f64::from(color.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(200))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_the_color_of_their_direction() {
        assert_eq!(Palette::Role.change(0.0, 5.0), UNCHANGED);
        assert_eq!(Palette::Role.change(5.0, 5.0), "#d7301f");
        assert_eq!(Palette::Role.change(-5.0, 5.0), "#2b6cb0");
        assert_eq!(Palette::Safe.change(-5.0, 5.0), "#5e3c99");
        assert_ne!(Palette::Role.change(0.01, 5.0), UNCHANGED);
    }

    #[test]
    fn dark_text_can_be_read_on_a_crate_color() {
        for name in ["alloc", "milli", "tokio", "hyper", "serde", "x"] {
            let color = of_crate(name);
            // Relative luminance of WCAG 2, against the text's #111.
            let linear = |at| (channel(&color, at) / 255.0).powf(2.2);
            let luminance = 0.2126 * linear(1) + 0.7152 * linear(3) + 0.0722 * linear(5);
            assert!((luminance + 0.05) / (0.0056 + 0.05) > 4.5, "{name} {color}");
        }
        assert_ne!(of_crate("milli"), of_crate("tokio"));
    }
}
