//! The number of elements of each map.

use super::shapes::{Shape, all};
use super::sizes::Sizes;

/// The present or wanted number of elements of each map, in the order of the shapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lengths(Vec<(&'static str, u32)>);

impl FromIterator<(&'static str, u32)> for Lengths {
    fn from_iter<I: IntoIterator<Item = (&'static str, u32)>>(lengths: I) -> Self {
        Self(lengths.into_iter().collect())
    }
}

impl Lengths {
    /// The lengths of new maps.
    pub fn of_new(sizes: Sizes) -> Self {
        all(sizes).map(|shape| (shape.name, shape.length)).collect()
    }

    /// None if the name is none of our maps, or the map is missing.
    pub fn of(&self, name: &str) -> Option<u32> {
        let length = self.0.iter().find(|(other, _)| *other == name);
        length.map(|&(_, length)| length)
    }

    pub fn set(&mut self, name: &'static str, length: u32) {
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some(known) => known.1 = length,
            None => self.0.push((name, length)),
        }
    }

    /// Our shapes with these lengths, or with the default length if there is none here.
    pub fn shapes(&self) -> impl Iterator<Item = Shape> {
        all(Sizes::default()).map(|shape| Shape {
            length: self.of(shape.name).unwrap_or(shape.length),
            ..shape
        })
    }
}
