//! The manifests: which nodes and options there are, which engines were built.

use once_cell::sync::Lazy;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::quoted;

/// `manifests/nodes.json` as it was when this library was built.
pub const NODES: &str = concat!(include_str!("../../manifests/nodes.json"), "\0");

/// Id of the node whose inputs are the options.
const SAMPLER: &str = "LGSSampler";

#[derive(Debug, Deserialize)]
struct Nodes {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    inputs: Vec<Input>,
}

/// An option: an input of the sampler's node.
#[derive(Debug, Deserialize)]
pub struct Input {
    pub id: String,
    /// Earlier names of it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Its default where another option has one of these values.
    #[serde(default)]
    pub defaults: Map<String, Value>,
    #[serde(flatten)]
    pub domain: Domain,
}

impl Input {
    /// Whether it goes, or once went, by this name.
    pub fn is_called(&self, name: &str) -> bool {
        self.id == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// The values that an input can have.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub enum Domain {
    #[serde(rename = "COMBO")]
    Choice { choices: Vec<String>, default: String },
    #[serde(rename = "INT")]
    Integer { min: i64, max: i64, default: i64 },
    #[serde(rename = "FLOAT")]
    Number { min: f64, max: f64, default: f64 },
    #[serde(rename = "BOOLEAN")]
    Switch { default: bool },
    #[serde(rename = "STRING")]
    Text { default: String },
}

/// The sampler's options, in the manifest's order.
pub fn options() -> &'static [Input] {
    static OPTIONS: Lazy<Vec<Input>> = Lazy::new(|| {
        // Checked by this crate's tests, for it cannot change after the build.
        let nodes: Nodes = serde_json::from_str(NODES.trim_end_matches('\0')).unwrap_or(Nodes { nodes: vec![] });
        nodes.nodes.into_iter().find(|node| node.id == SAMPLER).map(|node| node.inputs).unwrap_or_default()
    });
    &OPTIONS
}

/// `engines.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engines {
    #[serde(rename = "$schema")]
    _schema: Option<String>,
    pub format: u32,
    pub engines: Vec<EngineBuild>,
}

impl Engines {
    /// From the text of an `engines.json`; else what is wrong with it, and what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let engines: Self = serde_json::from_str(text).map_err(|error| {
            format!(
                "expected an engine manifest, got something else: {}; unpack the whole plugin folder again, or run \
                 `make build`",
                quoted(&error.to_string())
            )
        })?;
        if engines.format != ENGINES_FORMAT {
            return Err(format!("expected format {ENGINES_FORMAT}, got {}", engines.format));
        }
        match engines.engines.iter().find(|build| build.tch.is_some() == build.and_newer) {
            None => Ok(engines),
            Some(build) => Err(format!(
                "expected the entry for torch {} to have either `tch` or `\"and_newer\": true`, got {}; unpack the whole \
                 plugin folder again, or run `make build`",
                quoted(&build.torch),
                if build.and_newer { "both" } else { "neither (missing field `tch`)" }
            )),
        }
    }
}

/// An engine that was built, or (without a file) one that can be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineBuild {
    /// "2.11".
    pub torch: String,
    /// It serves all newer releases, too: by PyTorch's stable C interface.
    #[serde(default)]
    pub and_newer: bool,
    /// The tch release that it is built with, "0.24"; none where it is the stable interface.
    pub tch: Option<String>,
    pub platform: Option<String>,
    pub file: Option<String>,
    pub sha256: Option<String>,
}

/// The format of `engines.json` that this library reads.
pub const ENGINES_FORMAT: u32 = 1;

/// This library's platform, in the manifest's words.
pub const PLATFORM: &str = match (cfg!(target_os = "windows"), cfg!(target_os = "macos"), cfg!(target_arch = "aarch64"))
{
    (true, _, _) => "windows-x86_64",
    (_, true, true) => "macos-aarch64",
    (_, true, false) => "macos-x86_64",
    (_, _, true) => "linux-aarch64",
    _ => "linux-x86_64",
};
