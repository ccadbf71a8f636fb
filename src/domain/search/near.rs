//! Vectors: how they are kept, how near two are, and how two orders of the same things become one.
//!
//! A vector is kept by its direction alone, a byte for each number, since nothing but the angle
//! between two is ever asked for. Vectors of different lengths have no angle: they are of different
//! models.
#![allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a rank, which decides nothing"
)]

use std::collections::HashMap;
use std::hash::Hash;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// What the largest number of a direction becomes.
const FULL: f32 = 127.0;
/// How much less a place counts than the one before it: the value that the field uses.
const DAMPING: f64 = 60.0;

/// A direction as it is kept; empty for a vector that has none.
pub fn kept(vector: &[f32]) -> String {
    let length = length(vector);
    if length <= 0.0 || !length.is_finite() {
        return String::new();
    }
    let bytes = vector.iter().map(|number| {
        let byte = (number / length * FULL).round() as i8;
        byte.to_le_bytes()[0]
    });
    STANDARD_NO_PAD.encode(bytes.collect::<Vec<u8>>())
}

/// The cosine of the angle between a vector and a direction as it is kept; `None` where there is none.
pub fn cosine(vector: &[f32], kept: &str) -> Option<f32> {
    let kept = STANDARD_NO_PAD.decode(kept).ok()?;
    let direction: Vec<f32> = kept
        .iter()
        .map(|byte| f32::from(i8::from_le_bytes([*byte])))
        .collect();
    let lengths = length(vector) * length(&direction);
    if direction.len() != vector.len() || lengths <= 0.0 {
        return None;
    }
    let product = vector.iter().zip(&direction).map(|(a, b)| a * b);
    Some(product.sum::<f32>() / lengths)
}

fn length(vector: &[f32]) -> f32 {
    vector
        .iter()
        .map(|number| number * number)
        .sum::<f32>()
        .sqrt()
}

/// One order of several, by reciprocal rank: what is far up in each comes first. Among equals, what
/// an earlier order has first.
pub fn fused<T: Clone + Eq + Hash>(orders: &[Vec<T>]) -> Vec<(T, f64)> {
    let mut scores: HashMap<T, f64> = HashMap::new();
    let mut seen: Vec<T> = Vec::new();
    for order in orders {
        for (at, one) in order.iter().enumerate() {
            let score = scores.entry(one.clone()).or_insert_with(|| {
                seen.push(one.clone());
                0.0
            });
            *score += 1.0 / (DAMPING + at as f64 + 1.0);
        }
    }
    let scored = seen.into_iter().map(|one| {
        let score = scores.get(&one).copied().unwrap_or(0.0);
        (one, (score * 1e6).round() / 1e6)
    });
    let mut scored: Vec<(T, f64)> = scored.collect();
    scored.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    scored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_direction_has_the_angle_of_its_vector() {
        let near = |a: &[f32], b: &[f32]| cosine(a, &kept(b));
        let close = |found: Option<f32>, wanted: f32| {
            assert!((found.unwrap() - wanted).abs() < 0.01, "{found:?} {wanted}");
        };
        close(near(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]), 1.0);
        close(near(&[1.0, 0.0], &[0.0, 5.0]), 0.0);
        close(near(&[1.0, 0.0], &[-0.001, 0.0]), -1.0);
        close(near(&[0.6, 0.8], &[0.8, 0.6]), 0.96);
        for (a, b) in [
            (vec![1.0], vec![1.0, 2.0]),
            (vec![1.0], vec![0.0]),
            (vec![], vec![]),
        ] {
            assert_eq!(near(&a, &b), None, "{a:?} {b:?}");
        }
        assert_eq!(cosine(&[1.0], "what is this?"), None);
    }

    #[test]
    fn what_several_orders_agree_on_comes_first() {
        let fused = fused(&[vec!["a", "b", "c"], vec!["c", "b", "d"]]);
        let names: Vec<&str> = fused.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["c", "b", "a", "d"]);
        assert!(fused[0].1 > fused[1].1 && fused[1].1 > fused[2].1);
    }
}
