//! Trajectories: against closed forms, by their counts, and with models and arguments that are wrong.

mod arguments;
mod closed_forms;
mod counts;
