//! Files that a host names: opened once, and only what can be read to its end.

use std::{
    fs::{File, FileType, OpenOptions},
    io::{self, Read},
    path::Path,
};

/// A file opened to be read, of at most `limit` bytes. Pipes and devices, which may never end, are refused without
/// waiting for them.
pub fn open(path: &Path, limit: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    // Windows: as long as it is open nobody writes to it, renames it or deletes it.
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, 1);
    let file = options.open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(refused(format!("expected a file, got {}", kind(found.file_type()))));
    }
    match found.len() > limit {
        true => Err(refused(format!("expected at most {limit} bytes, got {}", found.len()))),
        false => Ok(file),
    }
}

/// All of a file of at most `limit` bytes, as text.
pub fn text(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    // It may have grown meanwhile.
    open(path, limit)?.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

fn refused(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn kind(kind: FileType) -> &'static str {
    match kind.is_dir() {
        true => "a folder",
        false => "a pipe, a socket or a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_last_that_is_taken() {
        let path = std::env::temp_dir().join(format!("lgs-files-{}", std::process::id()));
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(text(&path, 3).unwrap(), "abc");
        let error = text(&path, 2).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(error, "expected at most 2 bytes, got 3");
    }

    #[test]
    fn what_is_no_file_is_named() {
        let folder = std::env::temp_dir();
        assert!(open(&folder, 1).is_err());
        #[cfg(unix)]
        {
            assert_eq!(open(&folder, 1).unwrap_err().to_string(), "expected a file, got a folder");
            let device = open(Path::new("/dev/zero"), 1).unwrap_err().to_string();
            assert_eq!(device, "expected a file, got a pipe, a socket or a device");
        }
    }
}
