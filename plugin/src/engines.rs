//! Picks, checks and loads the engine for the host's torch.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use abi_stable::library::{AbiHeaderRef, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use lgs_abi::{
    engine::EngineModuleRef,
    libtorch::{self, backend},
};
use libloading::Library;
use once_cell::sync::Lazy;
use sha2::{Digest, Sha256};

use crate::{
    error::{Error, Result, Status},
    files, logger,
    manifest::{EngineBuild, Engines, PLATFORM},
    torch::TorchRelease,
};

/// An engine that is loaded and fits.
#[derive(Clone)]
pub struct Engine {
    pub module: EngineModuleRef,
    pub file: PathBuf,
    pub torch: TorchRelease,
    /// The host's libtorch, and what it was built for: "CUDA", "ROCm", "XPU" or "CPU".
    pub libtorch: Option<PathBuf>,
    pub backend: &'static str,
    /// How it reaches libtorch, and so why it was taken.
    pub interface: String,
}

/// The most bytes that a manifest and an engine may have; ours have some hundred, and 2 MiB.
const MANIFEST_LIMIT: u64 = 1 << 20;
const ENGINE_LIMIT: u64 = 1 << 28;

/// By SHA-256. Loaded once each, and for good: a library that holds torch objects cannot be unloaded safely.
static LOADED: Lazy<Mutex<HashMap<String, EngineModuleRef>>> = Lazy::new(Default::default);

/// The engine that `manifest` (the path of an `engines.json`) has for the torch of this process.
///
/// `stated` is what the host says its torch is; what the loaded libtorch says counts for more.
pub fn open(manifest: &Path, stated: Option<&str>) -> Result<Engine> {
    let stated = match stated {
        None => None,
        Some(text) => Some(TorchRelease::parse(text).ok_or_else(|| {
            Error::argument(format!("torch_version: expected a version like \"2.11.0\", got {text:?}"))
        })?),
    };
    let libtorch = libtorch::loaded().map_err(|what| Error::new(Status::Engine, what))?;
    let torch = libtorch.as_ref().and_then(TorchRelease::of).or(stated).ok_or_else(|| {
        Error::new(
            Status::Engine,
            "no libtorch is loaded in this process; the host must load it first (in Python: import torch)",
        )
    })?;
    let build = choose(read(manifest)?, torch, manifest)?;
    let (name, sha256) = match (&build.file, &build.sha256) {
        (Some(name), Some(sha256)) => (name, sha256),
        _ => {
            return Err(Error::new(
                Status::Manifest,
                format!(
                    "{}: the engine for torch {torch} has no file or no sha256; build it with `make build`",
                    manifest.display()
                ),
            ))
        }
    };
    if Path::new(&name).file_name() != Some(name.as_ref()) {
        return Err(Error::new(
            Status::Manifest,
            format!(
                "{}: expected the name of a file in this folder as the engine for torch {torch}, got {name:?}; unpack \
                 the whole plugin folder again, or run `make build`",
                manifest.display()
            ),
        ));
    }
    let file = manifest.with_file_name(name);
    let opened = checked(&file, sha256)?;
    let module = load(&file, opened, sha256)?;
    module.ready()().into_result().map_err(|why| {
        Error::new(
            Status::Engine,
            format!(
                "{}: the engine cannot use the libtorch that is loaded here, of torch {torch}: {why}",
                file.display()
            ),
        )
    })?;
    let built_for = module.torch()();
    if TorchRelease::parse(&built_for) != Some(torch) {
        return Err(Error::new(
            Status::Engine,
            format!(
                "{}: expected an engine built for torch {torch}, as the manifest says, got one for torch {built_for}; \
                 rebuild it with `make build`",
                file.display()
            ),
        ));
    }
    let interface = match &build.tch {
        Some(release) => format!("tch {release}, which is for torch {torch} alone"),
        None => format!("PyTorch's stable C interface, for torch {} and newer", build.torch),
    };
    log::debug!("engine {} for torch {torch}: {interface}", file.display());
    let libtorch = libtorch.map(|libtorch| libtorch.file);
    Ok(Engine { module, file, torch, libtorch, backend: backend(), interface })
}

fn read(manifest: &Path) -> Result<Engines> {
    let wrong = |what: String| Error::new(Status::Manifest, format!("{}: {what}", manifest.display()));
    let text = files::text(manifest, MANIFEST_LIMIT).map_err(|error| {
        wrong(format!(
            "the engine manifest cannot be read ({error}); unpack the whole plugin folder again, or run `make build`"
        ))
    })?;
    Engines::parse(&text).map_err(wrong)
}

/// The engine for exactly this torch, or else the one for it and all that came before it.
fn choose(engines: Engines, torch: TorchRelease, manifest: &Path) -> Result<EngineBuild> {
    let builds = engines.engines;
    let here = |build: &&EngineBuild| build.platform.as_deref() == Some(PLATFORM);
    let release = |build: &EngineBuild| TorchRelease::parse(&build.torch);
    let exact = builds.iter().filter(here).find(|build| !build.and_newer && release(build) == Some(torch));
    let newer = || {
        let serves = |build: &&EngineBuild| build.and_newer && release(build).is_some_and(|least| least <= torch);
        builds.iter().filter(here).filter(serves).max_by_key(|build| release(build))
    };
    if let Some(build) = exact.or_else(newer) {
        return Ok(build.clone());
    }
    let named =
        |build: &EngineBuild| format!("torch {}{}", build.torch, if build.and_newer { " and newer" } else { "" });
    let all: Vec<String> =
        builds.iter().filter_map(|build| Some(format!("{} on {}", named(build), build.platform.as_deref()?))).collect();
    let all = match &all[..] {
        [] => "none".to_owned(),
        all => all.join(", "),
    };
    let least = builds.iter().filter(here).filter(|build| build.and_newer).min_by_key(|build| release(build));
    let torches: Vec<&str> = builds.iter().filter(here).map(|build| &build.torch[..]).collect();
    let what_to_do = match (least, &torches[..]) {
        (Some(build), _) => format!("Install torch {} or newer in the host's environment", build.torch),
        (None, []) => "Build one on this system".to_owned(),
        (None, torches) => format!("Install torch {} in the host's environment", torches.join(" or ")),
    };
    Err(Error::new(
        Status::Engine,
        format!(
            "no engine for torch {torch} on {PLATFORM}, which is what runs here; {} has: {all}. {what_to_do}: see \"An \
             engine for another PyTorch\" in README.md",
            manifest.display()
        ),
    ))
}

/// The file, open, if it has this checksum.
fn checked(file: &Path, expected: &str) -> Result<File> {
    let unreadable = |error: io::Error| {
        Error::new(
            Status::Engine,
            format!(
                "{}: the engine cannot be read ({error}); unpack the whole plugin folder again, or run `make build`",
                file.display()
            ),
        )
    };
    let mut opened = files::open(file, ENGINE_LIMIT).map_err(unreadable)?;
    let mut hasher = Sha256::new();
    io::copy(&mut opened, &mut hasher).map_err(unreadable)?;
    let found = format!("{:x}", hasher.finalize());
    match found == expected {
        true => Ok(opened),
        false => Err(Error::new(
            Status::Engine,
            format!(
                "{}: expected a file with SHA-256 {expected}, as the manifest says, got {found}; the file is damaged or \
                 from another build: unpack the whole plugin folder again, or run `make build`",
                file.display()
            ),
        )),
    }
}

/// Loads the file that was opened and checked, whatever has its name by now.
fn load(file: &Path, opened: File, sha256: &str) -> Result<EngineModuleRef> {
    let wrong = |what: String| Error::new(Status::Engine, format!("{}: {what}", file.display()));
    let mut loaded = LOADED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(module) = loaded.get(sha256) {
        return Ok(*module);
    }
    // SAFETY: its checksum is that of a build of ours; its initialisers are Rust's and C++'s own.
    let library = unsafe { Library::new(loadable(file, &opened)) }.map_err(|error| {
        wrong(format!(
            "the engine cannot be loaded: {}. It needs the host's libtorch, loaded in this process beforehand",
            with_cause(&error)
        ))
    })?;
    // Never closed: the loader knows the library by the file's number, which no other file is to get.
    std::mem::forget(opened);
    // SAFETY: `export_root_module` puts an AbiHeaderRef behind this name; what lies behind it is
    // used only after `upgrade` and `init_root_module` have compared versions and layouts.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) }
        .map(|symbol| *symbol)
        .map_err(|error| wrong(format!("expected an engine of this plugin, got another library: {error}")))?;
    let module = header.upgrade().and_then(|header| header.init_root_module::<EngineModuleRef>()).map_err(|error| {
        wrong(format!("the engine and this plugin are not of one build: {error}; run `make build`"))
    })?;
    // Never unloaded: see `LOADED`.
    std::mem::forget(library);
    module.set_log_sink()(logger::FOR_ENGINES);
    loaded.insert(sha256.to_owned(), module);
    Ok(module)
}

/// What names the open file to the loader.
#[cfg(target_os = "linux")]
fn loadable(_: &Path, opened: &File) -> PathBuf {
    format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(opened)).into()
}

/// Its path, whole, in the form that has no limit of 260 characters. Nobody can put another file there as long as it is
/// open.
#[cfg(windows)]
fn loadable(file: &Path, _: &File) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

/// Its path: the loader offers no other way.
#[cfg(not(any(target_os = "linux", windows)))]
fn loadable(file: &Path, _: &File) -> PathBuf {
    file.to_owned()
}

/// An error and what caused it: the loader's own words are in the cause.
fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_cause(cause)),
        None => error.to_string(),
    }
}
