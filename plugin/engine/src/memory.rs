//! When memory is short: torch's refusals told from others, and tables of our own that may be refused.

use crate::error::{Error, Result};

/// What libtorch says, in part, where there is no memory: CUDA, ROCm and XPU; MPS; a CPU on Linux, on Windows.
const MISSING: [&str; 3] = ["out of memory", "can't allocate memory", "not enough memory"];

/// Whether a refusal of libtorch's is for want of memory.
pub(crate) fn is_missing(message: &str) -> bool {
    MISSING.iter().any(|words| message.contains(words))
}

/// A table of `count` entries. A large one is made by this, and not by `collect`: that ends the process where there is
/// no memory for it.
pub(crate) fn table<T>(count: usize, entries: impl Iterator<Item = T>) -> Result<Vec<T>> {
    let mut table = Vec::new();
    table
        .try_reserve_exact(count)
        .map_err(|_| Error::OutOfMemory(format!("a table of {count} entries of {} bytes", size_of::<T>())))?;
    table.extend(entries.take(count));
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_every_device_are_told_from_others() {
        for message in [
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139.72 GiB",
            "MPS backend out of memory (MPS allocated: 9.05 GB)",
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to \
             allocate 40000000000 bytes. Error code 12 (Cannot allocate memory)",
            "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
        ] {
            assert!(matches!(Error::of_torch(message), Error::OutOfMemory(_)), "{message}");
        }
        assert!(matches!(Error::of_torch("The size of tensor a (3) must match"), Error::Torch(_)));
    }

    #[test]
    fn a_table_that_is_too_long_is_an_error_and_no_abort() {
        assert!(matches!(table(1 << 58, 0u64..), Err(Error::OutOfMemory(_))));
        assert_eq!(table(3, 5u8..).unwrap(), [5, 6, 7]);
        assert_eq!(table(3, 5u8..6).unwrap(), [5]);
    }
}
