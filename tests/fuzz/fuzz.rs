//! Texts that a host hands over, mutated: options and engine manifests. None crashes or hangs the library, what it
//! takes it takes again unchanged, and what it refuses it refuses in words of a length that can be read.
//!
//!     LGS_FUZZ=10000000 cargo test --release --test fuzz -- --nocapture
//!
//! takes so many of each, from another seed each time, which it prints; `make test` takes `BUDGET` from the first seed.
//! An input that has failed is kept in `corpus/`, a line each, from which mutation starts.

use std::time::Instant;

use fastrand::Rng;
use lgs::{
    manifest::{self, Engines},
    options,
    torch::TorchRelease,
};

const BUDGET: u64 = 200_000;

/// The longest sentence, in bytes: one that lists all options, and a little of what came.
const LONGEST: usize = 1000;

/// The longest text to go on from.
const LONGEST_TEXT: usize = 4000;

/// What texts of this kind are made of, and where parsers have their edges.
const PARTS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\u",
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "0.5",
    "1e308",
    "1e309",
    "-1e309",
    "1e-400",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "0x10",
    "01",
    "1.",
    ".5",
    "NaN",
    "Infinity",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "é",
    "😀",
    " ",
    "\n",
    "\"\":",
    "{}",
    "[]",
    "[[[[[[[[",
    "\"a\"",
    "\"auto\"",
    "\"forward\"",
    "\"secant\"",
    "\"isotropic\"",
    "2.11",
    "\"2.11\"",
    "\"linux-x86_64\"",
];

fn budget() -> (u64, u64) {
    match std::env::var("LGS_FUZZ").ok().and_then(|text| text.parse().ok()) {
        Some(asked) => (asked, fastrand::u64(..)),
        None => (BUDGET, 1),
    }
}

fn lines(corpus: &str) -> Vec<String> {
    corpus.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The text with some places of it cut, doubled, swapped or replaced.
fn mutated(text: &str, parts: &[String], random: &mut Rng) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..random.usize(1..=4) {
        let place = random.usize(..=bytes.len());
        let end = random.usize(place..=(place + 12).min(bytes.len()));
        match random.u8(..6) {
            0 => drop(bytes.drain(place..end)),
            1 => {
                let again = bytes[place..end].to_vec();
                let times = if random.u8(..50) == 0 { 2000 } else { 1 };
                bytes.splice(end..end, again.repeat(times));
            }
            2 if place < bytes.len() => bytes[place] = random.u8(..),
            3 => bytes.truncate(end),
            _ => {
                let part = match random.bool() {
                    true => PARTS[random.usize(..PARTS.len())],
                    false => &parts[random.usize(..parts.len())],
                };
                bytes.splice(place..end, part.bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Takes the budget of texts, mutants of the corpus and of what was taken before.
fn fuzz(name: &str, corpus: &str, parts: &[String], takes: impl Fn(&str) -> Result<(), String>) {
    let ((budget, seed), start) = (budget(), Instant::now());
    let (mut random, mut texts, mut taken) = (Rng::with_seed(seed), lines(corpus), 0u64);
    let kept = texts.len();
    for number in 0..budget {
        let text = mutated(&texts[random.usize(..texts.len())], parts, &mut random);
        match takes(&text) {
            Ok(()) => {
                taken += 1;
                match texts.len() < kept + 1000 {
                    _ if text.len() > LONGEST_TEXT => (),
                    true => texts.push(text),
                    false => {
                        let place = kept + random.usize(..1000);
                        texts[place] = text;
                    }
                }
            }
            Err(why) => {
                let told = !why.is_empty() && why.len() <= LONGEST && !why.contains(char::is_control);
                assert!(told, "seed {seed}, input {number}, {text:?}: refused in {} bytes: {why:.2000}", why.len());
            }
        }
    }
    println!("{name}: {budget} inputs from seed {seed}, {taken} taken, {:.1} s", start.elapsed().as_secs_f64());
    assert!(taken > budget / 1000, "{name}: nearly nothing was taken, so that nothing was tried");
}

#[test]
fn options_are_taken_whole_or_refused_in_words() {
    let mut parts = Vec::new();
    for input in manifest::options() {
        parts.push(format!("\"{}\":", input.id));
        if let manifest::Domain::Choice { choices, .. } = &input.domain {
            parts.extend(choices.iter().map(|choice| format!("\"{choice}\"")));
        }
    }
    fuzz("options", include_str!("corpus/options.txt"), &parts, |text| {
        let checked = options::check(text).map_err(|error| error.message)?;
        assert_eq!(checked.values.len(), manifest::options().len(), "{text:?}: an option is missing");
        let again = serde_json::to_string(&checked.values).expect("JSON");
        let twice = options::check(&again).unwrap_or_else(|error| panic!("{text:?}: not taken again: {error}"));
        assert_eq!(twice.values, checked.values, "{text:?}: another the second time");
        Ok(())
    });
}

#[test]
fn engine_manifests_are_taken_whole_or_refused_in_words() {
    let keys = ["format", "engines", "torch", "tch", "platform", "file", "sha256", "$schema"];
    let parts: Vec<String> = keys.iter().map(|key| format!("\"{key}\":")).collect();
    fuzz("engine manifests", include_str!("corpus/engines.txt"), &parts, |text| {
        for build in Engines::parse(text)?.engines {
            // Any text may stand there: it is no version, or one that is written as another.
            if let Some(release) = TorchRelease::parse(&build.torch) {
                assert_eq!(TorchRelease::parse(&release.to_string()), Some(release), "{text:?}");
            }
        }
        Ok(())
    });
}
