//! A model and a host made of closures, which count and watch how they are called.

use std::sync::LazyLock;

use crate::support::tensor::*;
use lgs_engine::{
    covariance::Statistics,
    error::{Error, Result},
    host::{Host, Progress},
    model::{Calibration, Denoiser, Plan},
    options::{DoubledBatch, Jvp, Options, Precision},
};
use serde_json::Value;

type Denoise<'f> = Box<dyn FnMut(&Tensor, f64) -> Result<Tensor> + 'f>;
type Noise<'f> = Box<dyn FnMut(f64, f64) -> Result<Tensor> + 'f>;
type Watch<'f> = Box<dyn FnMut(&Progress<'_>) -> Result<()> + 'f>;
type ForwardAd<'f> = Box<dyn FnMut(bool) -> Result<()> + 'f>;

/// What a report said.
#[derive(Clone, Debug)]
pub struct Report {
    pub step: usize,
    pub steps: usize,
    pub sigma: f64,
    pub sigma_next: f64,
    pub model_evaluations: u64,
    pub jvps: u64,
    pub jvp: Jvp,
    pub statistics: Statistics,
}

pub struct TestHost<'f> {
    denoise: Denoise<'f>,
    noise: Noise<'f>,
    watch: Watch<'f>,
    forward_ad: Option<ForwardAd<'f>>,
    diagonal: Option<Denoise<'f>>,
    /// Calls of the model, those that failed too.
    pub evaluations: usize,
    /// σ and σ' of every noise asked for.
    pub noises: Vec<(f64, f64)>,
    pub reports: Vec<Report>,
    /// Every opening and closing of a forward-mode level.
    pub levels: Vec<bool>,
    /// What the sampler has found out about the model.
    pub calibration: Calibration,
    /// The batch of every call of the model.
    pub batches: Vec<i64>,
}

impl<'f> TestHost<'f> {
    /// A model D(x, σ) on a host without noise and without forward mode.
    pub fn new(denoise: impl FnMut(&Tensor, f64) -> Result<Tensor> + 'f) -> Self {
        Self {
            denoise: Box::new(denoise),
            noise: Box::new(|_, _| Err(Error::Failed)),
            watch: Box::new(|_| Ok(())),
            forward_ad: None,
            diagonal: None,
            evaluations: 0,
            noises: Vec::new(),
            reports: Vec::new(),
            levels: Vec::new(),
            calibration: Calibration::default(),
            batches: Vec::new(),
        }
    }

    pub fn noise(mut self, noise: impl FnMut(f64, f64) -> Result<Tensor> + 'f) -> Self {
        self.noise = Box::new(noise);
        self
    }

    pub fn watch(mut self, watch: impl FnMut(&Progress<'_>) -> Result<()> + 'f) -> Self {
        self.watch = Box::new(watch);
        self
    }

    pub fn forward_ad(mut self, forward_ad: impl FnMut(bool) -> Result<()> + 'f) -> Self {
        self.forward_ad = Some(Box::new(forward_ad));
        self
    }

    pub fn diagonal(mut self, diagonal: impl FnMut(&Tensor, f64) -> Result<Tensor> + 'f) -> Self {
        self.diagonal = Some(Box::new(diagonal));
        self
    }
}

impl Denoiser for TestHost<'_> {
    fn denoise(&mut self, x: &Tensor, sigma: &Tensor) -> Result<Tensor> {
        self.evaluations += 1;
        self.batches.push(x.size()[0]);
        assert_eq!(sigma.size(), [x.size()[0]], "sigma is (batch,)");
        assert_eq!(sigma.kind(), x.kind());
        let level = sigma.double_value(&[0]);
        assert_eq!(sigma.min().double_value(&[]), sigma.max().double_value(&[]), "one level for the batch");
        (self.denoise)(x, level)
    }

    fn forward_ad(&mut self, open: bool) -> Option<Result<()>> {
        let forward_ad = self.forward_ad.as_mut()?;
        self.levels.push(open);
        Some(forward_ad(open))
    }

    fn diagonal(&mut self, x: &Tensor, sigma: &Tensor) -> Option<Result<Tensor>> {
        let diagonal = self.diagonal.as_mut()?;
        assert_eq!((sigma.size(), sigma.kind()), (vec![x.size()[0]], x.kind()), "as the model is called");
        Some(diagonal(x, sigma.double_value(&[0])))
    }

    fn calibration(&self) -> Calibration {
        self.calibration
    }

    fn keep(&mut self, calibration: Calibration) {
        self.calibration = calibration;
    }
}

impl Host for TestHost<'_> {
    fn noise(&mut self, sigma: f64, sigma_next: f64) -> Result<Tensor> {
        self.noises.push((sigma, sigma_next));
        (self.noise)(sigma, sigma_next)
    }

    fn progress(&mut self, progress: &Progress<'_>) -> Result<()> {
        self.reports.push(Report {
            step: progress.step,
            steps: progress.steps,
            sigma: progress.sigma,
            sigma_next: progress.sigma_next,
            model_evaluations: progress.model_evaluations,
            jvps: progress.jvps,
            jvp: progress.jvp,
            statistics: progress.statistics.clone(),
        });
        (self.watch)(progress)
    }
}

/// The inputs of LGS Sampler in the manifest: the options.
fn inputs() -> Vec<Value> {
    let manifest: Value = serde_json::from_str(include_str!("../../../manifests/nodes.json")).expect("JSON");
    let nodes = manifest["nodes"].as_array().expect("nodes");
    let sampler = nodes.iter().find(|node| node["id"] == "LGSSampler").expect("LGS Sampler");
    sampler["inputs"].as_array().expect("inputs").clone()
}

/// What the manifest says of an option.
pub fn input(id: &str) -> Value {
    inputs().into_iter().find(|input| input["id"] == id).expect("an option")
}

/// The manifest's defaults, with finite differences, the one way to differentiate here.
pub static OPTIONS: LazyLock<Options> = LazyLock::new(|| {
    let defaults =
        inputs().into_iter().map(|input| (input["id"].as_str().expect("a name").to_owned(), input["default"].clone()));
    let options: Options = serde_json::from_value(Value::Object(defaults.collect())).expect("options");
    Options { jvp: Jvp::FiniteDifference, ..options }
});

/// One product by `jvp`, one point at a time.
pub fn plan(jvp: Jvp) -> Plan {
    Plan { jvp, doubled_batch: DoubledBatch::Never, precision: Precision::Auto, products: 1 }
}

/// The message of an error.
pub fn message<T>(outcome: Result<T>) -> String {
    outcome.err().expect("an error").to_string()
}

/// That `text` holds each of `words`.
pub fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "expected {word:?} in {text:?}");
    }
}
