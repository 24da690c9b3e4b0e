//! The smallest prefix that covers addresses.

/// Converts between two 32-bit words in network byte order and 64 bits with the first one uppermost.
pub fn in_order(words: u64) -> u64 {
    let swap = |word: u64| u64::from(u32::try_from(word & 0xffff_ffff).unwrap_or(0).to_be());
    swap(words >> 32) << 32 | swap(words)
}

/// A prefix of up to 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix(Option<(u32, u64)>);

impl Prefix {
    pub fn cover(&mut self, address: u64) {
        let (length, value) = self.0.unwrap_or((64, address));
        let common = (value ^ address).leading_zeros().min(length);
        self.0 = Some((common, address & mask(common)));
    }

    pub fn mask_and_value(self) -> (u64, u64) {
        self.0
            .map_or((0, u64::MAX), |(length, value)| (mask(length), value))
    }
}

const fn mask(length: u32) -> u64 {
    match u64::MAX.checked_shl(64 - length) {
        Some(mask) => mask,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::Prefix;

    #[test]
    fn a_prefix_covers_the_addresses_and_few_others() {
        let mut prefix = Prefix::default();
        assert_eq!(prefix.mask_and_value(), (0, u64::MAX));
        prefix.cover(0x0a60_000a << 32);
        assert_eq!(prefix.mask_and_value(), (u64::MAX, 0x0a60_000a << 32));
        prefix.cover(0x0a60_0001 << 32);
        assert_eq!(prefix.mask_and_value().0 >> 32, 0xffff_fff0);
        prefix.cover(0xac1e_0001 << 32);
        assert_eq!(prefix.mask_and_value(), (0, 0));
    }
}
