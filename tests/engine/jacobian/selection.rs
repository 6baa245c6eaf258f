//! The choice between ways of differentiating, and of batches, as far as it can be tested without
//! forward mode, which only Python can open: the rest is in `tests/shim/test_jvp_auto.py`.

use crate::support::tensor::*;
use lgs_engine::{
    error::{Error, Result},
    jacobian::Linearization,
    layout::Layout,
    model::{Calibration, Evaluator},
    options::{DoubledBatch, Jvp, Options},
    trajectory::sample,
};

use crate::support::{
    host::{plan, says, TestHost, OPTIONS},
    log::recorded,
    numbers::{distance, relative_error, Rng},
};

const SIGMAS: [f64; 4] = [4.0, 2.0, 1.0, 0.0];

fn model(x: &Tensor, sigma: f64) -> Result<Tensor> {
    Ok((x / (1.0 + sigma * sigma)).tanh())
}

fn run<'f>(host: TestHost<'f>, options: &Options) -> (Tensor, TestHost<'f>) {
    let mut rng = Rng::new(2);
    let mut host = host.noise(move |_, _| Ok(rng.tensor(&[3, 9])));
    let result = sample(&mut host, options, &(Rng::new(1).tensor(&[3, 9]) * 4.0), &SIGMAS).expect("no error");
    (result, host)
}

#[test]
fn a_doubled_batch_makes_k_calls_of_k_plus_one_evaluations() {
    for k in [1, 2, 3] {
        let options = Options { lanczos_steps: k, ..*OPTIONS };
        let (expected, separate) =
            run(TestHost::new(model), &Options { doubled_batch: DoubledBatch::Never, ..options });
        assert_eq!(separate.batches, vec![3; 2 * (k as usize + 1) + 1]);
        let (result, doubled) = run(TestHost::new(model), &Options { doubled_batch: DoubledBatch::Always, ..options });
        assert!(distance(&result, &expected) < 1e-9);
        let a_step = [vec![6], vec![3; k as usize - 1]].concat();
        assert_eq!(doubled.batches, [a_step.clone(), a_step, vec![3]].concat());
        let counts = |host: &TestHost| host.reports.iter().map(|r| (r.model_evaluations, r.jvps)).collect::<Vec<_>>();
        assert_eq!(counts(&doubled), counts(&separate), "an evaluation is one of the points");
    }
}

#[test]
fn central_differences_take_two_evaluations_a_product_in_one_call() {
    let options = Options { lanczos_steps: 2, jvp: Jvp::CentralDifference, ..*OPTIONS };
    let (one, separate) = run(TestHost::new(model), &Options { doubled_batch: DoubledBatch::Never, ..options });
    let (other, together) = run(TestHost::new(model), &Options { doubled_batch: DoubledBatch::Always, ..options });
    assert_eq!(separate.batches, vec![3; 11]);
    assert_eq!(together.batches, [9, 6, 9, 6, 3]);
    assert!(distance(&one, &other) < 1e-9);
    assert_eq!(separate.reports.last().map(|r| (r.model_evaluations, r.jvps)), Some((11, 4)));
    assert!(separate.reports.iter().all(|report| report.jvp == Jvp::CentralDifference));
}

#[test]
fn a_model_that_refuses_a_doubled_batch_is_called_for_one_point_at_a_time_and_asked_once() {
    let refusals: [fn(&Tensor) -> Result<Tensor>; 3] =
        [|_| Err(Error::Failed), |x| Ok(x.narrow(0, 0, 3)), |x| Ok(x.f_matmul(&x.f_narrow(1, 0, 1)?)?)];
    let (expected, _) = run(TestHost::new(model), &OPTIONS);
    for refuse in refusals {
        for jvp in [Jvp::FiniteDifference, Jvp::CentralDifference] {
            let options = Options { doubled_batch: DoubledBatch::Always, jvp, ..*OPTIONS };
            let host = TestHost::new(|x: &Tensor, sigma| if x.size()[0] > 3 { refuse(x) } else { model(x, sigma) });
            let ((result, host), records) = recorded(|| run(host, &options));
            assert!(distance(&result, &expected) < 1e-6);
            assert_eq!(host.batches.iter().filter(|&&batch| batch > 3).count(), 1);
            let [(level, text)] = &records[..] else { panic!("one record, got {records:?}") };
            assert_eq!(*level, log::Level::Warn);
            says(text, &["does not take a batch of", "items where x has 3"]);
        }
    }
}

#[test]
fn a_host_that_stops_at_a_doubled_batch_is_not_asked_again() {
    let mut host = TestHost::new(|_: &Tensor, _| Err(Error::Stopped)).noise(|_, _| Ok(Rng::new(0).tensor(&[3, 9])));
    for jvp in [Jvp::FiniteDifference, Jvp::Auto] {
        let options = Options { doubled_batch: DoubledBatch::Always, jvp, ..*OPTIONS };
        assert!(matches!(sample(&mut host, &options, &Rng::new(1).tensor(&[3, 9]), &SIGMAS), Err(Error::Stopped)));
    }
    assert_eq!(host.evaluations, 2);
}

/// A model whose answer to an item depends on how many others there are.
fn coupled(x: &Tensor, sigma: f64) -> Result<Tensor> {
    model(&(x + x.mean_dim([0i64].as_slice(), true, None) * (x.size()[0] as f64) * 0.01), sigma)
}

#[test]
fn auto_does_not_double_the_batch_of_a_model_whose_items_are_not_independent() {
    // Slow enough for its batches to be worth a thought.
    let slow = |x: &Tensor, sigma| {
        std::thread::sleep(std::time::Duration::from_millis(2));
        coupled(x, sigma)
    };
    let options = Options { jvp: Jvp::Auto, ..*OPTIONS };
    let (expected, _) = run(TestHost::new(slow), &Options { doubled_batch: DoubledBatch::Never, ..options });
    let ((result, host), records) = recorded(|| run(TestHost::new(slow), &options));
    assert_eq!(distance(&result, &expected), 0.0);
    assert_eq!(host.calibration, Calibration { jvp: Jvp::FiniteDifference, doubled_batch: Some(false), coarse: false });
    assert!(records.iter().any(|(_, text)| text.contains("items cannot be independent")), "{records:?}");
}

#[test]
fn what_auto_has_found_out_is_kept_and_saves_the_search() {
    let options = Options { jvp: Jvp::Auto, ..*OPTIONS };
    let ((first, host), records) = recorded(|| run(TestHost::new(model), &options));
    assert!(!records.is_empty());
    assert_eq!(host.calibration.jvp, Jvp::FiniteDifference);
    let mut again = TestHost::new(model);
    again.calibration = host.calibration;
    let ((second, again), records) = recorded(|| run(again, &options));
    assert_eq!(distance(&first, &second), 0.0, "the same seed gives the same picture");
    assert_eq!(records.len(), 0, "{records:?}");
    assert_eq!(again.reports.last().map(|report| report.model_evaluations), Some(2 * 4 + 1));
    assert_eq!(again.calibration, host.calibration);
}

#[test]
fn the_first_trajectory_is_the_second_where_rounding_depends_on_the_batch() {
    let cases = [
        (Kind::Float, Kind::Float, DoubledBatch::Always, Jvp::FiniteDifference),
        (Kind::Float, Kind::BFloat16, DoubledBatch::Always, Jvp::CentralDifference),
        (Kind::Float, Kind::Float, DoubledBatch::Auto, Jvp::FiniteDifference),
        (Kind::BFloat16, Kind::BFloat16, DoubledBatch::Auto, Jvp::CentralDifference),
    ];
    for (kind, inside, doubled_batch, jvp) in cases {
        let options = Options { jvp: Jvp::Auto, doubled_batch, ..*OPTIONS };
        let run = |choice: Calibration| {
            // A call takes long enough for a doubled batch to be worth it, whatever is in it.
            let rounded = |x: &Tensor, sigma| {
                std::thread::sleep(std::time::Duration::from_millis(2));
                Ok((model(x, sigma)? * (1.0 + 1e-4 * x.size()[0] as f64)).to_kind(inside).to_kind(kind))
            };
            let (mut rng, mut host) = (Rng::new(2), TestHost::new(rounded));
            host.calibration = choice;
            let mut host = host.noise(move |_, _| Ok(rng.tensor(&[3, 64]).to_kind(kind)));
            let x = (Rng::new(1).tensor(&[3, 64]) * 4.0).to_kind(kind);
            let result = sample(&mut host, &options, &x, &SIGMAS).expect("no error");
            let doubled = host.batches.iter().filter(|&&batch| batch > 3).count();
            (result.to_kind(Kind::Double), host.calibration, doubled)
        };
        let (first, found, _) = run(Calibration::default());
        assert_eq!(found.jvp, jvp);
        let (second, _, doubled) = run(found);
        assert!(doubled > 0, "{jvp:?} is taken with a doubled batch");
        assert_eq!(distance(&first, &second), 0.0, "{jvp:?}");
    }
}

#[test]
fn what_was_asked_for_is_not_kept_as_if_it_had_been_found_out() {
    for jvp in [Jvp::FiniteDifference, Jvp::CentralDifference] {
        for doubled_batch in [DoubledBatch::Always, DoubledBatch::Never] {
            let (_, host) = run(TestHost::new(model), &Options { jvp, doubled_batch, ..*OPTIONS });
            assert_eq!(host.calibration, Calibration::default());
        }
    }
    let known = Calibration { jvp: Jvp::CentralDifference, doubled_batch: Some(true), coarse: false };
    let mut host = TestHost::new(model);
    host.calibration = known;
    let (_, host) = run(host, &Options { jvp: Jvp::FiniteDifference, doubled_batch: DoubledBatch::Never, ..*OPTIONS });
    assert_eq!((host.calibration, host.reports[0].jvp), (known, Jvp::FiniteDifference));
}

#[test]
fn without_forward_mode_auto_takes_central_differences_in_half_precision() {
    let mut rng = Rng::new(3);
    for (kind, expected) in [
        (Kind::Double, Jvp::FiniteDifference),
        (Kind::Float, Jvp::FiniteDifference),
        (Kind::Half, Jvp::CentralDifference),
        (Kind::BFloat16, Jvp::CentralDifference),
    ] {
        let (x, v) = (rng.tensor(&[2, 64]).to_kind(kind), rng.tensor(&[2, 64]));
        let layout = Layout::of("x", &x).expect("a layout");
        let mut host = TestHost::new(|x: &Tensor, _| Ok(x * 0.5));
        let inside = layout.kind;
        let product = {
            let mut evaluator = Evaluator::new(&mut host, layout, plan(Jvp::Auto));
            Linearization::new(&mut evaluator, &x.to_kind(inside), 1.0).jvp(&v.to_kind(inside), None).expect("no error")
        };
        assert_eq!(host.calibration.jvp, expected);
        assert!(relative_error(&product, &(v * 0.5)) < 0.02, "{kind:?}");
    }
}

#[test]
fn rounding_that_no_dtype_tells_is_noticed_and_kept() {
    let mut rng = Rng::new(5);
    let (x, v) = (rng.tensor(&[2, 256]).to_kind(Kind::Float), rng.tensor(&[2, 256]).to_kind(Kind::Float));
    let mut choice = Calibration::default();
    for evaluations in [9, 3] {
        let mut host = TestHost::new(|x: &Tensor, _| Ok((x.to_kind(Kind::BFloat16) * 0.5).to_kind(Kind::Float)));
        host.calibration = choice;
        let layout = Layout::of("x", &x).expect("a layout");
        let product = {
            let mut evaluator = Evaluator::new(&mut host, layout, plan(Jvp::Auto));
            Linearization::new(&mut evaluator, &x, 1.0).jvp(&v, None).expect("no error")
        };
        assert!(relative_error(&product, &(&v * 0.5)) < 0.1);
        assert_eq!(host.calibration, Calibration { jvp: Jvp::CentralDifference, doubled_batch: None, coarse: true });
        assert_eq!(host.evaluations, evaluations);
        choice = host.calibration;
    }
}
