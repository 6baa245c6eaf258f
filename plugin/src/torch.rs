//! Releases of torch.

use lgs_abi::libtorch::Libtorch;

/// A torch minor release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TorchRelease {
    pub major: u32,
    pub minor: u32,
}

impl std::fmt::Display for TorchRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl TorchRelease {
    /// From a version as torch writes it: "2.11.0+cu130", "2.12.0a0+git1234".
    pub fn parse(version: &str) -> Option<Self> {
        let mut parts = version.trim().split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?;
        let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
        Some(Self { major, minor: minor[..digits].parse().ok()? })
    }

    /// What a libtorch says of itself: `aoti_torch_abi_version` (since 2.7) packs major, minor and patch into the upper
    /// three bytes.
    pub fn of(libtorch: &Libtorch) -> Option<Self> {
        // SAFETY: PyTorch's C shim declares it as `uint64_t aoti_torch_abi_version(void)`.
        let function = unsafe { libtorch.library.get::<unsafe extern "C" fn() -> u64>(b"aoti_torch_abi_version\0") };
        // SAFETY: it gives a constant.
        let version = function.ok().map(|function| unsafe { function() })?;
        Some(Self { major: (version >> 56) as u32, minor: (version >> 48) as u32 & 0xff })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_torch_writes_them() {
        for (text, release) in [
            ("2.11.0", Some((2, 11))),
            ("2.11.0+cu130", Some((2, 11))),
            ("2.12.0a0+git1234", Some((2, 12))),
            ("2.9", Some((2, 9))),
            ("3.0rc1", Some((3, 0))),
            ("2", None),
            ("", None),
            ("two.eleven", None),
        ] {
            assert_eq!(TorchRelease::parse(text).map(|r| (r.major, r.minor)), release, "{text}");
        }
    }
}
