//! What the engine logs, by thread: each test has its own.

use std::cell::RefCell;

thread_local! {
    static RECORDS: RefCell<Vec<(log::Level, String)>> = const { RefCell::new(Vec::new()) };
}

struct Recorder;

impl log::Log for Recorder {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        RECORDS.with_borrow_mut(|records| records.push((record.level(), record.args().to_string())));
    }

    fn flush(&self) {}
}

/// What this thread logs while `work` runs.
pub fn recorded<T>(work: impl FnOnce() -> T) -> (T, Vec<(log::Level, String)>) {
    // Set by whichever test is first.
    let _ = log::set_logger(&Recorder);
    log::set_max_level(log::LevelFilter::Debug);
    RECORDS.take();
    let value = work();
    (value, RECORDS.take())
}
