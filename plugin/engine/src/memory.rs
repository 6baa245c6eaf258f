//! Tables that may be too large for the memory that is left.

use crate::error::{Error, Result};

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
    fn a_table_that_is_too_long_is_an_error_and_no_abort() {
        assert!(matches!(table(1 << 58, 0u64..), Err(Error::OutOfMemory(_))));
        assert_eq!(table(3, 5u8..).unwrap(), [5, 6, 7]);
        assert_eq!(table(3, 5u8..6).unwrap(), [5]);
    }
}
