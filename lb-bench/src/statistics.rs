//! Statistics that several benches need.

/// A percentile of sorted samples, or the default of none.
pub(crate) fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let index = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_include_the_ends_and_the_middle() {
        let samples = [1, 2, 3, 4, 5];
        assert_eq!(
            [0, 50, 99, 100].map(|percent| percentile(&samples, percent)),
            [1, 3, 4, 5]
        );
        assert_eq!(percentile::<u8>(&[], 50), 0);
    }
}
