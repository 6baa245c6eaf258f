//! A step and a trajectory: against closed forms, item by item, by their counts, and with models
//! and arguments that are wrong.

mod arguments;
mod counts;
mod covariances;
mod single_step;
mod told;
mod tolerance;
mod trajectory;
