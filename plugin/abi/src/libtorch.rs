//! The libtorch that the host has loaded: which file it is, and what it was built for. Nothing is loaded to find out.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use libloading::Library;

/// libtorch, as it lies in this process.
#[derive(Debug)]
pub struct Libtorch {
    pub library: Library,
    pub file: PathBuf,
}

/// libtorch's library, on this system.
const NAME: &str = if cfg!(windows) {
    "torch_cpu.dll"
} else if cfg!(target_os = "macos") {
    "libtorch_cpu.dylib"
} else {
    "libtorch_cpu.so"
};

/// What a build for a graphics processor has beside it.
const BACKENDS: [(&str, &str); 6] = [
    ("libtorch_cuda.so", "CUDA"),
    ("torch_cuda.dll", "CUDA"),
    ("libtorch_hip.so", "ROCm"),
    ("torch_hip.dll", "ROCm"),
    ("libtorch_xpu.so", "XPU"),
    ("torch_xpu.dll", "XPU"),
];

/// The libtorch of this process, if there is one. `Err` says which, where there are several, for nobody could tell to
/// which of them a tensor belongs; or that the one cannot be opened.
pub fn loaded() -> Result<Option<Libtorch>, String> {
    let files = files_named(NAME);
    match &files[..] {
        [] => Ok(None),
        [file] => match open(file) {
            Some(library) => Ok(Some(Libtorch { library, file: file.clone() })),
            None => Err(format!(
                "{}: expected to reach the libtorch that is loaded in this process, and the system does not open it",
                file.display()
            )),
        },
        _ => {
            let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            Err(format!(
                "expected one libtorch in this process, got {}: {}; start a process that loads one of them alone",
                files.len(),
                files.join(" and ")
            ))
        }
    }
}

/// What this process's libtorch was built for, beside the processor: "CUDA", "ROCm" or "XPU"; "CPU" for none of these.
pub fn backend() -> &'static str {
    let images = images();
    let there = |name: &str| images.iter().any(|file| is_named(file, name));
    BACKENDS.iter().find(|(name, _)| there(name)).map_or("CPU", |(_, backend)| backend)
}

/// A library with this name that this process has loaded: of its file, or the one that it gives itself.
pub fn library_named(name: &str) -> Option<Library> {
    files_named(name).into_iter().find_map(|file| open(&file)).or_else(|| open(Path::new(name)))
}

fn files_named(name: &str) -> Vec<PathBuf> {
    images().into_iter().filter(|file| is_named(file, name)).collect()
}

/// Windows does not tell names apart by the case of their letters.
fn is_named(file: &Path, name: &str) -> bool {
    let found = file.file_name().and_then(OsStr::to_str);
    found.is_some_and(|found| if cfg!(windows) { found.eq_ignore_ascii_case(name) } else { found == name })
}

/// A second owner of what is loaded.
#[cfg(unix)]
fn open(file: &Path) -> Option<Library> {
    use libloading::os::unix;
    // SAFETY: RTLD_NOLOAD runs no initialiser.
    unsafe { unix::Library::open(Some(file), unix::RTLD_LAZY | libc::RTLD_NOLOAD) }.ok().map(Library::from)
}

/// A second owner of what is loaded.
#[cfg(windows)]
fn open(file: &Path) -> Option<Library> {
    libloading::os::windows::Library::open_already_loaded(file).ok().map(Library::from)
}

/// The files of all libraries of this process.
#[cfg(all(unix, not(target_os = "macos")))]
fn images() -> Vec<PathBuf> {
    use std::{
        ffi::{c_int, c_void, CStr},
        os::unix::ffi::OsStrExt,
    };
    unsafe extern "C" fn add(image: *mut libc::dl_phdr_info, _size: usize, found: *mut c_void) -> c_int {
        // SAFETY: the loader's description of an image, and the list below.
        let (image, found) = unsafe { (&*image, &mut *found.cast::<Vec<PathBuf>>()) };
        if !image.dlpi_name.is_null() {
            // SAFETY: the image's name, which ends with a zero.
            let name = unsafe { CStr::from_ptr(image.dlpi_name) };
            found.push(OsStr::from_bytes(name.to_bytes()).into());
        }
        0
    }
    let mut found = Vec::new();
    // SAFETY: the function is called during this call alone.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut found).cast()) };
    found
}

/// The files of all libraries of this process.
#[cfg(target_os = "macos")]
#[allow(deprecated, reason = "libc's crate refers to another, which has the same functions")]
fn images() -> Vec<PathBuf> {
    use std::{ffi::CStr, os::unix::ffi::OsStrExt};
    // SAFETY: a number beyond the last image's gives null.
    let names = (0..unsafe { libc::_dyld_image_count() }).map(|index| unsafe { libc::_dyld_get_image_name(index) });
    // SAFETY: a name ends with a zero, and lives as long as its image: for what another thread unloads at this moment dyld
    // has no lock to offer.
    names
        .filter(|name| !name.is_null())
        .map(|name| OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()).into())
        .collect()
}

/// The files of all libraries of this process.
#[cfg(windows)]
fn images() -> Vec<PathBuf> {
    use std::{ffi::OsString, os::windows::ffi::OsStringExt, ptr::null_mut};
    use windows_sys::Win32::System::{
        LibraryLoader::GetModuleFileNameW, ProcessStatus::K32EnumProcessModules, Threading::GetCurrentProcess,
    };
    let mut modules = vec![null_mut(); 256];
    loop {
        let (size, mut needed) = (size_of_val(&modules[..]) as u32, 0);
        // SAFETY: as many bytes as the list has.
        if unsafe { K32EnumProcessModules(GetCurrentProcess(), modules.as_mut_ptr(), size, &mut needed) } == 0 {
            return Vec::new();
        }
        let count = needed as usize / size_of_val(&modules[0]);
        if count <= modules.len() {
            modules.truncate(count);
            break;
        }
        modules.resize(count + 16, null_mut());
    }
    let name = |module| {
        // The longest that a path can be.
        let mut text = vec![0; 1 << 15];
        // SAFETY: as many letters as the buffer has.
        let length = unsafe { GetModuleFileNameW(module, text.as_mut_ptr(), text.len() as u32) };
        OsString::from_wide(&text[..length as usize]).into()
    };
    modules.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_libraries_and_no_libtorch() {
        assert!(images().iter().any(|file| file.file_name().is_some()));
        assert!(loaded().unwrap().is_none());
        assert_eq!(backend(), "CPU");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_library_of_this_process_is_found_by_its_name() {
        assert!(library_named("libc.so.6").is_some());
        assert!(library_named("libnonesuch.so").is_none());
    }
}
