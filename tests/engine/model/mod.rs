//! How the model is called.

mod evaluator;
