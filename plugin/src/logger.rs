//! `log`, from the plugin and from its engines, to the log callback of the call in hand.
//!
//! There is one logger a process, but several hosts may have loaded the plugin, and each should get
//! its own messages only: so a call names its callback for the time it runs, on its thread.

use std::{
    cell::RefCell,
    ffi::{c_char, c_void, CString},
};

use abi_stable::std_types::RStr;
use lgs_abi::{engine::LogSink, header::signal};

/// The log callback of `lgs_engine_config`.
pub type LogCallback = unsafe extern "C" fn(*mut c_void, i32, *const c_char) -> i32;

/// How an engine reaches this logger.
pub const FOR_ENGINES: LogSink = LogSink { write: from_engine, answer };

/// A host's log callback.
#[derive(Clone, Copy)]
pub struct Sink {
    pub context: *mut c_void,
    pub log: Option<LogCallback>,
}

struct Current {
    sink: Sink,
    answer: i32,
}

thread_local! {
    static CALLS: RefCell<Vec<Current>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, this thread's messages go to its sink.
pub struct Scope(());

impl Scope {
    pub fn enter(sink: Sink) -> Self {
        if log::set_logger(&Logger).is_ok() {
            log::set_max_level(log::LevelFilter::Debug);
        }
        CALLS.with_borrow_mut(|calls| calls.push(Current { sink, answer: signal::CONTINUE }));
        Self(())
    }
}

/// What the callback has answered, where it was other than to go on. Says so once.
pub extern "C" fn answer() -> i32 {
    CALLS.with_borrow_mut(|calls| match calls.last_mut() {
        Some(current) => std::mem::replace(&mut current.answer, signal::CONTINUE),
        None => signal::CONTINUE,
    })
}

impl Drop for Scope {
    fn drop(&mut self) {
        CALLS.with_borrow_mut(|calls| calls.pop());
    }
}

/// A record that an engine sends.
extern "C" fn from_engine(level: u8, target: RStr<'_>, message: RStr<'_>) {
    let level = match level {
        1 => log::Level::Error,
        2 => log::Level::Warn,
        3 => log::Level::Info,
        4 => log::Level::Debug,
        _ => log::Level::Trace,
    };
    log::log!(target: target.as_str(), level, "{}", message.as_str());
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // Records of other crates are not for the host.
        metadata.target().starts_with("lgs")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let sink = CALLS.with_borrow(|calls| calls.last().map(|current| current.sink));
        let Some(Sink { context, log: Some(callback) }) = sink else { return };
        let text = record.args().to_string().replace('\0', " ");
        let Ok(text) = CString::new(text) else { return };
        // SAFETY: the host gave the two together, valid for as long as the engine is open.
        let answer = unsafe { callback(context, record.level() as i32, text.as_ptr()) };
        CALLS.with_borrow_mut(|calls| {
            // The first answer counts.
            if let Some(current) = calls.last_mut().filter(|current| current.answer == signal::CONTINUE) {
                current.answer = answer;
            }
        });
    }

    fn flush(&self) {}
}
