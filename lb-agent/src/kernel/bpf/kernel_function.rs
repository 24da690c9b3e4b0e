//! Calls of kernel functions in the object of the programs: the loader writes the BTF id that the function has in this
//! kernel.
//!
//! Remove this file when aya does the same.

use lb_common::kernel_function::{CAST_TO_KERNEL_CONTEXT, call};

/// The object with its calls of `bpf_cast_to_kern_ctx` set to this BTF id. 0 if the kernel does not have the function;
/// the verifier then removes the calls.
pub fn link(object: &[u8], cast: u32) -> AlignedBytes {
    let mut linked = AlignedBytes::new(object);
    let (marker, wanted) = (call(CAST_TO_KERNEL_CONTEXT), call(cast));
    // Instructions are 8 bytes long, in sections that are aligned to them.
    for instruction in linked.words_mut() {
        if *instruction == u64::from_ne_bytes(marker) {
            *instruction = u64::from_ne_bytes(wanted);
        }
    }
    linked
}

/// Bytes at an address divisible by 8, as parsers of an object require.
#[derive(Debug)]
pub struct AlignedBytes {
    words: Vec<u64>,
    length: usize,
}

impl AlignedBytes {
    fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self {
            words,
            length: bytes.len(),
        }
    }

    fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    pub fn as_bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_call_changes() {
        let nothing = [0x95, 0, 0, 0, 0, 0, 0, 0];
        let object = [nothing, call(CAST_TO_KERNEL_CONTEXT), call(5), nothing].concat();
        let linked = link(&object, 0x0001_0203);
        let expected = [nothing, call(0x0001_0203), call(5), nothing].concat();
        assert_eq!(linked.as_bytes(), expected);
    }

    #[test]
    fn a_program_of_partial_instructions_is_unchanged() {
        assert_eq!(link(&[1, 2, 3], 1).as_bytes(), [1, 2, 3]);
    }
}
