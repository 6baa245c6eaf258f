//! The covariances beside Lanczos' in the sampler: closed forms, what they cost, and what is refused.

use crate::support::tensor::*;
use lgs_engine::{
    covariance::law,
    error::Error,
    options::{Covariance, Options},
    pointwise::reverse_noise,
    process::Process,
    trajectory::sample,
};

use crate::support::{
    gaussian::{kernel, Gaussian},
    host::{input, message, says, TestHost, OPTIONS},
    numbers::{distance, power_law, relative_error, Rng},
};

const SIGMAS: [f64; 5] = [4.0, 2.0, 1.0, 0.5, 0.0];
const PROBED: [Covariance; 3] = [Covariance::IsotropicOptimal, Covariance::Diagonal, Covariance::Spectral];

fn with(covariance: Covariance) -> Options {
    Options { covariance, ..*OPTIONS }
}

fn model<'f>() -> TestHost<'f> {
    let mut rng = Rng::new(2);
    TestHost::new(|x: &Tensor, sigma| Ok((x / (1.0 + sigma * sigma)).tanh())).noise(move |_, _| Ok(rng.tensor(&[2, 9])))
}

fn x() -> Tensor {
    Rng::new(1).tensor(&[2, 9])
}

#[test]
fn noise_on_exact_gaussian_data() {
    let gaussian = Gaussian::new(3, &power_law(16, 1.6, 0.25));
    let mut rng = Rng::new(4);
    let (x, z) = (rng.tensor(&[2, 16]), rng.tensor(&[2, 16]));
    for (process, t, s, eta) in [
        (Process::VarianceExploding, 1.0, 0.5, 1.0),
        (Process::VarianceExploding, 3.0, 0.5, 0.0),
        (Process::Flow, 0.6, 0.3, 0.5),
    ] {
        let reverse = gaussian.reverse(process, t, s, eta);
        let (ratio, (_, _, v)) = (
            crate::support::gaussian::alpha(process, t) / crate::support::gaussian::alpha(process, s),
            kernel(process, t, s, eta),
        );
        let diagonal = reverse.diagonal(0, 0, 1);
        let mean = diagonal.mean(None::<Kind>).double_value(&[]);
        for (covariance, probes, bound, expected) in [
            (Covariance::Isotropic, 1, 1e-12, &z * eta * v.sqrt()),
            (Covariance::IsotropicLarge, 1, 1e-12, &z * eta * (t * t - ratio * ratio * s * s).sqrt()),
            // The mean of p probes is off by about sqrt(2 / p) of the off-diagonal part.
            (Covariance::IsotropicOptimal, 5_000, 5e-3, &z * mean.sqrt()),
            (Covariance::Diagonal, 5_000, 1e-2, &z * diagonal.sqrt()),
        ] {
            let mut host = TestHost::new(|x, sigma| Ok(gaussian.denoised(process, x, sigma)));
            let options = Options { process, eta, probes, ..with(covariance) };
            let noise = reverse_noise(&mut host, &options, &x, t, s, &z).expect("no error");
            let error = distance(&noise, &expected) / distance(&z, &z.zeros_like());
            assert!(error < bound, "{process:?} {covariance:?}: {error}");
        }
        let mut host = TestHost::new(|x, sigma| Ok(gaussian.denoised(process, x, sigma)))
            .diagonal(|x, sigma| Ok(gaussian.jacobian(process, sigma).diagonal(0, 0, 1).expand_as(x)));
        let options = Options { process, eta, ..with(Covariance::DiagonalLearned) };
        let noise = reverse_noise(&mut host, &options, &x, t, s, &z).expect("no error");
        assert!(relative_error(&noise, &(&z * diagonal.sqrt())) < 1e-12);
    }
}

#[test]
fn an_evaluation_a_step_and_one_for_each_probe() {
    for covariance in PROBED {
        for probes in [1, 3] {
            let mut host = model();
            let _ = sample(&mut host, &Options { probes, ..with(covariance) }, &x(), &SIGMAS).expect("no error");
            assert_eq!(host.evaluations, 4 + 3 * probes as usize, "{covariance:?}");
            let last = host.reports.last().expect("four reports");
            assert_eq!((last.model_evaluations, last.jvps), (4 + 3 * probes as u64, 3 * probes as u64));
            assert_eq!(last.statistics.lanczos_error, None);
        }
    }
    for covariance in [Covariance::Isotropic, Covariance::IsotropicLarge, Covariance::DiagonalLearned] {
        let mut asked = Vec::new();
        let mut host = model().diagonal(|x, sigma| {
            asked.push(sigma);
            Ok(x.ones_like() * 0.5)
        });
        let _ = sample(&mut host, &with(covariance), &x(), &SIGMAS).expect("no error");
        assert_eq!((host.evaluations, host.reports[3].jvps), (4, 0));
        drop(host);
        let expected: &[f64] = if covariance == Covariance::DiagonalLearned { &SIGMAS[..3] } else { &[] };
        assert_eq!(asked, expected, "once for each step that adds noise");
    }
}

#[test]
fn the_hosts_noise_is_the_same_with_each() {
    for covariance in PROBED {
        let mut host = model();
        let _ = sample(&mut host, &with(covariance), &x(), &SIGMAS).expect("no error");
        assert_eq!(host.noises, [(4.0, 2.0), (2.0, 1.0), (1.0, 0.5)]);
    }
}

#[test]
fn outside_the_range_of_sigma_each_is_isotropic() {
    let isotropic = sample(&mut model(), &with(Covariance::Isotropic), &x(), &SIGMAS).expect("no error");
    for covariance in [PROBED.as_slice(), &[Covariance::IsotropicLarge, Covariance::DiagonalLearned]].concat() {
        let options = Options { covariance_min_sigma: 10.0, ..with(covariance) };
        let outside = sample(&mut model(), &options, &x(), &SIGMAS).expect("no error");
        assert_eq!(distance(&outside, &isotropic), 0.0, "{covariance:?}");
    }
}

#[test]
fn eta_0_leaves_what_is_of_the_posterior() {
    let adds_noise = |covariance| {
        let mut host = model().diagonal(|x, _| Ok(x.ones_like()));
        let _ = sample(&mut host, &Options { eta: 0.0, ..with(covariance) }, &x(), &SIGMAS).expect("no error");
        !host.noises.is_empty()
    };
    for covariance in [Covariance::Isotropic, Covariance::IsotropicLarge] {
        assert!(!adds_noise(covariance), "{covariance:?} is DDIM then");
    }
    for covariance in [PROBED.as_slice(), &[Covariance::DiagonalLearned, Covariance::Lanczos]].concat() {
        assert!(adds_noise(covariance), "{covariance:?}");
    }
}

#[test]
fn a_diagonal_that_cannot_be_used_is_named() {
    let options = with(Covariance::DiagonalLearned);
    says(&message(sample(&mut model(), &options, &x(), &SIGMAS)), &["covariance", "diagonal-learned", "got none"]);

    let nan = |x: &Tensor, _| Ok(x * f64::NAN);
    let narrow = |x: &Tensor, _| Ok(x.narrow(1, 0, 3));
    type Answer = Box<dyn FnMut(&Tensor, f64) -> Result<Tensor, Error>>;
    let answers: [(Answer, &[&str]); 3] = [
        (Box::new(nan), &["step 1 of 4", "diagonal", "NaN"]),
        (Box::new(narrow), &["step 1 of 4", "diagonal", "[2, 9]", "[2, 3]"]),
        (Box::new(|_, _| Ok(Tensor::new())), &["step 1 of 4", "diagonal", "undefined"]),
    ];
    for (answer, words) in answers {
        says(&message(sample(&mut model().diagonal(answer), &options, &x(), &SIGMAS)), words);
    }

    let stops = sample(&mut model().diagonal(|_, _| Err(Error::Stopped)), &options, &x(), &SIGMAS);
    assert!(matches!(stops, Err(Error::Stopped)));
}

#[test]
fn no_probes_are_refused() {
    for covariance in PROBED {
        let refused = sample(&mut model(), &Options { probes: 0, ..with(covariance) }, &x(), &SIGMAS);
        says(&message(refused), &["probes", "at least 1", "0"]);
    }
}

#[test]
fn a_product_that_is_not_finite_is_named() {
    for covariance in PROBED {
        let mut calls = 0;
        let mut host = TestHost::new(|x: &Tensor, _| {
            calls += 1;
            Ok(if calls == 2 { x * f64::INFINITY } else { x * 0.5 })
        })
        .noise(|_, _| Ok(x()));
        let refused = message(sample(&mut host, &with(covariance), &x(), &SIGMAS));
        says(&refused, &["step 1 of 4", "Jacobian-vector product"]);
    }
}

#[test]
fn each_law_takes_as_many_products_as_the_manifest_says() {
    let covariances = input("covariance");
    let choices = covariances["choices"].as_array().expect("choices");
    for choice in choices {
        let covariance = serde_json::from_value(choice.clone()).expect("a covariance");
        let options = Options { covariance, lanczos_steps: 5, probes: 7, ..*OPTIONS };
        let expected = match covariances["products"][choice.as_str().expect("a name")].as_str() {
            Some("lanczos_steps") => 5,
            Some("probes") => 7,
            None => 0,
            other => panic!("{choice}: {other:?} is no number of products"),
        };
        assert_eq!(law::<TestHost<'_>>(&options).products(), expected, "{choice}");
    }
    assert!(choices.len() > 5);
}
