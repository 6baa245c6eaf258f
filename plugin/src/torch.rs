//! The host's libtorch: is one loaded in this process, and of which release?

use libloading::Library;

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

    /// What the libtorch in this process says of itself, if there is one and it says so.
    ///
    /// `aoti_torch_abi_version` (torch 2.9 and newer) packs major, minor and patch into the upper
    /// three bytes.
    pub fn of_this_process() -> Option<Self> {
        let library = loaded_libtorch()?;
        // SAFETY: PyTorch's C shim declares it as `uint64_t aoti_torch_abi_version(void)`.
        let version = unsafe {
            library.get::<unsafe extern "C" fn() -> u64>(b"aoti_torch_abi_version\0").ok().map(|function| function())?
        };
        Some(Self { major: (version >> 56) as u32, minor: (version >> 48) as u32 & 0xff })
    }
}

/// The libtorch of this process, if it is loaded already; asking does not load it.
#[cfg(unix)]
fn loaded_libtorch() -> Option<Library> {
    use libloading::os::unix;
    const NAME: &str = if cfg!(target_os = "macos") { "libtorch_cpu.dylib" } else { "libtorch_cpu.so" };
    // SAFETY: RTLD_NOLOAD runs no initialiser.
    unsafe { unix::Library::open(Some(NAME), unix::RTLD_LAZY | libc::RTLD_NOLOAD) }.ok().map(Library::from)
}

/// The libtorch of this process, if it is loaded already; asking does not load it.
#[cfg(windows)]
fn loaded_libtorch() -> Option<Library> {
    libloading::os::windows::Library::open_already_loaded("torch_cpu.dll").ok().map(Library::from)
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
